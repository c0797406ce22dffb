"""Newton's method for the columns of H under the Kullback–Leibler divergence."""

import numpy as np
import pytest
from naive import objective

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.divergence.entry_steps import SURE, newton_entry
from dnmf.kernels.divergence.joint_steps import JOINT_RANK, _least_fall
from dnmf.kernels.divergence.rule import Divergence
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.rule import Model


def visited(V, W, H, penalty=None, sweeps=6):
    rule = Divergence(1.0, True, sweeps, Penalty(), penalty or Penalty())
    H = H.copy()
    rule.visit(V, H, Model.of(W), rule.zero(*W.shape), Scratch(), fresh=False)
    return H


def problem(rank, seed=0, rows=50, width=30):
    rng = np.random.default_rng(seed)
    W, H = rng.gamma(0.5, size=(rows, rank)), rng.gamma(0.3, size=(rank, width))
    return rng.poisson(3 * W @ H).astype(np.float64), W, rng.random((rank, width))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_fall_is_bounded_from_below_to_third_order(dtype):
    rng = np.random.default_rng(0)
    v, m, y = (rng.gamma(1, size=1000).astype(dtype) for _ in range(3))
    moved = (y * rng.uniform(-0.95, 4, 1000)).astype(dtype)
    for scale in (1, 0.1, 0.01):
        step = (scale * moved).astype(dtype)
        wide = [array.astype(np.float64) for array in (v, m, y, step)]
        exact = wide[0] * wide[1] * np.log1p(wide[3] / wide[2])
        u = wide[3] / (wide[2] + wide[3])
        found = _least_fall(v, m, y, step, 1000)
        rounding = 20 * np.finfo(dtype).eps * np.abs(exact).sum()
        assert found <= exact.sum() + rounding
        assert exact.sum() - found <= (wide[0] * wide[1] * u**4 / (1 - np.maximum(u, 0))).sum() + rounding


@pytest.mark.parametrize("penalty", [Penalty(), Penalty(0.3, 0.2)])
@pytest.mark.parametrize("rank", [1, 4, JOINT_RANK, JOINT_RANK + 1])
def test_updates_end_where_the_conditions_of_a_minimum_hold(rank, penalty):
    V, W, H = problem(rank)
    for _ in range(40):
        H = visited(V, W, H, penalty)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(V > 0, V / (W @ H), 0)
    gradient = W.sum(axis=0)[:, None] - W.T @ ratio + penalty.l1 + penalty.l2 * H
    np.testing.assert_allclose(np.minimum(H, gradient), 0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("rank", [3, JOINT_RANK, 2 * JOINT_RANK])
def test_no_step_raises_the_divergence(rank, dtype):
    for seed in range(5):
        V, W, H = (array.astype(dtype) for array in problem(rank, seed))
        before = objective(V.astype("f8"), W.astype("f8"), H.astype("f8"), loss=1)
        for _ in range(15):
            H = visited(V, W, H, sweeps=1)
            after = objective(V.astype("f8"), W.astype("f8"), H.astype("f8"), loss=1)
            assert after <= before * (1 + 4 * np.finfo(dtype).eps)
            before = after


@pytest.mark.parametrize("rank", [3, JOINT_RANK, 2 * JOINT_RANK])
def test_a_column_does_not_depend_on_its_neighbours(rank):
    for seed in range(20):
        V, W, H = problem(rank, seed)
        H *= np.random.default_rng(seed).random(H.shape) < 0.5
        H[0] += 10.0 ** np.random.default_rng(seed).uniform(-6, 3, H.shape[1])
        alone = [visited(V[:, [j]], W, H[:, [j]]) for j in range(V.shape[1])]
        np.testing.assert_array_equal(visited(V, W, H), np.concatenate(alone, axis=1))


def test_a_short_step_to_the_left_lowers_the_divergence_by_a_third_of_its_promise():
    rng, short = np.random.default_rng(0), 0
    for _ in range(500):
        w, others, h = rng.gamma(0.5, size=64), 5 * rng.gamma(0.3, size=64), rng.uniform(4, 8)
        v, y = rng.poisson(5 * w + others).astype(float), h * w + others
        mass, slope, bend = w.sum(), w.sum() - (v * w / y).sum(), (v * (w / y) ** 2).sum()
        new, _ = newton_entry(w, v, np.ones(64), y, h, mass, None, 0.0, 0.0, 64)
        if SURE * h <= new < h:
            short += 1
            fall = mass * (h - new) + (v * np.log1p((new - h) * w / y)).sum()
            assert fall >= slope * slope / bend / 3
    assert short > 50


def test_the_loss_in_float32_is_that_of_the_factors_to_less_than_a_rounding_of_the_mass():
    rng = np.random.default_rng(0)
    V = rng.poisson(20, (5000, 40)).astype(np.float32)
    for _ in range(6):
        W, H = (rng.random(shape, np.float32) + np.float32(0.1) for shape in ((5000, 3), (3, 40)))
        rule = Divergence(1.0, True, 6, Penalty(), Penalty())
        stats = rule.zero(*W.shape)
        rule.visit(V, H, Model.of(W), stats, Scratch(), fresh=True)
        exact = objective(V.astype("f8"), W.astype("f8"), H.astype("f8"), loss=1)
        assert abs(stats.fit - exact) <= 1e-9 * V.sum(dtype=np.float64)
