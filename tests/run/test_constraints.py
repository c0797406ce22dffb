"""Runs within constraints: sums to one, bounds, and the scale of components, for every door, source and solver."""

import warnings

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize, nnls

import dnmf
from dnmf.engine.factor import DiskFactor
from dnmf.errors import DataError, DataWarning, SettingsError
from dnmf.run.arrays import as_dask, rescaled

rng = np.random.default_rng(0)
W0, H0 = rng.random((12, 3)), rng.dirichlet(np.ones(3) * 0.5, 90).T
V = np.maximum(W0 @ H0 + 0.01 * rng.standard_normal((12, 90)), 0)
HIDDEN = np.where(rng.random(V.shape) < 0.2, np.nan, V)
WEIGHTS = rng.random(V.shape) + 0.1
WAYS = {
    "extrapolated": {},
    "pg": {"solver": "pg"},
    "sketch": {"solver": "sketch", "rank": 2},
    "minibatch": {"solver": "minibatch"},
    "missing": {"missing": "nan"},
    "weighted": {"weights": WEIGHTS},
    "penalised": {"l1_W": 0.1, "l2_H": 0.1},
    "both": {"upper_W": 0.9},
    "runs": {"n_runs": 2},
}


def matrix(options, blocks=1):
    return da.from_array(HIDDEN if "missing" in options else V, chunks=(-1, -(-90 // blocks)))


def fit(options, blocks=1, **others):
    """A run within the simplex, and its factors in memory."""
    result = dnmf.factorize(matrix(options, blocks), **{"rank": 3, "columns_H": "simplex", **options, **others})
    return result, np.asarray(result.W), np.asarray(result.H)


@pytest.mark.parametrize("way", WAYS)
def test_columns_sum_to_one_and_no_pass_raises_the_loss(way):
    result, W, H = fit(WAYS[way], max_passes=15, tol=0)
    np.testing.assert_allclose(H.sum(axis=0), 1, atol=1e-12)
    losses = [record.loss for record in result.history]
    assert (np.diff(losses) <= 1e-12 * losses[0]).all()
    counted = WEIGHTS if way == "weighted" else np.isfinite(HIDDEN) if way == "missing" else np.ones(V.shape)
    penalty = 0.1 * W.sum() + 0.05 * (H**2).sum() if way == "penalised" else 0
    assert losses[-1] == pytest.approx(0.5 * (counted * (V - W @ H) ** 2).sum() + penalty, rel=1e-9)
    assert W.max() <= (0.9 if way == "both" else np.inf)


@pytest.mark.parametrize("n_runs", [1, 2])
@pytest.mark.parametrize(("cut", "name"), [(sp.csc_array, "rows_W"), (sp.csr_array, "columns_H")])
def test_a_constraint_of_the_factor_held_whole_goes_with_a_sparse_matrix(cut, name, n_runs):
    counts = np.where(rng.random((15, 40)) < 0.5, rng.random((15, 40)), 0)
    result = dnmf.factorize(cut(counts), 3, **{name: "simplex"}, max_passes=15, tol=0, n_runs=n_runs)
    factor = result.W if name == "rows_W" else result.H.T
    np.testing.assert_allclose(factor.sum(axis=1), 1, atol=1e-12)
    assert result.loss == pytest.approx(0.5 * np.square(counts - result.W @ result.H).sum(), rel=1e-9)


@pytest.mark.parametrize("way", ["extrapolated", "pg", "missing", "weighted"])
def test_blocks_do_not_change_the_factors_and_a_resumed_run_continues_with_the_same_bits(way, tmp_path):
    options, store = WAYS[way], f"{tmp_path}/run.zarr"
    _, W, H = fit(options, max_passes=8, tol=0)
    _, other, _ = fit(options, blocks=4, max_passes=8, tol=0)
    np.testing.assert_allclose(other, W, rtol=1e-7)
    fit(options, max_passes=5, tol=0, store=store)
    data = {name: value for name, value in options.items() if name == "weights"}
    again = dnmf.resume(store, matrix(options), max_passes=8, **data)
    np.testing.assert_array_equal(np.asarray(again.H), H)
    np.testing.assert_array_equal(np.asarray(again.W), W)


@pytest.mark.parametrize("way", ["extrapolated", "missing", "weighted"])
def test_a_fit_of_known_components_finds_the_minimum_of_every_column(way):
    options = WAYS[way]
    result, W, H = fit(options, fixed_W=W0, max_passes=200, tol=1e-14)
    np.testing.assert_array_equal(W, W0)
    for j in range(0, 90, 10):
        weights = WEIGHTS[:, j] if way == "weighted" else np.isfinite(HIDDEN[:, j]) if way == "missing" else 1.0
        found = minimize(
            lambda h, j=j, weights=weights: 0.5 * (weights * (V[:, j] - W0 @ h) ** 2).sum(),
            np.full(3, 1 / 3),
            bounds=[(0, 1)] * 3,
            constraints=[{"type": "eq", "fun": lambda h: h.sum() - 1}],
            options={"ftol": 1e-15, "maxiter": 500},
        )
        np.testing.assert_allclose(H[:, j], found.x, atol=1e-6)
    data = {name: value[:, :7] for name, value in options.items() if name == "weights"}
    new = dnmf.transform(result, matrix(options)[:, :7], axis="columns", **data)
    np.testing.assert_allclose(np.asarray(new), H[:, :7], atol=1e-6)
    assert result.optimality < 1e-14


@pytest.mark.parametrize("options", [{}, {"upper_W": 0.9}, {"init": "sketch", "rank": 2}], ids=str)
def test_the_transposed_matrix_has_the_transposed_constraint(options):
    swapped = {name.replace("_W", "_H"): value for name, value in options.items()}
    _, W, H = fit(options, max_passes=6, tol=0)
    rank, cut = options.get("rank", 3), da.from_array(np.ascontiguousarray(V.T), chunks=(90, -1))
    result = dnmf.factorize(cut, **{"rank": rank, "rows_W": "simplex", "max_passes": 6, "tol": 0, **swapped})
    np.testing.assert_allclose(np.asarray(result.W).T, H, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.asarray(result.H).T, W, rtol=1e-9, atol=1e-9)


def test_projected_gradients_end_where_exact_least_squares_do():
    data, start = V[:6, :20], (W0[:6, :2] + 0.1, H0[:2, :20] + 0.1)
    ends = [dnmf.factorize(data, 2, solver=one, init=start, tol=1e-13, max_passes=800) for one in ("pg", "als")]
    assert ends[0].loss == pytest.approx(ends[1].loss, rel=1e-9)
    np.testing.assert_allclose(ends[0].W @ ends[0].H, ends[1].W @ ends[1].H, atol=1e-6)
    for j in range(20):
        np.testing.assert_allclose(ends[0].H[:, j], nnls(ends[0].W, data[:, j])[0], atol=1e-6)


@pytest.mark.parametrize("way", ["extrapolated", "missing"])
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_the_matrix_is_that_of_the_components(way, scale):
    _, W, H = fit(WAYS[way], max_passes=5, tol=0)
    options = {"columns_H": "simplex", "max_passes": 5, "tol": 0, **WAYS[way]}
    result = dnmf.factorize(np.asarray(matrix(options)) * scale, 3, **options)
    np.testing.assert_allclose(result.H, H, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(result.W / scale, W, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
@pytest.mark.parametrize("options", [{}, {"init": "sketch", "rank": 2}], ids=["random", "sketch"])
def test_a_scale_whose_square_is_out_of_range_is_refused(options, scale):
    rank = options.get("rank", 3)
    with pytest.raises(DataError, match=r"with constraints float32 needs one between 1e-16 and 1e\+14; multiply V by"):
        dnmf.factorize((V * scale).astype(np.float32), **{"rank": rank, "columns_H": "simplex", **options})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_matrix_of_zeros_and_one_with_zeros_are_factorised(dtype):
    some = np.where(np.arange(90) % 3, V, 0).astype(dtype)
    with pytest.warns(DataWarning, match="0 rows and 30 columns of V are 0.* their factors must sum to 1"):
        dnmf.factorize(some, 3, columns_H="simplex", max_passes=10)
    with pytest.warns(DataWarning, match="30 rows and 0 columns of V are 0"):
        dnmf.factorize(some.T, 3, rows_W="simplex", max_passes=10)
    for data in (np.zeros((12, 90), dtype), some):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            result = dnmf.factorize(data, 3, columns_H="simplex", max_passes=10)
        np.testing.assert_allclose(result.H.sum(axis=0), 1, rtol=1e-6)
        assert np.isfinite(result.W).all()


def test_bounds_are_kept_and_reached():
    result = dnmf.factorize(V, 3, upper_W=0.8, upper_H=0.7, tol=0, max_passes=30)
    assert result.W.max() == 0.8
    assert result.H.max() == 0.7
    assert (np.diff([record.loss for record in result.history]) <= 1e-12).all()


def test_a_bound_that_the_scale_evades_causes_a_warning():
    with pytest.warns(DataWarning, match="upper_H alone has no effect: the other factor absorbs the scale"):
        dnmf.factorize(V, 3, upper_H=0.7, max_passes=1)


@pytest.mark.parametrize("loss", ["frobenius", "kullback-leibler"])
@pytest.mark.parametrize("chunks", [(-1, 30), (4, -1)], ids=["columns", "rows"])
@pytest.mark.parametrize(("name", "axis"), [("columns_W", 0), ("rows_H", 1)])
def test_components_sum_to_one_with_the_product_of_a_free_run(name, axis, chunks, loss, tmp_path):
    cut, options = da.from_array(V, chunks=chunks), {"loss": loss, "max_passes": 5, "tol": 0}
    free = dnmf.factorize(cut, 3, **options)
    result = dnmf.factorize(cut, 3, **{name: "simplex"}, store=f"{tmp_path}/run.zarr", **options)
    W, H = np.asarray(result.W), np.asarray(result.H)
    np.testing.assert_allclose((H if axis else W).sum(axis=axis), 1, rtol=1e-12)
    np.testing.assert_allclose(W @ H, np.asarray(free.W) @ np.asarray(free.H), rtol=1e-12)
    np.testing.assert_array_equal(np.asarray(dnmf.load(result.store).W), W)
    np.testing.assert_array_equal(np.asarray(dnmf.load(result.store).H), H)


def test_components_on_the_disk_are_scaled_when_they_are_read(tmp_path):
    long = DiskFactor(tmp_path, 2, np.dtype(float))
    long.write(0, np.ones((2, 3)))
    _, scaled = rescaled(np.ones((4, 2)), long, np.array([3.0, 0.0]), np.arange(2), of_long=True)
    lazy = as_dask(scaled, (0, 3), 2, np.dtype(float), transposed=False)
    long.write(0, np.full((2, 3), 6.0))
    np.testing.assert_array_equal(lazy.compute(), [[2, 2, 2], [6, 6, 6]])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns_H": "sum"}, "columns_H='sum' is not known; allowed are 'free' and 'simplex'"),
        ({"upper_W": -1}, "upper_W=-1 is not allowed; give a finite number above 0"),
        ({"upper_H": np.inf}, "upper_H=inf is not allowed"),
        ({"columns_H": "simplex", "upper_H": 0.3}, "upper_H=0.3 and columns_H='simplex' bound the same entries"),
        ({"columns_H": "simplex", "loss": "kullback-leibler"}, "columns_H='simplex' needs loss='frobenius'"),
        ({"rows_W": "simplex", "solver": "als"}, "rows_W='simplex' needs a solver that can project, .* got 'als'"),
        ({"upper_W": 1, "init": "sketch"}, "init='sketch' does not keep upper_W=1.0; use init='random'"),
        ({"columns_H": "simplex", "init": "nndsvd"}, "init='nndsvd' does not keep columns_H='simplex'"),
        ({"columns_H": "simplex", "fixed_H": H0[:1]}, "columns_H='simplex' needs free entries, and fixed_H has some"),
        (
            {"solver": "pg", "loss": 1.5},
            "solver='pg' needs loss='frobenius', and got loss=1.5; for this loss, give solver='auto' or 'mu'",
        ),
        ({"columns_W": "simplex", "l1_W": 1, "l1_H": 1}, "columns_W='simplex' sets the scale .* on which l1_W depends"),
        ({"columns_W": "simplex", "rows_H": "simplex"}, "columns_W='simplex' sets the scale .* on which rows_H"),
        ({"rows_H": "simplex", "columns_H": "simplex"}, "rows_H='simplex' sets the scale .* on which columns_H"),
        ({"rows_H": "simplex", "fixed_W": W0[:, :1]}, "rows_H='simplex' sets the scale .* on which fixed_W depends"),
        ({"columns_W": "simplex", "target_H": H0}, "columns_W='simplex' sets the scale .* on which target_H depends"),
        ({"columns_H": "simplex", "rank": [3, 2]}, r"rank=\[3, 2\] does not go with columns_H; leave that out"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(options, words):
    with pytest.raises(SettingsError, match=words):
        dnmf.factorize(V, **{"rank": 3, **options})
