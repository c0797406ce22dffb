"""Row updates on tiles, exact least squares, and sums of a block."""

import numpy as np
import pytest
import scipy.sparse as sp
from naive import hals as naive_hals
from naive import objective
from naive import promised as naive_promised
from scipy.optimize import nnls

import dnmf
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import BadEntry, square_sum
from dnmf.kernels.blocks.products import add_outer_product, cross_product
from dnmf.kernels.blocks.tiles import LANES
from dnmf.kernels.optimality import quadratic_gains, set_gradient
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic.block_pivoting import pivot
from dnmf.kernels.quadratic.column_pivoting import PIVOT_SWEEPS
from dnmf.kernels.quadratic.row_steps import improve_rows
from dnmf.kernels.quadratic.row_updates import descend_column, hals, measured_hals, multiplicative


def problem(width, rank=7, rows=30, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    W, V = rng.random((rows, rank)).astype(dtype), rng.random((rows, width)).astype(dtype)
    return W, V, rng.random((rank, width)).astype(dtype), W.T @ V, W.T @ W


@pytest.mark.parametrize("update", [hals, multiplicative, pivot])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_column_does_not_depend_on_its_lane_or_its_neighbours(update, dtype):
    _, _, H, C, G = problem(2 * LANES + 11, dtype=dtype)
    whole = H.copy()
    update(whole, C, G, Penalty(0.1, 0.2), 5)
    for column in (0, 1, LANES - 1, LANES, 2 * LANES + 10):
        alone = np.ascontiguousarray(H[:, column : column + 1])
        update(alone, np.ascontiguousarray(C[:, column : column + 1]), G, Penalty(0.1, 0.2), 5)
        np.testing.assert_array_equal(alone[:, 0], whole[:, column])


@pytest.mark.parametrize("rank", [1, 2, 5, 8])
@pytest.mark.parametrize("penalty", [Penalty(), Penalty(0.3, 0.0), Penalty(0.0, 0.7), Penalty(0.3, 0.7)])
def test_sweeps_equal_the_textbook_at_odd_and_even_ranks(rank, penalty):
    W, V, H, _, _ = problem(LANES + 3, rank)
    expected = naive_hals(H, W.T @ V, W.T @ W, *penalty[:2], 3)
    hals(H, W.T @ V, W.T @ W, penalty, 3)
    np.testing.assert_allclose(H, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("width", [1, LANES, 2 * LANES + 3])
@pytest.mark.parametrize("rank", [1, 4, 7])
@pytest.mark.parametrize("penalty", [Penalty(), Penalty(0.3, 0.7)])
def test_sweeps_measure_what_the_textbook_promises_after_them(width, rank, penalty):
    W, V, H, _, _ = problem(width, rank)
    C, G = W.T @ V, W.T @ W
    expected = naive_hals(H, C, G, *penalty[:2], 2)
    found = measured_hals(H, C, G, penalty, 2)
    np.testing.assert_allclose(H, expected, rtol=1e-10, atol=1e-13)
    after = naive_promised(expected, C, G, *penalty[:2]), np.vdot(C, expected)
    np.testing.assert_allclose(found, after, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("rows", [1, LANES, 2 * LANES + 3])
@pytest.mark.parametrize("rank", [1, 4, 7])
@pytest.mark.parametrize("penalty", [Penalty(), Penalty(0.3, 0.7)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_improve_in_one_call_as_by_textbook_sweeps(rows, rank, penalty, dtype):
    H, V, Wt, _, _ = problem(rows, rank)  # the update of W is that of H, transposed
    W = np.ascontiguousarray(Wt.T, dtype)
    A, B = (H.T @ V).T.copy(), H.T @ H
    first, moved = naive_promised(W.T.astype(float), A.T, B, *penalty[:2]), objective(V, H, W.T.astype(float))
    new = np.empty_like(W)
    found = improve_rows(W, A, B, penalty, 3, new)
    expected = naive_hals(W.T.astype(float), A.T, B, *penalty[:2], 3)
    np.testing.assert_allclose(new.T, expected, rtol=1e-10 if dtype == "float64" else 1e-6, atol=1e-13)
    after = new.T.astype(float)  # rounded
    left, moved = naive_promised(after, A.T, B, *penalty[:2]), objective(V, H, after) - moved
    np.testing.assert_allclose(found, (first, left, moved), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("l1", [0.0, 0.3])
@pytest.mark.parametrize("unused", [2, 3])
def test_a_component_with_nothing_to_fit_stays_or_vanishes_by_its_penalty(unused, l1):
    W, V, H, _, _ = problem(LANES + 3)
    W[:, unused] = 0
    before = H[unused].copy()
    hals(H, W.T @ V, W.T @ W, Penalty(l1), 2)
    np.testing.assert_array_equal(H[unused], 0 if l1 > 0 else before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_component_that_is_almost_0_does_not_overflow(dtype):
    _, _, H, C, G = problem(LANES + 3, 3, dtype=dtype)
    # Of the smallest subnormal number, the inverse is infinite.
    C[1], G[1], G[:, 1] = 0, 0, 0
    G[1, 1] = np.nextafter(np.array(0, dtype), np.array(1, dtype))
    found = H.copy()
    hals(found, C, G, Penalty(), 3)
    np.testing.assert_array_equal(found[1], H[1])
    assert np.isfinite(found).all()


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_pivoting_solves_exactly(start):
    W, V, H, C, G = problem(200)
    H = np.full_like(H, start)
    pivot(H, C, G, Penalty(), PIVOT_SWEEPS)
    np.testing.assert_allclose(H, np.column_stack([nnls(W, v)[0] for v in V.T]), rtol=1e-9, atol=1e-12)


def test_pivoting_needs_no_inverse():
    W, V, H, _, _ = problem(200)
    W[:, 3], W[:, 5] = W[:, 2], 0
    pivot(H, W.T @ V, W.T @ W, Penalty(), PIVOT_SWEEPS)
    best = np.array([nnls(W, v)[1] for v in V.T])
    np.testing.assert_allclose(np.linalg.norm(V - W @ H, axis=0), best, rtol=1e-8)
    assert np.isfinite(H).all()


@pytest.mark.parametrize("penalty", [Penalty(), Penalty(0.5, 0.0), Penalty(0.3, 0.7)])
@pytest.mark.parametrize("held", [0, 2])
def test_promises_are_the_decrease_by_the_best_step_of_every_entry(penalty, held):
    W, V, H, C, G = problem(20)
    H[1, :5] = 0
    start, expected = objective(V, W, H, l1_H=penalty.l1, l2_H=penalty.l2), 0.0
    for k in range(held, len(H)):
        for j in range(H.shape[1]):
            moved = H.copy()
            moved[k, j] = 0
            slope = G[k] @ moved[:, j] - C[k, j] + penalty.l1
            moved[k, j] = max(-slope / (G[k, k] + penalty.l2), 0)
            expected += start - objective(V, W, moved, l1_H=penalty.l1, l2_H=penalty.l2)
    found, product = quadratic_gains(H, C, G, penalty, held)
    assert found == pytest.approx(expected, rel=1e-9)
    assert product == pytest.approx((C * H).sum(), rel=1e-12)


@pytest.mark.parametrize("penalty", [Penalty(), Penalty(0.5, 0.0), Penalty(0.3, 0.7)])
def test_nothing_is_promised_where_the_optimality_conditions_hold(penalty):
    _, _, H, C, G = problem(150)
    assert quadratic_gains(H, C, G, penalty)[0] > 1
    pivot(H, C, G, penalty, PIVOT_SWEEPS)
    assert quadratic_gains(H, C, G, penalty)[0] < 1e-20 * (C**2).sum()


def test_coordinate_descent_converges_to_the_exact_solution():
    _, _, H, C, G = problem(150)
    exact = H.copy()
    pivot(exact, C, G, Penalty(0.1, 0.1), PIVOT_SWEEPS)
    hals(H, C, G, Penalty(0.1, 0.1), 5000)
    np.testing.assert_allclose(H, exact, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-35, 1e-20, 1.0, 1e20, 1e35])
def test_products_of_single_precision_neither_vanish_nor_overflow(scale):
    W, V, H, _, _ = problem(300, dtype="float32")
    total = np.zeros((30, 7))
    add_outer_product(V * np.float32(scale), H * np.float32(scale), total, Scratch())
    np.testing.assert_allclose(total / scale / scale, V.astype(float) @ H.T, rtol=1e-5)
    np.testing.assert_allclose(cross_product(V, W, Scratch()), W.T @ V, rtol=1e-6)


@pytest.mark.parametrize("form", [np.asarray, np.asfortranarray, sp.csc_array])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_the_square_sum_is_exact_to_float64(form, dtype):
    V = np.random.default_rng(0).integers(0, 1000, (37, 411)).astype(dtype)
    work = np.dtype("float64" if dtype == "float64" else "float32")
    assert square_sum(form(V), work, Scratch()) == float((V.astype("int64") ** 2).sum())


@pytest.mark.parametrize("form", [np.asarray, np.asfortranarray, sp.csc_array])
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (36, 130), (20, 410)])
def test_a_bad_entry_is_found_wherever_it_is(form, value, place):
    V = np.ones((37, 411))
    V[place] = value
    V[36, 410] = -5
    with pytest.raises(BadEntry) as caught:
        square_sum(form(V), np.dtype("float64"), Scratch())
    assert (caught.value.row, caught.value.column) == place


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_penalty_under_which_zero_is_the_optimum_ends_there(dtype):
    V = np.abs(np.random.RandomState(42).randn(6, 5)).astype(dtype)
    result = dnmf.factorize(V, 3, solver="mu", l1_W=2.5, l1_H=3.0, init="random")
    assert result.converged
    assert result.loss == pytest.approx(0.5 * float((V.astype(np.float64) ** 2).sum()), rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e12])
def test_sweeps_over_a_column_end_at_its_minimum_from_far_above(scale):
    rng = np.random.default_rng(0)
    A = rng.random((30, 8))
    b = A @ np.where(rng.random(8) < 0.6, rng.random(8), 0.0) + 0.1 * rng.random(30)
    G, c, h, nothing = A.T @ A, A.T @ b, scale * rng.random(8), np.zeros(8)
    slope, inverse = np.empty(8), np.empty(8)
    set_gradient(h, c, G, nothing, nothing, slope)
    descend_column(h, c, G, nothing, nothing, 0, 3000, 1e-13, slope, inverse)
    expected, _ = nnls(A, b)
    np.testing.assert_allclose(h, expected, rtol=0, atol=1e-10 * expected.max())
    np.testing.assert_allclose(slope, G @ h - c, rtol=0, atol=1e-12 * c.max())
