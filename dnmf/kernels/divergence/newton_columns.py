"""Newton's method for the Kullback–Leibler divergence, one entry of a column of H after the other.

Hsieh & Dhillon 2011 (KDD) take this step for every coordinate; here it is safeguarded, so that none raises it.
"""

import numpy as np

from dnmf.kernels.blocks.tiles import kernel, reordered
from dnmf.kernels.divergence.beta import minimum
from dnmf.kernels.divergence.multiplicative_columns import (
    entry_loss,
    leave_column,
    longest_column,
    match_column,
    measure_column,
    take_shares,
)


@reordered
def descend_columns(starts, rows, values, weights, W, totals, H, how, cross, low_sums, sums):  # type: ignore[no-untyped-def]
    """Update every column, a row of H (p, r), in place, and add up what it leaves, as `multiply_columns` does."""
    beta, sweeps, l1, l2, held, fresh = how
    rank = H.shape[1]
    every = len(totals) > 0
    longest = longest_column(starts)
    near = np.empty((rank, longest), W.dtype)
    v, m, y = np.empty(longest, W.dtype), np.ones(longest, W.dtype), np.empty(longest, W.dtype)
    q, p = np.empty(longest, W.dtype), np.empty(longest, W.dtype)
    top, low = np.empty(rank, W.dtype), np.empty(rank, W.dtype)
    for column in range(len(starts) - 1):
        begin, count = starts[column], starts[column + 1] - starts[column]
        h = H[column]
        if count == 0:
            h[held:] = 0
            continue
        load_column(rows, values, weights, W, begin, count, v, m, near)
        multiply_column(near, h, y, count)
        if fresh:
            match_column(v, m, y, totals, h, beta, held, count)
            multiply_column(near, h, y, count)
        for k in range(rank):
            low[k] = totals[k] if every else _dot(near[k], m, count)
        for sweep in range(sweeps):
            if sweep == sweeps - 1:
                for k in range(rank):
                    top[k] = _slope(near[k], v, m, y, W.dtype.type(0), count)[0]
                measure_column(h, top, low, l1, l2, held, sums)
            _descend(near, v, m, y, h, low, l1, l2, held, count)
            multiply_column(near, h, y, count)
        take_shares(v[:count], m, y, beta, every, q, p)
        leave_column(rows[begin : begin + count], q, p, h, cross, low_sums)
        for e in range(count):
            sums[2, 0] += entry_loss(np.float64(v[e]), np.float64(y[e]), np.float64(m[e]), beta, every)


@kernel
def load_column(rows, values, weights, W, begin, count, v, m, near):  # type: ignore[no-untyped-def]
    """Gather the entries of a column, their weights, and the rows of W that they are in."""
    for e in range(count):
        v[e] = values[begin + e]
        if len(weights) > 0:
            m[e] = weights[begin + e]
        row = rows[begin + e]
        for k in range(W.shape[1]):
            near[k, e] = W[row, k]


@reordered
def _dot(w, m, count):  # type: ignore[no-untyped-def]
    """Return Σ m w."""
    total = w.dtype.type(0)
    for e in range(count):
        total += m[e] * w[e]
    return total


@reordered
def multiply_column(near, h, y, count):  # type: ignore[no-untyped-def]
    """Set y to Wh at the entries."""
    first = near[0]
    for e in range(count):
        y[e] = h[0] * first[e]
    for k in range(1, len(h)):
        if h[k] != 0:
            w = near[k]
            for e in range(count):
                y[e] += h[k] * w[e]


@reordered
def _descend(near, v, m, y, h, low, l1, l2, held, count):  # type: ignore[no-untyped-def]
    """Take a step of Newton's method for one entry of a column after the other, keeping y up to date."""
    least = np.finfo(h.dtype).tiny
    for k in range(held, len(h)):
        w = near[k]
        new = newton_entry(w, v, m, y, np.float64(h[k]), np.float64(low[k]), l1, l2, count)
        new = new if new >= least else 0.0
        step = h.dtype.type(new) - h[k]
        if step != 0:
            for e in range(count):
                y[e] = max(y[e] + step * w[e], least) if w[e] > 0 else y[e]
        h[k] = new


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
def newton_entry(w, v, m, y, h, low, l1, l2, count):  # type: ignore[no-untyped-def]
    """Return a step for one entry of the Kullback–Leibler divergence that never raises it nor passes its minimum.

    The slope low + l1 + l2 h' − Σ m v w/(y + (h' − h) w) is concave in h' (Hsieh & Dhillon 2011 take its Newton step),
    so a step to the right stops short of the minimum. One to the left may pass it; then the chord between its two
    ends meets 0 between the minimum and h, since a concave function lies above its chords. The majoriser at h (Lee &
    Seung 2001) has its minimum on the same side: y + (h' − h) w lies between y and y h'/h, so that the slope is above
    the majoriser's to the left of h and below it to the right. So the longer step is as safe, and better: where this
    component alone feeds an entry, the chord is so steep, or the slope so curved, that Newton's step stands still.
    """
    pull, curvature = _slope(w, v, m, y, y.dtype.type(0), count)
    slope = low + l1 + l2 * h - np.float64(pull)
    bend = np.float64(curvature) + l2
    if slope == 0.0 or (h == 0.0 and slope > 0.0):
        return h
    least = minimum(h, np.float64(pull), low, 1.0, l1, l2)
    new = h - slope / bend if bend > 0.0 else (0.0 if slope > 0.0 else h)
    if slope < 0.0:
        return max(new, least)
    new = max(new, 0.0)
    for e in range(count):
        if w[e] > 0 and v[e] > 0 and m[e] > 0 and y[e] + y.dtype.type(new - h) * w[e] <= 0:
            return least
    pull_there, _ = _slope(w, v, m, y, y.dtype.type(new - h), count)
    slope_there = low + l1 + l2 * new - np.float64(pull_there)
    if slope_there < 0.0:
        new += (h - new) * (-slope_there) / (slope - slope_there)
        new = min(new, least)
    return new
