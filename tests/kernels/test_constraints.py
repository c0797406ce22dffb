"""Sums to one and bounds: projections, projected gradients, exact minima, and what their steps promise."""

import itertools

import numpy as np
import pytest
from scipy.optimize import brentq

from dnmf.kernels.blocks.tiles import LANES
from dnmf.kernels.constraint import Constraint
from dnmf.kernels.optimality import quadratic_gains
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic.block_pivoting import pivot
from dnmf.kernels.quadratic.column_pivoting import PIVOT_SWEEPS
from dnmf.kernels.quadratic.grams import update_rows
from dnmf.kernels.quadratic.projected_gradient import accelerated, largest_eigenvalue, minimise

SETS = [Constraint(), Constraint(simplex=True), Constraint(upper=0.4)]
WIDTH = LANES + 3


def problem(rank=3, width=WIDTH, seed=0):
    rng = np.random.default_rng(seed)
    W, V = rng.random((9, rank)), rng.random((9, width))
    return W.T @ V, W.T @ W, rng.random((rank, width))


def value(H, C, G, penalty):
    """The objective of every column."""
    l1, l2 = penalty.arrays(H.shape)
    return (0.5 * H * (G @ H) - C * H + l1 * H + 0.5 * l2 * H**2).sum(axis=0)


def best(C, G, penalty):
    """The minimum of every column, found by trying every set of entries that are 0, free, or at the bound."""
    rank, within = len(C), penalty.within
    l1, l2 = penalty.arrays(C.shape)
    found, lowest = np.zeros(C.shape), np.full(C.shape[1], np.inf)
    places = [(0, 1, 2) if within.upper < np.inf else (0, 1)] * rank
    for choice, j in itertools.product(itertools.product(*places), range(C.shape[1])):
        free, x = np.array(choice) == 1, np.where(np.array(choice) == 2, within.upper, 0.0)
        gram, c = G + np.diag(l2[:, j]), C[:, j] - l1[:, j]
        count = int(free.sum())
        if within.simplex:
            if count == 0:
                continue
            system = np.ones((count + 1, count + 1))
            system[:count, :count], system[count, count] = gram[np.ix_(free, free)], 0
            x[free] = np.linalg.solve(system, [*c[free], 1.0])[:count]
        elif count:
            x[free] = np.linalg.solve(gram[np.ix_(free, free)], (c - gram @ x)[free])
        size = 0.5 * x @ gram @ x - c @ x
        if (x >= 0).all() and (x <= within.upper).all() and size < lowest[j]:
            found[:, j], lowest[j] = x, size
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_projection_on_the_simplex_is_that_of_sorting(dtype):
    X = np.random.default_rng(1).standard_normal((6, 40)).astype(dtype) * 10.0 ** np.arange(-3, 5).repeat(5)
    ordered = -np.sort(-X.astype(float), axis=0)  # Duchi et al. 2008, figure 1
    sums = (np.cumsum(ordered, axis=0) - 1) / np.arange(1, 7)[:, None]
    last = (ordered > sums).sum(axis=0) - 1
    expected = np.maximum(X - sums[last, np.arange(40)], 0)
    found = X.copy()
    Constraint(simplex=True).project(found, np.ones_like(X))
    assert (abs(found - expected) <= 8 * np.finfo(dtype).eps * np.maximum(1, abs(X).max(axis=0))).all()
    np.testing.assert_allclose(found.sum(axis=0), 1, rtol=4 * np.finfo(dtype).eps)


def test_a_projection_in_another_metric_solves_its_equation():
    rng = np.random.default_rng(2)
    X, inverse = rng.standard_normal((5, 8)), rng.random((5, 8)) + 0.1
    found = X.copy()
    Constraint(simplex=True).project(found, inverse)
    for j in range(8):
        tau = brentq(lambda t, j=j: np.maximum(X[:, j] - t * inverse[:, j], 0).sum() - 1, -100, 100, xtol=1e-14)
        np.testing.assert_allclose(found[:, j], np.maximum(X[:, j] - tau * inverse[:, j], 0), atol=1e-12)


def test_a_point_of_the_simplex_is_its_own_projection_in_every_metric():
    X = np.random.default_rng(2).dirichlet(np.ones(4), 50).T.astype(np.float32)
    found, inverse = X.copy(), np.float32([[1e6], [1.0], [1e-3], [2.0]]) * np.ones((1, 50), np.float32)
    Constraint(simplex=True).project(found, inverse)
    np.testing.assert_allclose(found, X, atol=5e-7)


