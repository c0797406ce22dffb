"""Weighted least squares: columns of H and rows of W, each with its own Gram matrix.

G_j = base · G + the own part, which is kept as its lower triangle, packed row by row. See "Missing and weighted
entries" in docs/mathematics.md.
"""

import numpy as np

from dnmf.kernels.blocks.products import add_squares, scale_column, square_buffers
from dnmf.kernels.blocks.tiles import kernel, reordered
from dnmf.kernels.optimality import column_gain, set_gradient
from dnmf.kernels.quadratic.column_pivoting import PIVOT_SWEEPS, SINGULAR, solve_column
from dnmf.kernels.quadratic.projected_gradient import MOST_STEPS, accelerate_column, constrained_column_gain
from dnmf.kernels.quadratic.row_updates import descend_column

# Largest move, relative to the largest entry, at which sweeps end.
STILL = 1e-13
# A diagonal entry of a Gram matrix below this share of its terms is rounding.
ROUNDING = 1e-12


@reordered
def update_columns(starts, rows, weights, W, gram, C, H, options):  # type: ignore[no-untyped-def]
    """Update every column of H (r, p), in float64, and return what one more step of every entry promises.

    The options are the weight of the common Gram matrix, sweeps, l1 and l2 (p, r), the number of fixed components,
    whether to return what the first step promised instead, whether the columns have no scale yet, and the set of a
    column: whether to take projected gradients, the bound of its entries, and whether they sum to 1.
    """
    gained = 0.0
    base, sweeps, l1, l2, fixed, first, fresh, within = options
    rank = H.shape[0]
    own, c, h, slope, inverse = np.empty((rank, rank)), np.empty(rank), np.empty(rank), np.empty(rank), np.empty(rank)
    packed, buffers = np.empty(rank * (rank + 1) // 2), square_buffers(rank, gram)
    for column in range(len(starts) - 1):
        for k in range(rank):
            h[k], c[k] = H[k, column], C[k, column]
        _form_gram(starts, rows, weights, W, column, base, gram, packed, buffers, own)
        if fresh:
            _scale_to_fit(h, c, own, fixed)
        push, bend = l1[column], l2[column]
        set_gradient(h, c, own, push, bend, slope)
        if first:
            gained += _gain(h, slope, own, bend, fixed, within)
        _improve(h, c, own, push, bend, fixed, within, sweeps, slope, inverse)
        for k in range(fixed, rank):
            if own[k, k] + bend[k] == 0.0 and c[k] <= 0.0 and within[1] == np.inf and not within[2]:
                h[k] = 0.0
        if not first:
            gained += _gain(h, slope, own, bend, fixed, within)
        for k in range(rank):
            H[k, column] = h[k]
    return gained


@reordered
def _improve(h, c, G, l1, l2, fixed, within, sweeps, slope, inverse):  # type: ignore[no-untyped-def]
    """Update one column and its gradient `slope` (r,), by coordinate descent or by projected gradients."""
    projected, upper, simplex = within
    if projected:
        accelerate_column(h, c, G, l1, l2, fixed, upper, simplex, sweeps, STILL)
        set_gradient(h, c, G, l1, l2, slope)
    else:
        descend_column(h, c, G, l1, l2, fixed, sweeps, STILL, slope, inverse)


@reordered
def _gain(h, slope, G, l2, fixed, within):  # type: ignore[no-untyped-def]
    """Return the gain of one column: `column_gain`, or within a constraint as `Constraint.gain` does."""
    _, upper, simplex = within
    if not simplex and upper == np.inf:
        return column_gain(h, slope, G, l2, fixed)
    return constrained_column_gain(h, slope, G, l2, fixed, upper, simplex)


@reordered
def _form_gram(starts, rows, weights, W, column, base, gram, packed, buffers, own):  # type: ignore[no-untyped-def]
    """Set `own` (r, r) to the Gram matrix of a column."""
    packed[:] = 0.0
    entries = slice(starts[column], starts[column + 1])
    add_squares(weights[entries], W, rows[entries], packed, buffers)
    _unpack(packed, base, gram, own)


@kernel
def solve_columns(starts, rows, weights, W, gram, C, options, H):  # type: ignore[no-untyped-def]
    """Set every column of H (r, p), in float64, to its minimum."""
    base, l1, l2, within = options
    rank = H.shape[0]
    own, factor, packed = np.empty((rank, rank)), np.empty((rank, rank)), np.empty(rank * (rank + 1) // 2)
    c, x, scale, slope = np.empty(rank), np.empty(rank), np.empty(rank), np.empty(rank)
    buffers = square_buffers(rank, gram)
    passive, chosen = np.empty(rank, np.bool_), np.empty(rank, np.int64)
    for column in range(H.shape[1]):
        _form_gram(starts, rows, weights, W, column, base, gram, packed, buffers, own)
        if within[0]:
            for k in range(rank):
                x[k], c[k] = H[k, column], C[k, column]
            accelerate_column(x, c, own, l1[column], l2[column], 0, within[1], within[2], MOST_STEPS, STILL)
            for k in range(rank):
                H[k, column] = x[k]
            continue
        for k in range(rank):
            own[k, k] += l2[column, k]
            scale[k] = 1.0 / np.sqrt(own[k, k]) if own[k, k] > 0.0 else 0.0
        for k in range(rank):
            x[k], c[k] = 0.0, (C[k, column] - l1[column, k]) * scale[k]
            for i in range(rank):
                own[k, i] *= scale[k] * scale[i]
        solve_column(own, c, scale, SINGULAR, PIVOT_SWEEPS, x, slope, passive, chosen, factor)
        for k in range(rank):
            H[k, column] = x[k] * scale[k] if x[k] > 0.0 else 0.0  # never −0


@reordered
def update_rows(W, cross, grams, gram, options):  # type: ignore[no-untyped-def]
    """Update every row of W (m, r), in float64, and return what a step of every entry promised before."""
    gained = 0.0
    sweeps, l1, l2, fixed, within = options
    rank = W.shape[1]
    own, slope, inverse = np.empty((rank, rank)), np.empty(rank), np.empty(rank)
    for row in range(W.shape[0]):
        _unpack(grams[row], 1.0, gram, own)
        push, bend = l1[row], l2[row]
        set_gradient(W[row], cross[row], own, push, bend, slope)
        gained += _gain(W[row], slope, own, bend, fixed, within)
        _improve(W[row], cross[row], own, push, bend, fixed, within, sweeps, slope, inverse)
    return gained


@kernel
def _unpack(packed, base, gram, own):  # type: ignore[no-untyped-def]
    """Set `own` (r, r) to the Gram matrix of a row or column."""
    place = 0
    for k in range(len(own)):
        for i in range(k + 1):
            own[k, i] = own[i, k] = base * gram[k, i] + packed[place + i]
        place += k + 1
        if own[k, k] <= ROUNDING * base * gram[k, k]:
            own[k, k] = 0.0


@kernel
def _scale_to_fit(h, c, own, fixed):  # type: ignore[no-untyped-def]
    """Scale a column without a scale by cᵀh / hᵀGh, the factor that fits best."""
    top, bottom = 0.0, 0.0
    for k in range(len(h)):
        top += c[k] * h[k]
        for i in range(len(h)):
            bottom += h[k] * own[k, i] * h[i]
    scale_column(h, top, bottom, fixed)


@kernel
def change_by_rows(W, new, cross, grams, gram):  # type: ignore[no-untyped-def]
    """Return the change of the loss from W to the new rows: the change times the slope half-way, exactly."""
    rank = W.shape[1]
    own = np.empty((rank, rank))
    total = 0.0
    for row in range(W.shape[0]):
        _unpack(grams[row], 1.0, gram, own)
        for k in range(rank):
            slope = -cross[row, k]
            for i in range(rank):
                slope += own[k, i] * 0.5 * (W[row, i] + new[row, i])
            total += (new[row, k] - W[row, k]) * slope
    return total
