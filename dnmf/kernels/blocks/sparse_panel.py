"""A panel of listed entries: columns of a sparse block, or the entries of a dense one that count."""

import dataclasses
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.products import (
    SHARED_ROWS,
    add_scaled,
    row_buffers,
    scale_of,
    scan_squares,
    sum_rows,
    weighted_squares,
)
from dnmf.kernels.blocks.simd import add_to_rows, row_products
from dnmf.kernels.blocks.tiles import Float, Vector, kernel, slices

# Entries for every row from which on float32 products are added up in float32, and their sums in float64.
SUMMED_ENTRIES = 4
# Columns of a factor that are transposed at once.
LINE = 16
# Columns of a part of a panel.
SHARED_COLUMNS = 512


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class SparsePanel:
    """Columns of a matrix of `height` rows in compressed form, with the methods of `DensePanel`.

    Attributes
    ----------
    starts
        Number of the first entry of every column, and the number of all entries (p + 1,).
    rows, values
        Row and value of every entry (N,).
    height
        Number of rows.
    weights
        Weight of every entry (N,); empty where all are 1.
    zeros
        Whether the entries that are not listed are zeros that count; else they are missing.
    """

    starts: NDArray[Any]
    rows: NDArray[Any]
    values: Float
    height: int
    weights: Float = dataclasses.field(default_factory=lambda: np.empty(0))
    zeros: bool = True

    sparse: ClassVar[bool] = True

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height, len(self.starts) - 1

    @property
    def columns(self) -> NDArray[np.int64]:
        """Column of every entry (N,)."""
        return np.repeat(np.arange(self.shape[1]), np.diff(self.starts))

    def cross(self, W: Float, scratch: Scratch) -> Float:
        """Return WᵀV (r, p) for W (m, r), without the weights, valid until the next call."""
        out, W = scratch.array("cross", (W.shape[1], self.shape[1]), W.dtype), np.ascontiguousarray(W)

        def gather(columns: slice) -> None:
            starts = self.starts[columns.start : columns.stop + 1]
            _gather(starts, self.rows, self.values, W, out[:, columns])

        list(scratch.each(gather, slices(self.shape[1], SHARED_COLUMNS if scratch.shared else max(self.shape[1], 1))))
        return out

    def add_outer(self, H: Float, total: Float, scratch: Scratch) -> None:
        """Add VHᵀ for H (r, p), without the weights, to `total` (m, r), in float64."""
        entries = self.starts, self.rows, self.values
        parts = slices(self.height, SHARED_ROWS if scratch.shared else self.height)
        if H.dtype == total.dtype or len(self.rows) < SUMMED_ENTRIES * self.height:
            list(scratch.each(lambda rows: _scatter(*entries, H, 1.0, total, rows.start, rows.stop), parts))
            return
        scale, room = scale_of(H), scratch.array("outer", total.shape, H.dtype)
        list(scratch.each(lambda rows: _add_scattered(*entries, H, scale, room, total, rows.start, rows.stop), parts))

    def weighted(self, scratch: Scratch) -> Self:
        """Return the panel of m ∘ V, valid until the next call."""
        room = scratch.array("weighted", self.values.shape, self.values.dtype)
        return dataclasses.replace(self, values=np.multiply(self.values, self.weights, out=room))

    def split(self, scratch: Scratch) -> tuple[float, Self]:
        """Return the weight μ of most entries of V, and the entries of other weights, each with its weight less μ."""
        return 0.0, self

    def listed(self, scratch: Scratch, base: float = 0.0, zeros: bool = False) -> Self:
        """Return the panel itself."""
        return self

    def scan(self) -> tuple[float, float]:
        """Return Σ m v² in float64, not finite where an entry is not, and the smallest value or weight, or 0."""
        values, weights = self.values[None, :], self.weights[None, :]
        if not weights.size:
            squares, smallest = scan_squares(values)
            return float(squares), float(smallest)
        smallest = min(values.min(initial=0), weights.min(initial=0))
        return float(weighted_squares(values, weights)), float(smallest)

    def square_residual(self, W: Float, H: Float, scratch: Scratch) -> float:
        """Return Σ m (v − wh)² of the entries, or where zeros count, Σ (v − wh)² − (wh)²: add ‖WH‖² for all."""
        return float(_square_residual(self.starts, self.rows, self.values, self.weights, self.zeros, W, H))

    def count_observed(self, seen: NDArray[np.int64]) -> int:
        """Add the observed entries of every row to `seen` (m,), and return the number of columns without any."""
        return int(_count(self.starts, self.rows, self.weights, seen))

    def first(self, marks: NDArray[np.bool]) -> tuple[int, int, Any]:
        """Return row, column and index of the first marked entry, by columns."""
        entry = int(np.argmax(marks))
        return int(self.rows[entry]), int(np.searchsorted(self.starts, entry, side="right")) - 1, entry

    def scale_rows(self, factors: Float) -> None:
        """Multiply every row by its factor (m,), in place."""
        np.multiply(self.values, factors[self.rows], out=self.values)

    def scale_columns(self, factors: Float) -> None:
        """Multiply every column by its factor (p,), in place."""
        np.multiply(self.values, np.repeat(factors, np.diff(self.starts)), out=self.values)

    def moments(self, axis: int) -> tuple[Vector, Vector, Vector, Vector]:
        """Return count, number of non-zeros, mean and sum of squared deviations along an axis, without NaN."""
        count, nonzero, mean, squares = np.zeros((4, self.shape[1 - axis]))
        _moments(self.starts, self.rows, self.values, axis, self.shape[axis], count, nonzero, mean, squares)
        return count, nonzero, mean, squares


