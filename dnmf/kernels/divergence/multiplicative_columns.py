"""Multiplicative updates of one column of H at a time (Févotte & Idier 2011, section 4.1).

The rows of W at the entries of a column stay in the cache for all of its updates and for its part of the sums for W.
The work is proportional to the entries, and no temporary is larger than one column's. See "Multiplicative updates" in
docs/mathematics.md.
"""

import numpy as np

from dnmf.kernels.blocks.products import row_buffers, sum_rows
from dnmf.kernels.blocks.simd import row_products
from dnmf.kernels.blocks.tiles import kernel, reordered
from dnmf.kernels.divergence.beta import lone_minimum, minimum
from dnmf.kernels.divergence.columns import add_to_sums, entry_loss, longest_column, queue_logarithms, scale_to_fit
from dnmf.kernels.divergence.elementwise import LOG_TILE, log_sum, take_ratios
from dnmf.kernels.optimality import majorised_gain


@reordered
def multiply_columns(starts, rows, values, weights, W, totals, H, options, numerators, denominators, sums):  # type: ignore[no-untyped-def]
    """Update every column of H, a row of `H` (p, r), in place, and add to the sums of a pass.

    Parameters
    ----------
    starts, rows, values, weights
        Those of a `SparsePanel`.
    W
        W (m, r) in C order.
    totals
        Wᵀ1 (r,) where the entries that are not listed are zeros that count, for β = 1 only; else empty.
    options
        β, sweeps, l1 and l2 (p, r), number of fixed components, whether to measure the first step and not the last,
        whether the columns of H have no scale yet, and the slope of `steepest`.
    numerators, denominators
        Gets Σ m v y^(β−2) h (m, r), and Σ m y^(β−1) h unless it is empty.
    sums
        Gets what the last (or first) step of every entry promised, and the loss of the entries (2,).
    """
    beta, sweeps, l1, l2, fixed, first, fresh, steep = options
    zeros = len(totals) > 0
    longest, rank = longest_column(starts), H.shape[1]
    ones, y, ratios = np.ones(longest, W.dtype), np.empty(longest, W.dtype), np.empty(longest, W.dtype)
    powers = np.empty(0 if zeros else longest, W.dtype)
    numerator, denominator, buffers = np.empty(rank, W.dtype), np.empty(rank, W.dtype), row_buffers(W)
    if zeros:
        for k in range(rank):
            denominator[k] = totals[k]
    room = longest + LOG_TILE
    quotients, pulls, filled = np.empty(room, W.dtype), np.empty(room, W.dtype), 0
    for column in range(len(starts) - 1):
        begin, end = starts[column], starts[column + 1]
        count, h, push, bend = end - begin, H[column], l1[column], l2[column]
        if count == 0:
            for k in range(fixed, rank):
                h[k] = lone_minimum((np.float64(totals[k]) if zeros else 0.0) + push[k], bend[k])
            continue
        v, near, given = values[begin:end], rows[begin:end], weights[begin:end]
        m = given if len(given) > 0 else ones[:count]
        row_products(W, near, h, y)
        if fresh:
            scale_to_fit(v, m, y, totals, h, beta, fixed, count)
            row_products(W, near, h, y)
        for sweep in range(sweeps):
            take_ratios(v, given, y, beta, steep, ratios, powers)
            sum_rows(ratios, W, near, buffers, numerator)
            if not zeros:
                sum_rows(powers, W, near, buffers, denominator)
            gained = _majorise_column(h, numerator, denominator, beta, push, bend, fixed)
            if sweep == (0 if first else sweeps - 1):
                sums[0] += gained
            row_products(W, near, h, y)
        take_ratios(v, given, y, beta, steep, ratios, powers)
        add_to_sums(near, ratios, powers, h, numerators, denominators)
        if beta == 1.0:
            sums[1] += queue_logarithms(v, m, y, zeros, quotients[filled:], pulls[filled:])
            filled += count
            if filled > LOG_TILE:
                sums[1] += log_sum(quotients, pulls, filled)
                filled = 0
        else:
            for e in range(count):
                sums[1] += entry_loss(np.float64(v[e]), np.float64(y[e]), np.float64(m[e]), beta, zeros)
    sums[1] += log_sum(quotients, pulls, filled)


@kernel
def _majorise_column(h, numerator, denominator, beta, l1, l2, fixed):  # type: ignore[no-untyped-def]
    """Set the entries of a column that are not fixed to the minimum of their majorisers; return what that gains."""
    tiny, gained = np.finfo(h.dtype).tiny, 0.0
    for k in range(fixed, len(h)):
        old, top, bottom = np.float64(h[k]), np.float64(numerator[k]), np.float64(denominator[k])
        new = minimum(old, top, bottom, beta, l1[k], l2[k])
        gained += majorised_gain(old, new, bottom + l1[k] + l2[k] * old - top)
        h[k] = new if new >= tiny else 0.0
    return gained
