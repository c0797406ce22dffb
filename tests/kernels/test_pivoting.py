"""Exact least squares where the textbook has trouble."""

import itertools

import numpy as np
import pytest
from naive import violation
from scipy.optimize import nnls

from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic.block_pivoting import pivot
from dnmf.kernels.quadratic.column_pivoting import PIVOT_SWEEPS

PENALTIES = [Penalty(), Penalty(0.4, 0.0), Penalty(0.0, 0.3), Penalty(0.4, 0.3)]


def solve(W, V, penalty=PENALTIES[0], start=None, dtype="float64"):
    W, V = W.astype(dtype), V.astype(dtype)
    H = np.ones((W.shape[1], V.shape[1]), dtype) if start is None else start.astype(dtype)
    pivot(H, W.T @ V, W.T @ W, penalty, PIVOT_SWEEPS)
    return H


def best(W, V, penalty):
    """SciPy's answer: l2 are further rows of W, l1 is a further right-hand side on them."""
    rank = W.shape[1]
    root = np.sqrt(penalty.l2)
    if penalty.l1 == 0:
        return np.column_stack(
            [nnls(np.vstack([W, root * np.eye(rank)]), np.append(v, np.zeros(rank)))[0] for v in V.T]
        )
    gram = W.T @ W + penalty.l2 * np.eye(rank)
    lower = np.linalg.cholesky(gram)
    return np.column_stack([nnls(lower.T, np.linalg.solve(lower, W.T @ v - penalty.l1))[0] for v in V.T])


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("rank", [1, 2, 9, 40])
def test_every_column_is_scipys(rank, penalty):
    rng = np.random.default_rng(rank)
    W, V = rng.random((60, rank)), rng.random((60, 80))
    found = solve(W, V, penalty)
    np.testing.assert_allclose(found, best(W, V, penalty), rtol=1e-7, atol=1e-10)
    assert not np.signbit(found).any()  # or tables show −0


