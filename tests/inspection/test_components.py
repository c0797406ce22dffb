"""Components: the strongest features and the shares, for any cut of V and any names."""

import itertools
import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from runs import factors, matrix, stored

import dnmf
import dnmf.run.result
from dnmf.cli.app import main
from dnmf.errors import SettingsError
from dnmf.inspection.components import Part, rank_entries, shares

V = matrix()
CUTS = {"columns": (24, 7), "rows": (5, 60)}
GENES = [f"gene {column}" for column in range(60)]
CELLS = [f"cell {row}" for row in range(24)]


@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]), min_size=1, max_size=30),
    st.integers(1, 40),
    st.lists(st.integers(0, 30), max_size=4),
)
def test_the_strongest_entries_are_those_of_a_stable_sort_however_they_are_cut(values, most, cuts):
    column = np.array(values)
    bounds = sorted({0, len(values), *(cut for cut in cuts if cut < len(values))})
    parts = (Part(slice(*pair), column[slice(*pair), None]) for pair in itertools.pairwise(bounds))
    tops, sums = rank_entries(parts, 1, most)
    order = sorted(range(len(values)), key=lambda place: -values[place])
    expected = [(place, values[place] / column.sum()) for place in order if values[place] > 0][:most]
    assert tops == [expected]
    assert sums[0] == column.sum()


def test_shares_are_free_of_scale_and_of_components_that_carry_nothing():
    W, H, scale = np.array([1.0, 2.0, 0.0]), np.array([3.0, 0.5, 7.0]), np.array([1e200, 1e-200, 1e3])
    np.testing.assert_allclose(shares(W * scale, H / scale), [0.75, 0.25, 0], rtol=1e-12)
    assert shares(np.zeros(2), np.ones(2)).tolist() == [0, 0]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_components_are_those_of_the_factors(cut, axis, tmp_path, monkeypatch):
    monkeypatch.setattr(dnmf.run.factors, "PART_NUMBERS", 30)
    path = stored(tmp_path / "V.zarr", V, CUTS[cut])
    result = dnmf.factorize(path, 3, max_passes=3, store=tmp_path / "run.zarr", column_names=GENES, row_names=CELLS)
    W, H = factors(result)
    factor, names = (W.T, CELLS) if axis == "rows" else (H, GENES)
    carried = W.sum(axis=0) * H.sum(axis=1)
    components = dnmf.load(tmp_path / "run.zarr").components(5, axis)
    for k, component in enumerate(components):
        places = np.argsort(-factor[k], kind="stable")[:5]
        assert [name for name, _ in component.top] == [names[place] for place in places]
        np.testing.assert_allclose([weight for _, weight in component.top], factor[k, places] / factor[k].sum(), 1e-5)
        np.testing.assert_allclose(component.share, carried[k] / carried.sum(), rtol=1e-5)
    assert [component.name for component in components] == ["NMF_1", "NMF_2", "NMF_3"]
    assert result.top(5, axis) == [component.top for component in components]


@pytest.mark.parametrize("cut", CUTS)
def test_the_long_factor_is_gone_through_in_small_parts_each_block_once(cut, tmp_path, monkeypatch):
    monkeypatch.setattr(dnmf.run.factors, "PART_NUMBERS", 12)
    result = dnmf.factorize(stored(tmp_path / "V.zarr", V, CUTS[cut]), 3, max_passes=3)
    read = []
    block = type(result.long).read
    monkeypatch.setattr(type(result.long), "read", lambda self, j: read.append(j) or block(self, j))
    for axis in ("rows", "columns"):
        whole = np.asarray(result.W if axis == "rows" else result.H.T)
        read.clear()
        parts = list(result.parts(axis))
        assert max(len(part.numbers) for part in parts) == 4
        np.testing.assert_array_equal(np.concatenate([part.numbers for part in parts]), whole)
        assert read == (list(range(len(result.bounds) - 1)) if axis == cut else [])


def test_features_are_the_columns_but_where_the_rows_alone_have_names():
    plain = dnmf.factorize(V, 2, max_passes=2)
    assert plain.top(3) == plain.top(3, "columns")
    assert {type(name) for name, _ in plain.top(3)[0]} == {int}
    named = dnmf.factorize(V, 2, max_passes=2, row_names=CELLS)
    assert named.top(3) == named.top(3, "rows")
    assert named.top(1)[0][0][0] in CELLS


@pytest.mark.parametrize("n", [0, -1, 2.5, True, "3"])
def test_a_number_of_features_that_is_none_is_refused(n):
    with pytest.raises(SettingsError, match=r"n=.* is not allowed; give a whole number of at least 1"):
        dnmf.factorize(V, 2, max_passes=2).top(n)


def test_an_axis_that_is_none_is_refused():
    with pytest.raises(SettingsError, match=r"axis='colums' is not known; .* Did you mean 'columns'\?"):
        dnmf.factorize(V, 2, max_passes=2).top(axis="colums")


def show(*arguments):
    ended = CliRunner().invoke(main, ["top", *map(str, arguments)])
    assert ended.exit_code == 0, ended.output
    return ended.stdout.splitlines()


def test_the_command_prints_a_line_for_each_component(tmp_path):
    result = dnmf.factorize(V, 3, max_passes=3, store=tmp_path / "run.zarr", column_names=GENES)
    lines = show(tmp_path / "run.zarr", "-n", 4)
    assert len(lines) == 3
    assert lines[1].startswith("NMF_2  ")
    assert [feature.rsplit(" ", 2)[0] for feature in lines[1].split("  ", 2)[2].split(", ")] == [
        name for name, _ in result.top(4)[1]
    ]
    read = [json.loads(line) for line in show(tmp_path / "run.zarr", "-n", 4, "--json")]
    assert [[tuple(pair) for pair in component["top"]] for component in read] == result.top(4)
    assert sum(component["share"] for component in read) == pytest.approx(1)
    assert show(tmp_path / "run.zarr", "--axis", "rows", "-n", 1)[0].split("  ")[2].startswith("#")


EVIL = ["\x1b[2J\x1b]0;mine\x07", "[red]not red[/red]", "two\nlines", "\u202ebackwards", "n" * 500, ""]


def test_the_command_ranks_features_by_specificity(tmp_path):
    V = np.outer([1.0, 1, 0, 0], [9, 5, 0, 0]) + np.outer([0.0, 0, 1, 1], [9, 0, 5, 0])
    store = dnmf.factorize(V, 2, seed=1, column_names=["both", "one", "two", "none"]).save(tmp_path / "run.zarr")

    def strongest(*options):
        lines = CliRunner().invoke(main, ["top", store, "-n", "1", "--json", *options]).stdout.splitlines()
        return {json.loads(line)["top"][0][0] for line in lines}

    assert strongest() == {"both"}
    assert strongest("--by", "specificity") == {"one", "two"}


def test_names_are_shown_as_they_are_and_move_no_cursor(tmp_path, monkeypatch):
    dnmf.factorize(np.ones((6, 6)), 1, max_passes=2, store=tmp_path / "run.zarr", column_names=EVIL)
    (line,) = show(tmp_path / "run.zarr")
    assert r"\x1b[2J\x1b]0;mine\x07 16.7 %, [red]not red[/red] 16.7 %, two\nlines 16.7 %, \u202ebackwards" in line
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    table = "\n".join(show(tmp_path / "run.zarr"))
    for shown in (r"\x1b[2J\x1b]0;mine\x07", "[red]not red[/red]", r"two\nlines", r"\u202ebackwards", "n" * 39 + "…"):
        assert shown in table
    assert "mine\x07" not in table
