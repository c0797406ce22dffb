"""Columns of H that minimise a β-divergence with W fixed: coordinate descent until no entry moves.

For Kullback–Leibler, the steps of `joint_steps` come first, up to their largest rank, and most columns need no others.
Else, and for every other β, steps of Newton's method for all entries of a column follow the sweeps near the end: single
entries would take many thousands where components are alike, or more than the entries of V.

Every entry of a column takes the safeguarded steps of `entry_steps` in turn, in float64, so that the result depends on
neither the other columns nor the solver of the run. For 1 ≤ β ≤ 2 the objective is convex and its minimum is found. For
other β it may have several minima: multiplicative updates from a flat start choose one (Févotte & Idier 2011, section
4.1), and then no step of a single entry improves the result. See "Divergences, with one factor held" in
docs/mathematics.md.
"""

import numpy as np

from dnmf.kernels.blocks.sparse_panel import SparsePanel
from dnmf.kernels.blocks.tiles import Float, kernel, reordered
from dnmf.kernels.divergence.beta import divergence_of, lone_minimum, minimum, power_of
from dnmf.kernels.divergence.columns import (
    load_column,
    longest_column,
    multiply_column,
    padded,
    scale_to_fit,
    weighted_sum,
)
from dnmf.kernels.divergence.entry_steps import newton_entry, shift_model, slopes
from dnmf.kernels.divergence.joint_steps import (
    JOINT_RANK,
    column_slopes,
    joint_step,
    joint_work,
    product,
    product_of_three,
)
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic.column_pivoting import PIVOT_SWEEPS, SINGULAR, solve_column

# Sweeps over a column end when the largest move, in mass of Wh, is STILL of the mass, or after MOST_SWEEPS.
STILL = 1e-10
MOST_SWEEPS = 2000
# Once a sweep moves no more than NEAR of the mass, Newton's method takes steps of all entries at once. One is halved if
# it ends on a slope upwards, of more than SLACK of that before; if that does not help, twice as many sweeps precede the
# next one.
NEAR, SLACK, HALVINGS = 0.1, 0.1, 40
# Steps of all entries of a column before sweeps begin; most columns need no sweep.
JOINT_STEPS = 12
# Multiplicative updates of a column before these sweeps, where there may be several minima.
FIRST_SWEEPS = 300


def minimise_columns(panel: SparsePanel, W: Float, beta: float, penalty: Penalty) -> Float:
    """Return the H (r, p) in float64 that minimises the penalised β-divergence of a panel (m, p), for W (m, r).

    A panel whose unlisted entries are zeros that count needs β = 1.
    """
    assert beta == 1 or not panel.zeros
    H = np.empty((len(panel.starts) - 1, W.shape[1]))
    totals = W.sum(axis=0, dtype=np.float64) if panel.zeros else np.empty(0)
    values, weights = panel.values, panel.weights.astype(panel.values.dtype, copy=False)
    options = (float(beta), *penalty.by_columns((W.shape[1], len(H))))
    _minimise_columns(panel.starts, panel.rows, values, weights, np.ascontiguousarray(W), totals, options, H)
    return H.T


@reordered
def _minimise_columns(starts, rows, values, weights, W, totals, options, H):  # type: ignore[no-untyped-def]
    beta, l1, l2 = options
    rank, zeros, tiny = W.shape[1], len(totals) > 0, np.finfo(np.float64).tiny
    longest = longest_column(starts)
    near = np.empty((rank, longest), W.dtype)
    v, m, y = np.empty(longest), np.ones(longest), np.empty(longest)
    pulls = np.empty(longest)
    masses = totals.copy() if zeros else np.empty(rank)
    joint, work = beta == 1.0 and rank <= JOINT_RANK, joint_work(rank, longest, y)
    for column in range(len(starts) - 1):
        begin, count = starts[column], starts[column + 1] - starts[column]
        h, push, bend = H[column], l1[column], l2[column]
        load_column(rows, values, weights, W, begin, count, v, m, near)
        width = padded(count)
        for k in range(rank):
            masses[k] = masses[k] if zeros else weighted_sum(near[k], m, count)
            h[k] = 1.0 if masses[k] > 0.0 else 0.0
        multiply_column(near, h, y, width)
        scale_to_fit(v, m, y, totals, h, beta, 0, count)
        for k in range(rank):
            if not masses[k] > 0.0:
                h[k] = lone_minimum(masses[k] + push[k], bend[k])
        if beta < 1.0 or beta > 2.0:
            _multiply(near, v, m, y, h, masses, beta, push, bend, width)
        if joint and _by_joint_steps(near, v, m, y, h, masses, push, bend, work, width):
            continue
        wait, pause = 0, 1
        for _ in range(MOST_SWEEPS):
            multiply_column(near, h, y, width)
            moved, size = 0.0, 0.0
            for k in range(rank):
                if not masses[k] > 0.0:
                    continue
                if beta == 1.0:
                    new, _ = newton_entry(near[k], v, m, y, h[k], masses[k], None, push[k], bend[k], width)
                else:
                    new, _ = newton_entry(near[k], v, m, y, h[k], masses[k], beta, push[k], bend[k], width)
                new = _kept(new, h[k])
                shift_model(near[k], y, new - h[k], tiny, width)
                moved = max(moved, abs(new - h[k]) * masses[k])
                size = max(size, new * masses[k])
                h[k] = new
            if moved <= STILL * size:
                break
            wait -= 1
            if moved <= NEAR * size and wait < 0:
                taken = _newton_step(near, v, m, y, h, masses, beta, push, bend, pulls, width)
                wait, pause = (0, 1) if taken else (pause, 2 * pause)


