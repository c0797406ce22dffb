"""The rule of the β-divergences on one block."""

import numpy as np
import pytest
import scipy.sparse as sp
from naive import beta_update, divergence, kl_update, mu, objective
from scipy.optimize import minimize

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import Entries, Weighted
from dnmf.kernels.divergence.beta import divergence_of, exponent, majorise
from dnmf.kernels.divergence.elementwise import LANES, logarithms
from dnmf.kernels.divergence.rule import Divergence
from dnmf.kernels.optimality import divergence_gain
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.rule import Model

BETAS = [-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0]
FORMS = {"C": np.asarray, "Fortran": np.asfortranarray, "CSC": sp.csc_array}
PENALTIES = [Penalty(), Penalty(0.3, 0), Penalty(0, 0.2), Penalty(0.3, 0.2)]
PENALTY = Penalty(0.3, 0.2)


def problem(dtype="float64", rows=12, width=40, rank=3, zeros=0.4):
    rng = np.random.default_rng(0)
    V = rng.gamma(1, 1, (rows, width)) * (rng.random((rows, width)) >= zeros)
    if zeros:
        V[3], V[:, 5] = 0, 0
    return V.astype(dtype), rng.random((rows, rank)).astype(dtype) + 0.1, rng.random((rank, width)).astype(dtype) + 0.1


def rule_of(beta=1.0, penalty=PENALTY, sweeps=1, newton=False, entries=None, held=0):
    entries = entries or Entries(positive=beta <= 0, dense=beta != 1)
    return Divergence(beta, newton, sweeps, Penalty(), penalty, entries, 0, held)


