"""The two products of a panel with a factor, for dense and for sparse panels."""

import numpy as np

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Columns, Panel
from dnmf.kernels.blocks.tiles import Float, kernel


def cross_product(panel: Panel, W: Float, scratch: Scratch) -> Float:
    """Return WᵀV (r, p) of a panel V (m, p) and W (m, r), valid until the next call."""
    width = len(panel.starts) - 1 if isinstance(panel, Columns) else panel.shape[1]
    out = scratch.array("cross", (W.shape[1], width), W.dtype)
    if isinstance(panel, Columns):
        _gather(panel.starts, panel.rows, panel.values, W, out)
    else:
        np.matmul(W.T, panel, out=out)
    return out


def add_outer_product(panel: Panel, H: Float, total: Float, scratch: Scratch) -> None:
    """Add VHᵀ of a panel V (m, p) and H (r, p) to `total` (m, r), in float64.

    A float32 product is taken of H over a power of two, so that it neither overflows nor vanishes at any scale of V.
    """
    if isinstance(panel, Columns):
        _scatter(panel.starts, panel.rows, panel.values, H, total)
        return
    scale = power_of_two(float(max(H.max(initial=0), -H.min(initial=0))))
    scaled = np.multiply(H, 1 / scale, out=scratch.array("scaled", H.shape, H.dtype))
    part = scratch.array("outer", total.shape, H.dtype)
    np.matmul(panel, scaled.T, out=part)
    _add_scaled(part, scale, total)


def add_gram(H: Float, total: Float) -> None:
    """Add HHᵀ of a panel H (r, p) to `total` (r, r), in float64."""
    wide = H.astype(np.float64)
    total += wide @ wide.T


def power_of_two(size: float) -> float:
    """Return a power of two near `size`, and 1 for sizes about 1 and for 0: multiplying by it is exact.

    >>> power_of_two(0.3), power_of_two(1e-30) < 1e-30, power_of_two(0.0)
    (1.0, True, 1.0)
    """
    exponent = int(np.frexp(size)[1])
    return 1.0 if abs(exponent) <= 16 else 2.0 ** max(min(exponent - 1, 120), -120)


@kernel
def _add_scaled(part, scale, total):  # type: ignore[no-untyped-def]
    for i in range(part.shape[0]):
        row, out = part[i], total[i]
        for k in range(part.shape[1]):
            out[k] += np.float64(row[k]) * scale


@kernel
def _gather(starts, rows, values, W, out):  # type: ignore[no-untyped-def]
    """Add up rows of W, four entries at a time: the sums are then loaded and stored a quarter as often."""
    rank = W.shape[1]
    sums = np.empty(rank, W.dtype)
    zero = W.dtype.type(0)
    for column in range(len(starts) - 1):
        sums[:] = zero
        first, stop = starts[column], starts[column + 1]
        fours = (stop - first) // 4
        for four in range(fours):
            entry = first + 4 * four
            v0, v1, v2, v3 = values[entry], values[entry + 1], values[entry + 2], values[entry + 3]
            w0, w1, w2, w3 = W[rows[entry]], W[rows[entry + 1]], W[rows[entry + 2]], W[rows[entry + 3]]
            for k in range(rank):
                sums[k] += v0 * w0[k] + v1 * w1[k] + v2 * w2[k] + v3 * w3[k]
        for entry in range(first + 4 * fours, stop):
            value, w = values[entry], W[rows[entry]]
            for k in range(rank):
                sums[k] += value * w[k]
        for k in range(rank):
            out[k, column] = sums[k]


@kernel
def _scatter(starts, rows, values, H, total):  # type: ignore[no-untyped-def]
    rank = H.shape[0]
    h = np.empty(rank, np.float64)
    for column in range(len(starts) - 1):
        for k in range(rank):
            h[k] = H[k, column]
        for entry in range(starts[column], starts[column + 1]):
            value, out = np.float64(values[entry]), total[rows[entry]]
            for k in range(rank):
                out[k] += value * h[k]
