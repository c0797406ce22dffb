"""Successive projections: against a textbook implementation on the dense matrix, and on matrices with known columns."""

import numpy as np
import pytest
import scipy.sparse as sp
from strategies import SOURCES

import dnmf
from dnmf.errors import DataError, SettingsError

RANK = 4


def separable(dtype="float64", seed=0):
    """Return V (20, 90), whose columns are mixtures of four of them of any brightness, and their numbers."""
    rng = np.random.default_rng(seed)
    pure = rng.permutation(90)[:RANK]
    H = rng.dirichlet(np.full(RANK, 0.8), 90).T
    H[:, pure] = np.eye(RANK)
    V = rng.random((20, RANK)) @ H * rng.uniform(0.1, 3, 90)
    return V.astype(dtype), set(pure.tolist())


def projections(V, rank, dark=0.01):
    """Return the columns that successive projections choose, by the definition."""
    sums = V.sum(axis=0)
    rest = V[:, sums >= dark * sums.mean()] / sums[sums >= dark * sums.mean()]
    known, chosen = np.flatnonzero(sums >= dark * sums.mean()), []
    for _ in range(rank):
        best = int(np.argmax(np.linalg.norm(rest, axis=0)))
        way = rest[:, best] / np.linalg.norm(rest[:, best])
        rest = rest - np.outer(way, way @ rest)
        chosen.append(int(known[best]))
    return chosen


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", [np.asfortranarray, np.ascontiguousarray, sp.csc_array, sp.csr_array])
def test_pure_columns_are_found_and_the_start_is_exact(form, dtype):
    V, pure = separable(dtype)
    result = dnmf.factorize(form(V), RANK, init="spa", max_passes=2)
    assert set(result.anchors) == pure
    assert result.anchor_axis == "columns"
    assert result.relative_error < 1e-3 * (dtype == "float32") + 1e-7
    rows = dnmf.factorize(form(V.T), RANK, init="spa_rows", max_passes=2)
    assert rows.anchors == result.anchors
    assert rows.relative_error < 1e-3 * (dtype == "float32") + 1e-7
    W, chosen = (X / np.linalg.norm(X, axis=0) for X in (result.W, V[:, result.anchors]))
    np.testing.assert_allclose(W, chosen, atol=1e-3)


@pytest.mark.parametrize("streamed", ["dask, columns", "dask, rows"])
@pytest.mark.parametrize("seed", range(3))
def test_noisy_columns_are_those_of_the_plain_algorithm_along_both_axes(seed, streamed, tmp_path):
    V, _ = separable(seed=seed)
    V = V + 0.02 * np.random.default_rng(seed).random(V.shape)
    V[:, 7] *= 1e-4 / V[:, 7].sum()  # a dark column, which is mostly noise
    V[3, 7] = 1e-4
    cut = SOURCES[streamed](V, tmp_path)
    # The sketch is as wide as V is high here, so that V̂ is V.
    assert list(dnmf.factorize(cut, RANK, init="spa", max_passes=2).anchors) == projections(V, RANK)
    turned = SOURCES[streamed](np.ascontiguousarray(V.T), tmp_path)
    assert list(dnmf.factorize(turned, RANK, init="spa_rows", max_passes=2).anchors) == projections(V, RANK)


