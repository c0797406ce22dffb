"""Products of dense arrays with a factor, and sums of squares."""

import numpy as np
from numpy.typing import NDArray

from dnmf.kernels.blocks.buffers import Scratch, aligned
from dnmf.kernels.blocks.simd import two_rows_of_squares, weighted_rows
from dnmf.kernels.blocks.tiles import LANES, Float, kernel, slices

# Rows of a product that is added to others at once, so that it stays in the cache.
OUTER_ROWS = 4096
# Rows of a part of a panel, as the threads that share the sums of a pass work on: the order of its sums depends on the
# rows alone.
SHARED_ROWS = 2**16
# Bytes of a product that is subtracted from V, so that it stays in the cache.
PRODUCT_BYTES = 2**17
# Rows of a factor whose squares are added up at once, so that they stay in the cache.
SQUARES = 64
# Rows that are added up in their own precision, and their sums in float64.
SUMMED_ROWS = 1024


def cross_product(V: Float, W: Float, scratch: Scratch) -> Float:
    """Return WᵀV (r, p) of V (m, p) and W (m, r), valid until the next call."""
    V, out = for_product(V, W.shape[1], scratch), scratch.array("cross", (W.shape[1], V.shape[1]), W.dtype)
    if len(V) <= SHARED_ROWS:
        if V.strides[0] > V.strides[1] or 1 in out.shape:
            return np.matmul(W.T, V, out=out)
        # Where V lies by columns, BLAS takes less time for VᵀW.
        out[...] = np.matmul(V.T, W, out=scratch.array("crossed", out.shape[::-1], W.dtype)).T
        return out
    out[...] = 0
    for product in scratch.each(lambda rows: W[rows].T @ V[rows], slices(len(V), SHARED_ROWS)):
        out += product
    return out


def add_outer_product(V: Float, H: Float, total: Float, scratch: Scratch) -> None:
    """Add VHᵀ of V (m, p) and H (r, p) to `total` (m, r), in float64."""
    V, (scaled, scale) = for_product(V, len(H), scratch), scaled_down(H, scratch)

    def add(rows: slice) -> None:
        room = aligned(OUTER_ROWS * len(H) * H.itemsize).view(H.dtype).reshape(OUTER_ROWS, len(H))
        for own in slices(rows.stop, OUTER_ROWS, rows.start):
            part = room[: own.stop - own.start]
            np.matmul(V[own], scaled.T, out=part)
            add_scaled(part, scale, total[own])

    list(scratch.each(add, slices(len(V), SHARED_ROWS)))


def for_product(V: Float, width: int, scratch: Scratch) -> Float:
    """Return V (m, p), without gaps if it or the factor of a `width` is a vector: BLAS rounds these by the gaps."""
    return packed(V, "packed", scratch) if 1 in (V.shape[1], width) else V


def packed(X: Float, name: str, scratch: Scratch) -> Float:
    """Return an array without gaps between its rows or columns, in its memory order: a copy in a buffer if needed."""
    if X.flags.c_contiguous or X.flags.f_contiguous:
        return X
    by_columns = X.strides[0] < X.strides[1]
    room = scratch.array(name, X.shape[::-1] if by_columns else X.shape, X.dtype)
    room = room.T if by_columns else room
    room[...] = X
    return room


def scaled_down(H: Float, scratch: Scratch) -> tuple[Float, float]:
    """Return H over a power of two, and this: its products neither overflow nor vanish at any scale of V."""
    scale = scale_of(H)
    return np.multiply(H, 1 / scale, out=scratch.array("scaled", H.shape, H.dtype)), scale


def scale_of(H: Float) -> float:
    """Return a power of two near the largest entry of H."""
    return power_of_two(float(max(H.max(initial=0), -H.min(initial=0))))


def add_gram(H: Float, total: Float) -> None:
    """Add HHᵀ of H (r, p) to `total` (r, r), in float64."""
    wide = H.astype(np.float64)
    total += wide @ wide.T


