"""The minimum of a β-divergence over the columns of H, with W held: coordinate descent until nothing moves.

Every entry of a column takes safeguarded steps in turn, in float64, so that the result depends neither on the columns
around it nor on the solver of the run. For 1 ≤ β ≤ 2 the objective is convex and its minimum is found (Hsieh & Dhillon
2011 take such steps for β = 1). For other β it may have several minima: multiplicative updates from a flat start choose
the valley (Févotte & Idier 2011), and no step of a single entry improves the result.
"""

import numpy as np

from dnmf.kernels.blocks.sparse_panel import SparsePanel
from dnmf.kernels.blocks.tiles import Float, Penalty, kernel, reordered
from dnmf.kernels.divergence.beta import divergence_of, minimum
from dnmf.kernels.divergence.multiplicative_columns import longest_column, match_column
from dnmf.kernels.divergence.newton_columns import load_column, multiply_column, newton_entry

# Sweeps over a column end when the largest move, in mass of Wh, is this share of the mass, or after so many.
STILL = 1e-10
MOST_SWEEPS = 2000
# Multiplicative updates of a column before them, where there may be several minima.
FIRST_SWEEPS = 300


def minimise_columns(panel: SparsePanel, W: Float, beta: float, penalty: Penalty) -> Float:
    """Return the H (r, p) in float64 that minimises the penalised β-divergence of a panel (m, p), for W (m, r).

    Where `panel.zeros` is set, entries that are not stored are zeros that count, which needs β = 1.
    """
    assert beta == 1 or not panel.zeros
    H = np.empty((len(panel.starts) - 1, W.shape[1]))
    totals = W.sum(axis=0, dtype=np.float64) if panel.zeros else np.empty(0)
    values, weights = panel.values, panel.weights.astype(panel.values.dtype, copy=False)
    how = (float(beta), float(penalty.l1), float(penalty.l2))
    _minimise_columns(panel.starts, panel.rows, values, weights, np.ascontiguousarray(W), totals, how, H)
    return H.T


@reordered
def _minimise_columns(starts, rows, values, weights, W, totals, how, H):  # type: ignore[no-untyped-def]
    beta, l1, l2 = how
    rank, every = W.shape[1], len(totals) > 0
    longest = longest_column(starts)
    near = np.empty((rank, longest), W.dtype)
    v, m, y = np.empty(longest), np.ones(longest), np.empty(longest)
    low = totals.copy() if every else np.empty(rank)
    for column in range(len(starts) - 1):
        begin, count = starts[column], starts[column + 1] - starts[column]
        h = H[column]
        h[:] = 1.0
        load_column(rows, values, weights, W, begin, count, v, m, near)
        if not every:
            for k in range(rank):
                low[k] = _mass(near[k], m, count)
        for k in range(rank):
            h[k] = 1.0 if low[k] > 0.0 else 0.0
        multiply_column(near, h, y, count)
        match_column(v, m, y, totals, h, beta, 0, count)
        if beta < 1.0 or beta > 2.0:
            _multiply(near, v, m, y, h, low, beta, l1, l2, count)
        for _ in range(MOST_SWEEPS):
            multiply_column(near, h, y, count)
            moved, size = 0.0, 0.0
            for k in range(rank):
                if not low[k] > 0.0:
                    continue
                if beta == 1.0:
                    new = newton_entry(near[k], v, m, y, h[k], low[k], l1, l2, count)
                else:
                    new = _step(near[k], v, m, y, h[k], beta, l1, l2, count)
                new = _kept(new, h[k])
                _shift(near[k], y, new - h[k], count)
                moved = max(moved, abs(new - h[k]) * low[k])
                size = max(size, new * low[k])
                h[k] = new
            if moved <= STILL * size:
                break


@kernel
def _multiply(near, v, m, y, h, mass, beta, l1, l2, count):  # type: ignore[no-untyped-def]
    """Set all entries of a column to the minima of their majorisers, again and again."""
    new = np.empty_like(h)
    for _ in range(FIRST_SWEEPS):
        multiply_column(near, h, y, count)
        moved, size = 0.0, 0.0
        for k in range(len(h)):
            top, low, _ = _slopes(near[k], v, m, y, 0.0, beta, count)
            new[k] = _kept(minimum(h[k], top, low, beta, l1, l2), h[k])
            moved = max(moved, abs(new[k] - h[k]) * mass[k])
            size = max(size, new[k] * mass[k])
        h[:] = new
        if moved <= STILL * size:
            break


@reordered
def _mass(w, m, count):  # type: ignore[no-untyped-def]
    """Return Σ m w."""
    total = 0.0
    for e in range(count):
        total += m[e] * w[e]
    return total


