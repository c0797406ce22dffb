"""Columns of H and rows of W that have a Gram matrix of their own each, as weighted least squares need.

A Gram matrix is `base` times one that all share, and a part of its own: its lower triangle, packed row by row.
"""

import numpy as np

from dnmf.kernels.blocks.tiles import kernel, reordered
from dnmf.kernels.quadratic.block_pivoting import PIVOT_SWEEPS, SINGULAR, solve_column

# Sweeps end when the largest move is this share of the largest entry.
STILL = 1e-13
# A diagonal entry of a Gram matrix below this share of what it was summed from is rounding.
ROUNDING = 1e-12


@reordered
def update_columns(starts, rows, weights, W, gram, C, H, how, sums):  # type: ignore[no-untyped-def]
    """Update every column of H (r, p), in float64, and add how far it was from its optimum to `sums` (2, r)."""
    base, sweeps, l1, l2, held, fresh = how
    rank = H.shape[0]
    own, c, h, w = np.empty((rank, rank)), np.empty(rank), np.empty(rank), np.empty(rank)
    packed = np.empty(rank * (rank + 1) // 2)
    for column in range(len(starts) - 1):
        for k in range(rank):
            h[k], c[k] = H[k, column], C[k, column]
        _form_gram(starts, rows, weights, W, column, base, gram, w, packed, own)
        if fresh:
            _match(h, c, own, held)
        _sweep(h, c, own, l1, l2, held, sweeps)
        for k in range(held, rank):
            if own[k, k] == 0.0 and c[k] <= 0.0:
                h[k] = 0.0
        _measure(h, c, own, l1, l2, held, sums)
        for k in range(rank):
            H[k, column] = h[k]


@reordered
def _form_gram(starts, rows, weights, W, column, base, gram, w, packed, own):  # type: ignore[no-untyped-def]
    """Set `own` (r, r) to the Gram matrix of a column; `w` and `packed` are buffers."""
    packed[:] = 0.0
    for entry in range(starts[column], starts[column + 1]):
        row = W[rows[entry]]
        for k in range(len(w)):
            w[k] = row[k]
        add_square(w, np.float64(weights[entry]), packed)
    _unpack(packed, base, gram, own)


@kernel
def solve_columns(starts, rows, weights, W, gram, C, how, H):  # type: ignore[no-untyped-def]
    """Set every column of H (r, p), in float64, to its minimum."""
    base, l1, l2 = how
    rank = H.shape[0]
    own, factor, packed = np.empty((rank, rank)), np.empty((rank, rank)), np.empty(rank * (rank + 1) // 2)
    c, x, w, scale, slope = np.empty(rank), np.empty(rank), np.empty(rank), np.empty(rank), np.empty(rank)
    passive, chosen = np.empty(rank, np.bool_), np.empty(rank, np.int64)
    for column in range(H.shape[1]):
        _form_gram(starts, rows, weights, W, column, base, gram, w, packed, own)
        for k in range(rank):
            own[k, k] += l2
            scale[k] = 1.0 / np.sqrt(own[k, k]) if own[k, k] > 0.0 else 0.0
        for k in range(rank):
            x[k], c[k] = 0.0, (C[k, column] - l1) * scale[k]
            for i in range(rank):
                own[k, i] *= scale[k] * scale[i]
        solve_column(own, c, scale, SINGULAR, PIVOT_SWEEPS, x, slope, passive, chosen, factor)
        for k in range(rank):
            H[k, column] = max(x[k], 0.0) * scale[k]


@reordered
def update_rows(W, cross, grams, gram, how, sums):  # type: ignore[no-untyped-def]
    """Update every row of W (m, r), in float64, until it has converged."""
    sweeps, l1, l2, held = how
    rank = W.shape[1]
    own = np.empty((rank, rank))
    for row in range(W.shape[0]):
        _unpack(grams[row], 1.0, gram, own)
        _measure(W[row], cross[row], own, l1, l2, held, sums)
        _sweep(W[row], cross[row], own, l1, l2, held, sweeps)


@kernel
def add_square(x, weight, packed):  # type: ignore[no-untyped-def]
    """Add weight · x xᵀ to the lower triangle of a Gram matrix, row by row."""
    place = 0
    for k in range(len(x)):
        part = weight * x[k]
        for i in range(k + 1):
            packed[place + i] += part * x[i]
        place += k + 1


@kernel
def _unpack(packed, base, gram, own):  # type: ignore[no-untyped-def]
    """Set `own` (r, r) to the Gram matrix of a row or column: `base` times what all share, and its own part."""
    place = 0
    for k in range(len(own)):
        for i in range(k + 1):
            own[k, i] = own[i, k] = base * gram[k, i] + packed[place + i]
        place += k + 1
        if own[k, k] <= ROUNDING * base * gram[k, k]:
            own[k, k] = 0.0


@kernel
def _match(h, c, own, held):  # type: ignore[no-untyped-def]
    """Scale a column that has no scale yet by the best factor cᵀh / hᵀGh."""
    top, bottom = 0.0, 0.0
    for k in range(len(h)):
        top += c[k] * h[k]
        for i in range(len(h)):
            bottom += h[k] * own[k, i] * h[i]
    for k in range(held, len(h)):
        h[k] *= top / bottom if bottom > 0.0 else 0.0


@reordered
def _sweep(h, c, own, l1, l2, held, sweeps):  # type: ignore[no-untyped-def]
    """Set each entry to its minimum with the others held, again and again, until nothing moves any more."""
    for _ in range(sweeps):
        moved, largest = 0.0, 0.0
        for k in range(held, len(h)):
            bend = own[k, k] + l2
            if bend <= 0.0:
                h[k] = 0.0 if l1 > 0.0 else h[k]
                continue
            slope = l1 + l2 * h[k] - c[k]
            row = own[k]
            for i in range(len(h)):
                slope += row[i] * h[i]
            new = max(0.0, h[k] - slope / bend)
            moved, largest = max(moved, abs(new - h[k])), max(largest, new)
            h[k] = new
        if moved <= STILL * largest:
            break


@reordered
def _measure(h, c, own, l1, l2, held, sums):  # type: ignore[no-untyped-def]
    """Add the squared violation of the optimality conditions, and c², both over the curvature."""
    for k in range(held, len(h)):
        bend = own[k, k] + l2
        if bend <= 0.0:
            continue
        slope = l1 + l2 * h[k] - c[k]
        row = own[k]
        for i in range(len(h)):
            slope += row[i] * h[i]
        missed = min(slope, bend * h[k])
        sums[0, k] += missed * (missed / bend)  # in this order, for squares of products of V may be no floats
        sums[1, k] += c[k] * (c[k] / bend)


@kernel
def change_by_rows(W, new, cross, grams, gram):  # type: ignore[no-untyped-def]
    """Return how the loss changes from W to the new rows."""
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
