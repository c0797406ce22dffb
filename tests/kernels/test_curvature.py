"""The second-order step of W's rows, against the Hessians written out."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import panels
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.divergence.newton_rows import ROW_LEAST, add_curvature, newton_rows
from dnmf.kernels.divergence.rule import Divergence
from dnmf.kernels.penalty import Penalty

RANK = 3


def problem(rows=12, columns=40, seed=0):
    """Return counts, a third of them 0, with an empty row, and positive factors."""
    rng = np.random.default_rng(seed)
    V = rng.poisson(1.0, (rows, columns)).astype(float)
    V[4] = 0
    return V, rng.random((rows, RANK)) + 0.1, rng.random((RANK, columns)) + 0.1


def hessians(V, W, H):
    Y = W @ H
    return np.einsum("ij,kj,lj->ikl", V / Y**2, H, H)


def curved(panel, W, H):
    """Return a panel with the weights v/y², or 0 where y is 0."""
    squares = (W @ H)[panel.rows, panel.columns] ** 2
    weights = np.divide(panel.values, squares, out=np.zeros_like(squares), where=squares > 0)
    return dataclasses.replace(panel, weights=weights)


def packed(V, W, H):
    grams = np.zeros((len(V), RANK * (RANK + 1) // 2))
    for columns, panel in panels(sp.csc_array(V), np.dtype(float), Scratch()):
        add_curvature(curved(panel, W, H[:, columns]), H[:, columns], np.inf, grams, Scratch())
    return grams


def objective(V, W, H, l1=0.0, l2=0.0):
    Y = W @ H
    return (Y - np.where(V > 0, V * np.log(Y), 0)).sum() + l1 * W.sum() + 0.5 * l2 * (W**2).sum()


def test_the_curvature_of_every_row_is_its_hessian():
    V, W, H = problem()
    lower = np.tril_indices(RANK)
    np.testing.assert_allclose(packed(V, W, H), hessians(V, W, H)[:, lower[0], lower[1]], rtol=1e-12)


def test_the_curvature_of_a_long_row_is_that_of_a_sample():
    """4000 of 40,000 entries of a row, in ten panels: 36 times the variance of such a sum bounds its error."""
    rng, shape, rate = np.random.default_rng(0), (6, 40_000), 0.1
    V = rng.poisson(3.0, shape).astype(float)
    V[1] = np.where(np.arange(shape[1]) % 100 == 0, V[1], 0)  # 40 entries a panel: fewer than are enough
    W, H = rng.random((6, RANK)) + 0.1, rng.random((RANK, shape[1])) + 0.1
    grams, lower = np.zeros((6, RANK * (RANK + 1) // 2)), np.tril_indices(RANK)
    for start in range(0, shape[1], 4000):
        columns = slice(start, start + 4000)
        for _, panel in panels(sp.csc_array(V[:, columns]), np.dtype(float), Scratch()):
            add_curvature(curved(panel, W, H[:, columns]), H[:, columns], rate * 4000, grams, Scratch())
    exact = hessians(V, W, H)[:, lower[0], lower[1]]
    np.testing.assert_allclose(grams[1], exact[1], rtol=1e-12)
    terms = (V / (W @ H) ** 2)[:, None] * H[lower[0]] * H[lower[1]]
    spread = np.sqrt((terms**2).sum(axis=2) * (1 / rate - 1))
    assert np.all(np.abs(grams - exact) <= 6 * spread)
    assert np.all(grams[[0, 2, 3, 4, 5]] != exact[[0, 2, 3, 4, 5]])


@pytest.mark.parametrize("penalty", [Penalty(), Penalty(l1=0.5, l2=2.0)])
def test_an_undamped_step_inside_is_newtons(penalty):
    V, W, H = problem(columns=4000)
    V[4] = 1
    V = np.random.default_rng(1).poisson(W @ H).astype(float)
    top = (V / (W @ H)) @ H.T
    new = newton_rows(W, top, H.sum(axis=1), packed(V, W, H), penalty, 0.0, 0)
    slope = H.sum(axis=1) - top + penalty.l1 + penalty.l2 * W
    bend = hessians(V, W, H) + penalty.l2 * np.eye(RANK)
    expected = W - np.linalg.solve(bend, slope[..., None])[..., 0]
    inside = (expected > 0.1 * W).all(axis=1)
    assert inside.sum() > 6

    def models(X):
        return np.einsum("ik,ik->i", slope, X - W) + 0.5 * np.einsum("ik,ikl,il->i", X - W, bend, X - W)

    assert (models(new)[inside] <= 0.99 * models(expected)[inside]).all()


@pytest.mark.parametrize("penalty", [Penalty(), Penalty(l1=0.1, l2=0.5)])
def test_small_steps_lower_the_objective(penalty):
    V, W, H = problem()
    top = (V / (W @ H)) @ H.T
    new = newton_rows(W, top, H.sum(axis=1), packed(V, W, H), penalty, 10.0, 0)
    assert objective(V, new, H, *penalty[:2]) < objective(V, W, H, *penalty[:2])
    assert (new >= ROW_LEAST * W * (1 - 1e-12)).all()


def test_fixed_columns_stay_and_a_step_down_leaves_a_share():
    V, W, H = problem()
    top = (V / (W @ H)) @ H.T
    new = newton_rows(W, top, H.sum(axis=1), packed(V, W, H), Penalty(), 0.1, 1)
    assert np.array_equal(new[:, 0], W[:, 0])
    assert (new[:, 2] != W[:, 2]).all()
    np.testing.assert_allclose(new[4, 1:], ROW_LEAST * W[4, 1:])


@pytest.mark.parametrize("entry", [0.0, 1e-307, 1e-13])
def test_entries_near_0_leave_it_where_their_slope_is_negative(entry):
    V, W, H = problem()
    V = W @ H  # the best W is the one that is changed next
    W = W.copy()
    W[3, 1] = entry
    for _ in range(60):
        top = (V / (W @ H)) @ H.T
        W = newton_rows(W, top, H.sum(axis=1), packed(V, W, H), Penalty(), 1e-3, 0)
    np.testing.assert_allclose(W @ H, V, rtol=1e-6)


def test_a_row_of_zeros_stays():
    V, W, H = problem()
    W[3] = 0
    top = (V / np.maximum(W @ H, 1e-300)) @ H.T
    new = newton_rows(W, top, H.sum(axis=1), packed(V, np.maximum(W, 1e-300), H), Penalty(), 1.0, 0)
    assert (new[3] == 0).all()
    assert np.isfinite(new).all()


@pytest.mark.parametrize("penalty", [Penalty(), Penalty(0.1, 0.5)])
def test_rows_side_by_side_take_the_steps_of_rows_one_by_one(penalty, monkeypatch):
    rng = np.random.default_rng(4)
    W, H = rng.gamma(0.5, size=(300, RANK)), rng.gamma(0.5, size=(RANK, 30))
    V = rng.poisson(W @ H + 0.5).astype(float)
    W[[0, 130, 299]], W[[5, 200], 1] = 0, 0
    Y = np.maximum(W @ H, 1e-300)
    arguments = (V / Y) @ H.T, H.sum(axis=1), packed(V, np.maximum(W, 1e-300), H), penalty, 0.1, 1
    found = newton_rows(W, *arguments)
    monkeypatch.setattr("dnmf.kernels.divergence.newton_rows.SIDE_BY_SIDE", RANK - 1)
    np.testing.assert_allclose(found, newton_rows(W, *arguments), rtol=1e-12)


def test_rows_take_the_same_step_in_parts_on_threads(monkeypatch):
    monkeypatch.setattr("dnmf.kernels.divergence.rule.PART_ROWS", 5)
    V, W, H = problem()
    stats = Stats.zero(*W.shape)
    stats.cross, stats.row_sums, stats.grams = (V / (W @ H)) @ H.T, H.sum(axis=1), packed(V, W, H)
    rule = Divergence(1.0, True, 1, Penalty(0.1, 0.2), Penalty(), hessian_rate=1.0)
    expected = newton_rows(W, stats.cross, stats.row_sums, stats.grams, rule.penalty_W, 0.1, 0)
    np.testing.assert_array_equal(rule.second_order(W, stats, 0.1), expected)
    with ThreadPoolExecutor(2) as pool:
        np.testing.assert_array_equal(rule.second_order(W, stats, 0.1, pool.map), expected)
