"""New rows and new columns on the factors of a run, against solvers that share nothing with the package."""

import anndata
import dask.array as da
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from click.testing import CliRunner
from naive import als
from runs import Told, stored
from scipy.optimize import nnls
from sklearn.preprocessing import StandardScaler

import dnmf
from dnmf import preprocessing as prep
from dnmf.cli.app import main
from dnmf.errors import BudgetError, DataError, DataWarning, SettingsError
from dnmf.sources import open_matrix

SHAPES = {"wide": (12, 40), "tall": (40, 12), "square": (20, 20)}
AXES = ["rows", "columns"]
RANK = 3


def low_rank(rows, columns, seed=0):
    """Return a matrix of rank 3 with noise and some zeros."""
    rng = np.random.default_rng(seed)
    V = rng.gamma(1.0, 1.0, (rows, RANK)) @ rng.gamma(1.0, 1.0, (RANK, columns)) + 0.2 * rng.random((rows, columns))
    V[rng.random(V.shape) < 0.2] = 0
    return V


def new_data(shape, axis, seed=1):
    """Return seven new rows, or columns, for a matrix of a shape."""
    return low_rank(*((7, shape[1]) if axis == "rows" else (shape[0], 7)), seed)


def best(V, W, H, axis, M=None):
    """Solve every row of W, or column of H, by SciPy's NNLS."""
    A, b = (H.T, V.T) if axis == "rows" else (W, V)
    weights = np.ones_like(b) if M is None else np.sqrt(M.T if axis == "rows" else M)
    found = np.column_stack([nnls(A * w[:, None], w * column)[0] for column, w in zip(b.T, weights.T, strict=True)])
    return found.T if axis == "rows" else found


def best_divergence(V, W, H, axis):
    """Minimise the Kullback-Leibler divergence by expectation and maximisation, to the end (Lee & Seung 2001)."""
    A, b = (H.T, V.T) if axis == "rows" else (W, V)
    A, found = A.astype(float), np.ones((A.shape[1], b.shape[1]))
    for _ in range(20000):
        found = found * (A.T @ (b / (A @ found))) / A.sum(axis=0)[:, None]
    return found.T if axis == "rows" else found


def fitted(shape, **options):
    """Return a run on a matrix of a shape."""
    return dnmf.factorize(low_rank(*SHAPES[shape]), RANK, **{"max_passes": 10, "tol": 0, "seed": 1, **options})


def both(result):
    return np.asarray(result.W), np.asarray(result.H)


def group_of(V, folder, form):
    """Write a sparse matrix as h5py holds it open."""
    anndata.AnnData(form(V)).write_h5ad(folder / "V.h5ad")
    return anndata.read_h5ad(folder / "V.h5ad", backed="r").X


def saved(V, folder, order):
    np.save(folder / "V.npy", np.array(V, order=order))
    return str(folder / "V.npy")


def h5ad(V, folder):
    anndata.AnnData(V).write_h5ad(folder / "V.h5ad")
    return folder / "V.h5ad"


SOURCES = {
    "NumPy": lambda V, folder: V,
    "NumPy, by columns": lambda V, folder: np.asfortranarray(V),
    "CSR": lambda V, folder: sp.csr_matrix(V),
    "CSC": lambda V, folder: sp.csc_array(V),
    "npy": lambda V, folder: saved(V, folder, "C"),
    "npy, by columns": lambda V, folder: saved(V, folder, "F"),
    "Zarr, by rows": lambda V, folder: stored(folder / "V.zarr", V, (2, V.shape[1])),
    "Zarr, by columns": lambda V, folder: stored(folder / "V.zarr", V, (V.shape[0], 2)),
    "Zarr, tiles": lambda V, folder: zarr.open_array(stored(folder / "V.zarr", V, (5, 3)), mode="r"),
    "h5ad": h5ad,
    "h5ad, CSR": lambda V, folder: h5ad(sp.csr_matrix(V), folder),
    "h5ad, CSC": lambda V, folder: h5ad(sp.csc_matrix(V), folder),
    "X of a backed AnnData, CSR": lambda V, folder: group_of(V, folder, sp.csr_matrix),
    "X of a backed AnnData, CSC": lambda V, folder: group_of(V, folder, sp.csc_matrix),
    "h5py group": lambda V, folder: h5py.File(h5ad(sp.csr_matrix(V), folder))["X"],
    "Dask, by rows": lambda V, folder: da.from_array(V, chunks=(3, V.shape[1])),
    "Dask, by columns": lambda V, folder: da.from_array(V, chunks=(V.shape[0], 3)),
    "Dask, tiles": lambda V, folder: da.from_array(V, chunks=(5, 4)),
    "Dask, one chunk": lambda V, folder: da.from_array(V, chunks=-1),
    "Dask, sparse": lambda V, folder: da.from_array(V, chunks=(3, V.shape[1])).map_blocks(sp.csr_matrix),
    "DataFrame": lambda V, folder: pd.DataFrame(V),
}
IN_MEMORY = ("NumPy", "NumPy, by columns", "CSR", "CSC", "DataFrame")


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", SOURCES)
def test_new_rows_and_columns_are_found_whatever_they_are_in(kind, shape, axis, tmp_path):
    result = fitted(shape)
    V = new_data(SHAPES[shape], axis)
    found = dnmf.transform(result, SOURCES[kind](V, tmp_path))
    assert isinstance(found, np.ndarray if kind in IN_MEMORY else da.Array)
    np.testing.assert_allclose(found, best(V, *both(result), axis), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["NumPy", "CSR", "npy", "h5ad, CSC"])
