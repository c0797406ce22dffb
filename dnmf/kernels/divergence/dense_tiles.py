"""Tiles of columns of V and of H that lie side by side: `LANES` columns of H, and of V in whole vectors."""

import numpy as np

from dnmf.kernels.blocks.tiles import LANES, kernel
from dnmf.kernels.divergence.dense_models import model_work, triangle
from dnmf.kernels.divergence.dense_terms import GROUP, SIDE_BYTES


@kernel
def tile_entries(W, H):  # type: ignore[no-untyped-def]
    """Return the rows of W and their products, with rows of zeros up to whole groups, and buffers of a tile of V."""
    height, rank = W.shape
    whole, side = (height + GROUP - 1) // GROUP * GROUP, SIDE_BYTES // H.itemsize
    rows, products = np.zeros((whole, rank), W.dtype), np.zeros((whole, rank * (rank + 1) // 2), W.dtype)
    for e in range(height):
        for k in range(rank):
            rows[e, k] = W[e, k]
            for i in range(k + 1):
                products[e, triangle(k, i)] = W[e, k] * W[e, i]
    v = np.zeros((whole, min(LANES, (H.shape[1] + side - 1) // side * side)), H.dtype)
    return rows, products, v, np.zeros((rank, LANES), H.dtype), np.zeros((products.shape[1], LANES), H.dtype)


@kernel
def tile_work(rank, H):  # type: ignore[no-untyped-def]
    """Return the buffers of a tile of H: itself, penalties, which columns are going, gains, sums, models and steps."""
    shape, size = (rank, LANES), (rank * (rank + 1) // 2, LANES)
    own = np.zeros(shape, H.dtype), np.zeros(shape), np.zeros(shape), np.zeros(LANES, np.bool_), np.zeros(LANES)
    models = np.zeros(shape), np.zeros(size), np.zeros(shape), np.zeros(shape), model_work(rank)
    trial = np.zeros(shape, H.dtype), np.zeros(LANES), np.zeros(LANES), np.zeros(LANES, np.bool_)
    return *own, *models, np.zeros(shape), np.zeros(LANES), trial


@kernel
def load_columns(values, by_columns, columns, start, v):  # type: ignore[no-untyped-def]
    """Copy the columns of V (m, p), or of its transpose, from `start` on into a tile, and return their number."""
    width = min(v.shape[1], columns - start)
    if by_columns:
        for j in range(width):
            for e in range(values.shape[1]):
                v[e, j] = values[start + j, e]
    else:
        for e in range(values.shape[0]):
            for j in range(width):
                v[e, j] = values[e, start + j]
    return width


@kernel
def scale_tile(entries, h, totals, fixed):  # type: ignore[no-untyped-def]
    """Scale every column of a tile by Σ v / Σ y, the factor that fits best, as `scale_to_fit` does."""
    rows, v = entries[0], entries[2]
    zero = h.dtype.type(0)
    numerators, denominators, y = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES, h.dtype)
    for e in range(len(rows)):
        y[:] = zero
        for k in range(rows.shape[1]):
            for j in range(v.shape[1]):
                y[j] += rows[e, k] * h[k, j]
        for j in range(v.shape[1]):
            numerators[j] += np.float64(v[e, j]) if y[j] > zero else 0.0
    for k in range(h.shape[0]):
        for j in range(LANES):
            denominators[j] += np.float64(totals[k]) * np.float64(h[k, j])
    for k in range(fixed, h.shape[0]):
        for j in range(LANES):
            h[k, j] *= numerators[j] / denominators[j] if denominators[j] > 0.0 else 0.0
