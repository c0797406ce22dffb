"""Updates with penalties of every entry: SciPy's minima column by column, and those of numbers where they are equal."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize, nnls

from dnmf.kernels.blocks.sparse_panel import SparsePanel
from dnmf.kernels.divergence.beta import majorise
from dnmf.kernels.divergence.exact_columns import minimise_columns
from dnmf.kernels.graph import CoupledPenalty, Graph, hold, pull
from dnmf.kernels.optimality import quadratic_gains
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic.block_pivoting import pivot
from dnmf.kernels.quadratic.row_updates import hals, multiplicative

rng = np.random.default_rng(0)
W, V = rng.random((12, 4)), rng.random((12, 150))
C, G = W.T @ V, W.T @ W
# A pull of either sign, with an l2 of every entry; some columns have no penalty.
PULL = Penalty(rng.standard_normal((4, 150)), rng.random((4, 150)) * (rng.random(150) < 0.8) + 0.01)


def best(penalty):
    """The minimum of every column by SciPy, from a square root of its Gram matrix."""
    l1, l2 = penalty.arrays(C.shape)
    columns = []
    for j in range(C.shape[1]):
        lower = np.linalg.cholesky(G + np.diag(l2[:, j]))
        columns.append(nnls(lower.T, np.linalg.solve(lower, C[:, j] - l1[:, j]))[0])
    return np.column_stack(columns)


@pytest.mark.parametrize("update", [hals, pivot, multiplicative])
def test_every_update_leads_to_scipys_minimum_of_every_column(update):
    H = rng.random(C.shape) + 0.1
    update(H, C, G, PULL, 20000)
    np.testing.assert_allclose(H, best(PULL), atol=2e-3 if update is multiplicative else 1e-9)
    assert quadratic_gains(H, C, G, PULL)[0] < (1e-5 if update is multiplicative else 1e-18)


@pytest.mark.parametrize("update", [hals, pivot, multiplicative])
def test_equal_penalties_of_all_entries_are_those_of_numbers(update):
    start = rng.random(C.shape)
    numbers, arrays = start.copy(), start.copy()
    update(numbers, C, G, Penalty(0.1, 0.2), 3)
    update(arrays, C, G, Penalty(np.full((4, 1), 0.1), np.full((1, 150), 0.2)), 3)
    np.testing.assert_allclose(arrays, numbers, rtol=1e-12)
    expected = quadratic_gains(start, C, G, Penalty(0.1, 0.2))
    found = quadratic_gains(start, C, G, Penalty(np.full(C.shape, 0.1), np.full(C.shape, 0.2)))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("update", [hals, pivot])
def test_a_component_without_data_takes_the_value_that_pulls_it(update):
    alone = np.diag([1.0, 0.0, 0.0])
    H = np.full((3, 2), 5.0)
    update(H, np.zeros((3, 2)), alone, Penalty(np.array([[0], [-6.0], [1.0]]), np.array([[0], [2.0], [0.0]])), 5)
    np.testing.assert_allclose(H, [[0, 0], [3, 3], [0, 0]], atol=1e-15)


@pytest.mark.parametrize("beta", [0.5, 1.0, 1.5, 2.0, 3.0])
def test_a_pulled_entry_of_a_divergence_minimises_its_majoriser(beta):
    h, top, low, l1, l2 = rng.random((5, 6, 9)) + 0.05
    l1 = -2 * l1
    new = majorise(h, top, low, beta, Penalty(l1, l2))
    a, b = (0 if beta < 1 else beta - 1), (0 if beta > 2 else beta - 2)
    x = new / h
    np.testing.assert_allclose(low * x**a + l1 + l2 * new - top * x**b, 0, atol=1e-10)


@pytest.mark.parametrize("beta", [1.0, 1.5])
def test_pulled_columns_of_a_divergence_are_scipys(beta):
    counts = rng.poisson(V[:, :6] * 3).astype(float)
    counts[:, 2] = 0  # a column whose neighbours alone determine it
    penalty = Penalty(-rng.random((4, 6)) * 8, rng.random((4, 6)) * 3 + 1)
    rows = np.tile(np.arange(12), 6)
    panel = SparsePanel(np.arange(0, 73, 12), rows, counts.T.ravel(), 12, np.ones(72), zeros=False)
    found = minimise_columns(panel, W, beta, penalty)

    def value(h, j):
        y = W @ h + 1e-300
        v = counts[:, j]
        loss = y - v * np.log(y) if beta == 1 else (y**beta / beta - v * y ** (beta - 1) / (beta - 1))
        return loss.sum() + penalty.l1[:, j] @ h + 0.5 * penalty.l2[:, j] @ h**2

    for j in range(6):
        least = minimize(value, np.ones(4), j, bounds=[(1e-12, None)] * 4, method="L-BFGS-B", options={"ftol": 1e-15})
        assert value(found[:, j], j) <= least.fun + 1e-9 * abs(least.fun)


def graph_of(size, seed):
    """A random graph as the package holds it, and its dense weights."""
    A = sp.random(size, size, 0.2, random_state=seed, format="csc")
    A = (A + A.T).tocsc()
    A.setdiag(0)
    A.eliminate_zeros()
    A.sort_indices()
    return Graph(A.indptr.astype(np.int64), A.indices, A.data), A.toarray()


def test_the_sums_of_a_graph_are_those_of_the_dense_one():
    graph, A = graph_of(40, 1)
    X = rng.random((3, 40))
    L = np.diag(A.sum(axis=0)) - A
    np.testing.assert_allclose(graph.product(np.ascontiguousarray(X.T), slice(7, 31)).T, (X @ A)[:, 7:31], rtol=1e-12)
    np.testing.assert_allclose(graph.roughness(np.ascontiguousarray(X.T)), np.diag(X @ L @ X.T), rtol=1e-12)
    np.testing.assert_allclose(graph.degrees(slice(3, 9)), A.sum(axis=0)[3:9])
    assert graph.mean_degree() == pytest.approx(A.sum() / 40)


def test_the_majoriser_of_a_graph_touches_its_penalty_and_lies_above():
    graph, A = graph_of(30, 2)
    L, scale = np.diag(A.sum(axis=0)) - A, rng.random(3)
    X = rng.random((3, 30))
    penalty = CoupledPenalty(Penalty(0.1, 0.2), Penalty(l2=np.ones((3, 1))), graph, 0.7)

    def exact(Y):
        rough = 0.5 * 0.7 * scale @ np.diag(Y @ L @ Y.T)
        return rough + 0.1 * Y.sum() + 0.1 * (Y**2).sum() + 0.5 * (Y**2).sum()

    majoriser = penalty.at(X, scale)
    assert penalty.value_at(X, scale) == pytest.approx(exact(X))
    gap = exact(X) - majoriser.value_at(X)
    slope = majoriser.l1 + majoriser.l2 * X
    np.testing.assert_allclose(slope, 0.7 * scale[:, None] * (X @ L) + 0.1 + 1.2 * X, rtol=1e-10)
    for size in (1e-3, 0.1, 10):
        Y = np.abs(X + size * rng.standard_normal(X.shape))
        assert exact(Y) <= majoriser.value_at(Y) + gap + 1e-9


def test_edges_to_columns_that_are_held_give_their_exact_penalty():
    old, B, scale = rng.random((3, 20)), rng.random((5, 20)), rng.random(3)
    new = rng.random((3, 5))
    penalty = hold(old @ B.T, B.sum(axis=1), scale)
    exact = 0.5 * sum(
        scale[k] * B[j, i] * (new[k, j] - old[k, i]) ** 2 for k in range(3) for j in range(5) for i in range(20)
    )
    constant = 0.5 * (scale[:, None] * old**2 @ B.T).sum()
    assert penalty.value_at(new) + constant == pytest.approx(exact)
    assert pull(new, new, np.ones(5), scale).l2.shape == (3, 5)
