"""Reports: they are correct, escape all names, load nothing, and stay small."""

import base64
import builtins
import dataclasses
import hashlib
import html.parser
import importlib
import re
import shlex

import numpy as np
import pytest
import scipy.sparse as sp
from click.testing import CliRunner
from runs import assert_same_bits, factors, matrix, stored

import dnmf
import dnmf.run.result
from dnmf.cli.app import main
from dnmf.errors import DataError, SettingsError, StoreError
from dnmf.inspection.charts import LineChart, Series
from dnmf.report import write_report
from dnmf.report.svg import draw
from dnmf.run.residuals import WORST, AxisResiduals, measure_residuals, relative
from dnmf.solvers.history import Record

V = matrix() + 0.01
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "&amp;",
    "</style>",
    "\x1b[2J\u202e",
    "{{7*7}}",
]
ROWS, COLUMNS = [f"cell {row}" for row in range(24)], [f"gene {column}" for column in range(60)]
# The elements that a page is made of.
KNOWN = """
html head meta title style body script header main footer nav section div h1 h2 h3 p dl dt dd ul li a table caption
thead tbody tr th td figure figcaption svg path rect circle text img details summary pre code b small span
"""


class Page(html.parser.HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, content):
        super().__init__()
        self.elements, self.words = [], []
        self.feed(content)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] not in ("style", "script"):
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def fit(V=V, rank=3, **options):
    return dnmf.factorize(V, rank, **{"max_passes": 4, "tol": 0, **options})


def read(tmp_path, *given, **options):
    """Write a report and return its text."""
    return write_report(*given[:1], tmp_path / "page.html", *given[1:], overwrite=True, **options).read_text("utf-8")


def naive(V, Y, beta, weights):
    """Return Σ w d(v, y) above Σ w v^β of the rows and of the columns."""
    v, y = V.astype(float), np.maximum(Y.astype(float), 1e-300)
    if beta == 2:
        d = (v - y) ** 2 / 2
    elif beta == 1:
        d = v * np.log(np.where(v > 0, v / y, 1)) - v + y
    elif beta == 0:
        d = v / y - np.log(v / y) - 1
    else:
        d = (v**beta + (beta - 1) * y**beta - beta * v * y ** (beta - 1)) / (beta * (beta - 1))
    size = np.where(v > 0, np.maximum(v, 1e-300) ** beta, 0)
    return [np.array([(weights * part).sum(axis=axis) for part in (d, size)]) for axis in (1, 0)]


HOLES = np.where(np.random.default_rng(1).random(V.shape) < 0.8, V, np.nan)
SPARSE = np.where(np.random.default_rng(2).random(V.shape) < 0.4, V, 0)
WEIGHTS = np.random.default_rng(3).random(V.shape)
CASES = {
    "frobenius": ({}, V, {}),
    "by rows": ({"cut": (5, 60)}, V, {}),
    "kullback-leibler": ({}, V, {"loss": "kullback-leibler"}),
    "itakura-saito": ({}, V, {"loss": "itakura-saito"}),
    "beta": ({}, V, {"loss": 1.5}),
    "sparse": ({"as": sp.csc_array}, SPARSE, {}),
    "sparse rows": ({"as": sp.csr_array}, SPARSE, {}),
    "sparse counts": ({"as": sp.csc_array}, SPARSE, {"loss": "kullback-leibler"}),
    "sparse beta": ({"as": sp.csc_array}, SPARSE, {"loss": 1.5}),
    "holes": ({}, HOLES, {"missing": "nan"}),
    "not stored": ({"as": sp.csc_array}, SPARSE, {"missing": "zeros"}),
    "weights": ({}, V, {"weights": WEIGHTS}),
    "sparse weights": ({"as": sp.csc_array}, SPARSE, {"weights": WEIGHTS}),
}


