"""The quadratic rule on one block, and its loss near an exact fit."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from naive import hals as naive_hals
from naive import mu as naive_mu
from naive import objective

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.dense_panel import DensePanel
from dnmf.kernels.blocks.panels import square_sum
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.optimality import promised_share, quadratic_gains
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic import rule as quadratic
from dnmf.kernels.quadratic.fit import block_fit, precision
from dnmf.kernels.quadratic.row_updates import hals, multiplicative
from dnmf.kernels.quadratic.rule import Quadratic, match_scale
from dnmf.kernels.rule import Model

FORMS = [np.asarray, np.asfortranarray, sp.csc_array]


def nearly(distance, dtype, rows=20, width=300, rank=3):
    """A matrix and factors whose relative error is `distance`."""
    rng = np.random.default_rng(0)
    W, H = rng.random((rows, rank)).astype(dtype), rng.random((rank, width)).astype(dtype)
    exact = W.astype(float) @ H.astype(float)
    noise = rng.random((rows, width))
    V = exact + distance * noise * np.linalg.norm(exact) / np.linalg.norm(noise)
    return V.astype(dtype), W, H


def fit_of(V, W, H, scratch):
    norm = square_sum(V, H.dtype, scratch)
    wide = H.astype(float)
    crossed = float(np.vdot((V.T @ W).T.astype(float), wide))
    return block_fit(V, H, Model.of(W), norm, crossed, wide @ wide.T, scratch), norm


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("distance", [0.3, 1e-2, 1e-3, 1e-5, 1e-7, 0])
def test_the_fit_of_a_block_is_right_down_to_rounding(distance, dtype, form):
    V, W, H = nearly(distance, dtype)
    fit, norm = fit_of(form(V), W, H, Scratch())
    true = objective(V.astype(float), W.astype(float), H.astype(float))
    eps = float(np.finfo(dtype).eps)
    # Products of the dtype err by some eps of ‖V‖²; residuals of dense blocks by eps of V, so eps² of it.
    slack = 4 * eps * norm if sp.issparse(form(V)) or distance**2 > precision(dtype) else (4 * eps) ** 2 * norm
    assert fit >= 0
    assert fit == pytest.approx(true, rel=1e-3, abs=slack)


def test_residuals_are_computed_near_an_exact_fit_and_not_elsewhere(monkeypatch):
    calls = []
    monkeypatch.setattr(DensePanel, "square_residual", lambda *given: calls.append(1) or 0.0)
    for distance, expected in ((0.3, 0), (1e-7, 1)):
        calls.clear()
        fit_of(*nearly(distance, "float64"), Scratch())
        assert len(calls) == expected


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("update", "textbook"), [(hals, naive_hals), (multiplicative, naive_mu)])
def test_a_visit_leaves_the_sums_that_w_needs(update, textbook, form):
    V, W, H = nearly(0.3, "float64")
    stats, new = Stats.zero(*W.shape), H.copy()
    stats.norms.append(float(np.vdot(V, V)))
    Quadratic(update, 2, Penalty(), Penalty(0.1, 0.2)).visit(form(V), new, Model.of(W), stats, Scratch(), fresh=False)
    expected = textbook(H, W.T @ V, W.T @ W, 0.1, 0.2, 2)
    np.testing.assert_allclose(new, expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(stats.cross, V @ expected.T, rtol=1e-10)
    np.testing.assert_allclose(stats.gram, expected @ expected.T, rtol=1e-10)
    np.testing.assert_allclose(stats.row_sums, expected.sum(axis=1), rtol=1e-10)
    assert stats.fit == pytest.approx(objective(V, W, expected), rel=1e-10)


def test_a_fresh_column_has_the_best_scale():
    V, W, H = nearly(0.3, "float64")
    H[:, 4] = 0
    scaled = H.copy()
    match_scale(scaled, W.T @ V, W.T @ W)
    assert not scaled[:, 4].any()
    for column in (0, 17, 299):
        direction = W @ H[:, column]
        best = V[:, column] @ direction / (direction @ direction)
        np.testing.assert_allclose(scaled[:, column], best * H[:, column], rtol=1e-10)


@pytest.mark.parametrize("rank", [1, 3])
def test_the_loss_after_w_has_moved_is_that_of_the_new_factors(rank):
    V, W, H = nearly(0.3, "float64", rank=rank)
    rule, stats, start = Quadratic(hals, 4, Penalty(0.05, 0.1), Penalty(0.1, 0.2)), Stats.zero(*W.shape), W * 0.7
    stats.norms.append(float(np.vdot(V, V)))
    rule.visit(V, H, Model.of(start), stats, Scratch(), fresh=False)
    before = start.copy()
    step = rule.finish(start, stats)
    np.testing.assert_array_equal(start, before)
    assert step.loss == pytest.approx(objective(V, step.W, H, 0.05, 0.1, 0.1, 0.2), rel=1e-12)
    assert step.relative_error == pytest.approx(np.linalg.norm(V - step.W @ H) / np.linalg.norm(V), rel=1e-12)


@pytest.mark.parametrize("share", [0.0, 1e-6, 1e12])
def test_w_is_updated_until_little_is_left_and_no_further(share):
    V, W, H = nearly(0.3, "float64")
    left, rule = [], Quadratic(hals, 4, Penalty(), Penalty())

    def watched(rows, C, G, penalty, sweeps):
        hals(rows, C, G, penalty, sweeps)
        left.append(quadratic_gains(rows, C, G, penalty)[0])

    stats, start = Stats.zero(*W.shape), W * 0.7
    stats.norms.append(float(np.vdot(V, V)))
    rule.visit(V, H, Model.of(start), stats, Scratch(), fresh=False)
    stats.gain = share * stats.norms[0]
    rows, cross = (np.ascontiguousarray(array.T) for array in (start, stats.cross))
    first, _ = quadratic_gains(rows, cross, stats.gram, Penalty())
    dataclasses.replace(rule, update=watched).finish(start, stats)
    enough = max(0.01 * stats.gain, 1e-4 * first, 1e-12 * stats.norms[0])
    assert all(promised > enough for promised in left[:-1])
    assert left[-1] <= enough or len(left) == quadratic.W_ROUNDS


def test_the_promised_share_has_no_scale():
    V, W, H = nearly(0.3, "float64")
    H *= np.random.default_rng(1).random(H.shape)
    values = []
    for scale_V, scale_W in ((1, 1), (1e8, 1), (1, 1e-5), (1e-9, 1e6), (1e150, 1)):
        left = W * scale_W * np.array([1, 10, 100])
        right = H * scale_V / (scale_W * np.array([1, 10, 100])[:, None])
        stats = Stats.zero(*W.shape)
        stats.norms.append(float(np.vdot(V * scale_V, V * scale_V)))
        rule = Quadratic(hals, 1, Penalty(), Penalty())
        rule.visit(V * scale_V, right, Model.of(left), stats, Scratch(), fresh=False)
        values.append(rule.finish(left, stats).optimality)
    assert values[0] > 0
    np.testing.assert_allclose(values, values[0], rtol=1e-9)


def test_a_promise_below_rounding_is_no_share_of_the_loss():
    dtype = np.dtype("float32")
    assert promised_share(0.0, 0.0, 0.0, dtype) == 0
    assert promised_share(1.0, 0.0, 0.0, dtype) == 1
    assert promised_share(1e-3, 2.0, 0.0, dtype) == 5e-4
    assert promised_share(1e-14, 0.0, 1.0, dtype) < 1e-6


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rank", [1, 4, 30])  # the last one has several minima
@pytest.mark.parametrize("penalty", [Penalty(), Penalty(0.05, 0.2)])
def test_columns_solved_for_are_the_minimum_and_measured_as_a_residual(form, rank, penalty):
    rng = np.random.default_rng(rank)
    V = rng.random((20, 90)) * (rng.random((20, 90)) < 0.15)
    W = rng.random((20, rank)) * (rng.random((20, rank)) < 0.6)
    W[:, rank // 2] *= rank == 1  # a component without data
    rule, model, block = Quadratic(hals, 4, Penalty(), penalty), Model.of(W), form(V)
    stats = Stats.zero(1, 1)
    stats.norms.append(float(np.vdot(V, V)))
    H = rule.transform(block, model, Scratch(), stats)
    for column in range(V.shape[1]):
        rows = np.vstack([W, np.sqrt(penalty.l2) * np.eye(rank)])
        c = W.T @ V[:, column] - penalty.l1
        slope = rows.T @ (rows @ H[:, column]) - c
        assert slope.min() > -1e-8
        assert abs(slope @ H[:, column]) < 1e-8
    np.testing.assert_allclose(stats.fit, 0.5 * np.linalg.norm(V - W @ H) ** 2, rtol=1e-9, atol=1e-12)
