"""Residuals of the rows and the columns of V: Σ m d(v, y) and Σ m v^β, with Y = WH.

Their ratio does not depend on the scale of V: for β = 2 the root of twice the ratio is ‖v − y‖/‖v‖.
"""

import numpy as np

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Panel
from dnmf.kernels.blocks.products import product_like
from dnmf.kernels.blocks.sparse_panel import SparsePanel
from dnmf.kernels.blocks.tiles import Float, kernel, reordered
from dnmf.kernels.divergence.beta import divergence_of, power_of


def panel_residuals(panel: Panel, W: Float, H: Float, beta: float, scratch: Scratch) -> tuple[Float, Float]:
    """Return the residuals of the rows (2, m) and of the columns (2, p) of a panel: Σ m d(v, y) above Σ m v^β.

    For a sparse panel whose zeros count, add `unstored`. Nothing larger than the panel is formed.
    """
    rows, columns = (np.zeros((2, size)) for size in panel.shape)
    if isinstance(panel, SparsePanel):
        _stored(panel.starts, panel.rows, panel.values, panel.weights, panel.zeros, W, H, beta, rows, columns)
        return rows, columns
    values, weights = panel.in_order()
    Y = product_like(panel.values, W, H, scratch)
    Y, down, along = (Y.T, columns, rows) if panel.by_columns else (Y, rows, columns)
    if beta == 2 and not weights.size:
        _squares(values, Y, down[0], down[1], along[0], along[1])
    else:
        _dense(values, weights, Y, beta, down, along)
    return rows, columns


def unstored(X: Float, gram: Float, mass: Float, beta: float) -> Float:
    """Return Σ d(0, y) of the rows (m,) of Y = X Z, for β of 2 and 1, from ZZᵀ (r, r) or the sums of Z's rows (r,).

    >>> unstored(np.array([[1.0, 2.0]]), np.eye(2), np.ones(2), 2.0).tolist()
    [2.5]
    """
    wide = X.astype(np.float64)
    return np.asarray(0.5 * ((wide @ gram) * wide).sum(axis=1) if beta == 2 else wide @ mass)


@reordered
def _squares(values, Y, row_parts, row_sizes, parts, sizes):  # type: ignore[no-untyped-def]
    """Do the same as `_dense` for β = 2 without weights, in loops that become vector instructions."""
    for i in range(values.shape[0]):
        v, y = values[i], Y[i]
        part, size = 0.0, 0.0
        for j in range(len(v)):
            wide = np.float64(v[j])
            left = wide - np.float64(y[j])
            part += 0.5 * left * left
            size += wide * wide
            parts[j] += 0.5 * left * left
            sizes[j] += wide * wide
        row_parts[i] += part
        row_sizes[i] += size


@kernel
def _dense(values, weights, Y, beta, rows, columns):  # type: ignore[no-untyped-def]
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            weight = np.float64(weights[i, j]) if weights.size else 1.0
            if weight > 0.0:
                v = np.float64(values[i, j])
                part = weight * divergence_of(v, np.float64(Y[i, j]), beta)
                size = weight * (power_of(v, beta + 1.0) if v > 0.0 else 0.0)
                rows[0, i] += part
                rows[1, i] += size
                columns[0, j] += part
                columns[1, j] += size


@kernel
def _stored(starts, places, values, weights, zeros, W, H, beta, rows, columns):  # type: ignore[no-untyped-def]
    """Add Σ m d(v, y) of the listed entries; where zeros count, less d(0, y), which `unstored` counts for all."""
    for j in range(len(starts) - 1):
        for entry in range(starts[j], starts[j + 1]):
            i = places[entry]
            weight = np.float64(weights[entry]) if weights.size else 1.0
            y = 0.0
            for k in range(W.shape[1]):
                y += np.float64(W[i, k]) * np.float64(H[k, j])
            v = np.float64(values[entry])
            if weight > 0.0:
                part = weight * divergence_of(v, y, beta)
                if zeros:
                    part -= divergence_of(0.0, y, beta)
                size = weight * (power_of(v, beta + 1.0) if v > 0.0 else 0.0)
                rows[0, i] += part
                rows[1, i] += size
                columns[0, j] += part
                columns[1, j] += size
