"""The compiled descent of a small matrix: its half-steps are the textbook's, and its loss that of its factors."""

import naive
import numpy as np
import pytest

from dnmf.kernels.quadratic.descent import descend, half_step

PENALTIES = (0.02, 0.1, 0.03, 0.2)


def problem(rank, width, depth=7):
    """Return A (q, w), X (r, w), P (r, q) and G (r, r) of a half-step."""
    rng = np.random.default_rng(rank * 1000 + width)
    W = rng.random((12, rank))
    return rng.random((depth, width)), rng.random((rank, width)), W.T @ rng.standard_normal((12, depth)), W.T @ W


@pytest.mark.parametrize("width", [1, 127, 128, 300])
@pytest.mark.parametrize(("rank", "l1", "l2"), [(1, 0.0, 0.0), (4, 0.0, 0.0), (5, 0.3, 0.2)])
def test_a_half_step_is_that_of_the_textbook(rank, l1, l2, width):
    A, X, P, G = problem(rank, width)
    expected = naive.hals(X, P @ A, G, l1, l2, sweeps=3)
    products, gram, total = half_step(A, X, P, G, l1, l2, 3, False)
    np.testing.assert_allclose(X, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(products, expected @ A.T, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(gram, expected @ expected.T, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(total, expected.sum(), rtol=1e-9)


@pytest.mark.parametrize("width", [3, 200])
def test_a_fresh_factor_begins_at_the_positive_part_scaled_to_fit(width):
    A, X, P, G = problem(4, width)
    start = np.maximum(P @ A, 0)
    start = np.array([x * (c @ x) / max(x @ G @ x, 1e-300) for x, c in zip(start.T, (P @ A).T, strict=True)]).T
    half_step(A, X, P, G, 0.0, 0.0, 2, True)
    np.testing.assert_allclose(X, naive.hals(start, P @ A, G, 0.0, 0.0, sweeps=2), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("penalties", [(0.0,) * 4, PENALTIES], ids=["plain", "penalised"])
@pytest.mark.parametrize("size", [1.0, 2.0**40, 2.0**-40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_loss_of_one_round_is_that_of_its_factors(dtype, size, penalties):
    rng = np.random.default_rng(0)
    left, S = (rng.random((3, width)).astype(dtype) for width in (30, 150))
    S *= dtype(size)
    W, H = rng.random((2, 30)).astype(dtype), np.zeros((2, 150), dtype)
    penalties = tuple(np.array(penalties) * (size**2, size**2, size, 1))
    wide = left.T.astype(np.float64) @ S
    found = descend(left, S, W, H, True, float((wide**2).sum()), penalties, False, 1, 0.0, (6, 6, 20))
    W, H = W.astype(np.float64), H.astype(np.float64)
    l1_W, l2_W, l1_H, l2_H = penalties
    expected = naive.objective(wide, W.T, H, l1_W=l1_W, l2_W=l2_W, l1_H=l1_H, l2_H=l2_H)
    np.testing.assert_allclose(found, expected, rtol=1e-4 if dtype == np.float32 else 1e-9)


def test_rounds_never_raise_the_loss_and_end_at_a_minimum_of_both_factors():
    rng = np.random.default_rng(1)
    left, S = rng.random((3, 40)), rng.random((3, 60))
    V, losses = left.T @ S, []
    for rounds in (1, 2, 4, 8, 16, 400):
        W, H = np.random.default_rng(2).random((2, 40)), np.zeros((2, 60))
        losses.append(descend(left, S, W, H, True, float((V**2).sum()), (0.0,) * 4, True, rounds, 0.0, (6, 6, 20)))
    assert (np.diff(losses) <= 1e-12 * losses[0]).all()
    residual = W.T @ H - V
    for X, slope in ((W, H @ residual.T), (H, W @ residual)):
        scale = np.abs(slope).max() + np.linalg.norm(V)
        assert slope[X == 0].min(initial=0) >= -1e-4 * scale
        assert np.abs(slope[X > 0]).max() <= 1e-4 * scale


@pytest.mark.parametrize("width", [3, 200])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_side_without_rows_is_the_identity(width, fresh):
    _, X, _, G = problem(4, width)
    P, whole = np.random.default_rng(0).random((4, width)), X.copy()
    expected = half_step(np.eye(width), X, P, G, 0.1, 0.2, 3, fresh)
    found = half_step(np.empty((0, width)), whole, P, G, 0.1, 0.2, 3, fresh)
    np.testing.assert_allclose(whole, X, rtol=1e-12)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12)
