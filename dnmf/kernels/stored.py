"""Updates that walk the entries of one column while they are in the cache: for sparse panels and for Newton's method.

The rows of W that a column needs are gathered once, for all updates of the column and for what it adds to W's sums. So
the work is proportional to the entries, and no temporary is larger than one column's.
"""

import numpy as np

from dnmf.kernels.beta import add_mismatch, divergence_of, minimum
from dnmf.kernels.tiles import kernel, reordered


@reordered
def update_columns(starts, rows, values, weights, W, totals, H, how, cross, low_sums, sums):  # type: ignore[no-untyped-def]
    """Update every column of H (r, p) in place, and add up what it leaves behind.

    `weights` are those of the entries, or empty where all are 1. `totals` is Wᵀ1 (r,) where the entries that are not
    stored count as zeros, which a column can know only for β = 1; empty where they do not count. `how` is (β, sweeps,
    l1, l2, held, newton, fresh). `cross` gets Σ v y^(β−2) h (m, r), and `low_sums`, where it is not empty, Σ y^(β−1) h.
    `sums` (3, r) gets missed, met, and the loss of the entries.
    """
    beta, sweeps, l1, l2, held, newton, fresh = how
    rank = H.shape[0]
    every = len(totals) > 0
    longest = 1
    for column in range(len(starts) - 1):
        longest = max(longest, starts[column + 1] - starts[column])
    near = np.empty((rank, longest), W.dtype)
    v, m, y = np.empty(longest, W.dtype), np.ones(longest, W.dtype), np.empty(longest, W.dtype)
    q, p = np.empty(longest, W.dtype), np.empty(longest, W.dtype)
    h, top, low = np.empty(rank, W.dtype), np.empty(rank, W.dtype), np.empty(rank, W.dtype)
    for column in range(len(starts) - 1):
        begin, count = starts[column], starts[column + 1] - starts[column]
        if count == 0:
            H[held:, column] = 0
            continue
        for k in range(rank):
            h[k] = H[k, column]
        _load(rows, values, weights, W, begin, count, v, m, near)
        _product(near, h, y, count)
        if fresh:
            _match(v, m, y, totals, h, beta, held, count)
            _product(near, h, y, count)
        for sweep in range(sweeps):
            last = sweep == sweeps - 1
            if not newton or last or sweep == 0:
                _ratios(v, m, y, beta, q, p, count)
                _gather(near, q, top, count)
                if every:
                    low[:] = totals
                else:
                    _gather(near, p, low, count)
            if last:
                _measure(h, top, low, l1, l2, held, sums)
            if newton:
                _descend(near, v, m, y, h, low, l1, l2, held, count)
            else:
                _multiply(h, top, low, beta, l1, l2, held)
            _product(near, h, y, count)
        _ratios(v, m, y, beta, q, p, count)
        for e in range(count):
            if m[e] > 0:
                sums[2, 0] += _loss(np.float64(v[e]), np.float64(y[e]), beta, every) * np.float64(m[e])
        _leave(rows, begin, count, q, h, cross)
        if len(low_sums) > 0:
            _leave(rows, begin, count, p, h, low_sums)
        for k in range(rank):
            H[k, column] = h[k]


@kernel
def _load(rows, values, weights, W, begin, count, v, m, near):  # type: ignore[no-untyped-def]
    """Gather the entries of a column, their weights, and the rows of W that they are in."""
    for e in range(count):
        v[e] = values[begin + e]
        if len(weights) > 0:
            m[e] = weights[begin + e]
        row = rows[begin + e]
        for k in range(W.shape[1]):
            near[k, e] = W[row, k]


@kernel
def _measure(h, top, low, l1, l2, held, sums):  # type: ignore[no-untyped-def]
    """Add how far a column is from meeting the optimality conditions."""
    mass = 0.0
    for k in range(len(h)):
        mass += np.float64(h[k]) * np.float64(top[k])
    for k in range(held, len(h)):
        add_mismatch(np.float64(h[k]), np.float64(top[k]), np.float64(low[k]) + l1, l2, mass, k, sums[0])
        sums[1, k] += mass


@kernel
def _multiply(h, top, low, beta, l1, l2, held):  # type: ignore[no-untyped-def]
    """Set every entry of a column to the minimum of its majoriser."""
    least = np.finfo(h.dtype).tiny
    for k in range(held, len(h)):
        new = minimum(np.float64(h[k]), np.float64(top[k]), np.float64(low[k]), beta, l1, l2)
        h[k] = new if new >= least else 0.0