@reordered
def _by_joint_steps(near, v, m, y, h, masses, l1, l2, work, count):  # type: ignore[no-untyped-def]
    """Take steps of all entries of a column for β = 1, and return whether they ended at its minimum."""
    steps = work[4]
    for _ in range(JOINT_STEPS):
        multiply_column(near, h, y, count)
        column_slopes(near, v, m, y, h, masses, l1, l2, 0, work, count)
        taken, settled = joint_step(near, v, m, y, h, masses, l1, l2, 0, work, count)
        if not taken:
            return False
        moved, size = 0.0, 0.0
        for k in range(len(h)):
            moved = max(moved, abs(steps[k]) * masses[k])
            size = max(size, h[k] * masses[k])
        if moved <= STILL * size:
            return settled
    return False


@reordered
def _newton_step(near, v, m, y, h, masses, beta, l1, l2, pulls, count):  # type: ignore[no-untyped-def]
    """Take Newton's step of the entries of a column that are positive or would grow; return whether it was taken.

    The step goes to the minimum of the quadratic model over h ≥ 0, or half as far until the objective falls. A convex
    one falls as long as its slope along the step is negative: nearly all the way, if the slope at the end is at most
    SLACK of that before, upwards. Where the objective may not be convex, it is evaluated too.
    """
    push = 1.0 if beta == 1.0 else 0.0  # else part of the pulls
    _set_pulls(v, m, y, beta, pulls, count)
    slope, places, used = np.empty(len(h)), np.empty(len(h), np.int64), 0
    for k in range(len(h)):
        slope[k] = push * masses[k] + l1[k] + l2[k] * h[k] - product(near[k], pulls, count)
        if masses[k] > 0.0 and (h[k] > 0.0 or slope[k] < 0.0):
            places[used] = k
            used += 1
    places = places[:used]
    _set_bends(v, m, y, beta, pulls, count)
    step = _model_step(near, h, l2, slope, places, pulls, count)
    for e in range(count):
        pulls[e] = 0.0
    before = 0.0
    for a in range(used):
        w, moved = near[places[a]], step[a]
        before += slope[places[a]] * moved
        for e in range(count):
            pulls[e] += moved * w[e]
    length = 1.0
    for _ in range(HALVINGS if before < 0.0 else 0):
        after, change, outside = 0.0, 0.0, 0
        for a in range(used):
            k, moved = places[a], length * step[a]
            after += step[a] * (push * masses[k] + l1[k] + l2[k] * (h[k] + moved))
            change += moved * (l1[k] + l2[k] * (h[k] + 0.5 * moved))
        for e in range(count):
            there = y[e] + length * pulls[e]
            outside += 1 if (v[e] > 0.0 and m[e] > 0.0 and not there > 0.0) else 0
            after -= pulls[e] * _pull(v[e], m[e], there, beta) if there > 0.0 else 0.0
        falls = outside == 0 and after <= SLACK * abs(before)
        if falls and (beta < 1.0 or beta > 2.0):
            falls = change + _rise(v, m, y, pulls, length, beta, count) <= 0.0
        if falls:
            for a in range(used):
                h[places[a]] = max(h[places[a]] + length * step[a], 0.0)
            return True
        length *= 0.5
    return False