def test_a_weak_component_does_not_disturb_the_others_in_single_precision():
    rng = np.random.default_rng(4)
    W = rng.random((30, 3)) * [1e-3, 1.0, 1.0]
    V = (W @ rng.dirichlet(np.ones(3), 40).T).astype(np.float32)
    C, G, penalty = W.T @ V, W.T @ W, Penalty(within=Constraint(simplex=True))
    H = rng.dirichlet(np.ones(3), 40).T.astype(np.float32)
    for _ in range(40):
        before = value(H.astype(float), C, G, penalty)
        accelerated(H, C.astype(np.float32), G.astype(np.float32), penalty, 5)
        assert (value(H.astype(float), C, G, penalty) <= before + 1e-6 * abs(before)).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_of_the_eigenvalues_is_above_and_close(seed):
    G = problem(6, seed=seed)[1]
    G[0, 1] = G[1, 0] = -G[0, 1] * (seed == 2) + G[0, 1] * (seed != 2)
    scale = 1 / np.sqrt(np.diag(G))
    largest = np.linalg.eigvalsh(np.abs(G) * scale * scale[:, None]).max()
    assert largest <= largest_eigenvalue(G, np.diag(G).copy()) <= 1.01 * largest
    assert np.linalg.eigvalsh(G * scale * scale[:, None]).max() <= largest_eigenvalue(G, np.diag(G).copy())


@pytest.mark.parametrize("within", SETS)
@pytest.mark.parametrize("l2", [0.2, np.linspace(0, 1, 3 * WIDTH).reshape(3, WIDTH)], ids=["number", "array"])
def test_steps_lead_to_the_minimum_and_never_up(within, l2):
    C, G, H = problem()
    penalty = Penalty(0.1, l2, within)
    expected = best(C, G, penalty)
    exact = np.zeros_like(H)
    minimise(exact, C, G, penalty)
    np.testing.assert_allclose(exact, expected, atol=1e-9)
    Constraint.project(within, H, np.ones_like(H))
    for steps in (1, 2, 5, 15, 400):
        before, gain = value(H, C, G, penalty), quadratic_gains(H, C, G, penalty)[0]
        accelerated(H, C, G, penalty, steps)
        assert (value(H, C, G, penalty) <= before + 1e-14).all()
        assert gain > 0
    np.testing.assert_allclose(H, expected, atol=1e-7)
    assert quadratic_gains(expected, C, G, penalty)[0] < 1e-15


def test_without_a_constraint_the_minimum_is_that_of_pivoting_and_so_are_the_promised_gains():
    C, G, H = problem(5)
    expected = np.zeros_like(H)
    pivot(expected, C, G, Penalty(), PIVOT_SWEEPS)
    gains = quadratic_gains(H, C, G, Penalty())
    np.testing.assert_allclose(quadratic_gains(H, C, G, Penalty(within=Constraint(upper=1e9))), gains, rtol=1e-12)
    accelerated(H, C, G, Penalty(), 1000)
    np.testing.assert_allclose(H, expected, atol=1e-6 * expected.max())


@pytest.mark.parametrize("within", SETS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_column_does_not_depend_on_its_lane_or_its_neighbours(within, dtype):
    C, G, H = (array.astype(dtype) for array in problem(7, 2 * LANES + 11))
    whole, penalty = H.copy(), Penalty(0.1, 0.2, within)
    accelerated(whole, C, G, penalty, 5)
    for column in (0, LANES - 1, LANES, 2 * LANES + 10):
        alone = H[:, [column]]
        accelerated(alone, C[:, [column]], G, penalty, 5)
        np.testing.assert_array_equal(alone[:, 0], whole[:, column])


@pytest.mark.parametrize("within", SETS)
def test_a_component_without_data_does_no_harm(within):
    C, G, H = problem()
    C[1], G[1], G[:, 1] = 0, 0, 0
    for l1 in (0.0, 0.3):
        found = H.copy()
        accelerated(found, C, G, Penalty(l1, 0.0, within), 300)
        expected = best(C, G + np.diag([0, 1e-9, 0]), Penalty(l1, 0.0, within))
        penalty = Penalty(l1, 0.0, within)
        np.testing.assert_allclose(value(found, C, G, penalty), value(expected, C, G, penalty), atol=1e-6)
    zero = np.zeros_like(G)
    accelerated(H, np.zeros_like(C), zero, Penalty(within=within), 3)
    assert np.isfinite(H).all()
    assert quadratic_gains(H, np.zeros_like(C), zero, Penalty(within=within))[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("within", SETS)
def test_rows_with_gram_matrices_of_their_own_reach_their_minima(within):
    rng = np.random.default_rng(3)
    factors, cross = rng.random((5, 8, 3)), rng.random((5, 3))
    grams = np.einsum("ijk,ijl->ikl", factors, factors)
    packed = np.array([gram[np.tril_indices(3)] for gram in grams])
    W, zeros = rng.random((5, 3)), np.zeros((5, 3))
    options = (500, zeros, zeros, 0, (True, *within))
    promised = [update_rows(W, cross, packed, np.zeros((3, 3)), options) for _ in range(2)]
    for row, gram, c in zip(W, grams, cross, strict=True):
        np.testing.assert_allclose(row, best(c[:, None], gram, Penalty(within=within))[:, 0], atol=1e-9)
    assert promised[1] < 1e-15
