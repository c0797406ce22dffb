"""The entries of V that count, however a block holds them: all, those that are not missing, or weighted ones.

A block is a dense array, a sparse one, or `Weighted` with the weights of its entries. `observed` yields its panels:

```
all entries            ndarray (m, p)                       Columns, whose other entries are zeros that count
missing or weighted    Pair of values and weights (m, p)    Columns whose other entries are missing
```
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import (
    LEAST_SQUARE,
    BadEntry,
    Block,
    Columns,
    Panel,
    panel_width,
    panels,
    part_width,
    slices,
    square_sum,
)
from dnmf.kernels.blocks.tiles import Float, kernel
from dnmf.kernels.scale import limits
from dnmf.settings import Missing

NONE: NDArray[Any] = np.empty((0, 0))


class Weighted(NamedTuple):
    """A block with the weights of its entries, of the same shape."""

    values: Block
    weights: Block

    @property
    def shape(self) -> tuple[int, int]:
        """Of the block."""
        shape: tuple[int, int] = self.values.shape
        return shape


class Pair(NamedTuple):
    """A dense panel (m, p) with the weights of its entries; those that are missing have the value and the weight 0."""

    values: Float
    weights: Float

    def product(self, scratch: Scratch) -> Float:
        """Return the values times their weights, in the memory order of the panel, valid until the next call."""
        values, weights = self
        by_columns = values.strides[0] < values.strides[1]
        values, weights = (values.T, weights.T) if by_columns else (values, weights)
        room: Float = scratch.array("weighted", values.shape, values.dtype)
        np.multiply(values, weights, out=room)
        return room.T if by_columns else room

    def part(self, columns: slice) -> "Pair":
        """Return some of the columns, without gaps between their rows."""
        if self.values.strides[0] < self.values.strides[1]:
            return Pair(self.values[:, columns], self.weights[:, columns])
        return Pair(np.ascontiguousarray(self.values[:, columns]), np.ascontiguousarray(self.weights[:, columns]))


@dataclasses.dataclass(frozen=True, slots=True)
class Entries:
    """Which entries count.

    Attributes
    ----------
    missing
        `"nan"`: NaN is missing. `"zeros"`: what a sparse block does not store is missing.
    weighted
        Whether blocks come with weights.
    positive
        Whether the loss needs entries above 0.
    dense
        Whether a sparse block whose zeros count is to come in dense panels.
    beta
        β of the loss, which bounds how large an entry may be.
    """

    missing: Missing = "none"
    weighted: bool = False
    positive: bool = False
    dense: bool = False
    beta: float = 2.0

    @property
    def all(self) -> bool:
        """Whether every entry counts, by 1."""
        return self.missing == "none" and not self.weighted

    def panels(
        self, V: Block, dtype: np.dtype[Any], scratch: Scratch, *, narrow: bool = False
    ) -> Iterator[tuple[slice, "Panel | Pair"]]:
        """Yield the panels of a block with the columns they stand for; a panel is valid until the next one.

        Those with weights are narrow in any case.
        """
        values, weights = V if isinstance(V, Weighted) else (V, None)
        if scipy.sparse.issparse(values) and self.missing == "zeros":
            yield from _stored_panels(values, weights, dtype, scratch)
        elif scipy.sparse.issparse(values) and (self.dense or weights is not None):
            width = (part_width if narrow or weights is not None else panel_width)(values.shape[0], dtype)
            for columns in slices(values.shape[1], width):
                stored = values[:, columns].astype(dtype, copy=False)
                part = stored.toarray(out=scratch.array("panel", stored.shape, dtype))
                yield columns, part if weights is None else _pair(part, weights[:, columns], dtype, scratch)
        elif self.missing == "nan" or weights is not None:
            for columns, panel in panels(values, dtype, scratch, narrow=True):
                yield columns, _pair(panel, None if weights is None else weights[:, columns], dtype, scratch)
        else:
            yield from panels(values, dtype, scratch, narrow=narrow and not scipy.sparse.issparse(values))

    def square_sum(self, V: Block, dtype: np.dtype[Any], scratch: Scratch) -> float:
        """Return Σ weight · v² of a block in float64, having seen that its entries and weights are what they may be.

        Raises
        ------
        DataError
            With the `row` and `column`, within the block, of the first entry that is not.
        """
        if self.all:
            total = square_sum(V, dtype, scratch, self.beta)
            if self.positive:
                _refuse_zeros(V)
            return total
        total, some = 0.0, False
        for columns, panel in self.panels(V, dtype, scratch):
            assert not isinstance(panel, np.ndarray)
            total += weighted_squares(panel)
            if not total <= limits(dtype, self.beta)[1] ** 2:
                self._blame(panel, columns.start)
            self._check(panel, columns.start)
            some = some or total > 0 or bool(((panel.values > 0) & (panel.weights > 0)).any())
        return LEAST_SQUARE if total == 0 and some else total

    def _check(self, panel: "Columns | Pair", start: int) -> None:
        values, weights = panel.values, panel.weights
        least = 0 if not self.positive or not values.size else None
        low = values.min(initial=0) if least == 0 else np.where(weights > 0, values, 1).min(initial=1)
        if (low < 0 if least == 0 else low <= 0) or weights.min(initial=0) < 0:
            self._blame(panel, start)

    def _blame(self, panel: "Columns | Pair", start: int) -> None:
        """Raise the error that names the first entry, by columns, that cannot be factorised, if there is one."""
        with np.errstate(invalid="ignore"):
            bad = ~((panel.values >= 0) & (panel.values <= limits(panel.values.dtype, self.beta)[1]))
            wrong = ~((panel.weights >= 0) & (panel.weights <= limits(panel.weights.dtype, 2.0)[1]))
            if self.positive:
                bad |= (panel.values == 0) & (panel.weights > 0)
        for what, marks, numbers in (("", bad, panel.values), ("weights", wrong, panel.weights)):
            if not marks.any():
                continue
            if isinstance(panel, Columns):
                entry = int(np.argmax(marks))
                column = int(np.searchsorted(panel.starts, entry, side="right")) - 1
                raise BadEntry(float(numbers[entry]), int(panel.rows[entry]), start + column, what)
            column = int(np.argmax(marks.any(axis=0)))
            row = int(np.argmax(marks[:, column]))
            raise BadEntry(float(numbers[row, column]), row, start + column, what)


def _pair(panel: Any, weights: Any, dtype: np.dtype[Any], scratch: Scratch) -> Pair:
    """Return values and weights of a dense panel, C-contiguous in the order of the panel, with NaN as missing."""
    by_columns = panel.strides[0] < panel.strides[1]
    source = panel.T if by_columns else panel
    values, mask = (scratch.array(name, source.shape, dtype) for name in ("observed", "weights"))
    if weights is None:
        mask[...] = 1
    else:
        given = weights.toarray() if scipy.sparse.issparse(weights) else np.asarray(weights)
        mask[...] = given.T if by_columns else given
    values[...] = source
    _drop_missing(values, mask)
    return Pair(values.T, mask.T) if by_columns else Pair(values, mask)


@kernel
def _drop_missing(values, weights):  # type: ignore[no-untyped-def]
    """Give the value and the weight 0 to what is missing."""
    zero = values.dtype.type(0)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            if np.isnan(values[i, j]) or weights[i, j] == zero:
                values[i, j] = zero
                weights[i, j] = zero


def _stored_panels(
    values: Any, weights: Any, dtype: np.dtype[Any], scratch: Scratch
) -> Iterator[tuple[slice, Columns]]:
    """Yield the stored entries with their weights."""
    for columns, panel in panels(values, dtype, scratch, narrow=True):
        assert isinstance(panel, Columns)
        if weights is None:
            given = np.ones_like(panel.values)
        elif scipy.sparse.issparse(weights):
            part = weights[:, columns]
            if not (np.array_equal(part.indptr, panel.starts) and np.array_equal(part.indices, panel.rows)):
                raise DataError(
                    "weights stores other entries than V; with missing='zeros', give a sparse matrix of the same "
                    "entries, or a dense one."
                )
            given = part.data.astype(dtype, copy=False)
        else:
            place = np.repeat(np.arange(columns.start, columns.stop), np.diff(panel.starts))
            given = np.asarray(weights[panel.rows, place]).astype(dtype, copy=False)
        yield columns, panel._replace(weights=given, every=False)


def weighted_squares(panel: Columns | Pair) -> float:
    """Return Σ m v² of a panel, in float64."""
    values, weights = panel.values, panel.weights
    if values.ndim == 2 and values.strides[0] < values.strides[1]:
        values, weights = values.T, weights.T
    return float(_sum_squares(np.atleast_2d(values), np.atleast_2d(weights)))


@kernel
def _sum_squares(values, weights):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            total += np.float64(values[i, j]) * np.float64(values[i, j]) * np.float64(weights[i, j])
    return total


def _refuse_zeros(V: Block) -> None:
    """Raise the error that names the first entry, by columns, that is 0."""
    if scipy.sparse.issparse(V):
        short = np.flatnonzero(np.diff(V.indptr) < V.shape[0])
        if len(short):
            column = int(short[0])
            stored = set(V.indices[V.indptr[column] : V.indptr[column + 1]].tolist())
            raise BadEntry(0.0, next(row for row in range(V.shape[0]) if row not in stored), column)
    for columns in slices(V.shape[1], part_width(V.shape[0], V.dtype)):
        part = V[:, columns].toarray() if scipy.sparse.issparse(V) else V[:, columns]
        zeros = part == 0
        if zeros.any():
            column = int(np.argmax(zeros.any(axis=0)))
            raise BadEntry(0.0, int(np.argmax(zeros[:, column])), columns.start + column)


def entries_of(panel: Float | Pair, base: float, scratch: Scratch) -> Columns:
    """Return the entries of a dense panel that count by another weight than `base`, with their weights less `base`.

    Without weights, every entry counts by 1; then those above 0 are returned, since for the Kullback–Leibler divergence
    the others count by Wᵀ1 alone. They are valid until the next call.
    """
    values, weights = panel if isinstance(panel, Pair) else (panel, NONE.astype(panel.dtype))
    height, width = values.shape
    counts = np.zeros(width, np.int64)
    _count_entries(values, weights, base, counts)
    starts = np.zeros(width + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    # room for all entries, so that it need not grow from one panel to the next
    index = np.dtype(np.int32 if height < 2**31 else np.int64)
    rows = scratch.array("listed rows", (values.size,), index)[: starts[-1]]
    found = scratch.array("listed", (values.size,), values.dtype)[: starts[-1]]
    different = scratch.array("listed weights", (weights.size,), values.dtype)[: starts[-1] if weights.size else 0]
    _list_entries(values, weights, base, starts[:-1].copy(), rows, found, different)
    return Columns(starts, rows, found, height, different, every=not isinstance(panel, Pair))


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
