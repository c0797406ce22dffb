"""A dense panel: columns of a block, small enough to work on at once, with the weights of their entries."""

import dataclasses
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.products import (
    add_outer_product,
    cross_product,
    packed,
    product_like,
    scan_squares,
    square_distance,
    weighted_squares,
)
from dnmf.kernels.blocks.sparse_panel import SparsePanel
from dnmf.kernels.blocks.tiles import Float, Vector, kernel


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class DensePanel:
    """Columns of V as a dense array in either memory order.

    Attributes
    ----------
    values
        Entries (m, p); 0 where they are missing.
    weights
        Weights (m, p) in the same memory order, 0 where an entry is missing; empty (0, 0) where all are 1.
    """

    values: Float
    weights: Float

    sparse: ClassVar[bool] = False

    @classmethod
    def unweighted(cls, values: Float) -> Self:
        """Return a panel whose entries all have the weight 1."""
        return cls(values, np.empty((0, 0), values.dtype))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self.values.shape
        return height, width

    @property
    def by_columns(self) -> bool:
        """Whether the entries of a column lie together, and not those of a row."""
        return self.values.strides[0] < self.values.strides[1]

    def in_order(self) -> tuple[Float, Float]:
        """Return values and weights, transposed where the entries of a column lie together."""
        return (self.values.T, self.weights.T) if self.by_columns else (self.values, self.weights)

    def part(self, columns: slice, scratch: Scratch) -> "DensePanel":
        """Return some of the columns without gaps between their rows, valid until the next call."""
        return DensePanel(
            packed(self.values[:, columns], "part", scratch), packed(self.weights[:, columns], "part weights", scratch)
        )

    def cross(self, W: Float, scratch: Scratch) -> Float:
        """Return WᵀV (r, p) for W (m, r), without the weights, valid until the next call."""
        return cross_product(self.values, W, scratch)

    def add_outer(self, H: Float, total: Float, scratch: Scratch) -> None:
        """Add VHᵀ for H (r, p), without the weights, to `total` (m, r), in float64."""
        add_outer_product(self.values, H, total, scratch)

    def weighted(self, scratch: Scratch) -> "DensePanel":
        """Return the panel of m ∘ V, valid until the next call."""
        values, weights = self.in_order()
        product: Float = np.multiply(values, weights, out=scratch.array("weighted", values.shape, values.dtype))
        return DensePanel.unweighted(product.T if self.by_columns else product)

    def split(self, scratch: Scratch) -> tuple[float, SparsePanel]:
        """Return the weight μ of most entries of V, and the entries of other weights, each with its weight less μ."""
        base = 1.0 if 2 * np.count_nonzero(self.weights == 1) >= self.weights.size else 0.0
        return base, self.listed(scratch, base)

    def listed(self, scratch: Scratch, base: float = 0.0, zeros: bool = False) -> SparsePanel:
        """Return the entries whose weight is not `base`, with their weights less `base`, valid until the next call.

        Of a panel without weights, the entries above 0 are listed, or all where `zeros` is set.
        """
        values, weights = self.values, self.weights
        if zeros and not weights.size:
            weights = scratch.array("ones", values.shape, values.dtype)
            weights[...] = 1
        height, width = values.shape
        # Buffers for all entries do not grow from one panel to the next.
        index = np.dtype(np.int32 if height < 2**31 else np.int64)
        rows = scratch.array("listed rows", (values.size,), index)
        found = scratch.array("listed", (values.size,), values.dtype)
        different = scratch.array("listed weights", (weights.size,), values.dtype)
        starts = np.zeros(width + 1, np.int64)
        if self.by_columns:
            _list_columns(values.T, weights.T, base, starts, rows, found, different)
        else:
            _count_entries(values, weights, base, starts[1:])
            np.cumsum(starts, out=starts)
            _list_entries(values, weights, base, starts[:-1].copy(), rows, found, different)
        rows, found, different = (array[: starts[-1]] for array in (rows, found, different))
        return SparsePanel(starts, rows, found, height, different, zeros=not weights.size)

    def scan(self) -> tuple[float, float]:
        """Return Σ m v² in float64, not finite where an entry is not, and the smallest value or weight, or 0."""
        values, weights = self.in_order()
        if not weights.size:
            squares, smallest = scan_squares(values)
            return float(squares), float(smallest)
        smallest = min(values.min(initial=0), weights.min(initial=0))
        return float(weighted_squares(values, weights)), float(smallest)

    def square_residual(self, W: Float, H: Float, scratch: Scratch) -> float:
        """Return Σ m (v − wh)²."""
        if not self.weights.size:
            return square_distance(*((self.values.T, H.T, W.T) if self.by_columns else (self.values, W, H)), scratch)
        residual = product_like(self.values, W, H, scratch)
        np.subtract(self.values, residual, out=residual)
        return DensePanel(residual, self.weights).scan()[0]

    def count_observed(self, seen: NDArray[np.int64]) -> int:
        """Add the observed entries of every row to `seen` (m,), and return the number of columns without any."""
        known = np.zeros(self.shape[1], np.bool_)
        _count(self.weights, seen, known)
        return int((~known).sum())

    def first(self, marks: NDArray[np.bool]) -> tuple[int, int, Any]:
        """Return row, column and index of the first marked entry, by columns."""
        column = int(np.argmax(marks.any(axis=0)))
        row = int(np.argmax(marks[:, column]))
        return row, column, (row, column)

    def scale_rows(self, factors: Float) -> None:
        """Multiply every row by its factor (m,), in place."""
        np.multiply(self.values, factors[:, None], out=self.values)

    def scale_columns(self, factors: Float) -> None:
        """Multiply every column by its factor (p,), in place."""
        np.multiply(self.values, factors, out=self.values)

    def moments(self, axis: int) -> tuple[Vector, Vector, Vector, Vector]:
        """Return count, number of non-zeros, mean and sum of squared deviations along an axis, without NaN."""
        wide = self.values.astype(np.float64)
        unknown = np.isnan(wide)
        wide[unknown] = 0
        count = np.asarray(wide.shape[axis] - np.count_nonzero(unknown, axis=axis), np.float64)
        nonzero = np.count_nonzero(wide, axis=axis).astype(np.float64)
        with np.errstate(all="ignore"):
            mean = wide.sum(axis=axis) / np.maximum(count, 1)
            wide -= np.expand_dims(mean, axis)
            wide[unknown] = 0
            return count, nonzero, mean, np.square(wide, out=wide).sum(axis=axis)