@pytest.mark.parametrize("case", CASES)
def test_residuals_are_those_of_the_textbook(case, tmp_path):
    how, dense, options = CASES[case]
    given = how["as"](dense) if "as" in how else stored(tmp_path / "V.zarr", dense, how.get("cut", (24, 7)))
    result = fit(given, **options)
    found = measure_residuals(result, given, options.get("weights"))
    weights = options.get("weights", np.ones(V.shape))
    if "missing" in options:
        weights = (np.isfinite(dense) if options["missing"] == "nan" else dense > 0).astype(float)
    beta = result.settings.beta
    expected = naive(np.nan_to_num(dense), np.matmul(*factors(result)), beta, weights)
    for spread, truth in zip((found.rows, found.columns), expected, strict=True):
        np.testing.assert_allclose(spread.by_run, relative(truth, beta), rtol=2e-4)  # each run is one place here
        order = np.argsort(-relative(truth, beta), kind="stable")
        worst = relative(truth, beta)[spread.worst.places]
        np.testing.assert_allclose(worst, relative(truth, beta)[order[:WORST]], rtol=2e-4)
        np.testing.assert_allclose(spread.heaviest.residuals[0], np.sort(truth[0])[::-1][:WORST], rtol=2e-4)
        assert spread.counts.sum() == (truth[1] > 0).sum()
    assert found.total[0] <= result.loss * 1.001  # W takes a step after the loss of a divergence is measured
    if result.relative_error is not None:
        assert found.relative == pytest.approx(result.relative_error, rel=1e-3)


def test_residuals_hold_no_more_for_a_longer_axis():
    spread, more = AxisResiduals.zero(10**12, 2.0), AxisResiduals.zero(10**12, 2.0)
    spread.add_places(0, np.array([[1.0, 8.0], [2.0, 2.0]]))
    more.add_places(10**12 - 2, np.array([[2.0, 0.0], [2.0, 0.0]]))
    both = spread.add(more)
    assert both.worst.places.tolist() == [1, 10**12 - 2, 0]
    assert (both.counts.sum(), both.empty, both.sums.shape) == (3, 1, (2, 240))
    assert both.quantile(0.5) == pytest.approx(np.sqrt(2), rel=0.01)
    assert sum(both.histogram()[1]) == 3


def test_a_page_says_what_was_run_and_what_came_out(tmp_path):
    path = stored(tmp_path / "V.zarr", V, (24, 7))
    result = fit(path, store=tmp_path / "run.zarr", row_names=ROWS, column_names=COLUMNS, l1_H=0.01)
    page = Page(read(tmp_path, tmp_path / "run.zarr"))
    links = [attributes["href"] for attributes in page.all("a") if attributes["href"] != "#main"]
    names = [
        "run",
        "convergence",
        "time",
        "components",
        "contribution",
        "sparsity",
        "residuals",
        "checkpoints",
        "again",
    ]
    assert links == [f"#{name}" for name in names]
    assert [attributes["id"] for attributes in page.all("section")] == names
    for words in (
        path, "24 × 60, float32", "frobenius, with l1_H = 0.01", "rows and columns", result.verdict, "after pass 4",
        f"{result.relative_error:.4g}", result.top(1)[0][0][0], "cell ", "gene ", "The worst rows", "The worst columns",
        f"dnmf resume {tmp_path / 'run.zarr'} --max-passes 8",
    ):  # fmt: skip
        assert words in page.text
    assert page.text.count("NMF_3") >= 4
    assert all(attributes.get("aria-label") for attributes in page.all("svg") if attributes.get("role") == "img")
    assert all("alt" in attributes for attributes in page.all("img"))


def test_what_the_page_says_to_repeat_the_run_repeats_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = stored(tmp_path / "V.zarr", V, (24, 7))
    first = fit(
        path, store="run 1.zarr", solver="hals", init="random", seed=7, shuffle=True, extrapolate=False, l2_W=0.5
    )
    commands = re.findall(r"<code>(.*?)</code>", read(tmp_path, "run 1.zarr", residuals=False), re.DOTALL)
    line = next(html.unescape(command) for command in commands if command.startswith("dnmf fit"))
    assert CliRunner().invoke(main, shlex.split(line)[1:]).exit_code == 0
    assert_same_bits(dnmf.load("again.zarr"), first)
    call = next(html.unescape(command) for command in commands if command.startswith("dnmf.factorize"))
    assert_same_bits(eval(call.replace("again", "once-more")), first)


