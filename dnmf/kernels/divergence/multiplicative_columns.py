"""Multiplicative updates that walk the entries of one column while they are in the cache.

So the rows of W that a column needs are there for all updates of the column, and for what it adds to W's sums; the work
is proportional to the entries, and no temporary is larger than one column's.
"""

import numpy as np

from dnmf.kernels.blocks.simd import add_to_rows, row_products, weighted_rows
from dnmf.kernels.blocks.tiles import kernel, reordered
from dnmf.kernels.divergence.beta import divergence_of, minimum
from dnmf.kernels.divergence.elementwise import LOG_TILE, log_sum


@reordered
def multiply_columns(starts, rows, values, weights, W, totals, H, how, cross, low_sums, sums):  # type: ignore[no-untyped-def]
    """Update every column, a row of H (p, r), in place, and add up what it leaves behind.

    `weights` are those of the entries, or empty where all are 1. `totals` is Wᵀ1 (r,) where the entries that are not
    stored count as zeros, which a column can know only for β = 1; empty where they do not count. `how` is (β, sweeps,
    l1, l2, held, fresh). `cross` gets Σ v y^(β−2) h (m, r), and `low_sums`, where it is not empty, Σ y^(β−1) h.
    `sums` (3, r) gets missed, met, and the loss of the entries.
    """
    beta, sweeps, l1, l2, held, fresh = how
    every = len(totals) > 0
    longest = longest_column(starts)
    ones, y = np.ones(longest, W.dtype), np.empty(longest, W.dtype)
    q, p = np.empty(longest, W.dtype), np.empty(longest, W.dtype)
    top, low = np.empty(H.shape[1], W.dtype), np.empty(H.shape[1], W.dtype)
    if every:
        low[:] = totals
    room = longest + LOG_TILE
    ratio, pull, filled = np.empty(room, W.dtype), np.empty(room, W.dtype), 0
    for column in range(len(starts) - 1):
        begin, end = starts[column], starts[column + 1]
        count, h = end - begin, H[column]
        if count == 0:
            h[held:] = 0
            continue
        v, near = values[begin:end], rows[begin:end]
        m = weights[begin:end] if len(weights) > 0 else ones[:count]
        row_products(W, near, h, y)
        if fresh:
            match_column(v, m, y, totals, h, beta, held, count)
            row_products(W, near, h, y)
        for sweep in range(sweeps):
            take_shares(v, m, y, beta, every, q, p)
            weighted_rows(q, W, near, top)
            if not every:
                weighted_rows(p, W, near, low)
            if sweep == sweeps - 1:
                measure_column(h, top, low, l1, l2, held, sums)
            minimise(h, top, low, beta, l1, l2, held)
            row_products(W, near, h, y)
        take_shares(v, m, y, beta, every, q, p)
        leave_column(near, q, p, h, cross, low_sums)
        if beta == 1.0:
            sums[2, 0] += fill(v, m, y, every, ratio[filled:], pull[filled:])
            filled += count
            if filled > LOG_TILE:
                sums[2, 0] += log_sum(ratio, pull, filled)
                filled = 0
        else:
            for e in range(count):
                sums[2, 0] += entry_loss(np.float64(v[e]), np.float64(y[e]), np.float64(m[e]), beta, every)
    sums[2, 0] += log_sum(ratio, pull, filled)


@kernel
def minimise(h, top, low, beta, l1, l2, held):  # type: ignore[no-untyped-def]
    """Set the entries of a column that are not held to the minimum of their majorisers."""
    least = np.finfo(h.dtype).tiny
    for k in range(held, len(h)):
        new = minimum(np.float64(h[k]), np.float64(top[k]), np.float64(low[k]), beta, l1, l2)
        h[k] = new if new >= least else 0.0


@kernel
def longest_column(starts):  # type: ignore[no-untyped-def]
    """Return the entries of the column that has most, and at least 1."""
    longest = 1
    for column in range(len(starts) - 1):
        longest = max(longest, starts[column + 1] - starts[column])
    return longest


@reordered
def take_shares(v, m, y, beta, every, q, p):  # type: ignore[no-untyped-def]
    """Set q to m v y^(β−2) at the entries of a column, and p to m y^(β−1), where that is needed."""
    zero = y.dtype.type(0)
    if every and beta == 1.0:
        for e in range(len(v)):
            quotient = m[e] * v[e] / y[e]
            q[e] = quotient if y[e] > zero else zero
        return
    for e in range(len(v)):
        q[e], p[e] = shares(v[e], m[e], y[e], beta)


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
def leave_column(rows, q, p, h, cross, low_sums):  # type: ignore[no-untyped-def]
    """Add what a column leaves behind to the rows of W's sums (m, r), in float64."""
    add_to_rows(q, h, rows, cross)
    if len(low_sums) > 0:
        add_to_rows(p, h, rows, low_sums)


@reordered
def fill(v, m, y, every, ratio, pull):  # type: ignore[no-untyped-def]
    """Return the Kullback–Leibler divergence of a column less Σ pull · (log ratio − 1), and set these two."""
    zero, one = y.dtype.type(0), y.dtype.type(1)
    total, lost = 0.0, 0
    for e in range(len(v)):
        used = v[e] > zero and m[e] > zero
        lost += 1 if (used and y[e] <= zero) else 0
        quotient = v[e] / y[e]
        ratio[e] = quotient if (used and y[e] > zero) else one
        pull[e] = m[e] * v[e]
    if not every:
        for e in range(len(v)):
            total += np.float64(m[e]) * np.float64(y[e])
    return np.inf if lost > 0 else total


@reordered
def measure_column(h, top, low, l1, l2, held, sums):  # type: ignore[no-untyped-def]
    """Add how far a column is from meeting the optimality conditions, as `beta.mismatch` says."""
    mass = 0.0
    for k in range(len(h)):
        mass += np.float64(h[k]) * np.float64(top[k])
    inverse = 1.0 / mass if mass > 0.0 else 0.0
    for k in range(held, len(h)):
        bottom = np.float64(low[k]) + l1 + l2 * np.float64(h[k])
        slope = 1.0 - np.float64(top[k]) / bottom if bottom > 0.0 else 0.0
        slope *= min(np.float64(h[k]) * bottom * inverse, 1.0) if slope > 0.0 else 1.0
        sums[0, k] += slope * slope * mass
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
