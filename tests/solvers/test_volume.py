"""The volume of W: against the objective by its definition, a dense descent on it, and spectra that are known."""

import dask.array as da
import numpy as np
import pytest
from runs import assert_same_bits
from scipy.optimize import nnls

import dnmf
from dnmf.errors import Interrupted, SettingsError
from dnmf.kernels.quadratic.volume import DELTA, on_simplex

RANK = 3


def scene(seed=0, noise=1e-3, light=2.0):
    """Return spectra W (20, 3), and V (20, 300) of pixels none of which is pure, under light of up to `light`."""
    rng = np.random.default_rng(seed)
    W = 0.2 + rng.random((20, RANK))
    H = rng.dirichlet(np.ones(RANK), 1500).T
    H = H[:, H.max(axis=0) < 0.85][:, :300] * rng.uniform(1, light, 300)
    return W, W @ H + noise * rng.random((20, 300))


def spread(W, scale):
    return float(np.linalg.slogdet(np.eye(RANK) + scale / DELTA * W.T @ W)[1])


def angle(W, truth):
    """Return the mean angle between true spectra and the closest found ones."""
    cosines = (truth / np.linalg.norm(truth, axis=0)).T @ (W / np.linalg.norm(W, axis=0))
    return np.arccos(np.minimum(cosines.max(axis=1), 1)).mean()


@pytest.mark.parametrize(
    "options", [{}, {"solver": "hals", "l1_H": 0.01}, {"solver": "als"}, {"columns_H": "simplex"}], ids=str
)
def test_the_loss_is_the_penalised_one_and_never_rises(options):
    _, V = scene()
    told = list(dnmf.iterate(V, RANK, volume_W=0.3, max_passes=20, tol=0, **options))
    first, axis = V[:, told[0].anchors], "H" if "columns_H" in options else "W"
    first = first if axis == "H" else first / first.sum(axis=0)
    scale = RANK / np.square(first).sum()
    weights = []
    for result in told:
        np.testing.assert_allclose(getattr(result, axis).sum(axis=0), 1, rtol=1e-12)
        fit = 0.5 * np.square(V - result.W @ result.H).sum()
        penalty = options.get("l1_H", 0.0) * result.H.sum()
        weights.append(2 * (result.loss - fit - penalty) / spread(result.W, scale))
        assert result.relative_error == pytest.approx(np.sqrt(2 * fit / np.square(V).sum()), rel=1e-9)
    np.testing.assert_allclose(weights, weights[0], rtol=1e-6)
    losses = [result.loss for result in told]
    assert (np.diff(losses) <= 1e-12 * np.array(losses[:-1])).all()
    # The penalty at the start is 0.3 of the loss there, which is at least that of unconstrained least squares.
    least = 0.5 * np.square(V - first @ np.linalg.lstsq(first, V)[0]).sum()
    assert 0.5 * weights[0] * spread(first, scale) >= 0.3 * least