def entries_of_product(W: Float, H: Float, places: NDArray[np.int64], at_once: int = 2**16) -> Float:
    """Return the entries (N,) of WH at rows and columns (2, N), in float64.

    >>> entries_of_product(np.array([[1.0], [2.0]]), np.array([[3.0, 4.0]]), np.array([[0, 1], [1, 0]])).tolist()
    [4.0, 6.0]
    """
    out = np.empty(places.shape[1])
    columns = np.ascontiguousarray(H.T)
    for start in range(0, len(out), at_once):
        rows, own = places[:, start : start + at_once]
        out[start : start + at_once] = np.einsum("nk,nk->n", W[rows], columns[own], dtype=np.float64)
    return out


def product_like(V: Float, W: Float, H: Float, scratch: Scratch) -> Float:
    """Return WH in the memory order of V (m, p), valid until the next call."""
    by_columns = V.strides[0] < V.strides[1]
    room = scratch.array("product", V.shape[::-1] if by_columns else V.shape, H.dtype)
    return np.matmul(H.T, W.T, out=room).T if by_columns else np.matmul(W, H, out=room)


def column_products(A: Float, B: Float) -> Float:
    """Return the products of the columns of two panels (p,), in float64."""
    products: Float = np.einsum("ij,ij->j", A, B, dtype=np.float64)
    return products


def scale_columns(H: Float, numerator: Float, denominator: Float, fixed: int = 0) -> None:
    """Multiply the columns of H (r, p) by numerator / denominator (p,), or 0, in place, but for the first rows."""
    factors = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
    H[fixed:] *= factors.astype(H.dtype)


@kernel
def scale_column(h, numerator, denominator, fixed):  # type: ignore[no-untyped-def]
    """Do the same to one column (r,)."""
    for k in range(fixed, len(h)):
        h[k] *= numerator / denominator if denominator > 0.0 else 0.0


def power_of_two(size: float) -> float:
    """Return a power of two near `size`, and 1 for sizes about 1 and for 0: multiplying by it is exact.

    >>> power_of_two(0.3), power_of_two(1e-30) < 1e-30, power_of_two(0.0)
    (1.0, True, 1.0)
    """
    exponent = int(np.frexp(size)[1])
    return 1.0 if abs(exponent) <= 16 else 2.0 ** max(min(exponent - 1, 120), -120)


@kernel
def add_scaled(part, scale, total):  # type: ignore[no-untyped-def]
    for i in range(part.shape[0]):
        row, out = part[i], total[i]
        for k in range(part.shape[1]):
            out[k] += np.float64(row[k]) * scale


@kernel
def scan_squares(V):  # type: ignore[no-untyped-def]
    """Return Σ v² in float64, which is not finite where an entry is not, and the smallest entry or 0."""
    total = 0.0
    zero = V.dtype.type(0)
    sums = np.zeros(LANES, np.float64)
    low = np.zeros(LANES, V.dtype)
    for i in range(V.shape[0]):
        full = V.shape[1] - V.shape[1] % LANES
        for start in range(0, full, LANES):
            for j in range(LANES):
                value = V[i, start + j]
                sums[j] += np.float64(value) * np.float64(value)
                low[j] = value if value < low[j] else low[j]
        for j in range(full, V.shape[1]):
            value = V[i, j]
            total += np.float64(value) * np.float64(value)
            low[0] = value if value < low[0] else low[0]
    smallest = zero
    for j in range(LANES):
        total += sums[j]
        smallest = min(smallest, low[j])
    return total, smallest