def visit(V, W, H, fresh=False, **options):
    rule = rule_of(**options)
    stats, H = rule.zero(*W.shape), H.copy()
    rule.visit(V, H, Model.of(W), stats, Scratch(), fresh=fresh)
    return H, stats


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("beta", BETAS)
def test_loss_and_sums_are_those_of_the_textbook(beta, form):
    V, W, H = problem(zeros=0.4 if beta > 0 else 0)
    H, stats = visit(form(V), W, H, beta=beta)
    Y = W @ H
    assert stats.fit == pytest.approx(objective(V, W, H, loss=beta), rel=1e-11)
    np.testing.assert_allclose(stats.row_sums, H.sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(stats.squares, (H**2).sum(axis=1), rtol=1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        np.testing.assert_allclose(stats.cross, np.where(Y > 0, V * Y ** (beta - 2), 0) @ H.T, rtol=1e-11, atol=1e-13)
        if beta != 1:
            np.testing.assert_allclose(stats.denominator, np.where(Y > 0, Y ** (beta - 1), 0) @ H.T, rtol=1e-11)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("beta", BETAS)
def test_an_update_is_the_minimum_of_the_majoriser(beta, penalty, form):
    V, W, H = problem(zeros=0.4 if beta > 0 else 0)
    expected = beta_update(V, W, H, beta, *penalty[:2])
    np.testing.assert_allclose(visit(form(V), W, H, beta=beta, penalty=penalty)[0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("form", ["weights", "stored"])
def test_multiplicative_updates_of_least_squares_are_those_without_weights(form, penalty):
    V, W, H = problem(zeros=0)
    M = np.ones_like(V)
    block = Weighted(V, M) if form == "weights" else sp.csc_array(V)
    entries = Entries(weighted=True) if form == "weights" else Entries("zeros")
    found, _ = visit(block, W, H, beta=2.0, penalty=penalty, sweeps=3, entries=entries)
    np.testing.assert_allclose(found, mu(H, W.T @ V, W.T @ W, *penalty[:2], 3), rtol=1e-11)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("newton", [False, True], ids=["mu", "cd"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_matrix_of_zeros_is_met_by_zeros(dtype, newton, form):
    _, W, H = problem(dtype)
    H, stats = visit(form(np.zeros((12, 40), dtype)), W, H, newton=newton)
    assert not H.any()
    assert stats.fit == 0


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(("beta", "newton"), [*((beta, False) for beta in BETAS), (1.0, True)])
def test_no_update_of_h_raises_the_penalised_divergence(beta, newton, form):
    V, W, H = problem(zeros=0.4 if beta > 0 else 0)
    losses = []
    for _ in range(30):
        losses.append(objective(V, W, H, l1_H=0.3, l2_H=0.2, loss=beta))
        H, _ = visit(form(V), W, H, beta=beta, newton=newton)
    assert (np.diff(losses) <= 1e-12 * abs(losses[0])).all()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("penalty", PENALTIES)
def test_every_step_of_newtons_method_lowers_the_divergence(penalty):
    """From starts far on either side of the minimum, one component at a time, with data of any scale."""
    rng = np.random.default_rng(1)
    for scale in (1e-8, 1.0, 1e8):
        V, W, _ = problem()
        V = V * scale
        for _ in range(50):
            H = scale * 10.0 ** rng.uniform(-6, 6, (3, 40)) * (rng.random((3, 40)) < 0.8)
            H[:, ~V.any(axis=0)] = 0
            H[0] = np.maximum(H[0], scale * 1e-6)
            before = objective(V, W, H, l1_H=penalty.l1, l2_H=penalty.l2 / scale, loss=1)
            new, _ = visit(V, W, H, newton=True, penalty=Penalty(penalty.l1, penalty.l2 / scale))
            assert objective(V, W, new, l1_H=penalty.l1, l2_H=penalty.l2 / scale, loss=1) <= before * (1 + 1e-12)


def test_newtons_method_is_ahead_of_the_multiplicative_rule():
    V, W, H = problem(zeros=0)
    one, two = (visit(V, W, H, newton=newton, sweeps=4)[1].fit for newton in (True, False))
    best = visit(V, W, H, newton=True, sweeps=500)[1].fit
    assert one - best < 0.2 * (two - best)


def test_newtons_method_brings_back_entries_that_are_zero():
    V, W, H = problem(zeros=0)
    start = H.copy()
    start[1] = 0
    found, expected = start, H
    for _ in range(200):
        found, _ = visit(V, W, found, newton=True, sweeps=20, penalty=Penalty())
        expected, _ = visit(V, W, expected, newton=True, sweeps=20, penalty=Penalty())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("beta", BETAS)
def test_a_fresh_start_is_scaled_so_that_every_column_fits_best(beta, form):
    V, W, H = problem(zeros=0.4 if beta > 0 else 0)
    Y = W @ H
    scaled = H * (V * Y ** (beta - 1)).sum(axis=0) / (Y**beta).sum(axis=0)
    expected = beta_update(V, W, scaled, beta)
    np.testing.assert_allclose(visit(form(V), W, H, beta=beta, penalty=Penalty(), fresh=True)[0], expected, rtol=1e-9)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("newton", [False, True], ids=["mu", "cd"])
def test_where_wh_is_zero_and_v_is_not_the_loss_is_infinite_and_the_update_finite(newton, form):
    V, W, H = problem("float32")
    W[4], V[4] = 0, 300
    H, stats = visit(form(V), W, H, newton=newton)
    assert stats.fit == np.inf
    assert np.isfinite(H).all()
    assert np.isfinite(stats.cross).all()


@pytest.mark.parametrize("newton", [False, True], ids=["mu", "cd"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_and_missing_entries_count_in_every_form(dtype, newton):
    V, W, H = problem(dtype)
    rng = np.random.default_rng(2)
    M = (rng.random(V.shape) * (rng.random(V.shape) < 0.7)).astype(dtype)
    M[:, 8], M[7] = 0, 0
    holes = np.where(M > 0, V, np.nan)
    given = {
        "weights": (Weighted(V, M), Entries(weighted=True), M),
        "CSC and weights": (Weighted(sp.csc_array(V), M), Entries(weighted=True), M),
        "sparse weights": (Weighted(V, sp.csc_array(M)), Entries(weighted=True), M),
        "NaN": (holes, Entries("nan"), M > 0),
        "NaN, Fortran": (np.asfortranarray(holes), Entries("nan"), M > 0),
        "NaN and weights": (Weighted(holes, M), Entries("nan", True), M),
        "stored": (sp.csc_array(V), Entries("zeros"), V > 0),
        "stored and weights": (Weighted(sp.csc_array(V), M), Entries("zeros", True), M * (V > 0)),
    }
    for name, (block, entries, weights) in given.items():
        h, stats = visit(block, W, H, newton=newton, entries=entries)
        if not newton:
            expected = beta_update(V, W, H, 1, *PENALTY[:2], M=weights)
            expected[:, ~(weights > 0).any(axis=0)] = 0
            np.testing.assert_allclose(h, expected, rtol=2e-5 if dtype == "float32" else 1e-10, err_msg=name)
        rel = 2e-5 if dtype == "float32" else 1e-10
        assert stats.fit == pytest.approx(objective(V, W, h, loss=1, M=weights), rel=rel), name
        np.testing.assert_array_equal(stats.seen, (weights > 0).sum(axis=1), err_msg=name)
        assert stats.unseen_columns == (~(weights > 0).any(axis=0)).sum(), name
        np.testing.assert_allclose(stats.denominator, weights @ h.T, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("newton", [False, True], ids=["mu", "cd"])
def test_components_that_are_held_take_part_and_stay(newton, form):
    V, W, H = problem()
    found, _ = visit(form(V), W, H, newton=newton, held=2, sweeps=3)
    np.testing.assert_array_equal(found[:2, V.any(axis=0)], H[:2, V.any(axis=0)])
    assert not np.allclose(found[2], H[2])
    assert objective(V, W, found, l1_H=0.3, l2_H=0.2, loss=1) < objective(V, W, H, l1_H=0.3, l2_H=0.2, loss=1)


@pytest.mark.parametrize("beta", BETAS)
def test_the_divergence_of_two_numbers(beta):
    rng = np.random.default_rng(0)
    v, y = rng.gamma(1, 1, 100), rng.gamma(1, 1, 100)
    v[:20] *= beta > 0
    found = [divergence_of(*pair, beta) for pair in zip(v, y, strict=True)]
    np.testing.assert_allclose(found, divergence(v, y, beta), rtol=1e-10, atol=1e-13)
    assert divergence_of(3.0, 3.0, beta) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("beta", BETAS)
def test_the_exponent_is_that_of_the_update_without_penalties(beta):
    h, top, low = np.full((1, 1), 2.0), np.full((1, 1), 3.0), np.full((1, 1), 5.0)
    assert majorise(h, top, low, beta, Penalty())[0, 0] == pytest.approx(2 * (3 / 5) ** exponent(beta), rel=1e-12)


@pytest.mark.parametrize("penalty", [Penalty(), PENALTY])
@pytest.mark.parametrize("beta", BETAS)
def test_the_gain_of_multiplicative_steps_is_that_of_their_majorisers(beta, penalty):
    V, W, H = problem(zeros=0)
    H = beta_update(V, W, H, beta, *penalty[:2])  # near the optimum, where the gain decides
    Y = W @ H
    top, low = W.T @ (V * Y ** (beta - 2)), W.T @ Y ** (beta - 1)
    new = majorise(H, top, low, beta, penalty)
    x, (a, b) = new / H, ((0, beta - 2) if beta < 1 else (beta - 1, beta - 2) if beta <= 2 else (beta - 1, 0))

    def majoriser(x):
        attracted = np.log(x) if b == -1 else x ** (b + 1) / (b + 1)
        pulled = (x**2 + 1) / 2 if beta == 2 else x  # by the majoriser of l1, too
        return (
            H * (low * x ** (a + 1) / (a + 1) + penalty.l1 * pulled - top * attracted) + 0.5 * penalty.l2 * (H * x) ** 2
        )

    expected = (majoriser(np.ones_like(x)) - majoriser(x)).sum()
    found = divergence_gain(H, new, top, low, penalty)
    assert found == pytest.approx(expected, rel=0.1)
    assert found <= beta_objective(V, W, H, beta, penalty) - beta_objective(V, W, new, beta, penalty) or beta != 1


def beta_objective(V, W, H, beta, penalty):
    return divergence(V, W @ H, beta).sum() + penalty.l1 * H.sum() + 0.5 * penalty.l2 * (H**2).sum()


def test_a_small_entry_promises_no_more_than_it_can_bring():
    V, W, H = problem(zeros=0)
    H[1, 2] = 1e-18
    Y = W @ H
    top, low = W.T @ (V / Y), np.broadcast_to(W.sum(axis=0)[:, None], H.shape)
    new = majorise(H, top, low, 1, Penalty())
    small, whole = np.ix_([1], [2]), divergence(V, Y, 1).sum()
    assert divergence_gain(H[small], new[small], top[small], low[small], Penalty()) < 1e-15 * whole


@pytest.mark.parametrize("penalty", [Penalty(), PENALTY])
def test_the_gain_of_newton_steps_is_that_of_the_quadratic_and_counts_entries_at_0(penalty):
    V, W, H = problem(zeros=0)
    H[1, :10] = 0
    Y = W @ H
    top, low, bend = W.T @ (V / Y), W.sum(axis=0)[:, None], (W**2).T @ (V / Y**2)
    slope, curvature = low + penalty.l1 + penalty.l2 * H - top, bend + penalty.l2
    step = np.maximum(-slope / curvature, -H)
    expected = -(slope * step + 0.5 * curvature * step**2)
    assert (expected[1, :10] > 0).any()
    assert divergence_gain(H, H, top, low, penalty, bend) == pytest.approx(expected.sum(), rel=1e-12)


@pytest.mark.parametrize("newton", [False, True], ids=["mu", "cd"])
def test_nothing_is_promised_at_a_fixed_point(newton):
    V, W, H = problem()
    _, first = visit(V, W, H, newton=newton)
    for _ in range(3000):
        H = kl_update(V, W, H, 0.3, 0.2)
    _, stats = visit(V, W, H, newton=newton)
    assert first.gain > 1e-3 * first.fit
    assert abs(stats.gain) <= 1e-8 * stats.fit  # multiplicative steps approach 0 slowly


def test_logarithms_are_right_at_every_scale():
    x = 10.0 ** np.random.default_rng(0).uniform(-300, 300, LANES)
    x[:6] = [1, np.nextafter(1, 0), np.nextafter(1, 2), 2, np.sqrt(2), 5e-308]
    given, out = x.copy(), np.empty(LANES)
    logarithms(x, x.view(np.int64), out, out.view(np.int64))
    np.testing.assert_allclose(out, np.log(given), rtol=1e-11, atol=1e-16)


@pytest.mark.parametrize("newton", [False, True], ids=["mu", "cd"])
def test_wide_and_narrow_panels_give_the_same_update(newton):
    V, W, H = problem(rows=2000, width=400)
    whole, _ = visit(V, W, H, newton=newton)
    parts = [visit(V[:, c : c + 50], W, H[:, c : c + 50], newton=newton)[0] for c in range(0, 400, 50)]
    np.testing.assert_allclose(whole, np.hstack(parts), rtol=1e-11)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("form", ["Fortran", "CSC"])
def test_a_transform_with_components_that_are_almost_parallel_ends_at_the_minimum(form, penalty):
    V, W, _ = problem()
    W = 1 + 0.03 * W
    H = Divergence(1.0, True, 1, Penalty(), penalty).transform(FORMS[form](V), Model.of(W), Scratch())
    Y = W @ H
    slope = W.sum(axis=0)[:, None] + penalty.l1 + penalty.l2 * H - W.T @ (V / np.where(V > 0, Y, 1))
    assert (H >= 0).all()
    assert (H > 0).any(axis=1).all()
    np.testing.assert_allclose(np.minimum(slope, 0), 0, atol=1e-6)
    np.testing.assert_allclose(slope * H, 0, atol=1e-6)


@pytest.mark.parametrize("kind", ["few rows", "parallel", "twins", "unequal entries", "one large entry"])
@pytest.mark.parametrize("rank", [4, 13, 20])
@pytest.mark.parametrize("l1", [0.0, 0.1])
@pytest.mark.parametrize("form", ["Fortran", "CSC"])
def test_a_transform_ends_at_the_minimum_where_the_hessian_is_nearly_singular(form, l1, rank, kind):
    rng = np.random.default_rng(rank)
    W, V = rng.random((3 if kind == "few rows" else 30, rank)), None
    if kind == "parallel":
        W = rng.random((30, 1)) * rng.random((1, rank))
    elif kind == "twins":
        W[:, 1:3] = W[:, :1] * (1 + 1e-4 * rng.random((30, 2)))
    elif kind == "unequal entries":
        W = np.vstack([W[:1], W[1:2] * 1e-4])
        V = np.vstack([3e3 * rng.random(40), rng.random(40)])
    V = rng.poisson(3 * W @ rng.random((rank, 40)) + 0.5).astype(np.float64) if V is None else V
    V[0] *= 1e6 if kind == "one large entry" else 1
    H = Divergence(1.0, True, 1, Penalty(), Penalty(l1)).transform(FORMS[form](V), Model.of(W), Scratch())
    mass = W.sum(axis=0)[:, None]
    slope = 1 + (l1 - W.T @ (V / np.where(V > 0, W @ H, 1))) / mass
    assert (H >= 0).all()
    np.testing.assert_allclose(np.minimum(slope, 0), 0, atol=1e-8)
    np.testing.assert_allclose(slope * mass * H / V.sum(axis=0).clip(1), 0, atol=1e-8)


@pytest.mark.parametrize("rank", [3, 14])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.25, 1.5, 1.75, 3.0])
def test_components_that_are_alike_are_told_apart_by_every_divergence(beta, rank):
    rng = np.random.default_rng(1)
    W = (rng.random((30, 1)) + 0.5) * (1 + 0.05 * rng.random((30, rank)))
    H = rng.random((rank, 40)) * (rng.random((rank, 40)) < 0.6)
    H[0] += 0.1
    found = rule_of(beta, Penalty()).transform(W @ H, Model.of(W), Scratch())
    np.testing.assert_allclose(found, H, atol=1e-5)


@pytest.mark.parametrize("beta", [0.5, 1.5, 3.0])
def test_a_transform_of_noise_ends_where_scipy_does(beta):
    rng = np.random.default_rng(4)
    W = (rng.random((8, 1)) + 0.1) * (1 + 0.03 * rng.random((8, 3)))
    V = W @ (rng.random((3, 20)) * (rng.random((3, 20)) < 0.7)) * (1 + 0.001 * rng.random((8, 20))) + 1e-3
    found = rule_of(beta, Penalty()).transform(V, Model.of(W), Scratch())
    for v, h in zip(V.T, found.T, strict=True):

        def value(h, v=v):
            y = np.maximum(W @ h, 1e-9)
            return 1e6 * divergence(v, y, beta).sum(), 1e6 * W.T @ (y ** (beta - 1) - v * y ** (beta - 2))

        starts = [h, np.full(3, 0.5)]
        ends = [minimize(value, start, jac=True, bounds=[(0, None)] * 3, method="L-BFGS-B") for start in starts]
        assert value(h)[0] <= min(end.fun for end in ends) * (1 + 1e-6)