def test_no_dense_descent_finds_a_better_point():
    _, V = scene(noise=0.05)
    result = dnmf.factorize(V, RANK, volume_W=0.3, max_passes=2000, tol=1e-12)
    W, H = result.W.copy(), result.H.copy()
    first = V[:, result.anchors] / V[:, result.anchors].sum(axis=0)
    scale = RANK / np.square(first).sum()
    weight = 2 * (result.loss - 0.5 * np.square(V - W @ H).sum()) / spread(W, scale)
    for _ in range(200):
        H = np.maximum(H - W.T @ (W @ H - V) / np.linalg.norm(W.T @ W, 2), 0)
        bend = weight * scale * np.linalg.inv(scale * W.T @ W + DELTA * np.eye(RANK))
        slope = (W @ H - V) @ H.T + W @ bend
        step = np.linalg.norm(H @ H.T + weight * scale / DELTA * np.eye(RANK), 2)
        W = np.column_stack([on_simplex(column) for column in (W - slope / step).T])
    loss = 0.5 * np.square(V - W @ H).sum() + 0.5 * weight * spread(W, scale)
    assert result.loss * (1 - 1e-5) < loss < result.loss * (1 + 1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_spectra_are_found_where_no_pixel_is_pure(seed):
    truth, V = scene(seed)
    pure = dnmf.factorize(V, RANK, init="spa", max_passes=2)
    plain = dnmf.factorize(V, RANK, init="spa", max_passes=100)
    compact = dnmf.factorize(V, RANK, volume_W=0.3, max_passes=300)
    assert angle(compact.W, truth) < 0.6 * min(angle(pure.W, truth), angle(plain.W, truth))


def test_abundances_that_sum_to_1_set_the_scale_of_the_spectra():
    truth, V = scene(light=1.0)
    pure = dnmf.factorize(V, RANK, init="spa", columns_H="simplex", max_passes=300)
    compact = dnmf.factorize(V, RANK, volume_W=0.3, columns_H="simplex", max_passes=300)
    assert angle(compact.W, truth) < 0.6 * angle(pure.W, truth)
    np.testing.assert_allclose(np.sort(compact.W.sum(axis=0)), np.sort(truth.sum(axis=0)), rtol=0.05)


def test_the_volume_of_H_is_that_of_W_of_the_transpose():
    _, V = scene()
    result = dnmf.factorize(V, RANK, volume_W=0.2, max_passes=10, tol=0)
    turned = dnmf.factorize(np.ascontiguousarray(V.T), RANK, volume_H=0.2, max_passes=10, tol=0)
    assert turned.anchors == result.anchors
    assert turned.anchor_axis == "rows"
    np.testing.assert_allclose(turned.H.T, result.W, atol=1e-9)
    assert turned.loss == pytest.approx(result.loss, rel=1e-9)
    expected = np.column_stack([nnls(result.W, column)[0] for column in V[:, :5].T])
    np.testing.assert_allclose(result.transform(V[:, :5]), expected, atol=1e-6)


def test_a_run_is_resumed_and_cut_to_the_same_bits(tmp_path):
    _, V = scene()
    options = {"volume_W": 0.2, "max_passes": 9, "tol": 0, "checkpoint_every": 2}
    array = da.from_array(V, chunks=(-1, 37))
    whole = dnmf.factorize(array, RANK, **options)
    assert_same_bits(dnmf.factorize(array, RANK, threads=3, **options), whole)
    for at in (2, 5):
        where = tmp_path / f"{at}.zarr"

        def stop(record, at=at):
            if record.passes == at:
                raise Interrupted("stopped")

        with pytest.raises(Interrupted):
            dnmf.factorize(array, RANK, store=where, watchers=[stop], **options)
        assert_same_bits(dnmf.resume(where, array), whole)
    assert dnmf.load(tmp_path / "5.zarr").anchors == whole.anchors


def test_given_factors_are_brought_to_columns_that_sum_to_1():
    _, V = scene()
    W, H = 5 * np.abs(np.random.default_rng(0).standard_normal((20, RANK))), np.ones((RANK, 300))
    W[:, 1] = 0
    result = dnmf.factorize(V, RANK, init=(W, H), volume_W=0.1, max_passes=5)
    np.testing.assert_allclose(result.W.sum(axis=0), 1, rtol=1e-12)
    assert np.isfinite(result.H).all()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"upper_W": 2.0}, "does not go with upper_W"),
        ({"volume_H": 0.1}, "so does volume_H"),
        ({"loss": "kullback-leibler"}, "volume_W=0.1 needs loss='frobenius'"),
        ({"solver": "mu"}, "solver='mu' has none; use solver='hals'"),
        ({"missing": "nan"}, "volume_W=0.1 needs every entry of V"),
        ({"weights": np.ones((20, 300))}, "volume_W=0.1 needs every entry of V with the same weight"),
        ({"n_runs": 2}, "makes one run"),
        ({"init": "random"}, "init='random' leaves high; use init='auto'"),
        ({"fixed_W": np.ones((20, 1))}, "fixed_W"),
        ({"target_H": np.ones((RANK, 300))}, "leave target_H out"),
        ({"volume_W": -1.0}, "volume_W=-1.0 is not allowed"),
    ],
)
def test_options_that_do_not_go_with_a_volume_are_refused(options, sentence):
    with pytest.raises(SettingsError, match=sentence):
        dnmf.factorize(scene()[1], RANK, **{"volume_W": 0.1, **options})


def test_the_factor_whose_volume_counts_is_held_whole():
    V = da.from_array(scene()[1], chunks=(5, -1))
    with pytest.raises(SettingsError, match=r"this V is cut along its rows; .*dnmf convert --by columns"):
        dnmf.factorize(V, RANK, volume_W=0.1)
    with pytest.raises(SettingsError, match="volume_W is not for a survey"):
        dnmf.select_rank(scene()[1], [2, 3], volume_W=0.1)


@pytest.mark.parametrize("size", [1e3, 1e12, 1e20])
def test_a_projection_of_large_entries_is_that_of_their_differences(size):
    y = size * np.array([1.0, 1.0, 0.5, 0.0])
    np.testing.assert_allclose(on_simplex(y), [0.5, 0.5, 0, 0])
    np.testing.assert_allclose(on_simplex(-y), [0, 0, 0, 1], atol=1e-300)