FORMS = {
    "array": lambda V, folder: np.ascontiguousarray(V),
    "columns in memory": lambda V, folder: np.asfortranarray(V),
    "CSC": lambda V, folder: sp.csc_array(V),
    "CSR": lambda V, folder: sp.csr_array(V),
    **{name: SOURCES[name] for name in ("dask, columns", "dask, rows", "dask of csr", "dask of csr, rows", "zarr")},
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("init", ["spa", "spa_rows"])
@pytest.mark.parametrize("form", FORMS)
def test_anchors_are_those_of_the_plain_algorithm_where_the_sketch_is_narrower_than_V(form, init, dtype, tmp_path):
    rng = np.random.default_rng(1)
    pure, H = rng.permutation(300)[:RANK], rng.dirichlet(np.ones(RANK), 300).T
    H = 0.8 * H + 0.2 / RANK  # no mixture is close to a pure column
    H[:, pure] = np.eye(RANK)
    V = (rng.random((120, RANK)) * (rng.random((120, RANK)) < 0.4)) @ H * rng.uniform(0.2, 3, 300)
    V *= 1 + 1e-3 * rng.random(V.shape)
    V[:, -1] = 2 * V[:, pure[0]]  # the same point in another block: the first of both counts
    expected = projections(V, RANK)
    names = [f"pixel {j}" for j in range(300)]
    if init == "spa":
        result = dnmf.factorize(
            FORMS[form](V.astype(dtype), tmp_path), RANK, init=init, max_passes=2, column_names=names
        )
    else:
        given = FORMS[form](np.ascontiguousarray(V.T.astype(dtype)), tmp_path)
        result = dnmf.factorize(given, RANK, init=init, max_passes=2, row_names=names)
    assert list(result.anchors) == expected
    assert result.anchor_names == [names[j] for j in expected]
    assert set(expected) == set(pure.tolist())


def test_a_few_columns_that_are_far_brighter_hide_no_pure_ones():
    V, pure = separable("float64")
    mixed = next(column for column in range(90) if column not in pure)
    V[:, mixed] *= 1e5
    assert set(dnmf.factorize(V, RANK, init="spa", max_passes=2).anchors) == pure
    assert set(dnmf.factorize(np.ascontiguousarray(V.T), RANK, init="spa_rows", max_passes=2).anchors) == pure


def test_the_start_is_the_chosen_columns_and_the_least_squares_solution(tmp_path):
    V, _ = separable()
    seen = []
    result = dnmf.factorize(V, RANK, init="spa", solver="als", max_passes=2, watchers=[seen.append])
    W = V[:, result.anchors]
    H = np.linalg.lstsq(W, V)[0]
    assert seen[0].passes == 2
    np.testing.assert_allclose(result.W @ result.H, W @ H, atol=1e-7)


@pytest.mark.parametrize("loss", ["frobenius", "kullback-leibler", 0.5])
def test_no_factor_of_a_multiplicative_solver_starts_with_zeros(loss):
    V, pure = separable()
    for init, matrix in (("spa", V + 1e-3), ("spa_rows", V.T + 1e-3)):
        result = dnmf.factorize(matrix, RANK, loss=loss, solver="mu", init=init, max_passes=3, tol=0)
        assert set(result.anchors) == pure
        assert (result.W > 0).all()
        assert (result.H > 0).all()


def test_anchors_have_names_and_are_stored(tmp_path):
    V, _ = separable()
    names, where = [f"pixel {j}" for j in range(90)], tmp_path / "run.zarr"
    result = dnmf.factorize(V, RANK, init="spa", max_passes=4, tol=0, column_names=names, store=where)
    assert result.anchor_names == [names[j] for j in result.anchors]
    loaded = dnmf.load(where)
    assert (loaded.anchors, loaded.anchor_names) == (result.anchors, result.anchor_names)
    assert dnmf.resume(where, V, max_passes=6).anchors == result.anchors
    assert dnmf.load(result.save(tmp_path / "saved.zarr")).anchors == result.anchors
    assert dnmf.factorize(V, RANK, init="random", max_passes=2).anchors == ()


def test_an_estimator_starts_from_pure_samples():
    V, pure = separable()
    model = dnmf.NMF(RANK, init="spa_rows", tol=0, max_iter=2).fit(V.T)
    assert set(model.result_.anchors) == pure
    assert model.reconstruction_err_ < 1e-6


@pytest.mark.parametrize(
    ("V", "options", "error", "sentence"),
    [
        (
            np.outer(np.arange(1.0, 9), np.arange(1.0, 20)),
            {},
            DataError,
            "'spa' at rank=2 needs .* columns, and V has 1",
        ),
        (np.outer(np.arange(1.0, 9), np.ones(9)).T, {"init": "spa_rows"}, DataError, "independent rows, and V has 1"),
        (np.zeros((5, 9)), {}, DataError, "V has 0"),
        (np.ones((5, 9)), {"rank": 6}, SettingsError, "no more independent columns and rows than that"),
        (np.ones((5, 9)), {"n_runs": 3}, SettingsError, "init='spa' makes one run"),
        (np.ones((5, 9)), {"missing": "nan"}, SettingsError, "init='spa' needs every entry of V"),
        (np.ones((5, 9)), {"fixed_W": np.ones((5, 1))}, SettingsError, "takes neither fixed_W nor fixed_H"),
    ],
)
def test_what_cannot_be_chosen_is_refused(V, options, error, sentence):
    with pytest.raises(error, match=sentence):
        dnmf.factorize(V, **{"rank": 2, "init": "spa", **options})
