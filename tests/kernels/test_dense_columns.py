"""Columns of H that are minimised side by side under the Kullback–Leibler divergence."""

import numpy as np
import pytest
import scipy.sparse as sp

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.dense_panel import DensePanel
from dnmf.kernels.divergence import dense_columns
from dnmf.kernels.divergence.dense_columns import LEAST_SHARES, minimise_dense, split_panel
from dnmf.kernels.divergence.dense_models import minimise_models, model_work, triangle
from dnmf.kernels.divergence.dense_terms import SIDE_BYTES, set_falls, set_terms
from dnmf.kernels.divergence.joint_steps import MODEL_SWEEPS, bound_of_rise
from dnmf.kernels.divergence.rule import Divergence
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.rule import Model

LANES = 128


def problem(rows, width, rank, dtype="f8", seed=0):
    rng = np.random.default_rng(seed)
    W, H = rng.gamma(0.5, size=(rows, rank)), rng.gamma(0.3, size=(rank, width))
    return rng.poisson(9 * W @ H + 0.5).astype(dtype), W.astype(dtype)


def solved(V, W, penalty=None):
    rule = Divergence(1.0, True, 6, Penalty(), penalty or Penalty())
    return rule.transform(V, Model.of(W), Scratch()).astype(np.float64)


@pytest.fixture
def never_listed(monkeypatch):
    def fail(*_):
        raise AssertionError("the minimum was not found side by side")

    monkeypatch.setattr(dense_columns, "minimise_columns", fail)
    monkeypatch.setattr(dense_columns, "LEAST_SHARES", ((20, 0.0),))