def test_a_component_that_l1_has_put_out_does_not_put_out_the_others():
    rng = np.random.default_rng(0)
    W, V = rng.random((30, 3)), rng.random((30, 20))
    W[:, 1] *= 1e-14
    alone = best(W[:, [0, 2]], V, PENALTIES[1])
    np.testing.assert_allclose(solve(W, V, PENALTIES[1])[[0, 2]], alone, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_any_start_leads_to_the_same_answer(penalty):
    rng = np.random.default_rng(0)
    W, V = rng.random((30, 8)), rng.random((30, 50))
    starts = [np.zeros((8, 50)), np.ones((8, 50)), rng.random((8, 50)) * (rng.random((8, 50)) < 0.5)]
    found = [solve(W, V, penalty, start) for start in starts]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("fault", ["twins", "near twins", "sum", "all alike", "more than rows"])
def test_a_singular_gram_matrix_still_gives_an_optimal_answer(fault, dtype, penalty):
    rng = np.random.default_rng(0)
    W, V = rng.random((20, 6)), rng.random((20, 60))
    if fault == "twins":
        W[:, 4] = W[:, 1]
    elif fault == "near twins":
        W[:, 4] = W[:, 1] * (1 + 1e-8 * rng.random(20))
    elif fault == "sum":
        W[:, 5] = W[:, :3].sum(axis=1)
    elif fault == "all alike":
        W[:] = W[:, :1]
    else:
        W, V = W[:4], V[:4]
    H = solve(W, V, penalty, dtype=dtype).astype(float)
    assert np.isfinite(H).all()
    assert (H >= 0).all()
    W, V = (factor.astype(dtype).astype(float) for factor in (W, V))
    missed = violation(H, W.T @ V, W.T @ W, *penalty[:2])
    # There are several minima, and all of them meet the conditions. Descent stops at moves of 1e-10; in float32
    # C, G and H are rounded, each entry by eps.
    # Twins share the weight of one; no near-singular inverse makes them large.
    assert H.max() <= 10 * np.abs(V).max() / W.max(axis=0).min()
    assert missed.sum() <= max(1e-9, 16 * np.finfo(dtype).eps) ** 2 * ((W.T @ V) ** 2).sum()


def least(W, v, penalty):
    """The least objective over all sets of independent components, one of which a minimum has."""
    found = 0.0
    for size in range(1, min(W.shape) + 1):
        for chosen in itertools.combinations(range(W.shape[1]), size):
            part = W[:, chosen]
            gram = part.T @ part + penalty.l2 * np.eye(size)
            if np.linalg.cond(gram) < 1e12:
                h = np.linalg.solve(gram, part.T @ v - penalty.l1)
                found = min(found, 0.5 * h @ gram @ h - h @ (part.T @ v - penalty.l1)) if (h >= 0).all() else found
    return found


@pytest.mark.parametrize("arrays", [False, True])
@pytest.mark.parametrize("kind", ["random", "few entries", "sums", "scaled"])
@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_a_component_that_depends_on_others_replaces_one_if_l1_falls(rows, kind, arrays):
    rng = np.random.default_rng(rows)
    W, V = rng.random((rows, 7)), rng.random((rows, 40))
    if kind == "few entries":
        W *= rng.random(W.shape) < 0.5
    elif kind == "sums":
        W[:, 3:5] = W[:, :2] + W[:, 2:3]
    elif kind == "scaled":
        W *= 10.0 ** rng.integers(-6, 7, 7)
    penalty = Penalty(0.05 * float((W.T @ V).max(axis=1)[W.any(axis=0)].min()), 0.0)
    H = solve(W, V, Penalty(*penalty.arrays((7, 40))) if arrays else penalty)
    for h, v in zip(H.T, V.T, strict=True):
        objective = 0.5 * h @ (W.T @ (W @ h)) - h @ (W.T @ v - penalty.l1)
        assert objective <= least(W, v, penalty) + 1e-10 * (v @ v)


def test_a_component_of_zeros_is_left_as_it_is_unless_it_costs():
    rng = np.random.default_rng(0)
    W, V = rng.random((20, 4)), rng.random((20, 30))
    W[:, 2] = 0
    H = solve(W, V)
    assert (H[2] == 1).all()
    np.testing.assert_allclose(
        np.delete(H, 2, axis=0), best(np.delete(W, 2, axis=1), V, Penalty()), rtol=1e-8, atol=1e-12
    )
    assert not solve(W, V, Penalty(0.1, 0))[2].any()
    assert not solve(W, V, Penalty(0, 0.1))[2].any()


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e8, 1e30])
def test_components_of_any_scale_are_solved_alike(scale):
    rng = np.random.default_rng(0)
    W, V = rng.random((20, 5)), rng.random((20, 30))
    expected = solve(W, V)
    np.testing.assert_allclose(solve(W, V * scale) / scale, expected, rtol=1e-9, atol=1e-12)
    sizes = np.array([1, scale, 1, 1, 1 / scale])
    np.testing.assert_allclose(solve(W * sizes, V) * sizes[:, None], expected, rtol=1e-9, atol=1e-12)


def test_a_column_of_zeros_or_one_that_nothing_fits_is_zero():
    rng = np.random.default_rng(0)
    W, V = rng.random((20, 4)), np.zeros((20, 3))
    W[10:] = 0
    V[10:, 1] = 1
    V[:, 2] = 1
    H = solve(W, V)
    assert not H[:, :2].any()
    assert H[:, 2].any()


@pytest.mark.parametrize("rank", [25, 60])
def test_more_components_than_rows_fit_as_well_as_scipys(rank):
    rng = np.random.default_rng(rank)
    W, V = rng.random((20, rank)) * (rng.random((20, rank)) < 0.5), rng.random((20, 50))
    W[:, 3] = W[:, 7] + W[:, 9]
    found = np.linalg.norm(V - W @ solve(W, V, start=np.zeros((rank, 50))), axis=0)
    expected = np.array([nnls(W, v)[1] for v in V.T])
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rank", [3, 20, 150])
def test_the_bits_of_a_column_do_not_depend_on_the_columns_beside_it(rank, dtype):
    rng = np.random.default_rng(rank)
    W, V = rng.random((200, rank)), rng.random((200, 21)) * (rng.random((200, 21)) < 0.3)
    V[:, :5] = W @ (rng.random((rank, 5)) * (rng.random((rank, 5)) < 0.2))
    W[:, rank - 1] = W[:, 0]
    start = rng.random((rank, 21)) * (rng.random((rank, 21)) < rng.random(21))
    G, C, together = (array.astype(dtype) for array in (W.T @ W, W.T @ V, start))
    pivot(together, C, G, Penalty(), PIVOT_SWEEPS)
    for j in range(21):
        alone = start[:, j : j + 1].astype(dtype)
        pivot(alone, np.ascontiguousarray(C[:, j : j + 1]), G, Penalty(), PIVOT_SWEEPS)
        assert (alone[:, 0] == together[:, j]).all()
