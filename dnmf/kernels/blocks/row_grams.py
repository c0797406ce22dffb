"""Gram matrices of the rows of V: sums of h hᵀ over the entries of a row, in packed lower triangles."""

import numpy as np

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.products import add_squares, square_buffers
from dnmf.kernels.blocks.sparse_panel import SparsePanel
from dnmf.kernels.blocks.tiles import Float, kernel


def add_row_grams(panel: SparsePanel, H: Float, grams: Float, scratch: Scratch) -> None:
    """Add Σ_j m_ij h_j h_jᵀ to the Gram matrix of every row i (m, r(r+1)/2), row by row, so that each is in the cache.

    m_ij are the weights of the panel, and h_j the columns of H (r, p).
    """
    starts = np.zeros(panel.height + 1, np.int64)
    columns = scratch.array("columns by rows", panel.rows.shape, np.dtype(np.int32))
    weights = scratch.array("weights by rows", panel.rows.shape, panel.weights.dtype)
    _sort_by_rows(panel.starts, panel.rows, panel.weights, starts, columns, weights)
    _add_row_grams(starts, columns, weights, np.ascontiguousarray(H.T), grams)


@kernel
def _sort_by_rows(starts, rows, weights, row_starts, columns, sorted_weights):  # type: ignore[no-untyped-def]
    """Compress the entries by rows, without those of weight 0; those of a row are in the order of their columns."""
    for entry in range(starts[0], starts[-1]):
        row_starts[rows[entry] + 1] += weights[entry] != 0
    for row in range(len(row_starts) - 1):
        row_starts[row + 1] += row_starts[row]
    places = row_starts[:-1].copy()
    for column in range(len(starts) - 1):
        for entry in range(starts[column], starts[column + 1]):
            if weights[entry] == 0:
                continue
            place = places[rows[entry]]
            places[rows[entry]] += 1
            columns[place] = column
            sorted_weights[place] = weights[entry]


@kernel
def _add_row_grams(starts, columns, weights, H, grams):  # type: ignore[no-untyped-def]
    buffers = square_buffers(H.shape[1], grams)
    for row in range(len(starts) - 1):
        entries = slice(starts[row], starts[row + 1])
        add_squares(weights[entries], H, columns[entries], grams[row], buffers)