@kernel
def _shift(w, y, step, count):  # type: ignore[no-untyped-def]
    """Add step · w to y = Wh, which stays positive where it was."""
    least = np.finfo(np.float64).tiny
    if step != 0.0:
        for e in range(count):
            y[e] = max(y[e] + step * w[e], least) if w[e] > 0 else y[e]


@kernel
def _kept(new, h):  # type: ignore[no-untyped-def]
    """Return the new value of an entry, 0 in place of subnormal numbers, or h where a quotient has left the floats."""
    if not 0.0 <= new < np.inf:
        return h
    return new if new >= np.finfo(np.float64).tiny else 0.0


@kernel
def _power(y, beta):  # type: ignore[no-untyped-def]
    """Return y^(β−1) for y > 0, without a call of `pow` where a root will do."""
    if beta == 2.0:
        return y
    if beta == 0.0:
        return 1.0 / y
    if beta == 0.5:
        return 1.0 / np.sqrt(y)
    if beta == 1.5:
        return np.sqrt(y)
    return y * y if beta == 3.0 else y ** (beta - 1.0)


@reordered
def _slopes(w, v, m, y, step, beta, count):  # type: ignore[no-untyped-def]
    """Return Σ m w v z^(β−2), Σ m w z^(β−1) and the second derivative Σ m w² (…), with z = y + step · w."""
    top, low, bend = 0.0, 0.0, 0.0
    for e in range(count):
        z = y[e] + step * w[e]
        if not z > 0.0:
            top += m[e] * w[e] * v[e] if beta == 2.0 else 0.0
            bend += m[e] * w[e] * w[e] if beta == 2.0 else 0.0
            continue
        # w/z is at most 1/h, and y^(β−1) a float where y^(β−2) need not be one.
        power, share = m[e] * _power(z, beta), w[e] / z
        pull, push = v[e] * share * power, w[e] * power
        top += pull
        low += push
        bend += ((beta - 1.0) * push - (beta - 2.0) * pull) * share
    return top, low, bend


@reordered
def _loss(w, v, m, y, step, beta, count):  # type: ignore[no-untyped-def]
    """Return Σ m d(v, y + step · w)."""
    total = 0.0
    for e in range(count):
        if m[e] > 0.0:
            total += m[e] * divergence_of(v[e], y[e] + step * w[e], beta)
    return total


@kernel
def _step(w, v, m, y, h, beta, l1, l2, count):  # type: ignore[no-untyped-def]
    """Return a step for one entry that never raises the objective."""
    top, low, bend = _slopes(w, v, m, y, 0.0, beta, count)
    slope, bend = low + l1 + l2 * h - top, bend + l2
    if slope == 0.0 or (h == 0.0 and slope > 0.0):
        return h
    least = minimum(h, top, low, beta, l1, l2)
    if beta < 1.0 or beta > 2.0:
        return _best(w, v, m, y, h, least, slope, bend, beta, l1, l2, count)
    # The slope is concave in h and lies on the safe side of the majoriser's: `newton_entry` says why.
    new = h - slope / bend if bend > 0.0 else (0.0 if slope > 0.0 else h)
    if slope < 0.0:
        return max(new, least)
    new = max(new, 0.0)
    if beta < 2.0:
        for e in range(count):
            if w[e] > 0 and v[e] > 0 and m[e] > 0 and y[e] + (new - h) * w[e] <= 0:
                return least
    top, low, _ = _slopes(w, v, m, y, new - h, beta, count)
    there = low + l1 + l2 * new - top
    if there < 0.0:
        new = min(new + (h - new) * (-there) / (slope - there), least)
    return new


@kernel
def _best(w, v, m, y, h, least, slope, bend, beta, l1, l2, count):  # type: ignore[no-untyped-def]
    """Return the best of h, the majoriser's minimum and Newton's step, where the objective need not be convex.

    Where it bends down, least squares on what WH lacks gives the step upward.
    """
    other = least
    if bend > 0.0:
        other = max(h - slope / bend, 0.0)
    elif slope < 0.0:
        lack, square = 0.0, 0.0
        for e in range(count):
            lack += m[e] * w[e] * max(v[e] - y[e], 0.0)
            square += m[e] * w[e] * w[e]
        other = h + lack / square if square > 0.0 else h
    best, fewest = h, _loss(w, v, m, y, 0.0, beta, count) + l1 * h + 0.5 * l2 * h * h
    for new in (least, other):
        cost = _loss(w, v, m, y, new - h, beta, count) + l1 * new + 0.5 * l2 * new * new
        if cost < fewest:
            best, fewest = new, cost
    return best
