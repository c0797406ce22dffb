"""Moments of the rows and the columns of a block, taken panel by panel."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dnmf.kernels.blocks.panels import Block, slices
from dnmf.kernels.blocks.tiles import Float

# What is worked on at once, and what the moments of a panel take beside it: a sparse one has its places as well.
PANEL_BYTES = 2 * 2**20
DENSE_BYTES, SPARSE_BYTES = 4 * PANEL_BYTES, 12 * PANEL_BYTES

Vector = NDArray[np.float64]


@dataclasses.dataclass(slots=True, eq=False)
class Moments:
    """What the factors of a step are made of, for each of k rows or columns; panels and blocks are added up.

    Deviations are taken from the mean and added up as by Chan et al. (1983), since Σx² − n·mean² has no digits left
    where the mean is large. NaN counts for nothing.

    Attributes
    ----------
    count, nonzero
        How many entries there are (k,), and how many that are not 0.
    mean, squares
        Their mean (k,), and the sum of their squared deviations from it (k,).
    """

    count: Vector
    nonzero: Vector
    mean: Vector
    squares: Vector

    @classmethod
    def zero(cls, size: int) -> Self:
        """Return the moments of nothing."""
        return cls(*np.zeros((4, size)))

    def add(self, other: Self) -> Self:
        """Return the moments of these entries and others of the same rows or columns."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        with np.errstate(all="ignore"):
            away = other.mean - self.mean
            squares = self.squares + other.squares + away * away * self.count * share
            return type(self)(count, self.nonzero + other.nonzero, self.mean + away * share, squares)

    def take(self, other: Self) -> None:
        """Take in the moments of other entries."""
        total = self.add(other)
        self.count, self.nonzero, self.mean, self.squares = total.count, total.nonzero, total.mean, total.squares


def row_moments(V: Block) -> Moments:
    """Return the moments of every row of a block (m, w)."""
    total = Moments.zero(V.shape[0])
    for _, panel in views(V):
        total.take(panel.moments(1))
    return total


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """Whole columns (m, w) of a dense block."""

    values: Float

    def scale_rows(self, factors: Float) -> None:
        """Multiply every row by its factor (m,)."""
        np.multiply(self.values, factors[:, None], out=self.values)

    def scale_columns(self, factors: Float) -> None:
        """Multiply every column by its factor (w,)."""
        np.multiply(self.values, factors, out=self.values)

    def moments(self, over: int) -> Moments:
        """Return the moments over the rows, of every column, where `over` is 0; over the columns where it is 1."""
        wide = self.values.astype(np.float64)
        lost = np.isnan(wide)
        wide[lost] = 0
        count = np.asarray(wide.shape[over] - np.count_nonzero(lost, axis=over), np.float64)
        nonzero = np.count_nonzero(wide, axis=over).astype(np.float64)
        with np.errstate(all="ignore"):
            mean = wide.sum(axis=over) / np.maximum(count, 1)
            wide -= np.expand_dims(mean, over)
            wide[lost] = 0
            return Moments(count, nonzero, mean, np.square(wide, out=wide).sum(axis=over))


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What whole columns of a sparse block store: values, and their rows and columns."""

    values: Float
    rows: NDArray[Any]
    columns: NDArray[Any]
    shape: tuple[int, int]

    def scale_rows(self, factors: Float) -> None:
        """Multiply every row by its factor (m,)."""
        np.multiply(self.values, factors[self.rows], out=self.values)

    def scale_columns(self, factors: Float) -> None:
        """Multiply every column by its factor (w,)."""
        np.multiply(self.values, factors[self.columns], out=self.values)

    def moments(self, over: int) -> Moments:
        """Return the moments over the rows, of every column, where `over` is 0; over the columns where it is 1."""
        index, size = (self.rows, self.shape[0]) if over else (self.columns, self.shape[1])
        seen = ~np.isnan(self.values)
        count = self.shape[over] - np.bincount(index[~seen], minlength=size).astype(np.float64)
        place, values = index[seen], self.values[seen].astype(np.float64)
        stored = np.bincount(place, minlength=size)
        with np.errstate(all="ignore"):
            mean = np.bincount(place, values, size) / np.maximum(count, 1)
            nonzero: Any = np.bincount(place, values != 0, size)
            squares = np.bincount(place, (values - mean[place]) ** 2, size) + (count - stored) * mean**2
        return Moments(count, nonzero, mean, squares)


def views(V: Block) -> Iterator[tuple[slice, Dense | Stored]]:
    """Yield a block in panels of whole columns that share its memory."""
    height, width = V.shape
    if not scipy.sparse.issparse(V):
        for columns in slices(width, max(1, PANEL_BYTES // (height * V.dtype.itemsize))):
            yield columns, Dense(V[:, columns])
        return
    starts = V.indptr
    edges = np.searchsorted(starts, np.arange(0, starts[-1], PANEL_BYTES // V.dtype.itemsize), side="right") - 1
    edges = np.unique([0, *edges, width])
    for start, stop in itertools.pairwise(edges.tolist()):
        stored = slice(starts[start], starts[stop])
        each = np.repeat(np.arange(stop - start), np.diff(starts[start : stop + 1]))
        yield slice(start, stop), Stored(V.data[stored], V.indices[stored], each, (height, stop - start))
