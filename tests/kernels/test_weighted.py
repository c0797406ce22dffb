"""The Frobenius rule where every column and row has a Gram matrix of its own, on one block."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from naive import hals, objective, weighted_pass

from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import Entries, Weighted
from dnmf.kernels.blocks.panels import BadEntry
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic.row_updates import hals as hals_update
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.quadratic.weighted import W_SWEEPS, WeightedQuadratic
from dnmf.kernels.rule import Model

PENALTIES = [Penalty(), Penalty(0.05, 0.1)]


def problem(dtype="float64", seen=0.7):
    rng = np.random.default_rng(0)
    V = rng.gamma(1, 1, (12, 40)).astype(dtype)
    M = (rng.random(V.shape) * (rng.random(V.shape) < seen)).astype(dtype)
    M[:, 8], M[7] = 0, 0
    return V, M, rng.random((12, 3)).astype(dtype) + 0.1, rng.random((3, 40)).astype(dtype) + 0.1


def forms(V, M):
    """Return the same entries and weights in every form."""
    holes = np.where(M > 0, V, np.nan)
    stored = sp.csc_array(np.where(M > 0, V, 0))
    return {
        "weights": (Weighted(V, M), Entries(weighted=True), M),
        "NaN": (holes, Entries("nan"), 1.0 * (M > 0)),
        "NaN, Fortran": (np.asfortranarray(holes), Entries("nan"), 1.0 * (M > 0)),
        "NaN and weights": (Weighted(holes, M), Entries("nan", True), M),
        "stored": (stored, Entries("zeros"), 1.0 * (M > 0)),
        "stored and weights": (Weighted(stored, M), Entries("zeros", True), M),
        "stored and stored weights": (Weighted(stored, sp.csc_array(M)), Entries("zeros", True), M),
    }


def one_pass(block, entries, W, H, penalty=PENALTIES[0], sweeps=4, fresh=False, held=0):
    rule = WeightedQuadratic(sweeps, penalty, penalty, entries, held)
    stats, H, scratch = rule.zero(*W.shape), H.copy(), Scratch()
    stats.norms.append(entries.square_sum(block, W.dtype, scratch))
    rule.visit(block, H, Model.of(W), stats, scratch, fresh=fresh)
    return rule.finish(W, stats), H, stats


@pytest.mark.parametrize("seen", [0.7, 0.2])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", forms(*problem()[:2]))
def test_a_pass_is_the_textbooks(form, dtype, penalty, seen):
    V, M, W, H = problem(dtype, seen)
    block, entries, weights = forms(V, M)[form]
    step, found, _ = one_pass(block, entries, W, H, penalty)
    l1, l2 = penalty[:2]
    W1, H1 = weighted_pass(*(x.astype(float) for x in (V, W, H, weights)), 4, l1, l2, l1, l2, rounds=W_SWEEPS)
    tight = {"rtol": 1e-3, "atol": 1e-4} if dtype == "float32" else {"rtol": 1e-6, "atol": 1e-9}
    np.testing.assert_allclose(found, H1, **tight)
    np.testing.assert_allclose(step.W, W1, **tight)
    true = objective(V.astype(float), step.W.astype(float), found.astype(float), l1, l2, l1, l2, M=weights)
    assert step.loss == pytest.approx(true, rel=1e-5 if dtype == "float32" else 1e-10)
    assert step.unseen == (1, 1) if seen == 0.7 else step.unseen[0] >= 1
    norm = (weights * V.astype(float) ** 2).sum()
    fit = objective(V.astype(float), step.W.astype(float), found.astype(float), M=weights)
    assert step.relative_error == pytest.approx(np.sqrt(2 * fit / norm), rel=1e-4)


def test_where_nothing_is_missing_the_pass_is_the_one_without_weights():
    V, _, W, H = problem()
    step, found, _ = one_pass(Weighted(V, np.ones_like(V)), Entries(weighted=True), W, H)
    plain = Quadratic(hals_update, 4, Penalty(), Penalty())
    stats, expected, scratch = plain.zero(*W.shape), H.copy(), Scratch()
    stats.norms.append(plain.entries.square_sum(V, V.dtype, scratch))
    plain.visit(V, expected, Model.of(W), stats, scratch, fresh=False)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    thorough = dataclasses.replace(plain, sweeps=50)  # with weights, W is updated until it has converged
    np.testing.assert_allclose(step.W, thorough.finish(W, stats).W, rtol=1e-4, atol=1e-6)


def test_a_fresh_start_is_scaled_so_that_every_column_fits_best():
    V, M, W, H = problem()
    _, found, _ = one_pass(Weighted(V, M), Entries(weighted=True), W, H, fresh=True)
    Y = W @ H
    bottom = (M * Y * Y).sum(axis=0)
    best = np.divide((M * V * Y).sum(axis=0), bottom, out=np.zeros(40), where=bottom > 0)
    np.testing.assert_allclose(found, weighted_pass(V, W, H * best, M)[1], rtol=1e-8, atol=1e-12)


def test_columns_of_w_that_are_held_stay():
    V, M, W, H = problem()
    step, found, _ = one_pass(Weighted(V, M), Entries(weighted=True), W, H, held=2)
    np.testing.assert_array_equal(step.W[:, :2], W[:, :2])
    expected = weighted_pass(V, W, H, M, held=2, rounds=W_SWEEPS)
    np.testing.assert_allclose(step.W[np.any(M, axis=1)], expected[0][np.any(M, axis=1)], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found, expected[1], rtol=1e-8)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_transform_meets_the_optimality_conditions_of_every_column(penalty):
    V, M, W, _ = problem()
    rule = WeightedQuadratic(4, Penalty(), penalty, Entries(weighted=True))
    H = rule.transform(Weighted(V, M), Model.of(W), Scratch())
    for j in range(V.shape[1]):
        G, c = (W * M[:, [j]]).T @ W, (W.T @ (M[:, j] * V[:, j]))[:, None]
        expected = hals(np.zeros((3, 1)), c, G, *penalty[:2], 1000)[:, 0]
        np.testing.assert_allclose(H[:, j], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [("V", -1.0, "-1.0, 3, 9"), ("V", np.inf, "inf, 3, 9"), ("M", -2.0, "-2.0, 3, 9"), ("M", np.nan, "nan, 3, 9")],
)
@pytest.mark.parametrize("stored", [False, True])
def test_entries_and_weights_that_cannot_be_are_named(stored, place, value, sentence):
    V, M, _, _ = problem()
    V[3, 9], M[3, 9] = 1, 1
    (V if place == "V" else M)[3, 9] = value
    block = Weighted(sp.csc_array(V) if stored else V, M)
    entries = Entries("zeros" if stored else "none", weighted=True)
    with pytest.raises(BadEntry, match=sentence) as caught:
        entries.square_sum(block, V.dtype, Scratch())
    assert caught.value.matrix == ("" if place == "V" else "weights")


@pytest.mark.parametrize("form", [np.asarray, np.asfortranarray, sp.csc_array])
def test_a_zero_is_named_where_the_loss_needs_positive_entries(form):
    V = np.ones((5, 7))
    entries = Entries(positive=True, dense=True)
    assert entries.square_sum(form(V), V.dtype, Scratch()) == 35
    V[2, 4] = 0
    with pytest.raises(BadEntry, match=r"0\.0, 2, 4"):
        entries.square_sum(form(V), V.dtype, Scratch())
    weights = np.ones_like(V)
    with pytest.raises(BadEntry, match=r"0\.0, 2, 4"):
        Entries(weighted=True, positive=True).square_sum(Weighted(form(V), weights), V.dtype, Scratch())
    weights[2, 4] = 0
    Entries(weighted=True, positive=True).square_sum(Weighted(form(V), weights), V.dtype, Scratch())


def test_stored_weights_of_other_entries_are_refused():
    V, M, _, _ = problem()
    stored, other = sp.csc_array(V * (V > 1)), sp.csc_array(M)
    with pytest.raises(DataError, match="weights stores other entries than V"):
        Entries("zeros", True).square_sum(Weighted(stored, other), V.dtype, Scratch())
