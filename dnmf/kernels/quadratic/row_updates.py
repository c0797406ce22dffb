"""Row updates that lower a quadratic objective: HALS and the multiplicative rule.

Each takes H (r, p), the cross products C = WᵀV (r, p) and the Gram matrix G = WᵀW (r, r), of one float dtype, and
lowers ½ tr(HᵀGH) − tr(CᵀH) + l1‖H‖₁ + ½ l2‖H‖² in place. The update of W is the same on the transposes. See "HALS" and
"Multiplicative updates" in docs/mathematics.md.
"""

import dataclasses
import hashlib
from typing import Protocol

import numpy as np

from dnmf.kernels.blocks.simd import add_multiple
from dnmf.kernels.blocks.tiles import (
    LANES,
    Float,
    clear,
    gram_pair,
    gram_row,
    kernel,
    load_tile,
    reordered,
    store_tile,
)
from dnmf.kernels.optimality import add_row_gains, set_gradient
from dnmf.kernels.penalty import Penalty

LEAST = 1e-16
# The smallest share of an entry that an extrapolation leaves, where updates multiply.
KEPT = 0.1


class RowUpdate(Protocol):
    """A function that lowers the quadratic objective of H (r, p) in place."""

    def __call__(self, H: Float, C: Float, G: Float, penalty: Penalty, sweeps: int) -> None: ...


def hals(H: Float, C: Float, G: Float, penalty: Penalty, sweeps: int) -> None:
    """Sweep over the rows of H, each set to its minimum with the others fixed (Cichocki, Zdunek & Amari 2007).

    h_k ← max(0, h_k + (c_k − l1 − (GH)_k − l2 h_k) / (G_kk + l2)), several sweeps for one product C (Gillis & Glineur
    2012, section 4). A component without data (G_kk + l2 = 0) stays as it is, or is set to 0 where l1 > 0.
    """
    if not penalty.plain:
        pulls, bends = penalty.arrays(H.shape, H.dtype)
        _hals_arrays(H, C - pulls, G, bends, np.finfo(H.dtype).tiny, sweeps)
        return
    _hals(H, C, G, H.dtype.type(penalty.l1), H.dtype.type(penalty.l2), sweeps, np.empty(0))


def measured_hals(H: Float, C: Float, G: Float, penalty: Penalty, sweeps: int) -> tuple[float, float]:
    """Do the same under a penalty of numbers, and return what `quadratic_gains` does, from the same loop over tiles."""
    sums = np.zeros(2)
    _hals(H, C, G, H.dtype.type(penalty.l1), H.dtype.type(penalty.l2), sweeps, sums)
    return float(sums[0]), float(sums[1])


@kernel
def _hals(H, C, G, l1, l2, sweeps, sums):  # type: ignore[no-untyped-def]
    """Sweep over all tiles of H, and add the gains that are left, and ⟨C, H⟩, to `sums` unless it is empty."""
    rank, width = H.shape
    inverse = inverses(G, l2)
    h = np.zeros((rank, LANES), H.dtype)
    c = np.zeros((rank, LANES), H.dtype)
    slope = np.empty(LANES, H.dtype)
    below = np.empty(LANES, H.dtype)
    gains, products = np.zeros(LANES), np.zeros(LANES)
    for start in range(0, width, LANES):
        if width - start < LANES:
            clear(h)
            clear(c)
        load_tile(H, start, h)
        load_tile(C, start, c)
        sweep_tile(h, c, G, l1, l2, inverse, sweeps, slope, below)
        if len(sums) > 0:
            add_gains(h, c, G, l1, l2, slope, gains, products)
        store_tile(h, H, start)
    if len(sums) > 0:
        for j in range(LANES):
            sums[0] += gains[j]
            sums[1] += products[j]


@kernel
def inverses(G, l2):  # type: ignore[no-untyped-def]
    """Return the inverse of the curvature of every component (r,), or 0."""
    inverse = np.zeros(len(G), G.dtype)
    for k in range(len(G)):
        curvature = G[k, k] + l2
        if curvature >= np.finfo(G.dtype).tiny:  # of which the inverse is still a float
            inverse[k] = G.dtype.type(1) / curvature
    return inverse


@kernel
def add_gains(h, c, G, l1, l2, slope, gains, products):  # type: ignore[no-untyped-def]
    """Add the gains of a tile, and ⟨c, h⟩, lane by lane, in float64."""
    for k in range(len(h)):
        gram_row(G, k, h, slope)
        add_row_gains(h[k], c[k], slope, G[k, k], l1, l2, gains, products)