def square_distance(V: Float, W: Float, H: Float, scratch: Scratch) -> float:
    """Return ‖V − WH‖² in float64, a few rows of V (m, p) at a time, so that their product stays in the cache."""
    total, H = 0.0, np.ascontiguousarray(H)
    step = max(1, PRODUCT_BYTES // (V.shape[1] * V.itemsize))
    room = scratch.array("product", (min(step, len(V)), V.shape[1]), V.dtype)
    for rows in slices(len(V), step):
        product = np.matmul(W[rows], H, out=room[: rows.stop - rows.start])
        total += residual_squares(V[rows], product)
    return total


@kernel
def residual_squares(V, product):  # type: ignore[no-untyped-def]
    """Return Σ (v − p)² in float64, with the differences rounded to the dtype of both."""
    total = 0.0
    sums = np.zeros(LANES, np.float64)
    full = V.shape[1] - V.shape[1] % LANES
    for i in range(V.shape[0]):
        for start in range(0, full, LANES):
            for j in range(LANES):
                left = np.float64(V[i, start + j] - product[i, start + j])
                sums[j] += left * left
        for j in range(full, V.shape[1]):
            left = np.float64(V[i, j] - product[i, j])
            total += left * left
    for j in range(LANES):
        total += sums[j]
    return total


@kernel
def weighted_squares(V, weights):  # type: ignore[no-untyped-def]
    """Return Σ m v² in float64."""
    total = 0.0
    for i in range(V.shape[0]):
        for j in range(V.shape[1]):
            total += np.float64(V[i, j]) * np.float64(V[i, j]) * np.float64(weights[i, j])
    return total


@kernel
def row_buffers(W):  # type: ignore[no-untyped-def]
    """Return the buffers of `sum_rows`: a sum of some rows of W, and that of all."""
    return np.empty(W.shape[1], W.dtype), np.empty(W.shape[1])


@kernel
def sum_rows(weights, W, rows, buffers, out):  # type: ignore[no-untyped-def]
    """Set `out` (r,) to Σ m[e] W[rows[e]]: in its own precision for a few rows, and the sums of these in float64."""
    if len(rows) <= SUMMED_ROWS:
        weighted_rows(weights, W, rows, out)
        return
    part, total = buffers
    total[:] = 0.0
    for start in range(0, len(rows), SUMMED_ROWS):
        own = slice(start, min(start + SUMMED_ROWS, len(rows)))
        weighted_rows(weights[own], W, rows[own], part)
        for k in range(len(total)):
            total[k] += part[k]
    for k in range(len(total)):
        out[k] = total[k]


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
def square_buffers(rank, total):  # type: ignore[no-untyped-def]
    """Return the buffers of `add_squares`, in the dtype of the total: rows, the same with signs, two sums, a root."""
    near, signed = np.empty((SQUARES, rank), total.dtype), np.empty((SQUARES, rank), total.dtype)
    return near, signed, np.empty((2, rank), total.dtype), np.empty(1, total.dtype)


@kernel
def add_squares(weights, W, rows, packed, buffers):  # type: ignore[no-untyped-def]
    """Add Σ m[e] w wᵀ with w = W[rows[e]] to the lower triangle of a Gram matrix (r(r+1)/2,), row by row.

    Rows of the matrix are weighted sums of rows of W, and are held in registers, two at a time. A row is multiplied by
    the root of its weight, so that in float32 nothing overflows that is a number in the sum.
    """
    near, signed, sums, root = buffers
    rank = near.shape[1]
    for start in range(0, len(rows), SQUARES):
        count, negative = min(SQUARES, len(rows) - start), False
        for e in range(count):
            row, weight = W[rows[start + e]], np.float64(weights[start + e])
            root[0] = np.sqrt(abs(weight))
            if weight < 0.0:
                negative = True
            factor = root[0]
            for k in range(rank):
                near[e, k] = factor * row[k]
        if negative:
            for e in range(count):
                sign = -1 if weights[start + e] < 0.0 else 1
                for k in range(rank):
                    signed[e, k] = sign * near[e, k]
        left = signed if negative else near
        if rank % 2:
            for e in range(count):
                packed[0] += left[e, 0] * near[e, 0]
        for k in range(rank % 2, rank, 2):
            two_rows_of_squares(left, near, count, k, sums)
            place = k * (k + 1) // 2
            for i in range(k + 1):
                packed[place + i] += sums[0, i]
                packed[place + k + 1 + i] += sums[1, i]
            packed[place + 2 * k + 2] += sums[1, k + 1]