@kernel
def _count_entries(values, weights, base, counts):  # type: ignore[no-untyped-def]
    weighted = weights.size > 0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            counts[j] += (weights[i, j] != base) if weighted else (values[i, j] > 0)


@kernel
def _list_entries(values, weights, base, places, rows, found, different):  # type: ignore[no-untyped-def]
    """List the entries of every column from its place on, going through the panel row by row."""
    weighted = weights.size > 0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            if (weights[i, j] != base) if weighted else (values[i, j] > 0):
                place = places[j]
                places[j] += 1
                rows[place], found[place] = i, values[i, j]
                if weighted:
                    different[place] = weights[i, j] - values.dtype.type(base)


@kernel
def _list_columns(values, weights, base, starts, rows, found, different):  # type: ignore[no-untyped-def]
    """List the entries of every column, a row of `values` (p, m), and set the place where the next one starts.

    Every entry is written, and the next one over it unless it is kept, since a branch would take longer.
    """
    weighted = weights.size > 0
    place = 0
    for j in range(values.shape[0]):
        for i in range(values.shape[1]):
            rows[place], found[place] = i, values[j, i]
            if weighted:
                different[place] = weights[j, i] - values.dtype.type(base)
                place += weights[j, i] != base
            else:
                place += values[j, i] > 0
        starts[j + 1] = place


@kernel
def _count(weights, seen, known):  # type: ignore[no-untyped-def]
    """Count the entries of every row that count, and mark the columns with one."""
    for row in range(weights.shape[0]):
        for column in range(weights.shape[1]):
            if weights[row, column] > 0:
                seen[row] += 1
                known[column] = True
