"""Row updates that lower a quadratic objective: HALS and the multiplicative rule.

Each takes H (r, p), the cross products C = WᵀV (r, p) and the Gram matrix G = WᵀW (r, r), of one float dtype, and
lowers ½ tr(HᵀGH) − tr(CᵀH) + l1‖H‖₁ + ½ l2‖H‖² in place. The update of W is the same one on the transposes.
"""

from typing import Protocol

import numpy as np

from dnmf.kernels.tiles import LANES, Float, Penalty, gram_row, kernel, load_tile, store_tile

LEAST = 1e-16
# What an extrapolation leaves of an entry at least, where updates multiply.
KEPT = 0.1


class RowUpdate(Protocol):
    """A function that lowers the quadratic objective of H (r, p) in place."""

    def __call__(self, H: Float, C: Float, G: Float, penalty: Penalty, sweeps: int) -> None: ...


def hals(H: Float, C: Float, G: Float, penalty: Penalty, sweeps: int) -> None:
    """Sweep over the rows of H, each set to its minimum with the others held.

    h_k ← max(0, h_k + (c_k − l1 − (GH)_k − l2 h_k) / (G_kk + l2)): Cichocki, Zdunek & Amari 2007, and Gillis &
    Glineur 2012 for several sweeps to one product. A component with nothing to fit (G_kk + l2 = 0) is left as it
    is, or set to 0 where l1 > 0.
    """
    l1, l2 = H.dtype.type(penalty.l1), H.dtype.type(penalty.l2)
    curvature = np.diag(G) + l2
    inverse = np.divide(1, curvature, out=np.zeros_like(curvature), where=curvature > 0)
    _hals(H, C, G, l1, l2, inverse, sweeps)


@kernel
def _hals(H, C, G, l1, l2, inverse, sweeps):  # type: ignore[no-untyped-def]
    rank, width = H.shape
    h = np.zeros((rank, LANES), H.dtype)
    c = np.zeros((rank, LANES), H.dtype)
    step = np.empty(LANES, H.dtype)
    zero = l1 - l1
    for start in range(0, width, LANES):
        load_tile(H, start, h)
        load_tile(C, start, c)
        for _ in range(sweeps):
            for k in range(rank):
                if inverse[k] == zero:
                    if l1 > zero:
                        h[k, :] = zero
                    continue
                gram_row(G, k, h, step)
                scale = inverse[k]
                for j in range(LANES):
                    moved = h[k, j] + (c[k, j] - l1 - step[j] - l2 * h[k, j]) * scale
                    h[k, j] = moved if moved > zero else zero
        store_tile(h, H, start)


def multiplicative(H: Float, C: Float, G: Float, penalty: Penalty, sweeps: int) -> None:
    """Multiply H by C / (GH + l2 H + l1), `sweeps` times: Lee & Seung 2001, eq. 4.

    Where the denominator is 0, so is the numerator or the entry, and the entry stays. Several updates to one
    product: Gillis & Glineur 2012. An entry shrinks to `LEAST` of C / G_kk and no further, so that it can
    come back (the floor of Takahashi & Hibi 2014, made relative; it keeps the descent, since it lies between the
    old entry and the new one), and never enters the subnormal numbers, which are some 20 times slower.
    """
    dtype = H.dtype.type
    _multiplicative(H, C, G, dtype(penalty.l1), dtype(penalty.l2), dtype(LEAST), sweeps)


@kernel
def _multiplicative(H, C, G, l1, l2, least, sweeps):  # type: ignore[no-untyped-def]
    rank, width = H.shape
    h = np.zeros((rank, LANES), H.dtype)
    c = np.zeros((rank, LANES), H.dtype)
    new = np.empty((rank, LANES), H.dtype)
    bottom = np.empty(LANES, H.dtype)
    zero = l1 - l1
    for start in range(0, width, LANES):
        load_tile(H, start, h)
        load_tile(C, start, c)
        for _ in range(sweeps):
            for k in range(rank):
                gram_row(G, k, h, bottom)
                for j in range(LANES):
                    below = bottom[j] + l2 * h[k, j] + l1
                    value = h[k, j] * (c[k, j] / below) if below > zero else h[k, j]
                    floor = least * c[k, j] / G[k, k] if G[k, k] > zero else zero
                    floor = floor if floor < h[k, j] else h[k, j]
                    new[k, j] = value if value > floor else floor
            h[:] = new
        store_tile(h, H, start)


def moments(H: Float, C: Float, G: Float, penalty: Penalty) -> Float:
    """Return three sums of every component (3, r) in float64: violation squared, C squared, and C times H.

    The violation of one entry is min(g, (G_kk + l2) h), where g = (GH)_k − c + l2 h + l1 is its gradient: the
    projected gradient, made continuous at h = 0. It is 0 exactly where the Karush–Kuhn–Tucker conditions hold.
    """
    return np.asarray(_moments(H, C, G, H.dtype.type(penalty.l1), H.dtype.type(penalty.l2)))


@kernel
def _moments(H, C, G, l1, l2):  # type: ignore[no-untyped-def]
    rank, width = H.shape
    h = np.zeros((rank, LANES), H.dtype)
    c = np.zeros((rank, LANES), H.dtype)
    slope = np.empty(LANES, H.dtype)
    sums = np.zeros((3, rank, LANES), np.float64)
    for start in range(0, width, LANES):
        tile = load_tile(H, start, h)
        load_tile(C, start, c)
        for k in range(rank):
            gram_row(G, k, h, slope)
            curvature = G[k, k] + l2
            for j in range(tile, LANES):
                h[k, j] = c[k, j] = slope[j] = l1 - l1
            for j in range(tile):
                slope[j] += l1
            for j in range(LANES):
                gradient = slope[j] - c[k, j] + l2 * h[k, j]
                bound = curvature * h[k, j]
                missed = np.float64(gradient if gradient < bound else bound)
                wide = np.float64(c[k, j])
                sums[0, k, j] += missed * missed
                sums[1, k, j] += wide * wide
                sums[2, k, j] += wide * np.float64(h[k, j])
    return sums.sum(axis=2)