@pytest.mark.parametrize("penalty", [Penalty(), Penalty(0.3, 0.2), Penalty(np.full((1, 150), -0.5), 0.7)])
@pytest.mark.parametrize(
    ("rows", "width", "rank"), [(7, 150, 1), (38, 150, 3), (300, 150, 4), (61, 150, 12), (90, 150, 20)]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_conditions_of_a_minimum_hold(never_listed, rows, width, rank, penalty, order):
    V, W = problem(rows, width, rank)
    V[:, 3], V[2], W[:, 0] = 0, 0, W[:, 0] * (np.arange(rows) % 3 == 0)
    H = minimise_dense(DensePanel.unweighted(np.asarray(V, order=order)), W, penalty, Scratch())
    Y = W @ H
    ratio = np.divide(V, Y, out=np.zeros_like(V), where=Y > 0)
    gradient = W.sum(axis=0)[:, None] - W.T @ ratio + penalty.l1 + penalty.l2 * H
    assert (H >= 0).all()
    np.testing.assert_allclose(np.minimum(H, gradient), 0, atol=1e-6)


def test_components_that_are_nearly_alike_get_their_own_shares(never_listed):
    rng = np.random.default_rng(0)
    W = 1 + 0.1 * rng.random((50, 3))
    H = rng.random((3, 40)) + 0.5
    found = minimise_dense(DensePanel.unweighted(W @ H), W, Penalty(), Scratch())
    np.testing.assert_allclose(found, H, rtol=1e-6)


def test_an_entry_that_is_far_too_large_shrinks_without_leaving_the_domain(never_listed):
    W = np.eye(6, 4) + 1e-9
    V = np.outer([1e-6, 1.0, 1e3, 1e6, 0, 1], np.ones(20))
    H = minimise_dense(DensePanel.unweighted(V), W, Penalty(), Scratch())
    ratio = np.divide(V, W @ H, out=np.zeros_like(V), where=V > 0)
    np.testing.assert_allclose(np.minimum(H, W.sum(axis=0)[:, None] - W.T @ ratio), 0, atol=1e-6)


@pytest.mark.parametrize("l2", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9, 1e15])
def test_a_strong_penalty_leads_to_the_root_of_the_slope(scale, l2):
    rng = np.random.default_rng(0)
    W, V = rng.random((30, 1)), scale * rng.random((30, 40))
    H = minimise_dense(DensePanel.unweighted(V), W, Penalty(0.0, l2), Scratch())
    mass, pulls = W.sum(), V.sum(axis=0)
    np.testing.assert_allclose(H[0], 2 * pulls / (mass + np.sqrt(mass**2 + 4 * l2 * pulls)), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_dense_and_sparse_columns_have_the_same_minimum(dtype):
    V, W = problem(40, 200, 5, dtype)
    np.testing.assert_allclose(solved(V, W), solved(sp.csc_array(V), W), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_column_does_not_depend_on_its_neighbours(order):
    V, W = problem(40, 200, 5)
    V *= np.random.default_rng(1).random(V.shape) < np.linspace(0, 1, 200)
    whole = solved(np.asarray(V, order=order), W)
    alone = [solved(np.asarray(V[:, part], order=order), W) for part in np.split(np.arange(200), 40)]
    np.testing.assert_array_equal(whole, np.concatenate(alone, axis=1))


def test_a_column_that_is_not_found_side_by_side_is_listed(monkeypatch):
    V, W = problem(40, 30, 3)
    expected = solved(sp.csc_array(V), W)
    monkeypatch.setattr(dense_columns, "_minimise", lambda *_: None)
    np.testing.assert_array_equal(solved(V, W), expected)


@pytest.mark.parametrize(("rank", "share"), LEAST_SHARES)
def test_a_panel_is_split_by_the_share_of_entries_above_0(rank, share):
    V = np.zeros((20, 6))
    V[: int(20 * share), ::2] = 1
    parts = list(split_panel(slice(10, 16), DensePanel.unweighted(V), rank, True))
    assert [(own.tolist(), dense) for own, _, dense in parts] == [([10, 12, 14], True), ([11, 13, 15], False)]
    assert [dense for _, _, dense in split_panel(slice(0, 6), DensePanel.unweighted(V), rank, False)] == [False]


def test_a_panel_is_listed_above_the_largest_rank():
    panel = DensePanel.unweighted(np.ones((20, 6)))
    assert [dense for _, _, dense in split_panel(slice(0, 6), panel, LEAST_SHARES[-1][0] + 1, True)] == [False]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_terms_of_a_vector_of_columns_are_those_of_numpy(dtype):
    rng, side = np.random.default_rng(0), SIDE_BYTES // np.dtype(dtype).itemsize
    W, H, steps = rng.random((12, 3)), rng.random((3, 2 * side)), 0.3 * rng.random((3, 2 * side))
    V = rng.poisson(2, (12, 2 * side)).astype(dtype)
    Q = np.stack([W[:, k] * W[:, i] for k in range(3) for i in range(k + 1)], axis=1)
    W[5], V[5], Q[5] = 0, 0, 0
    W, Q, H, steps = (array.astype(dtype) for array in (W, Q, H, steps))
    pulls, bends, falls = (np.full((size, 2 * side), 7, dtype) for size in (3, 6, 1))
    vectors = _compiled()
    vectors(W, Q, V, H, steps, side, 4, 12, pulls, bends, falls)
    own, rows = slice(side, None), slice(4, 12)
    Y, moved = (W.astype("f8")[rows] @ array.astype("f8")[:, own] for array in (H, steps))
    v, y = V[rows, own].astype("f8"), np.where(Y > 0, Y, 1)
    u = moved / np.where(Y > 0, Y + moved, 1)
    rtol = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(pulls[:, own], W[rows].T @ (v / y), rtol=rtol)
    np.testing.assert_allclose(bends[:, own], Q[rows].T @ (v / y**2), rtol=rtol)
    np.testing.assert_allclose(falls[0, own], (v * (u + u**2 / 2 + u**3 / 3)).sum(axis=0), rtol=rtol)
    assert (pulls[:, :side] == 7).all()
    steps[:] = -H
    vectors(W, Q, V, H, steps, side, 4, 12, pulls, bends, falls)
    assert (falls[0, own] == -np.inf).all()


def _compiled():
    import numba

    @numba.njit
    def run(W, Q, V, H, steps, at, first, last, pulls, bends, falls):
        set_terms(W, Q, V, H, at, first, last, pulls, bends)
        set_falls(W, V, H, steps, at, first, last, falls)

    return run


def test_the_steps_go_to_the_minimum_of_the_models():
    rng, rank = np.random.default_rng(0), 5
    factors = rng.standard_normal((LANES, 8, rank))
    hessians = np.einsum("jek,jei->jki", factors, factors)
    h, slopes, l2 = rng.random((rank, LANES)), 5 * rng.standard_normal((rank, LANES)), np.full((rank, LANES), 0.1)
    bends = np.empty((rank * (rank + 1) // 2, LANES))
    for k in range(rank):
        for i in range(k + 1):
            bends[triangle.py_func(k, i)] = hessians[:, k, i]
    hessians += 0.1 * np.eye(rank)
    inverses, steps, left = 1 / np.einsum("jkk->kj", hessians), np.empty((rank, LANES)), np.ones(LANES)
    left[0] = 0
    minimise_models(h, slopes.copy(), inverses, bends, l2, 0, steps, left, model_work(rank), MODEL_SWEEPS, True)
    assert not steps[:, 0].any()
    new, there = (h + steps)[:, 1:], (slopes + np.einsum("jki,ij->kj", hessians, steps))[:, 1:]
    assert not left.any()
    assert (new >= 0).all()
    np.testing.assert_allclose(np.minimum(new, there), 0, atol=1e-2)


def visited(V, W, H, penalty, fresh, fixed=0, rate=1.0, dtype="f8"):
    rule = Divergence(1.0, True, 4, Penalty(), penalty, n_fixed_H=fixed, hessian_rate=rate, hessian_dtype=dtype)
    stats, h = rule.zero(*W.shape), H.copy()
    rule.visit(V, h, Model.of(W), stats, Scratch(), fresh=fresh)
    return h, stats


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("penalty", [Penalty(), Penalty(0.3, 0.2)])
@pytest.mark.parametrize(("fresh", "fixed"), [(True, 0), (False, 0), (False, 2)])
def test_a_visit_of_dense_columns_is_that_of_sparse_ones(fresh, fixed, penalty, order):
    for seed in range(5):
        V, W = problem(45, 150, 4, seed=seed)
        H = np.random.default_rng(seed).random((4, 150)) * 10.0 ** np.random.default_rng(seed).uniform(-3, 3, 150)
        h, stats = visited(np.asarray(V, order=order), W, H, penalty, fresh, fixed)
        other, expected = visited(sp.csc_array(V), W, H, penalty, fresh, fixed)
        np.testing.assert_allclose(h, other, rtol=1e-8, atol=1e-10)
        assert (h[:fixed] == H[:fixed]).all()
        for name in ("cross", "grams", "row_sums", "fit", "gain"):
            one, two = getattr(stats, name), getattr(expected, name)
            np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-8 * np.max(np.abs(two)))


def test_a_visit_at_a_large_scale_has_finite_hessians():
    V, W = problem(45, 60, 4, "f4")
    V *= np.float32(2.0**60)
    H = np.random.default_rng(0).random((4, 60)).astype("f4") * np.float32(2.0**63)
    _, stats = visited(V, W, H, Penalty(), fresh=False, dtype="float32")
    assert np.isfinite(stats.grams).all()
    assert stats.grams.any()


def test_a_visit_may_refuse_the_steps_of_all_columns():
    V, W = problem(45, 20, 4)
    H = np.full((4, 20), 1e6)
    h, _ = visited(V, W, H, Penalty(), fresh=False)
    np.testing.assert_allclose(h, visited(sp.csc_array(V), W, H, Penalty(), fresh=False)[0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("seed", range(20))
def test_no_step_raises_the_objective_by_more_than_the_bound(seed):
    rng = np.random.default_rng(seed)
    V, W = problem(30, 1, 4, seed=seed)
    h, largest = rng.gamma(0.5, size=4) + 1e-3, rng.uniform(0.05, 0.95)
    step = h * np.where(rng.random(4) < 0.5, rng.uniform(-largest, 0, 4), rng.uniform(0, 3, 4))
    v, y, after = V[:, 0], W @ h + 1e-300, W @ (h + step) + 1e-300
    rise = (after - y - v * np.log(after / y)).sum()
    linear, square = ((1 - v / y) @ W) @ step, 0.5 * (v / y**2) @ (W @ step) ** 2
    fall = max(-(step / h).min(), 0.0)
    bound = bound_of_rise(fall, linear, square) / (1 - fall)
    assert rise <= bound + 1e-9 * abs(linear)
    assert bound <= linear + square * (1 + fall / (1 - fall)) + 1e-9


def test_the_bound_of_a_step_to_0_is_infinite():
    assert bound_of_rise(1.0, -1.0, 0.1) == np.inf
