"""Samples of columns stand for all columns: whatever is periodic in V, rare, or penalised."""

import tracemalloc

import naive
import numpy as np
import pytest
from runs import factors

import dnmf
from dnmf.kernels.blocks.hashing import places, spread
from dnmf.solvers.sketch.samples import effective_columns, sampled

NAMED = {"solver": "sketch", "init": "sketch"}


def test_columns_are_counted_without_a_copy_of_a_long_factor():
    left, S = np.ones((400_000, 10), np.float32), np.eye(10, 50, dtype=np.float32)
    tracemalloc.start()
    try:
        assert effective_columns(left, S) == pytest.approx(10)
        assert tracemalloc.get_traced_memory()[1] < left.nbytes / 4
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("scale", [1e-120, 1e-90, 1e74])
def test_the_count_of_columns_does_not_depend_on_their_scale(scale):
    S = np.eye(10, 50)
    assert effective_columns(np.eye(10), scale * S) == pytest.approx(10)


@pytest.mark.parametrize("stride", [1, 2, 7, 100])
def test_a_sample_has_one_column_of_each_run_for_every_cut(stride):
    V = np.arange(1000)[None]
    whole = places(0, 1000, stride)
    np.testing.assert_array_equal(whole // stride, np.arange(1000 // stride + 1)[: len(whole)])
    assert len(whole) >= 1000 // stride
    for width in (1, 5, 7, 30, 1000):
        taken = [sampled(V[:, start : start + width], start, stride) for start in range(0, 1000, width)]
        np.testing.assert_array_equal(np.concatenate(taken, axis=1)[0], whole)


@pytest.mark.parametrize("stride", [2, 8, 50])
@pytest.mark.parametrize("period", [2, 8, 50, 200])
def test_a_sample_meets_every_phase_of_a_period_alike(stride, period):
    chosen = spread(200_000, 200_000 // stride)
    counts = np.bincount(chosen % period, minlength=period)
    expected = len(chosen) / period
    assert np.abs(counts - expected).max() <= 6 * np.sqrt(expected)


def lines(columns, period, rank):
    """A matrix of a rank, of which one column in each period is not 0."""
    rng, V = np.random.default_rng(0), np.zeros((60, columns), np.float32)
    V[:, 1::period] = rng.random((60, rank)) @ rng.random((rank, len(range(1, columns, period))))
    return V


def events(columns, count, rank, seed=1):
    """A matrix of a rank, of which a few columns are not 0."""
    rng, V = np.random.default_rng(seed), np.zeros((60, columns), np.float32)
    V[:, rng.choice(columns, count, replace=False)] = rng.random((60, rank)) @ rng.random((rank, count))
    return V


def spots(rank):
    """A matrix of a rank, of which one row and column in some dozen are not 0."""
    rng, V = np.random.default_rng(2), np.zeros((3000, 8000), np.float32)
    V[::100, ::80] = rng.random((30, rank)) @ rng.random((rank, 100))
    return V


@pytest.mark.parametrize("options", [{}, NAMED], ids=["auto", "sketch"])
@pytest.mark.parametrize(
    ("V", "rank"),
    [
        (lines(10_000, 10, 3), 3),
        (lines(40_000, 4, 3), 3),
        (events(10_000, 30, 8), 8),
        (events(40_000, 12, 4), 4),
        (spots(4), 4),
    ],
    ids=["lines", "lines of a sample", "events", "events of a sample", "spots"],
)
def test_data_that_a_sample_may_miss_are_fitted(V, rank, options):
    result = dnmf.factorize(V, rank, **options)
    assert np.asarray(result.W).any(axis=0).all()
    assert result.relative_error < 1e-4


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [12, 20, 60])
def test_a_few_columns_that_a_sample_meets_in_part_are_fitted(count, seed):
    result = dnmf.factorize(events(10_000, count, 8, seed), 8)
    assert np.asarray(result.W).any(axis=0).all()
    assert result.relative_error < 1e-3


def textbook(V, rank, penalty, seed, passes=60):
    """The objective after updates of both factors in turn from a random start."""
    rng = np.random.default_rng(seed)
    W, H = rng.random((V.shape[0], rank)), rng.random((rank, V.shape[1]))
    for _ in range(passes):
        H = naive.hals(H, W.T @ V, W.T @ W, penalty, 0.0, 2)
        W = naive.hals(W.T, H @ V.T, H @ H.T, penalty, 0.0, 2).T
    return W, H


@pytest.mark.parametrize("options", [{}, NAMED], ids=["auto", "sketch"])
@pytest.mark.parametrize(("shape", "penalty"), [((40, 4000), 10.0), ((60, 12_000), 6.0), ((60, 12_000), 15.0)])
def test_penalties_weigh_on_a_sample_as_on_all_columns(shape, penalty, options):
    rng = np.random.default_rng(0)
    parts, shares = (
        rng.random(size) * (rng.random(size) < share) for size, share in (((shape[0], 6), 0.5), ((6, shape[1]), 0.3))
    )
    V = parts @ shares + 0.05 * rng.random(shape)

    def objective(W, H):
        return 0.5 * np.square(V - W @ H).sum() + penalty * (W.sum() + H.sum())

    found = objective(*factors(dnmf.factorize(V, 6, l1_W=penalty, l1_H=penalty, **options)))
    assert found <= 1.01 * min(objective(*textbook(V, 6, penalty, seed)) for seed in range(3))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("penalty", [10.0, 20.0])
def test_penalties_of_layers_weigh_on_a_sample_as_on_all_columns(penalty, seed):
    rng = np.random.default_rng(seed)
    parts, shares = (
        rng.random(size) * (rng.random(size) < share) for size, share in (((60, 8), 0.5), ((8, 20_000), 0.3))
    )
    own = {"l1_W": penalty, "l1_H": penalty}
    found, plain = (
        dnmf.factorize(parts @ shares, [8, 4], **own, **options)
        for options in (NAMED, {"solver": "hals", "init": "random"})
    )
    assert found.loss <= 1.05 * plain.loss
