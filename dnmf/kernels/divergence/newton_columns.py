"""Newton's method for the Kullback–Leibler divergence, one column of H after the other.

Up to a rank, by the joint steps of `joint_steps`. Else, and where one is refused, by cyclic coordinate descent (Hsieh &
Dhillon 2011, section 4), with the safeguarded steps of `entry_steps`.
"""

import numpy as np

from dnmf.kernels.blocks.tiles import reordered
from dnmf.kernels.divergence.beta import lone_minimum
from dnmf.kernels.divergence.columns import (
    add_to_sums,
    load_column,
    longest_column,
    multiply_column,
    padded,
    queue_logarithms,
    scale_to_fit,
    weighted_sum,
)
from dnmf.kernels.divergence.elementwise import LOG_TILE, log_sum, take_ratios
from dnmf.kernels.divergence.entry_steps import newton_entry, shift_model
from dnmf.kernels.divergence.joint_steps import JOINT_RANK, column_slopes, joint_step, joint_work

# Sweeps over a column end when one promises no more than this share of the first; a column without a scale yet is far
# from its minimum, and takes all sweeps. Joint steps end likewise, before the step.
ENOUGH, JOINT_ENOUGH = 0.1, 0.02


@reordered
def descend_columns(starts, rows, values, weights, W, totals, H, options, numerators, denominators, sums, bends):  # type: ignore[no-untyped-def]
    """Update every column of H, a row of `H` (p, r), in place, with the arguments of `multiply_columns`.

    Unless `bends` is empty, set it to m v/y² of every entry (N,), in float64.
    """
    beta, sweeps, l1, l2, fixed, measured, fresh = options
    rank = H.shape[1]
    zeros = len(totals) > 0
    longest = longest_column(starts)
    near = np.empty((rank, longest), W.dtype)
    v, m, y = np.empty(longest, W.dtype), np.ones(longest, W.dtype), np.empty(longest, W.dtype)
    ratios, powers = np.empty(longest, W.dtype), np.empty(0 if zeros else longest, W.dtype)
    denominator, joint, work = np.empty(rank, W.dtype), rank <= JOINT_RANK, joint_work(rank, longest, W)
    room, idle = longest + LOG_TILE, np.zeros(rank, np.bool_)
    quotients, pulls, filled = np.empty(room), np.empty(room), 0
    for column in range(len(starts) - 1):
        begin, end = starts[column], starts[column + 1]
        count, h, push, bend = end - begin, H[column], l1[column], l2[column]
        if count == 0:
            for k in range(fixed, rank):
                h[k] = lone_minimum((np.float64(totals[k]) if zeros else 0.0) + push[k], bend[k])
            continue
        load_column(rows, values, weights, W, begin, count, v, m, near)
        width = padded(count)
        multiply_column(near, h, y, width)
        if fresh:
            scale_to_fit(v, m, y, totals, h, beta, fixed, count)
            multiply_column(near, h, y, width)
        for k in range(rank):
            denominator[k] = totals[k] if zeros else weighted_sum(near[k], m, count)
        first, gained, idle[:] = 0.0, 0.0, False
        for sweep in range(sweeps):
            taken = False
            if joint:
                gained = column_slopes(near, v, m, y, h, denominator, push, bend, fixed, work, width)
                first = gained if sweep == 0 else first
                if sweep > 0 and gained <= JOINT_ENOUGH * first:
                    break
                taken, _ = joint_step(near, v, m, y, h, denominator, push, bend, fixed, work, width)
            if not taken:
                gained = _sweep(near, v, m, y, h, denominator, push, bend, fixed, idle, width)
            multiply_column(near, h, y, width)
            first = gained if sweep == 0 else first
            if gained <= ENOUGH * first and not fresh and not joint:
                break
        sums[0] += first if measured else gained
        take_ratios(v[:count], weights[begin:end], y, beta, 0.0, ratios, powers)
        add_to_sums(rows[begin:end], ratios, powers, h, numerators, denominators)
        if len(bends) > 0:
            for e in range(count):
                bends[begin + e] = np.float64(ratios[e]) / np.float64(y[e]) if y[e] > 0 else 0.0
        sums[1] += queue_logarithms(v[:count], m, y, zeros, quotients[filled:], pulls[filled:])
        filled += count
        if filled > LOG_TILE:
            sums[1] += log_sum(quotients, pulls, filled)
            filled = 0
    sums[1] += log_sum(quotients, pulls, filled)


@reordered
def _sweep(near, v, m, y, h, denominator, l1, l2, fixed, idle, count):  # type: ignore[no-untyped-def]
    """Take a step for every entry of a column that is not fixed, keeping y up to date; return what they promised.

    Entries that stay at 0 become `idle`, and are left alone.
    """
    tiny, gained = np.finfo(h.dtype).tiny, 0.0
    for k in range(fixed, len(h)):
        if idle[k]:
            continue
        w = near[k]
        new, promised = newton_entry(
            w, v, m, y, np.float64(h[k]), np.float64(denominator[k]), None, l1[k], l2[k], count
        )
        gained += promised
        new = new if new >= tiny else 0.0
        idle[k] = new == 0.0 and h[k] == 0.0
        shift_model(w, y, h.dtype.type(new) - h[k], tiny, count)
        h[k] = new
    return gained