@reordered
def _model_step(near, h, l2, slope, places, bends, count):  # type: ignore[no-untyped-def]
    """Return the steps of some entries of a column to the minimum of its quadratic model over h ≥ 0."""
    used = len(places)
    gram, factor, x, c, scale = (
        np.empty((used, used)),
        np.empty((used, used)),
        np.empty(used),
        np.empty(used),
        np.empty(used),
    )
    for a in range(used):
        x[a] = h[places[a]]
        for b in range(a + 1):
            gram[a, b] = gram[b, a] = product_of_three(near[places[a]], near[places[b]], bends, count)
        gram[a, a] += l2[places[a]]
        scale[a] = 1.0 / np.sqrt(gram[a, a]) if gram[a, a] > 0.0 else 0.0
    for a in range(used):
        c[a] = -slope[places[a]]
        for b in range(used):
            c[a] += gram[a, b] * x[b]
        c[a] *= scale[a]
    for a in range(used):
        x[a] = x[a] / scale[a] if scale[a] > 0.0 else 0.0
        for b in range(used):
            gram[a, b] *= scale[a] * scale[b]
    passive, chosen, rest = np.empty(used, np.bool_), np.empty(used, np.int64), np.empty(used)
    solve_column(gram, c, scale, SINGULAR, PIVOT_SWEEPS, x, rest, passive, chosen, factor)
    for a in range(used):
        x[a] = max(x[a], 0.0) * scale[a] - h[places[a]] if scale[a] > 0.0 else 0.0
    return x


@kernel
def _pull(v, m, y, beta):  # type: ignore[no-untyped-def]
    """Return −m d′(v, y) for y > 0; without the constant m for β = 1."""
    return m * v / y if beta == 1.0 else m * (v - y) * power_of(y, beta) / y


@reordered
def _set_pulls(v, m, y, beta, pulls, count):  # type: ignore[no-untyped-def]
    """Set `pulls` to −m d′(v, y), or 0 where y is 0."""
    for e in range(count):
        pulls[e] = _pull(v[e], m[e], y[e], beta) if y[e] > 0.0 else 0.0


@reordered
def _set_bends(v, m, y, beta, bends, count):  # type: ignore[no-untyped-def]
    """Set `bends`, which holds the pulls, to m d″(v, y), or 0 where y is 0."""
    for e in range(count):
        if beta == 1.0:
            bends[e] = bends[e] / y[e] if y[e] > 0.0 else 0.0
        elif y[e] > 0.0:
            bends[e] = m[e] * ((beta - 1.0) * y[e] + (2.0 - beta) * v[e]) * power_of(y[e], beta) / (y[e] * y[e])


@kernel
def _rise(v, m, y, moves, length, beta, count):  # type: ignore[no-untyped-def]
    """Return the change of Σ m d(v, y) by a step of y, less what rounding may add to it."""
    change, size = 0.0, 0.0
    for e in range(count):
        if m[e] > 0.0 and moves[e] != 0.0:
            old, new = divergence_of(v[e], y[e], beta), divergence_of(v[e], max(y[e] + length * moves[e], 0.0), beta)
            change += m[e] * (new - old)
            size += m[e] * abs(old)
    return change - 1e-15 * size


@kernel
def _multiply(near, v, m, y, h, masses, beta, l1, l2, count):  # type: ignore[no-untyped-def]
    """Set all entries of a column to the minima of their majorisers, until none moves."""
    new = np.empty_like(h)
    for _ in range(FIRST_SWEEPS):
        multiply_column(near, h, y, count)
        moved, size = 0.0, 0.0
        for k in range(len(h)):
            numerator, denominator, _ = slopes(near[k], v, m, y, 0.0, 0.0, beta, count)
            new[k] = _kept(minimum(h[k], numerator, denominator, beta, l1[k], l2[k]), h[k])
            moved = max(moved, abs(new[k] - h[k]) * masses[k])
            size = max(size, new[k] * masses[k])
        for k in range(len(h)):
            h[k] = new[k]
        if moved <= STILL * size:
            break


@kernel
def _kept(new, h):  # type: ignore[no-untyped-def]
    """Return the new value of an entry, with 0 for subnormal numbers, or h where the new value is not finite."""
    if not 0.0 <= new < np.inf:
        return h
    return new if new >= np.finfo(np.float64).tiny else 0.0
