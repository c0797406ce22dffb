"""The Kullback–Leibler rule on one block."""

import numpy as np
import pytest
import scipy.sparse as sp
from naive import kl_update, objective

from dnmf.kernels.divergence import RATIO_BYTES, Divergence, column_sums, majorise, mismatch, narrow
from dnmf.kernels.model import Model
from dnmf.kernels.panels import panels
from dnmf.kernels.scratch import Scratch
from dnmf.kernels.stats import Stats
from dnmf.kernels.tiles import Penalty

FORMS = [np.asarray, np.asfortranarray, sp.csc_array]
PENALTY = Penalty(0.3, 0.2)


def problem(dtype="float64", rows=12, width=40, rank=3, zeros=0.4):
    rng = np.random.default_rng(0)
    V = rng.gamma(1, 1, (rows, width)) * (rng.random((rows, width)) >= zeros)
    V[3], V[:, 5] = 0, 0
    return V.astype(dtype), rng.random((rows, rank)).astype(dtype) + 0.1, rng.random((rank, width)).astype(dtype) + 0.1


def visit(V, W, H, penalty=PENALTY, sweeps=1, fresh=False):
    stats, H = Stats.zero(*W.shape), H.copy()
    Divergence(sweeps, Penalty(), penalty).visit(V, H, Model.of(W), stats, Scratch(), fresh=fresh)
    return H, stats


@pytest.mark.parametrize("form", FORMS)
def test_zeros_of_the_matrix_count_by_wh_alone(form):
    V, W, H = problem()
    H, stats = visit(form(V), W, H)
    assert stats.fit == pytest.approx(objective(V, W, H, loss="kullback-leibler"), rel=1e-12)
    np.testing.assert_allclose(stats.cross, (V / (W @ np.where(H > 0, H, 1))) @ H.T, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(stats.gram, H @ H.T, rtol=1e-12)
    np.testing.assert_allclose(stats.mass, H.sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_matrix_of_zeros_is_met_by_zeros(dtype, form):
    _, W, H = problem(dtype)
    H, stats = visit(form(np.zeros((12, 40), dtype)), W, H)
    assert not H.any()
    assert stats.fit == 0


@pytest.mark.parametrize("form", FORMS)
def test_no_update_of_h_raises_the_penalised_divergence(form):
    V, W, H = problem()
    losses = []
    for _ in range(30):
        losses.append(objective(V, W, H, l1_H=0.3, l2_H=0.2, loss="kullback-leibler"))
        H, _ = visit(form(V), W, H)
    assert (np.diff(losses) <= 1e-12 * losses[0]).all()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("form", FORMS)
def test_a_fresh_start_has_the_mass_of_every_column(form):
    V, W, H = problem()
    scaled = H * V.sum(axis=0) / (W.sum(axis=0) @ H)
    expected = kl_update(V, W, scaled, 0, 0)
    np.testing.assert_allclose(visit(form(V), W, H, Penalty(), fresh=True)[0], expected, rtol=1e-12)
    np.testing.assert_allclose((W @ expected).sum(axis=0), V.sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_where_wh_is_zero_and_v_is_not_the_loss_is_infinite_and_the_update_finite(form):
    V, W, H = problem("float32")
    W[4], V[4] = 0, 300
    H, stats = visit(form(V), W, H)
    assert stats.fit == np.inf
    assert np.isfinite(H).all()
    assert np.isfinite(stats.cross).all()


def test_the_majoriser_is_at_its_minimum():
    V, W, H = problem()
    numerator, totals = W.T @ (V / (W @ H)), W.sum(axis=0)
    for penalty in (Penalty(), Penalty(0.3, 0), Penalty(0, 0.2), PENALTY):
        new = majorise(H, numerator, totals, penalty)
        slope = (
            totals[:, None] + penalty.l1 + penalty.l2 * new - np.divide(H * numerator, new, where=new > 0, out=0 * H)
        )
        np.testing.assert_allclose(slope[new > 0], 0, atol=1e-12)
        np.testing.assert_array_equal(new == 0, H * numerator == 0)


def test_nothing_is_missed_at_a_fixed_point_and_the_measure_has_no_scale():
    V, W, H = problem()
    totals = W.sum(axis=0)
    missed, met = mismatch(H, W.T @ (V / (W @ H)), totals, Penalty())
    scaled, measure = mismatch(1e6 * H, W.T @ (V / (W @ H)), totals, Penalty())
    np.testing.assert_allclose(scaled / measure, missed / met, rtol=1e-12)
    for _ in range(3000):
        H = kl_update(V, W, H, 0.3, 0.2)
    missed, met = mismatch(H, W.T @ np.divide(V, W @ H, out=0 * V, where=V > 0), totals, PENALTY)
    assert (missed <= 1e-12 * met).all()


@pytest.mark.parametrize("form", FORMS)
def test_sums_of_columns_are_those_of_numpy(form):
    V, _, _ = problem()
    (_, panel), *rest = panels(form(V), V.dtype, Scratch())
    assert not rest
    np.testing.assert_allclose(column_sums(panel), V.sum(axis=0), rtol=1e-14)


def test_ratios_are_cut_to_fit_the_cache():
    wide = np.empty((1000, 5000), np.float32)
    parts = narrow(wide)
    assert max((part.stop - part.start) * 1000 * 4 for part in parts) <= RATIO_BYTES
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    assert (parts[0].start, parts[-1].stop) == (0, 5000)


def test_ratios_cut_or_whole_give_the_same_update():
    V, W, H = problem(rows=2000, width=400)
    assert len(narrow(V)) > 1
    whole = kl_update(V, W, H, 0.3, 0.2)
    np.testing.assert_allclose(visit(V, W, H)[0], whole, rtol=1e-11)
