"""The README: its Python and its commands run, and its links work."""

import re
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from pages import run
from sklearn.datasets import load_digits

import dnmf

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SCANPY = ROOT / "examples" / "scanpy_users.md"
PAGES = ["examples/README.md", "examples/scanpy_users.md", "cluster_configs/README.md", "CONTRIBUTING.md"]


def test_the_readme_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run(README)
    shown = re.search(r"^```text\n(<dnmf.Result: .*>)\n", README, re.MULTILINE)[1]
    printed = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("<dnmf.Result"))
    assert without_numbers(printed) == without_numbers(shown)
    error = float(re.search(r"relative error ([\d.]+)\. ", shown)[1])
    assert dnmf.load("fit.zarr").relative_error == pytest.approx(error, rel=0.01)
    assert names["result"].passes > 5
    assert names["new_H"].shape == (10, 100)
    assert all(Path(name).exists() for name in ("fit.html", "H.zarr", "cluster.zarr"))


def without_numbers(text):
    """Return a text with a sign for every number, whose last digits depend on the BLAS."""
    return re.sub(r"\d[\d.]*(?:e[+-]?\d+)?", "#", text)


def calls_for_data():
    """Return the calls in the second column of the table of data."""
    table = README.split("\n## Which call for whom\n")[1].split("\n## ")[0]
    return re.findall(r"^\|[^|]+\| `(dnmf\.[^`]+)`", table, re.MULTILINE)


def test_the_call_for_every_kind_of_data_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    counts = sp.random_array((40, 30), density=0.3, format="csr", rng=rng)
    names = {"dnmf": dnmf, "V": load_digits().data.T[:, :200], "counts": counts}
    names["gaps"] = np.where(rng.random((64, 200)) < 0.9, names["V"], np.nan)
    names["X"] = names["batch"] = names["V"].T
    names["frame"] = pd.DataFrame(names["V"][:, :20], columns=[f"image {j}" for j in range(20)])
    cells, genes = (pd.DataFrame(index=[f"{kind} {i}" for i in range(n)]) for kind, n in (("cell", 40), ("gene", 30)))
    names["cells"] = anndata.AnnData(counts, obs=cells, var=genes)
    ratings = [f"person {i},film {j},{1 + (i * j) % 5}\n" for i in range(20) for j in range(i % 3, 20, 3)]
    Path("ratings.csv").write_text("user,film,stars\n" + "".join(ratings))
    zarr.create_array("V.zarr", data=names["V"], chunks=(64, 50))
    calls = calls_for_data()
    assert len(calls) == 11
    for call in calls:
        exec(call.replace("tcp://10.0.0.1:8786", "threads"), names)
    assert names["cells"].obsm["X_nmf"].shape == (40, 8)


def test_the_tests_and_scripts_that_it_names_exist():
    named = re.findall(r"`((?:tests|benchmarks)/[\w/]+\.py)", README)
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("target", re.findall(r"make ([a-z-]+)", README))
def test_the_make_targets_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", ["README.md", *PAGES])
def test_the_links_work(page):
    for link, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", (ROOT / page).read_text()):
        target = (ROOT / page).parent.joinpath(link) if link else ROOT / page
        assert target.exists(), link
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in [heading.lower().replace(" ", "-") for heading in headings], anchor


def test_ci_runs_the_command_of_the_readme():
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_page_for_users_of_scanpy_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "examples")
    names = run(SCANPY.read_text())
    tops = [{name for name, _ in top} for top in names["result"].top(5)]
    for genes in names["write_cells"].__globals__["PROGRAMMES"].values():
        assert any(top <= set(genes.split()) for top in tops), f"no component is made of {genes}"
    assert names["adata"].obsm["X_nmf"].shape == (3000, 8)