@pytest.mark.parametrize("fit", ["CSR", "CSC", "Dask, tiles", "DataFrame"])
def test_it_does_not_matter_what_was_fitted(fit, kind, tmp_path):
    shape = SHAPES["wide"]
    result = dnmf.factorize(SOURCES[fit](low_rank(*shape), tmp_path), RANK, max_passes=5)
    for axis in AXES:
        V = new_data(shape, axis)
        found = dnmf.transform(result, SOURCES[kind](V, tmp_path))
        np.testing.assert_allclose(found, best(V, *both(result), axis), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["NumPy", "CSR", "h5ad, CSC"])
def test_the_divergence_is_minimised_along_both_axes(kind, shape, axis, tmp_path):
    result = fitted(shape, loss="kullback-leibler")
    (W, H), rng = both(result), np.random.default_rng(1)
    mixed = rng.gamma(9.0, 1.0, (7, RANK)) @ H if axis == "rows" else W @ rng.gamma(9.0, 1.0, (RANK, 7))
    mixed = mixed * (1 + 0.1 * rng.random(mixed.shape))
    for V in (mixed, new_data(SHAPES[shape], axis) + 0.1):  # the second has entries of its factor at 0
        found = dnmf.transform(result, SOURCES[kind](V, tmp_path))
        np.testing.assert_allclose(found, best_divergence(V, W, H, axis), rtol=1e-4, atol=1e-3)


def test_new_genomes_are_found_where_features_outnumber_them():
    V = low_rank(96, 21) + 0.1
    for fit, new in ((V[:, :18], V[:, 18:]), (V[:, :18].T.copy(), V[:, 18:].T.copy())):
        result = dnmf.factorize(fit, RANK, max_passes=20)
        axis = "columns" if len(fit) == 96 else "rows"
        np.testing.assert_allclose(dnmf.transform(result, new), best(new, *both(result), axis), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_a_factor_that_lies_in_a_store_is_held_as_well_as_the_other_one(shape, axis, tmp_path):
    V = low_rank(*SHAPES[shape])
    path = stored(tmp_path / "V.zarr", V, (12, 5) if shape == "wide" else (5, 12))
    dnmf.factorize(path, RANK, max_passes=5, store=tmp_path / "run.zarr")
    new = new_data(SHAPES[shape], axis)
    found = dnmf.transform(tmp_path / "run.zarr", new, out=tmp_path / "new.zarr")
    expected = best(new, *both(dnmf.load(tmp_path / "run.zarr")), axis)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "new.zarr")[...], found)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("shape", SHAPES)
