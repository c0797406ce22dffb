"""Runs on joined matrices: the bits of the matrix joined beforehand, from the store alone, with weights."""

import itertools
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from formats import quiet
from joins import GENES, annotated, batches, frame, written
from runs import PLAIN, assert_same_bits
from scipy.optimize import nnls
from scipy.special import xlogy
from strategies import low_rank

import dnmf
from dnmf.errors import DataError, SettingsError, StoreError
from dnmf.sources import open_matrix
from dnmf.sources.reopened import with_bounds


def assert_same_factors(result, expected):
    """Assert that the factors of two results, which may have read other numbers of bytes, are the same bits."""
    for one, other in zip(result, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


OPTIONS = {**PLAIN, "max_passes": 4, "tol": 0}


@pytest.fixture
def paths(tmp_path):
    """Three files of cells by genes, of which two have to be brought into another order."""
    return written(batches(), tmp_path)


@pytest.mark.filterwarnings("ignore::dnmf.errors.DataWarning")
@pytest.mark.parametrize("solver", ["hals", "sketch"])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_a_join_gives_the_bits_of_the_matrix_joined_beforehand(form, solver, tmp_path):
    parts = [low_rank(rows, 40, 3, seed=rows, noise=0.3) for rows in (150, 90, 203)]
    names = np.array([f"g{j}" for j in range(40)])
    orders = [np.arange(40), np.arange(40)[::-1], np.random.default_rng(0).permutation(40)]
    tables = [pd.DataFrame(part[:, order], columns=names[order]) for part, order in zip(parts, orders, strict=True)]
    given = written([table * (table > table.median(axis=None)) for table in tables], tmp_path, form)
    source = open_matrix(given)
    whole = np.vstack([part * (part > np.median(part)) for part in parts])
    assert source.layout.names.columns.tolist() == tables[2].columns.tolist()  # the order of the largest file
    whole = whole[:, orders[2]]
    (before,) = written([pd.DataFrame(whole)], tmp_path, form, "whole{}.h5ad")
    before = with_bounds(open_matrix(before, "rows"), source.layout.bounds)
    options = {"rank": 3, "solver": solver, "max_passes": 5, "tol": 0, "seed": 1}
    wanted = dnmf.factorize(before, threads=1, **options)
    for more in ({"threads": 1}, {"threads": 3}, {"threads": 2, "memory_limit": "400MB"}):
        assert_same_factors(dnmf.factorize(given, **options, **more), wanted)


@pytest.mark.filterwarnings("ignore::dnmf.errors.DataWarning")
def test_a_run_is_resumed_from_its_store_alone(paths, tmp_path):
    store = tmp_path / "run.zarr"
    pattern = str(tmp_path / "run?.h5ad")
    whole = dnmf.factorize(pattern, 2, **OPTIONS | {"max_passes": 6})
    dnmf.factorize(pattern, 2, store=store, **OPTIONS)
    (tmp_path / "run4.h5ad").touch()  # the files of the run were recorded, not the pattern
    assert_same_bits(dnmf.resume(store, max_passes=6), whole)
    header = json.loads((store / "zarr.json").read_text())["attributes"]["dnmf"]
    assert header["format"] == 3
    assert json.loads(header["location"].removeprefix("concat:"))["matrices"] == paths
    assert header["joined"]["shapes"] == [[30, 24], [41, 21], [17, 25]]
    assert dnmf.load(store).names.rows[30] == "run2:c0"
    assert dnmf.transform(store, pattern.replace("?", "[123]")).shape == (88, 2)


@pytest.mark.filterwarnings("ignore::dnmf.errors.DataWarning")
def test_a_file_that_is_missing_or_changed_is_named(paths, tmp_path):
    store = tmp_path / "run.zarr"
    result = dnmf.factorize(paths, 2, store=store, **OPTIONS)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = [shutil.move(path, elsewhere / f"new{place}.h5ad") for place, path in enumerate(paths)]
    with pytest.raises(StoreError, match=r"cannot be opened: \S*run1\.h5ad does not exist"):
        dnmf.resume(store, max_passes=5)
    with pytest.raises(DataError, match="a list of 2 matrices, and the run is of 3"):
        dnmf.resume(store, moved[:2], max_passes=5)
    again = dnmf.resume(store, moved, max_passes=5)
    assert again.names.rows.tolist() == result.names.rows.tolist()
    table = batches()[1]
    with quiet():
        annotated(table.iloc[:20]).write_h5ad(moved[1])
    with pytest.raises(StoreError, match=r"new1\.h5ad had shape \(41, 21\), and it has \(20, 21\)"):
        dnmf.resume(store, moved, max_passes=6)
    with quiet():
        annotated(table + 1).write_h5ad(moved[1])
    with pytest.raises(StoreError, match=r"new1\.h5ad stored \d+ bytes of entries, and it stores"):
        dnmf.resume(store, moved, max_passes=6)
    with quiet():
        annotated(2 * table).write_h5ad(moved[1])
    with pytest.raises(DataError, match=r"block 1 \(rows 30 to 70\), of \S*new1\.h5ad"):
        dnmf.resume(store, moved, max_passes=6)


def test_a_store_whose_join_was_changed_is_refused(tmp_path):
    from dnmf.checkpoint.header import fault_in

    store = tmp_path / "run.zarr"
    dnmf.factorize([np.ones((3, 4)), np.ones((2, 4))], 1, store=store, **OPTIONS)
    header = json.loads((store / "zarr.json").read_text())["attributes"]["dnmf"]
    assert fault_in(header, {"location"}) is None
    assert header["location"] is None
    for joined in (
        {"axis": "rows"},
        {**header["joined"], "shapes": [[3, 4], [3, 4]]},
        {**header["joined"], "axis": 3},
        5,
    ):
        assert "joined is" in fault_in({**header, "joined": joined}, {"location"})
    assert fault_in({**header, "location": 'concat:{"matrices": ["/gone[1].npy", "/b"]}'}, {"location"}) is None
    for location in ("concat:", "concat:{}", 'concat:{"matrices": [1]}', 'concat:{"matrices": ["a"], "more": 1}'):
        assert "location is" in fault_in({**header, "location": location}, {"location"})


@pytest.mark.filterwarnings("ignore::dnmf.errors.DataWarning")
def test_a_store_is_not_written_into_a_file_of_its_join(paths, tmp_path):
    for V in (paths, str(tmp_path / "run*.h5ad"), dnmf.concat(paths)):
        with pytest.raises(StoreError, match="lies in an input"):
            dnmf.factorize(V, 2, store=f"{paths[1]}/run.zarr", **OPTIONS)
    result = dnmf.factorize(paths, 2, **OPTIONS)
    with pytest.raises(StoreError, match="is an input itself"):
        dnmf.transform(result, paths, out=paths[0], overwrite=True)


@pytest.mark.filterwarnings("ignore::dnmf.errors.DataWarning")
def test_surveys_reports_and_preprocessing_take_joins(paths, tmp_path):
    survey = dnmf.select_rank(paths, [1, 2], n_runs=2, cv=2, store=tmp_path / "survey.zarr", max_passes=3)
    again = dnmf.load_survey(tmp_path / "survey.zarr")
    assert survey.table()["loss"] == again.table()["loss"]
    assert again.consensus(2).W.shape == (88, 2)
    assert again.facts()["matrix"].startswith("3 matrices joined along their rows: ")
    prepared = dnmf.preprocessing.prepare(paths, ["log-normalize", "unit-variance"])
    result = dnmf.factorize(prepared, 2, store=tmp_path / "run.zarr", **OPTIONS)
    dnmf.resume(tmp_path / "run.zarr", max_passes=5)
    page = dnmf.write_report(tmp_path / "run.zarr", tmp_path / "run.html").read_text()
    assert "3 matrices joined along their rows" in page
    assert result.steps


@pytest.mark.filterwarnings("ignore::dnmf.errors.DataWarning", "ignore:Maximum number of iterations")
def test_estimators_take_joins(paths):
    source = dnmf.concat(paths)
    for make in (dnmf.NMF, dnmf.MiniBatchNMF):
        W = [make(2, max_iter=3, random_state=0).fit_transform(V) for V in (paths, source)]
        assert W[0].shape == (88, 2)
        np.testing.assert_array_equal(*map(np.asarray, W))
    assert dnmf.NMF(2, max_iter=2, tol=0).fit(source).feature_names_in_.tolist() == source.layout.names.columns.tolist()
    with pytest.raises(DataError, match="the estimators take no such weights"):
        dnmf.NMF(2).fit(dnmf.concat(paths, weights=[1, 1, 2]))


@pytest.mark.filterwarnings("ignore::dnmf.errors.DataWarning")
def test_weights_of_the_entries_are_a_list_like_the_matrices(paths, tmp_path):
    rng, tables = np.random.default_rng(0), batches()
    weights = [rng.random(table.shape) for table in tables]
    columns = dnmf.concat(paths).layout.names.columns
    whole = np.vstack([pd.DataFrame(w, columns=t.columns)[columns] for w, t in zip(weights, tables, strict=True)])
    wanted = dnmf.factorize(paths, 2, weights=whole, **OPTIONS)
    assert_same_factors(dnmf.factorize(paths, 2, weights=weights, **OPTIONS), wanted)
    for place, array in enumerate(weights):
        np.save(tmp_path / f"w{place}.npy", array)
    store, named = tmp_path / "run.zarr", str(tmp_path / "w*.npy")
    dnmf.factorize(paths, 2, weights=named, store=store, **OPTIONS | {"max_passes": 2})
    assert_same_factors(dnmf.resume(store, max_passes=4), wanted)
    sides = dnmf.concat([frame(30, GENES, 0), frame(30, ["p", "q"], 1)], axis="columns")
    by_side = dnmf.factorize(sides, 2, weights=[np.full((30, 24), 1.0), np.full((30, 2), 3.0)], **OPTIONS)
    at_once = dnmf.factorize(sides, 2, weights=np.repeat([1.0, 3.0], [24, 2])[None].repeat(30, 0), **OPTIONS)
    assert_same_factors(by_side, at_once)
    with pytest.raises(DataError, match="weights is a list of 2, and V is a join of 3"):
        dnmf.factorize(paths, 2, weights=weights[:2])
    with pytest.raises(DataError, match=r"weights has shape \(30, 24\), and V has \(41, 21\)"):
        dnmf.factorize(paths, 2, weights=[weights[0], weights[0], weights[2]])


def divergence(V, Y, beta):
    """Return the terms of the β-divergence."""
    if beta == 1:
        with np.errstate(invalid="ignore"):
            return np.where(V > 0, xlogy(V, V / np.maximum(Y, 1e-300)), 0) - V + Y
    return (V**beta + (beta - 1) * Y**beta - beta * V * Y ** (beta - 1)) / (beta * (beta - 1))


@pytest.mark.parametrize(("beta", "streamed"), [(2, "rows"), (2, "columns"), (1, "columns"), (1.5, "rows")])
def test_weights_of_modalities_multiply_their_part_of_the_loss(beta, streamed, tmp_path):
    rna, adt = low_rank(60, 25, 4, seed=0, noise=0.2), low_rank(60, 8, 4, seed=1, noise=0.2)
    weights = np.repeat([1.0, 5.0], [25, 8])
    source = open_matrix(dnmf.concat([rna, adt], axis="columns", weights=[1, 5]), streamed)
    options = {"rank": 3, "loss": beta, "tol": 0}
    result = dnmf.factorize(source, max_passes=30, store=tmp_path / "run.zarr", **options)
    W, H = map(np.asarray, result)
    V = np.hstack([rna, adt])
    losses = [record.loss for record in result.history]
    assert all(after <= before * (1 + 1e-12) for before, after in itertools.pairwise(losses))
    np.testing.assert_allclose(result.loss, (divergence(V, W @ H, beta) * weights).sum(), rtol=1e-9)
    # the factors are stationary for weights of the entries: passes from there lower that loss by no more
    entries = dnmf.factorize(V, init=(W, H), weights=np.tile(weights, (60, 1)), max_passes=3, **options)
    further = dnmf.factorize(source, init=(W, H), max_passes=3, solver="mu", **options)
    assert (1 - 1e-3) * result.loss < entries.loss < result.loss * (1 + 1e-9) > further.loss
    loaded = dnmf.load(tmp_path / "run.zarr")
    np.testing.assert_array_equal(loaded.H, H)
    np.testing.assert_array_equal(dnmf.resume(tmp_path / "run.zarr", source, max_passes=30).W, W)
    residuals = dnmf.write_report(loaded, tmp_path / "run.html", source)
    assert residuals.exists()
    if beta == 2:
        new = low_rank(7, 33, 4, seed=2)
        scale = np.sqrt(weights)
        exact = np.array([nnls((H * scale).T, row * scale)[0] for row in new])
        np.testing.assert_allclose(dnmf.transform(loaded, new), exact, atol=1e-8)


def test_weights_of_modalities_that_cannot_be_expressed_are_refused():
    V = [np.ones((9, 5)), np.full((9, 4), 2.0)]
    source = dnmf.concat(V, axis="columns", weights=[1, 2])
    with pytest.raises(SettingsError, match="itakura-saito' does not depend on the scale of V"):
        dnmf.factorize(source, 1, loss="itakura-saito")
    with pytest.raises(SettingsError, match="leave out l1_H and l2_H"):
        dnmf.factorize(source, 1, l2_H=1.0)
    entries = [np.ones((9, 5)), np.full((9, 4), 2.0)]
    plain = dnmf.concat(V, axis="columns")
    assert dnmf.factorize(plain, 1, loss="itakura-saito", weights=entries, max_passes=2).passes == 2
    with pytest.raises(DataError, match="a join with weights; join the matrices without weights first"):
        dnmf.concat([source, np.ones((2, 9))])
    with pytest.raises(DataError, match="and the factorised matrix was not"):
        dnmf.transform(dnmf.factorize(np.hstack(V), 1, max_passes=2), source, axis="rows")


def test_a_survey_takes_weights_of_modalities():
    V = [low_rank(60, 25, 3, seed=0), low_rank(60, 20, 3, seed=1)]
    plain, heavy = (dnmf.concat(V, axis="columns", weights=weights) for weights in (None, [1, 100]))
    errors = []
    for source in (plain, heavy):
        survey = dnmf.select_rank(source, [2, 3], n_runs=2, cv=0, max_passes=20)
        found = survey.consensus(3, source)
        errors.append(np.linalg.norm(V[1] - found.W @ found.H[:, 25:]) / np.linalg.norm(V[1]))
    assert errors[1] < errors[0]
