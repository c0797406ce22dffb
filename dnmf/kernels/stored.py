"""Multiplicative updates that walk the entries of one column while they are in the cache.

The rows of W that a column needs are gathered once, for all updates of the column and for what it adds to W's sums. So
the work is proportional to the entries, and no temporary is larger than one column's.
"""

import numpy as np

from dnmf.kernels.beta import add_mismatch, divergence_of, minimum
from dnmf.kernels.powers import logarithms
from dnmf.kernels.tiles import LANES, kernel, reordered


@reordered
def multiply_columns(starts, rows, values, weights, W, totals, H, how, cross, low_sums, sums):  # type: ignore[no-untyped-def]
    """Update every column of H (r, p) in place, and add up what it leaves behind.

    `weights` are those of the entries, or empty where all are 1. `totals` is Wᵀ1 (r,) where the entries that are not
    stored count as zeros, which a column can know only for β = 1; empty where they do not count. `how` is (β, sweeps,
    l1, l2, held, fresh). `cross` gets Σ v y^(β−2) h (m, r), and `low_sums`, where it is not empty, Σ y^(β−1) h.
    `sums` (3, r) gets missed, met, and the loss of the entries.
    """
    beta, sweeps, l1, l2, held, fresh = how
    rank = H.shape[0]
    every, weighted = len(totals) > 0, len(weights) > 0
    longest = longest_column(starts)
    near = np.empty((longest, rank), W.dtype)
    m, y = np.ones(longest, W.dtype), np.empty(longest, W.dtype)
    h, top, low = np.empty(rank, W.dtype), np.empty(rank, W.dtype), np.empty(rank, W.dtype)
    least = np.finfo(W.dtype).tiny
    x, exponent, pull = np.ones(LANES), np.empty(LANES), np.zeros(LANES)
    filled = 0
    for column in range(len(starts) - 1):
        begin, count = starts[column], starts[column + 1] - starts[column]
        if count == 0:
            H[held:, column] = 0
            continue
        v = values[begin : begin + count]
        if weighted:
            m[:count] = weights[begin : begin + count]
        for k in range(rank):
            h[k] = H[k, column]
        _load(W, rows[begin : begin + count], near)
        _product(near, h, y, count)
        if fresh:
            match_column(v, m, y, totals, h, beta, held, count)
            _product(near, h, y, count)
        for sweep in range(sweeps):
            _gather(near, v, m, y, beta, every, top, low, count)
            if every:
                low[:] = totals
            if sweep == sweeps - 1:
                measure_column(h, top, low, l1, l2, held, sums)
            for k in range(held, rank):
                new = minimum(np.float64(h[k]), np.float64(top[k]), np.float64(low[k]), beta, l1, l2)
                h[k] = new if new >= least else 0.0
            _product(near, h, y, count)
        leave_column(rows[begin : begin + count], v, m, y, h, beta, cross, low_sums)
        if beta == 1.0:
            filled = _fill(v, m, y, every, x, pull, filled, exponent, sums, count)
        else:
            for e in range(count):
                sums[2, 0] += entry_loss(np.float64(v[e]), np.float64(y[e]), np.float64(m[e]), beta, every)
        for k in range(rank):
            H[k, column] = h[k]
    _flush(x, pull, exponent, sums)


@kernel
def _load(W, rows, near):  # type: ignore[no-untyped-def]
    """Gather the rows of W."""
    for e in range(len(rows)):
        w, out = W[rows[e]], near[e]
        for k in range(W.shape[1]):
            out[k] = w[k]


@kernel
def longest_column(starts):  # type: ignore[no-untyped-def]
    """Return the entries of the column that has most, and at least 1."""
    longest = 1
    for column in range(len(starts) - 1):
        longest = max(longest, starts[column + 1] - starts[column])
    return longest


@reordered
def _product(near, h, y, count):  # type: ignore[no-untyped-def]
    """Set y to Wh at the entries."""
    for e in range(count):
        w = near[e]
        total = y.dtype.type(0)
        for k in range(len(h)):
            total += w[k] * h[k]
        y[e] = total