@kernel
def _gather(starts, rows, values, W, out):  # type: ignore[no-untyped-def]
    """Set `out` (r, p) to WᵀV, a few columns at a time: a store to each row of `out` takes a line of the cache."""
    rank, width = W.shape[1], len(starts) - 1
    sums, buffers = np.empty((LINE, rank), W.dtype), row_buffers(W)
    for start in range(0, width, LINE):
        count = min(LINE, width - start)
        for j in range(count):
            own = slice(starts[start + j], starts[start + j + 1])
            sum_rows(values[own], W, rows[own], buffers, sums[j])
        for k in range(rank):
            for j in range(count):
                out[k, start + j] = sums[j, k]


@kernel
def _scatter(starts, rows, values, H, factor, total, low, high):  # type: ignore[no-untyped-def]
    """Add some rows of VHᵀ, times a factor, to those of `total` (m, r), in its precision."""
    rank, width = H.shape
    h, factor = np.empty((LINE, rank), H.dtype), H.dtype.type(factor)
    for start in range(0, width, LINE):
        count = min(LINE, width - start)
        for k in range(rank):
            for j in range(count):
                h[j, k] = H[k, start + j] * factor
        for j in range(count):
            own = slice(starts[start + j], starts[start + j + 1])
            if low > 0 or high < len(total):
                first = np.searchsorted(rows[own], low)
                own = slice(own.start + first, own.start + np.searchsorted(rows[own], high))
            add_to_rows(values[own], h[j], rows[own], total)


@kernel
def _add_scattered(starts, rows, values, H, scale, room, total, low, high):  # type: ignore[no-untyped-def]
    """Add some rows of VHᵀ to those of `total` (m, r), by a sum in the precision of H, which is divided by `scale`."""
    for i in range(low, high):
        for k in range(room.shape[1]):
            room[i, k] = 0
    _scatter(starts, rows, values, H, 1.0 / scale, room, low, high)
    add_scaled(room[low:high], scale, total[low:high])


@kernel
def _moments(starts, rows, values, axis, size, count, nonzero, mean, squares):  # type: ignore[no-untyped-def]
    """Set count, number of non-zeros, mean, and sum of squared deviations of every row (axis 1) or column (axis 0)."""
    stored = squares  # the number of entries that are not NaN, until the mean is known
    for column in range(len(starts) - 1):
        for entry in range(starts[column], starts[column + 1]):
            place, v = rows[entry] if axis else column, np.float64(values[entry])
            if np.isnan(v):
                count[place] -= 1
            else:
                stored[place] += 1
                nonzero[place] += v != 0
                mean[place] += v
    for place in range(len(count)):
        count[place] += size
        mean[place] /= max(count[place], 1.0)
        squares[place] = (count[place] - stored[place]) * mean[place] * mean[place]
    for column in range(len(starts) - 1):
        for entry in range(starts[column], starts[column + 1]):
            place, v = rows[entry] if axis else column, np.float64(values[entry])
            if not np.isnan(v):
                squares[place] += (v - mean[place]) * (v - mean[place])


@kernel
def _square_residual(starts, rows, values, weights, zeros, W, H):  # type: ignore[no-untyped-def]
    total, longest = 0.0, 0
    for column in range(len(starts) - 1):
        longest = max(longest, starts[column + 1] - starts[column])
    h, products = np.empty(len(H)), np.empty(longest)
    for column in range(len(starts) - 1):
        for k in range(len(h)):
            h[k] = H[k, column]
        first, stop = starts[column], starts[column + 1]
        row_products(W, rows[first:stop], h, products)
        for entry in range(first, stop):
            y, v = products[entry - first], np.float64(values[entry])
            if zeros:
                total += v * v - 2.0 * v * y
            else:
                total += np.float64(weights[entry]) * (v - y) * (v - y)
    return total


@kernel
def _count(starts, rows, weights, seen):  # type: ignore[no-untyped-def]
    empty = 0
    for column in range(len(starts) - 1):
        known = 0
        for entry in range(starts[column], starts[column + 1]):
            used = 1 if weights[entry] > 0 else 0
            seen[rows[entry]] += used
            known += used
        empty += known == 0
    return empty