@kernel
def sweep_tile(h, c, G, l1, l2, inverse, sweeps, slope, below):  # type: ignore[no-untyped-def]
    """Sweep over two rows at a time: (Gh)_k+1 with the new h_k is the old one plus G_k+1,k (h_k' − h_k)."""
    rank = len(h)
    zero = l1 - l1
    for _ in range(sweeps):
        for pair in range(rank // 2):
            k = 2 * pair
            gram_pair(G, k, h, slope, below)
            _minimise(h[k], c[k], slope, below, G[k + 1, k], l1, l2, inverse[k])
            _minimise(h[k + 1], c[k + 1], below, slope, zero, l1, l2, inverse[k + 1])
        if rank % 2:
            gram_row(G, rank - 1, h, slope)
            _minimise(h[rank - 1], c[rank - 1], slope, below, zero, l1, l2, inverse[rank - 1])


@kernel
def _minimise(h, c, slope, below, coupling, l1, l2, inverse):  # type: ignore[no-untyped-def]
    """Set a row h to its minimum, and add `coupling` times its change to `below`, the next row of GH."""
    zero = l1 - l1
    if inverse == zero and l1 == zero:
        return
    for j in range(LANES):
        old = h[j]
        new = old + (c[j] - l1 - slope[j] - l2 * old) * inverse
        new = new if new > zero and inverse > zero else zero
        below[j] += coupling * (new - old)
        h[j] = new


@kernel
def _hals_arrays(H, C, G, l2, tiny, sweeps):  # type: ignore[no-untyped-def]
    """Sweep over the rows with l2 (r, p) of every entry; l1 was subtracted from C."""
    rank, width = H.shape
    h = np.zeros((rank, LANES), H.dtype)
    c = np.zeros((rank, LANES), H.dtype)
    bend = np.zeros((rank, LANES), H.dtype)
    slope = np.empty(LANES, H.dtype)
    zero = tiny - tiny
    for start in range(0, width, LANES):
        load_tile(H, start, h)
        load_tile(C, start, c)
        load_tile(l2, start, bend)
        for k in range(rank):
            for j in range(LANES):
                bend[k, j] += G[k, k]
        for _ in range(sweeps):
            for k in range(rank):
                gram_row(G, k, h, slope)
                for j in range(LANES):
                    # bend h = G_kk h + l2 h, and the slope has the first of these already.
                    new = (c[k, j] - slope[j] + G[k, k] * h[k, j]) / bend[k, j] if bend[k, j] >= tiny else h[k, j]
                    kept = bend[k, j] >= tiny or c[k, j] >= zero
                    h[k, j] = new if new > zero and kept else zero
        store_tile(h, H, start)


@dataclasses.dataclass(frozen=True, slots=True)
class Shuffled:
    """An update with the components in a random order, drawn for every Gram matrix and so the same in a whole pass."""

    update: RowUpdate
    seed: int

    def __call__(self, H: Float, C: Float, G: Float, penalty: Penalty, sweeps: int) -> None:
        """Update H (r, p) in place."""
        digest = hashlib.blake2b(np.ascontiguousarray(G).tobytes(), digest_size=8).digest()
        order = np.random.default_rng([self.seed, int.from_bytes(digest)]).permutation(len(H))
        h = H[order]
        self.update(h, C[order], np.ascontiguousarray(G[order][:, order]), penalty.components(order), sweeps)
        H[order] = h


def multiplicative(H: Float, C: Float, G: Float, penalty: Penalty, sweeps: int) -> None:
    """Multiply H by C / (GH + l2 H + l1), `sweeps` times: Lee & Seung 2001, eq. 4, with l1 as by Hoyer 2002.

    Where the denominator is 0, so is the numerator or the entry, and the entry stays. Several updates for one product C
    are due to Gillis & Glineur 2012. A departure from both: an entry shrinks to `LEAST` of C / G_kk and no further, so
    that it can come back (the floor of Takahashi & Hibi 2014, made relative). The floor lies between the old entry and
    the new one, so the objective still falls. It also keeps subnormal numbers out, which are some 20 times slower. With
    an L1 penalty above C, under which components vanish and C / G_kk has no bound, it is C / (C + l1) of that. The
    negative part of an array l1 is added to the numerator, whose entries then rise.
    """
    if not penalty.plain:
        l1, l2 = penalty.arrays(H.shape, H.dtype)
        pulled, pushed = C + np.maximum(-l1, 0), np.maximum(l1, 0)
        _multiplicative_arrays(H, pulled, G, pushed, l2, H.dtype.type(LEAST), sweeps)
        return
    dtype = H.dtype.type
    _multiplicative(H, C, G, dtype(penalty.l1), dtype(penalty.l2), dtype(LEAST), sweeps)


@kernel
def _multiplicative(H, C, G, l1, l2, least, sweeps):  # type: ignore[no-untyped-def]
    rank, width = H.shape
    h = np.zeros((rank, LANES), H.dtype)
    c = np.zeros((rank, LANES), H.dtype)
    new = np.empty((rank, LANES), H.dtype)
    product = np.empty(LANES, H.dtype)
    zero = l1 - l1
    for start in range(0, width, LANES):
        load_tile(H, start, h)
        load_tile(C, start, c)
        for _ in range(sweeps):
            for k in range(rank):
                gram_row(G, k, h, product)
                for j in range(LANES):
                    denominator = product[j] + l2 * h[k, j] + l1
                    value = h[k, j] * (c[k, j] / denominator) if denominator > zero else h[k, j]
                    floor = least * c[k, j] / G[k, k] if G[k, k] > zero else zero
                    floor = floor * (c[k, j] / (c[k, j] + l1)) if l1 > zero else floor
                    floor = floor if floor < h[k, j] else h[k, j]
                    new[k, j] = value if value > floor else floor
            load_tile(new, 0, h)
        store_tile(h, H, start)


@kernel
def _multiplicative_arrays(H, C, G, l1, l2, least, sweeps):  # type: ignore[no-untyped-def]
    """Do the same with penalties of every entry (r, p)."""
    rank, width = H.shape
    h = np.zeros((rank, LANES), H.dtype)
    c = np.zeros((rank, LANES), H.dtype)
    push = np.zeros((rank, LANES), H.dtype)
    bend = np.zeros((rank, LANES), H.dtype)
    new = np.empty((rank, LANES), H.dtype)
    product = np.empty(LANES, H.dtype)
    zero = least - least
    for start in range(0, width, LANES):
        load_tile(H, start, h)
        load_tile(C, start, c)
        load_tile(l1, start, push)
        load_tile(l2, start, bend)
        for _ in range(sweeps):
            for k in range(rank):
                gram_row(G, k, h, product)
                for j in range(LANES):
                    denominator = product[j] + bend[k, j] * h[k, j] + push[k, j]
                    value = h[k, j] * (c[k, j] / denominator) if denominator > zero else h[k, j]
                    curvature = G[k, k] + bend[k, j]
                    floor = least * c[k, j] / curvature if curvature > zero else zero
                    floor = floor * (c[k, j] / (c[k, j] + push[k, j])) if push[k, j] > zero else floor
                    floor = floor if floor < h[k, j] else h[k, j]
                    new[k, j] = value if value > floor else floor
            load_tile(new, 0, h)
        store_tile(h, H, start)


@reordered
def descend_column(h, c, G, l1, l2, fixed, sweeps, tolerance, slope, inverse):  # type: ignore[no-untyped-def]
    """Sweep over the entries of one column as `hals` does, with a Gram matrix of its own.

    The penalties have a value for every entry (r,). The first `fixed` entries stay. Sweeps end when no entry moves by
    more than `tolerance` times the largest. Every step changes the gradient, `slope` (r,), which is computed again
    after steps from far above the minimum, since their rounding stays in it. `inverse` (r,) is a buffer.
    """
    rank = len(h)
    for k in range(fixed, rank):
        bend = G[k, k] + l2[k]
        inverse[k] = 1.0 / bend if bend > 0.0 else 0.0
        h[k] = 0.0 if bend <= 0.0 and l1[k] > 0.0 else h[k]
    for _ in range(sweeps):
        moved, largest, ahead = 0.0, 0.0, slope[fixed] if fixed < rank else 0.0
        for k in range(fixed, rank):
            new = h[k] - ahead * inverse[k]
            new = new if new > 0.0 or inverse[k] == 0.0 else 0.0
            step = new - h[k]
            ahead = slope[k + 1] + step * G[k, k + 1] if k + 1 < rank else 0.0  # need not wait for the whole gradient
            if step != 0.0:
                add_multiple(step, G[k], slope)
                if l2[k] != 0.0:
                    slope[k] += l2[k] * step
                h[k] = new
            moved, largest = max(moved, abs(step)), max(largest, new)
        if moved > largest:
            set_gradient(h, c, G, l1, l2, slope)
        if moved <= tolerance * largest:
            break