@reordered
def _descend(near, v, m, y, h, low, l1, l2, held, count):  # type: ignore[no-untyped-def]
    """Take a step of Newton's method for one entry of a column after the other, keeping y up to date."""
    least = np.finfo(h.dtype).tiny
    for k in range(held, len(h)):
        w = near[k]
        new = _newton(w, v, m, y, np.float64(h[k]), np.float64(low[k]), l1, l2, count)
        new = new if new >= least else 0.0
        step = h.dtype.type(new) - h[k]
        if step != 0:
            for e in range(count):
                y[e] = max(y[e] + step * w[e], least) if w[e] > 0 else y[e]
        h[k] = new


@kernel
def _leave(rows, begin, count, q, h, total):  # type: ignore[no-untyped-def]
    """Add q times h to the rows of a sum (m, r) in float64."""
    for e in range(count):
        row = rows[begin + e]
        for k in range(len(h)):
            total[row, k] += np.float64(q[e]) * np.float64(h[k])


@reordered
def _product(near, h, y, count):  # type: ignore[no-untyped-def]
    """Set y to Wh at the entries."""
    for e in range(count):
        y[e] = h[0] * near[0, e]
    for k in range(1, len(h)):
        if h[k] != 0:
            for e in range(count):
                y[e] += h[k] * near[k, e]


@reordered
def _gather(near, q, out, count):  # type: ignore[no-untyped-def]
    """Set `out` (r,) to the sums of q times W at the entries."""
    for k in range(len(out)):
        total = q[0] * near[k, 0]
        for e in range(1, count):
            total += q[e] * near[k, e]
        out[k] = total


@reordered
def _ratios(v, m, y, beta, q, p, count):  # type: ignore[no-untyped-def]
    """Set q to m v y^(β−2) and p to m y^(β−1); where y is 0, both are 0 but for β ≥ 1, where p is what it tends to."""
    zero = y.dtype.type(0)
    if beta == 1.0:
        for e in range(count):
            q[e] = m[e] * v[e] / y[e] if y[e] > zero else zero
            p[e] = m[e]
    elif beta == 2.0:
        for e in range(count):
            q[e], p[e] = m[e] * v[e], m[e] * y[e]
    else:
        for e in range(count):
            power = y[e] ** y.dtype.type(beta - 1.0) if y[e] > zero else zero
            q[e] = m[e] * v[e] * power / y[e] if y[e] > zero else zero
            p[e] = m[e] * power


@kernel
def _match(v, m, y, totals, h, beta, held, count):  # type: ignore[no-untyped-def]
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
def _loss(v, y, beta, every):  # type: ignore[no-untyped-def]
    """Return the loss of an entry; where all entries count, their y are counted elsewhere."""
    if v > 0.0 and y <= 0.0 and beta < 2.0:
        return np.inf if beta <= 1.0 else divergence_of(v, 0.0, beta)
    return divergence_of(v, y, beta) - (y if every else 0.0)


@reordered
def _slope(w, v, m, y, step, count):  # type: ignore[no-untyped-def]
    """Return Σ m v w/(y + step·w) and Σ m v (w/(y + step·w))²."""
    slope = 0.0
    curvature = 0.0
    for e in range(count):
        bottom = y[e] + step * w[e]
        share = w[e] / bottom if bottom > 0 else w[e] * 0
        pull = m[e] * v[e] * share
        slope += pull
        curvature += pull * share
    return slope, curvature


@kernel
def _newton(w, v, m, y, h, low, l1, l2, count):  # type: ignore[no-untyped-def]
    """Return a step of Newton's method for one entry of the Kullback–Leibler divergence that never raises it.

    The slope low + l1 + l2 h − Σ m v w/(y + (h' − h) w) is concave in h' (Hsieh & Dhillon 2011 take its Newton step).
    So a step to the right stops short of the minimum. One to the left may pass it; then the chord between the two
    ends meets 0 between the minimum and h, since a concave function lies above its chords.
    """
    pull, curvature = _slope(w, v, m, y, w.dtype.type(0), count)
    slope = low + l1 + l2 * h - np.float64(pull)
    bend = np.float64(curvature) + l2
    if slope == 0.0 or (h == 0.0 and slope > 0.0):
        return h
    new = h - slope / bend if bend > 0.0 else (0.0 if slope > 0.0 else h)
    if slope < 0.0:
        return new
    new = max(new, 0.0)
    pull_there, _ = _slope(w, v, m, y, w.dtype.type(new - h), count)
    slope_there = low + l1 + l2 * new - np.float64(pull_there)
    for e in range(count):
        if v[e] > 0 and m[e] > 0 and y[e] + w.dtype.type(new - h) * w[e] <= 0:
            return minimum(h, np.float64(pull), low, 1.0, l1, l2)
    if slope_there < 0.0:
        new += (h - new) * (-slope_there) / (slope - slope_there)
    return new