def test_penalties_stay_with_their_factor(shape, axis):
    result = fitted(shape, l1_W=0.3, l2_W=0.5, l1_H=0.7, l2_H=0.2)
    V, (W, H) = new_data(SHAPES[shape], axis), both(result)
    if axis == "rows":
        expected = als(None, H @ V.T, H @ H.T, 0.3, 0.5, 0).T
    else:
        expected = als(None, W.T @ V, W.T @ W, 0.7, 0.2, 0)
    np.testing.assert_allclose(dnmf.transform(result, V), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
def test_known_columns_of_w_are_not_held_in_the_w_of_new_rows(shape):
    known = low_rank(SHAPES[shape][0], 2, seed=4) + 0.1
    result = fitted(shape, fixed_W=known)
    for axis in AXES:
        V = new_data(SHAPES[shape], axis)
        np.testing.assert_allclose(dnmf.transform(result, V), best(V, *both(result), axis), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_missing_or_weighted_counts_so_along_both_axes(shape, axis):
    V = new_data(SHAPES[shape], axis) + 0.1
    there = np.random.default_rng(5).random(V.shape) < 0.7
    result = fitted(shape, missing="nan")
    found = dnmf.transform(result, np.where(there, V, np.nan))
    np.testing.assert_allclose(found, best(V, *both(result), axis, there.astype(float)), rtol=1e-4, atol=1e-5)
    M = np.random.default_rng(6).gamma(1.0, 1.0, V.shape)
    plain = fitted(shape)
    expected = best(V, *both(plain), axis, M)
    for weights in (M, pd.DataFrame(M)):
        np.testing.assert_allclose(dnmf.transform(plain, V, weights=weights), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axis", AXES)
def test_data_of_the_shape_that_was_fitted_are_solved_along_the_axis_that_is_asked_for(axis):
    for shape in SHAPES:
        result, V = fitted(shape), low_rank(*SHAPES[shape], seed=7)
        found = dnmf.transform(result, V, axis=axis)
        np.testing.assert_allclose(found, best(V, *both(result), axis), rtol=1e-6, atol=1e-9)


def test_without_an_axis_they_are_solved_along_the_one_that_the_fit_read_or_must_name_one():
    assert dnmf.transform(fitted("wide"), low_rank(12, 40)).shape == (RANK, 40)
    assert dnmf.transform(fitted("tall"), low_rank(40, 12)).shape == (40, RANK)
    for V in (low_rank(20, 20), sp.csr_array(low_rank(20, 20))):
        with pytest.raises(
            DataError, match=r"V has shape \(20, 20\), like the factorised matrix.* give axis='rows' \(--ax"
        ):
            dnmf.transform(fitted("square"), V)


NAMED = {
    ("same", "other"): "rows",
    ("same", None): "rows",
    ("other", "same"): "columns",
    (None, "same"): "columns",
    ("other", None): "columns",
    (None, "other"): "rows",
}


@pytest.mark.parametrize(("columns", "rows"), NAMED)
def test_names_decide_between_the_axes_of_a_square_matrix(columns, rows):
    names = {"same": [f"s{i}" for i in range(20)], "other": [f"o{i}" for i in range(20)], None: None}
    result = fitted("square", row_names=names["same"], column_names=names["same"])
    V, axis = low_rank(20, 20, seed=7), NAMED[columns, rows]
    found = dnmf.transform(result, V, row_names=names[rows], column_names=names[columns])
    np.testing.assert_allclose(found, best(V, *both(result), axis), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_names_of_the_columns_show_that_the_rows_are_new(shape):
    V, names = low_rank(*SHAPES[shape]), [f"g{i}" for i in range(SHAPES[shape][1])]
    rows = [f"c{i}" for i in range(len(V))]
    result = dnmf.factorize(pd.DataFrame(V, rows, names), RANK, max_passes=5)
    new = low_rank(*V.shape, seed=8)
    found = dnmf.transform(result, pd.DataFrame(new, [f"new {i}" for i in range(len(V))], names))
    np.testing.assert_allclose(found, best(new, *both(result), "rows"), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_what_fits_neither_factor_is_refused_with_both_ways(shape):
    rows, columns = SHAPES[shape]
    ways = [f"{columns} columns, to find W of new rows", f"{rows} rows, to find H of new columns"]
    with pytest.raises(DataError, match=r"V has shape \(5, 6\), and the factors were fitted to") as caught:
        dnmf.transform(fitted(shape), np.ones((5, 6)))
    assert all(way in str(caught.value) for way in ways)
    with pytest.raises(DataError, match=f"give data with {ways[0]}, or take axis='columns'"):
        dnmf.transform(fitted(shape), np.ones((rows, 6)), axis="rows")
    with pytest.raises(SettingsError, match="axis='samples' is not known; allowed are 'rows' and 'columns'"):
        dnmf.transform(fitted(shape), np.ones((5, 6)), axis="samples")


def test_a_factor_that_does_not_fit_into_memory_is_not_gathered():
    wide = dnmf.factorize(np.ones((2, 200_000), "float32"), 1, max_passes=1)
    with pytest.raises(
        BudgetError, match=r"axis='rows' holds H of 200000 columns, which takes 1.6 MB, and memory_limit"
    ):
        dnmf.transform(wide, np.ones((3, 200_000), "float32"), memory_limit="1MB")


def test_a_large_compressed_matrix_is_not_turned_in_memory(monkeypatch, tmp_path):
    monkeypatch.setattr("dnmf.sources.formats.entry_list.HELD_ENTRIES", 10)
    path = h5ad(sp.csr_matrix(new_data((40, 12), "columns")), tmp_path)
    with pytest.raises(DataError, match=r"compressed by its rows .* rewrite it with: dnmf convert .* --by columns"):
        dnmf.transform(fitted("tall"), path)


def test_dask_chunks_that_lie_across_are_cut_and_it_is_said_what_that_costs(monkeypatch):
    monkeypatch.setattr("dnmf.sources.dask_array.ALONG_BYTES", 12 * 8 * 10)
    result, V = fitted("wide"), low_rank(12, 35, seed=2)
    with pytest.warns(DataWarning, match=r"computed 4 times; give V.rechunk\({0: -1, 1: 10}\).persist\(\)"):
        found = dnmf.transform(result, da.from_array(V, chunks=(4, 35)))
    assert found.chunks[1] == (10, 10, 10, 5)
    np.testing.assert_allclose(found, best(V, *both(result), "columns"), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_new_rows_are_prepared_by_the_factors_of_the_columns(shape, tmp_path):
    V = low_rank(*SHAPES[shape])
    source = open_matrix(V, "rows")
    result = dnmf.factorize(prep.unit_variance(source), RANK, max_passes=5, store=tmp_path / "run.zarr")
    new = new_data(V.shape, "rows")
    scaled = StandardScaler(with_mean=False).fit(V).transform(new)
    expected = best(scaled, *both(result), "rows")
    for given in (new, sp.csc_matrix(new), da.from_array(new, chunks=(7, 3))):
        np.testing.assert_allclose(dnmf.transform(tmp_path / "run.zarr", given), expected, rtol=1e-6, atol=1e-9)
    logs = dnmf.factorize(prep.log_normalize(source), RANK, max_passes=2)
    with pytest.raises(DataError, match=r"'total' has a factor for each of the rows .* Fit a matrix that is cut along"):
        dnmf.transform(logs, new_data(V.shape, "columns"), axis="columns")


def test_new_rows_find_their_own_factors_where_the_rows_that_were_fitted_had_some():
    V = low_rank(12, 40) + 0.1
    result = dnmf.factorize(prep.log_normalize(V, total=100.0), RANK, max_passes=5)
    new = new_data(V.shape, "rows") + 0.1
    logs = np.log1p(100 * new / new.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(dnmf.transform(result, new), best(logs, *both(result), "rows"), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_command_line_takes_the_axis(shape, axis, tmp_path):
    V = low_rank(*SHAPES[shape], seed=9)
    fitted(shape, store=tmp_path / "run.zarr")
    np.save(tmp_path / "V.npy", V)
    np.save(tmp_path / "M.npy", np.full(V.shape, 2.0))
    words = ["transform", "run.zarr", "V.npy", "--weights", "M.npy", "--axis", axis, "--out", "new.zarr"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        ended = CliRunner().invoke(main, words)
    assert ended.exit_code == 0, ended.output
    expected = best(V, *both(dnmf.load(tmp_path / "run.zarr")), axis)
    np.testing.assert_allclose(zarr.open_array(tmp_path / "new.zarr")[...], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["CSC", "npy, by columns", "Zarr, tiles", "h5ad, CSC", "h5py group", "Dask, tiles"])
@pytest.mark.parametrize("shape", SHAPES)
def test_estimators_find_new_rows_whatever_they_are_in(shape, kind, tmp_path):
    model = dnmf.NMF(RANK, random_state=0, max_iter=5, tol=0, store=tmp_path / "run.zarr")
    model.fit(low_rank(*SHAPES[shape]))
    new = new_data(SHAPES[shape], "rows")
    V, expected = SOURCES[kind](new, tmp_path), best(new, None, model.components_, "rows")
    for fit in (model, dnmf.NMF.from_store(tmp_path / "run.zarr")):
        np.testing.assert_allclose(fit.transform(V), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("loss", ["frobenius", "kullback-leibler"])
def test_a_factor_that_does_not_fit_into_memory_is_kept_on_the_disk(loss, tmp_path):
    V = np.random.default_rng(0).random((12, 200000), np.float32) + np.float32(0.01)
    np.save(tmp_path / "V.npy", V)
    result = dnmf.factorize(V[:, :400], 8, loss=loss, max_passes=2)
    roomy, narrow = Told(), Told()
    inside = dnmf.transform(result, tmp_path / "V.npy", axis="columns", threads=1, memory_limit="2GB", watchers=[roomy])
    # H takes twice 8 numbers of 4 bytes for every column while it is copied
    most = roomy.plan.peak_bytes - 2 * 8 * 4 * V.shape[1] // 2
    outside = dnmf.transform(
        result, tmp_path / "V.npy", axis="columns", threads=1, memory_limit=most, watchers=[narrow]
    )
    assert roomy.plan.factor_in_memory
    assert not narrow.plan.factor_in_memory
    assert narrow.plan.peak_bytes == roomy.plan.peak_bytes - 2 * 8 * 4 * V.shape[1]
    H = np.asarray(outside)
    assert np.array_equal(np.asarray(inside), H)
    some = slice(1000, 1003)
    right = {"frobenius": best, "kullback-leibler": best_divergence}[loss](V[:, some], result.W, None, "columns")
    np.testing.assert_allclose(H[:, some], right, rtol=2e-3, atol=2e-3)