@pytest.mark.parametrize("shape", [None, (6, 4)])
def test_no_name_becomes_html(shape, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = "<b onclick=x>.zarr"
    path = stored(tmp_path / "V&lt;<i>.zarr", V, (24, 7))
    names = [HOSTILE[place % len(HOSTILE)] for place in range(60)]
    fit(path, store=bad, row_names=names[:24], column_names=names)
    content = read(tmp_path, bad, shape=shape, title="<script>x</script>")
    page = Page(content)
    assert {tag for tag, _ in page.elements} <= set(KNOWN.split())
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert "<script>alert(1)</script>" in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", content)


def test_a_page_shows_what_the_components_of_layers_are_made_of(tmp_path):
    names = (HOSTILE + ROWS)[:24]
    result = dnmf.factorize(np.asfortranarray(V), [4, 2], row_names=names, max_passes=4)
    content = read(tmp_path, result, V)
    page = Page(content)
    assert {tag for tag, _ in page.elements} <= set(KNOWN.split())
    assert not any(name in content for name in ("<script>alert", "<img src=x"))
    section = page.text.rpartition("Layers layer components relative error")[2]
    for layer in result.layers:
        assert f"{layer.relative_error:.4g}" in section
    for node in result.hierarchy():
        for below in node.made_of:
            assert re.search(rf"{below.component.name} +{100 * below.part:.1f} %", section)
    assert "Layers" not in Page(read(tmp_path, fit(), V)).text


def test_a_page_loads_nothing_and_runs_nothing_but_its_own_script(tmp_path):
    content = read(tmp_path, fit(), V)
    script = re.search("<script>(.*)</script>", content, re.DOTALL)[1]
    assert not re.search(r"https?:|fetch|XMLHttp|import|eval|innerHTML", script)
    rest = content.replace(script, "")
    assert not re.search(r"(?i)https?:|\bsrc=(?!\"data:image/png)|@import|url\(|<link|<iframe|\bstyle=", rest)
    policy = next(one["content"] for one in Page(content).all("meta") if "http-equiv" in one)
    assert policy.startswith("default-src 'none'")
    for kind in ("style", "script"):
        inside = re.search(f"<{kind}>(.*?)</{kind}>", content, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


@pytest.mark.parametrize("shape", [None, (150, 20), (50, 20, 3)])
def test_a_page_is_small_for_any_run(shape, tmp_path):
    names = [f"{place} " + 5000 * "n" for place in range(3000)]
    tall = np.random.default_rng(0).random((3000, 100), dtype=np.float32)
    result = fit(tall, 90, max_passes=2, row_names=names)
    record = result.history[-1]
    history = tuple(dataclasses.replace(record, passes=k, loss=1e6 / k) for k in range(1, 5001))
    content = read(tmp_path, dataclasses.replace(result, history=history), tall, shape=shape, n=50)
    assert len(content.encode()) < 2_000_000
    assert "The 48 of 90 components that carry most" in content


def test_the_factors_are_read_in_parts_and_the_long_one_is_never_whole(tmp_path, monkeypatch):
    wide = np.random.default_rng(0).random((20, 4000), dtype=np.float32)
    path = stored(tmp_path / "V.zarr", wide, (20, 500))
    fit(path, store=tmp_path / "run.zarr")
    monkeypatch.setattr(dnmf.run.factors, "PART_NUMBERS", 3 * 100)
    widths = []
    profiles = importlib.import_module("dnmf.inspection.profiles").profile

    def watched(parts, *given):
        def watched_parts():
            for part in parts:
                widths.append(len(part.numbers))
                yield part

        return profiles(watched_parts(), *given)

    monkeypatch.setattr("dnmf.inspection.summary.profile", watched)
    monkeypatch.setattr(dnmf.Result, "_long", lambda self: pytest.fail("the long factor was computed"))
    read(tmp_path, tmp_path / "run.zarr")
    assert max(widths) == 100
    assert sum(widths) == 4020


def test_a_matrix_that_cannot_be_read_is_explained_on_the_page(tmp_path):
    fit(store=tmp_path / "run.zarr")
    page = Page(read(tmp_path, tmp_path / "run.zarr"))
    assert "given its matrix in memory" in page.text
    assert "by --matrix" in page.text
    assert "The worst rows" in Page(read(tmp_path, tmp_path / "run.zarr", V)).text
    left = Page(read(tmp_path, tmp_path / "run.zarr", residuals=False)).text
    assert "They were left out" in left
    with pytest.raises(StoreError, match="of a matrix with"):
        read(tmp_path, tmp_path / "run.zarr", V + 1)
    with pytest.raises(DataError, match="with the same blocks"):
        read(tmp_path, fit(), V[:, :50])
    assert "The run has no store" in Page(read(tmp_path, fit())).text


def test_what_is_not_allowed_is_refused_before_V_is_read(tmp_path, monkeypatch):
    result = fit()
    monkeypatch.setattr("dnmf.report.write.measure_residuals", lambda *given: pytest.fail("V was read"))
    for options, words in (
        ({"n": 0}, "from 1 to 50"), ({"shape": (5, 5)}, "24 rows and 60 columns"), ({"shape": (24,)}, "not an image"),
        ({"axis": "row"}, "Did you mean 'rows'"), ({"shape": (6, 4), "axis": "columns"}, "60 columns"),
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=words):
            write_report(result, tmp_path / "page.html", V, **options)
    with pytest.raises(SettingsError, match="is a URL"):
        write_report(result, "s3://bucket/page.html", V)
    mine = tmp_path / "mine.html"
    mine.write_text("<!doctype html>")
    with pytest.raises(StoreError, match="already exists"):
        write_report(result, mine, V)
    with pytest.raises(StoreError, match="is not a report"):
        write_report(result, mine, V, overwrite=True)
    assert mine.read_text() == "<!doctype html>"
    with pytest.raises(StoreError, match="does not exist"):
        write_report(tmp_path / "nothing.zarr", tmp_path / "page.html")


def test_a_run_without_a_pass_and_one_of_nothing_have_pages(tmp_path):
    result = fit(np.zeros((4, 5)), 2)
    assert "0 throughout" in Page(read(tmp_path, result, np.zeros((4, 5)))).text
    assert "No pass was recorded" in Page(read(tmp_path, dataclasses.replace(result, history=()))).text


def test_a_survey_has_a_page_with_its_suggestion_curves_and_consensus(tmp_path):
    path = stored(tmp_path / "V.zarr", V, (24, 7))
    survey = dnmf.select_rank(
        path, range(2, 5), n_runs=3, cv=2, sample=30, store=tmp_path / "survey.zarr", max_passes=5
    )
    content = read(tmp_path, tmp_path / "survey.zarr")
    page = Page(content)
    assert survey.suggest().reason in page.text
    for words in (
        "Held-out error",
        "Stability of the components",
        "Consensus of the columns at rank",
        "Silhouettes",
        "cluster 2",
    ):
        assert words in page.text
    assert sum(one.get("role") == "img" for one in page.all("svg")) >= 4
    assert any(one["alt"].startswith("Heat map of the consensus") for one in page.all("img"))
    line = next(html.unescape(code) for code in re.findall("<code>(dnmf rank .*?)</code>", content))
    ended = CliRunner().invoke(main, shlex.split(line.replace("again.zarr", str(tmp_path / "again.zarr")))[1:])
    assert ended.exit_code == 0, ended.output
    assert dnmf.load_survey(tmp_path / "again.zarr").table()["loss"] == survey.table()["loss"]
    alone = dnmf.select_rank(V, [2, 3], n_runs=1, cv=0, max_passes=3)
    assert "compares several runs" in Page(read(tmp_path, alone)).text
    assert "<table" in survey._repr_html_()


def test_the_command_writes_a_page(tmp_path):
    path = stored(tmp_path / "V.zarr", V, (24, 7))
    fit(path, store=tmp_path / "run.zarr")
    page = tmp_path / "page.html"
    command = ["report", str(tmp_path / "run.zarr"), "-o", str(page), "--shape", "6x4", "--axis", "rows", "-n", "3"]
    assert CliRunner().invoke(main, command).exit_code == 0
    assert "as images" in page.read_text()
    assert "already exists" in CliRunner().invoke(main, command).output
    again = CliRunner().invoke(main, [*command, "--overwrite", "--no-residuals"])
    assert again.exit_code == 0
    assert "They were left out" in page.read_text()
    assert "for --shape: '6by4' is not a shape" in CliRunner().invoke(main, [*command[:4], "--shape", "6by4"]).output


def test_notebooks_show_results_and_stores_without_matplotlib(tmp_path, monkeypatch):
    imported = builtins.__import__

    def without(name, *given, **named):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return imported(name, *given, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.chdir(tmp_path)
    result = fit(store="<i>.zarr", row_names=ROWS)
    page = Page(result._repr_html_())
    assert {tag for tag, _ in page.elements} == {"table", "caption", "tbody", "tr", "th", "td"}
    assert result.verdict in page.text
    assert "<i>.zarr" in page.text


def test_a_result_draws_its_history_and_its_components():
    result = fit(column_names=COLUMNS)
    error, optimality = result.plot_history().axes
    assert error.lines[0].get_ydata().tolist() == [record.relative_error for record in result.history]
    assert optimality.get_yscale() == "log"
    tops = result.plot_components(n=4).axes
    assert [tick.get_text() for tick in tops[0].get_yticklabels()] == [name for name, _ in result.top(4)[0]]
    images = result.plot_components(shape=(6, 4), most=2).axes
    assert [axes.images[0].get_array().shape for axes in images] == [(6, 4)] * 2
    curves = result.plot_components("rows").axes
    assert [axes.get_title(loc="left").partition(",")[0] for axes in curves] == ["NMF_1", "NMF_2", "NMF_3"]
    with pytest.raises(SettingsError, match="at least 1"):
        result.plot_components(most=0)
    losses = [Record(1, 3.0, None, 0.0, 0.1, 10, "mu"), Record(2, 2.0, None, 0.0, 0.2, 20, "mu")]
    drawn = dataclasses.replace(result, history=tuple(losses)).plot_history().axes
    assert (drawn[0].get_ylabel(), drawn[1].get_yscale()) == ("objective", "linear")


@pytest.mark.parametrize("values", [[0.60644561, 0.60644592], [104680.52, 104680.65], [1.0, 2.0]], ids=str)
def test_wide_numbers_leave_room_for_the_label_of_their_axis(values):
    drawn = str(draw(LineChart("Loss", "Loss by pass", "pass", "objective", [Series("loss", [1.0, 2.0], values)])))
    numbers = re.findall(r'<text x="([0-9.]+)" y="[0-9.]+" class="end">([^<]+)<', drawn)
    label = float(re.search(r"translate\(([0-9.]+) ", drawn)[1])
    assert len(numbers) > 1
    assert min(float(x) - 6.5 * len(text) for x, text in numbers) > label + 8  # at 12 pixels a character has 6 to 7


def test_a_survey_of_rows_under_a_divergence_shows_its_losses_and_compares_rows(tmp_path):
    path = stored(tmp_path / "V.zarr", V, (5, 60))
    survey = dnmf.select_rank(path, [2, 3], n_runs=2, cv=0, loss="kullback-leibler", max_passes=4)
    assert survey.compared == "rows"
    page = Page(dnmf.write_report(survey, tmp_path / "page.html").read_text())
    assert "Loss of the fit" in page.text
    assert "Error of the fit" not in page.text
    assert "Consensus of the rows at rank" in page.text
    assert "How often two of 24 sampled rows have" in page.text