@reordered
def _gather(near, v, m, y, beta, every, top, low, count):  # type: ignore[no-untyped-def]
    """Set `top` to Σ w m v y^(β−2), and `low` to Σ w m y^(β−1) where it is not the same for all columns."""
    zero = y.dtype.type(0)
    top[:] = zero
    low[:] = zero
    for e in range(count):
        w = near[e]
        q, p = shares(v[e], m[e], y[e], beta)
        for k in range(len(top)):
            top[k] += q * w[k]
        if not every:
            for k in range(len(low)):
                low[k] += p * w[k]


@kernel
def shares(v, m, y, beta):  # type: ignore[no-untyped-def]
    """Return m v y^(β−2) and m y^(β−1); both are 0 where y is, but for β = 1, where the second is m."""
    zero = y * 0
    if beta == 1.0:
        return m * v / y if y > zero else zero, m
    if beta == 2.0:
        return m * v, m * y
    if not y > zero:
        return zero, zero
    power = y ** type(y)(beta - 1.0)
    return m * (v / y) * power, m * power


@reordered
def leave_column(rows, v, m, y, h, beta, cross, low_sums):  # type: ignore[no-untyped-def]
    """Add what a column leaves behind to the rows of W's sums (m, r), in float64."""
    wants = len(low_sums) > 0
    for e in range(len(v)):
        q, p = shares(v[e], m[e], y[e], beta)
        out = cross[rows[e]]
        for k in range(len(h)):
            out[k] += np.float64(q * h[k])
        if wants:
            below = low_sums[rows[e]]
            for k in range(len(h)):
                below[k] += np.float64(p * h[k])


@kernel
def _fill(v, m, y, every, x, pull, filled, exponent, sums, count):  # type: ignore[no-untyped-def]
    """Add the Kullback–Leibler divergence of a column, with its logarithms taken as many as there are lanes at once."""
    for e in range(count):
        value, weight, bottom = np.float64(v[e]), np.float64(m[e]), np.float64(y[e])
        if not weight > 0.0:
            continue
        sums[2, 0] += weight * ((0.0 if every else bottom) - value)
        if not value > 0.0:
            continue
        if not bottom > 0.0:
            sums[2, 0] = np.inf
            continue
        x[filled], pull[filled] = value / bottom, weight * value
        filled += 1
        if filled == LANES:
            _flush(x, pull, exponent, sums)
            filled = 0
    return filled


@kernel
def _flush(x, pull, exponent, sums):  # type: ignore[no-untyped-def]
    """Add Σ pull · log x to the loss, and empty both."""
    logarithms(x, x.view(np.int64), exponent, exponent.view(np.int64))
    for j in range(LANES):
        sums[2, 0] += pull[j] * exponent[j]
        x[j], pull[j] = 1.0, 0.0


@kernel
def measure_column(h, top, low, l1, l2, held, sums):  # type: ignore[no-untyped-def]
    """Add how far a column is from meeting the optimality conditions."""
    mass = 0.0
    for k in range(len(h)):
        mass += np.float64(h[k]) * np.float64(top[k])
    for k in range(held, len(h)):
        add_mismatch(np.float64(h[k]), np.float64(top[k]), np.float64(low[k]) + l1, l2, mass, k, sums[0])
        sums[1, k] += mass


@kernel
def match_column(v, m, y, totals, h, beta, held, count):  # type: ignore[no-untyped-def]
    """Scale a column that has no scale yet so that it fits best: by Σ m v y^(β−1) / Σ m y^β."""
    top, bottom = 0.0, 0.0
    for e in range(count):
        power = np.float64(m[e]) * np.float64(y[e]) ** (beta - 1.0) if y[e] > 0 else 0.0
        top += np.float64(v[e]) * power
        bottom += np.float64(y[e]) * power
    if len(totals) > 0:
        bottom = 0.0
        for k in range(len(h)):
            bottom += np.float64(totals[k]) * np.float64(h[k])
    for k in range(held, len(h)):
        h[k] *= top / bottom if bottom > 0.0 else 0.0


@kernel
def entry_loss(v, y, m, beta, every):  # type: ignore[no-untyped-def]
    """Return the loss of an entry of weight m; where all entries count, their y are counted elsewhere."""
    if not m > 0.0:
        return 0.0
    if v > 0.0 and y <= 0.0 and beta < 2.0:
        return np.inf if beta <= 1.0 else m * divergence_of(v, 0.0, beta)
    return m * (divergence_of(v, y, beta) - (y if every else 0.0))
