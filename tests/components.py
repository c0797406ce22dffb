"""Runs that find the same components."""

import numpy as np


def noisy_runs(rows=40, rank=4, runs=5, noise=0.1, seed=0):
    """Return runs that find the same components up to noise, scale and order, and the order of each."""
    rng = np.random.default_rng(seed)
    W = rng.gamma(0.4, 1.0, (rows, rank))
    orders = [rng.permutation(rank) for _ in range(runs)]
    return [rng.random(rank) * (W + noise * rng.random(W.shape))[:, order] for order in orders], np.array(orders)
