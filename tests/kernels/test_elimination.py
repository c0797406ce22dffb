"""Cholesky factors side by side, against NumPy."""

import numpy as np
import pytest

from dnmf.kernels.blocks.elimination import SIDE, back_substitute, factorise, set_slopes

LEAST = 1e-11


def problem(rank, seed=0):
    """Return a Gram matrix with a diagonal of ones, right-hand sides and sets of components."""
    rng = np.random.default_rng(seed)
    W = rng.random((3 * rank, rank))
    W /= np.linalg.norm(W, axis=0)
    return W.T @ W, rng.standard_normal((rank, SIDE)), (rng.random((rank, SIDE)) < 0.6).astype(float)


def solutions(gram, c, passive):
    """Return the solution of every column, and which columns have a singular set."""
    rank = len(gram)
    rows, inverse = np.full((rank * (rank + 3) // 2, SIDE), np.nan), np.full(c.shape, np.nan)
    singular, x = np.zeros(SIDE, bool), np.full(c.shape, np.nan)
    rows[len(rows) - rank :] = c
    factorise(gram, passive, LEAST, rows, inverse, singular)
    back_substitute(rows, inverse, x)
    return x, singular


@pytest.mark.parametrize("rank", [*range(1, 10), 20, 33])
def test_each_column_is_solved_on_its_own_set(rank):
    gram, c, passive = problem(rank)
    passive[:, 0], passive[:, 1] = 0, 1
    x, singular = solutions(gram, c, passive)
    assert not singular.any()
    for j in range(SIDE):
        own = np.flatnonzero(passive[:, j])
        expected = np.zeros(rank)
        expected[own] = np.linalg.solve(gram[np.ix_(own, own)], c[own, j])
        np.testing.assert_allclose(x[:, j], expected, rtol=1e-8, atol=1e-10)


def test_a_set_with_dependent_components_is_singular_and_no_other_is_harmed():
    gram, c, passive = problem(6)
    gram[4], gram[:, 4] = gram[1], gram[:, 1]
    gram[4, 4] = 1
    passive[:] = 1
    passive[4, ::2] = 0
    x, singular = solutions(gram, c, passive)
    assert singular.tolist() == [j % 2 == 1 for j in range(SIDE)]
    own = np.delete(np.arange(6), 4)
    np.testing.assert_allclose(x[own][:, ::2], np.linalg.solve(gram[np.ix_(own, own)], c[own][:, ::2]), rtol=1e-8)
    assert np.isfinite(x).all()


@pytest.mark.parametrize("rank", [1, 4, 7])
def test_the_slopes_are_those_of_the_quadratic(rank):
    gram, c, passive = problem(rank)
    slope = np.empty(c.shape)
    set_slopes(gram, passive, c, slope)
    np.testing.assert_allclose(slope, gram @ passive - c, rtol=1e-12, atol=1e-14)
