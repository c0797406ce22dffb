"""A block cut into panels of columns small enough to be worked on at once, and the sums taken of a whole block.

A block V (m, w) is a dense array of any real dtype and either memory order, or a `scipy.sparse` array in CSC form. Its
panels have the working dtype: those of a float block are views, those of an integer block are cast one at a time.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import DTypeLike, NDArray

from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.tiles import LANES, Float, kernel
from dnmf.kernels.scale import limits

# What ‖V‖² of a block is taken for where its squares are 0 in float64, and its entries are not.
LEAST_SQUARE = float(np.nextafter(0, 1))
PANEL_BYTES = 8 * 2**20
# What lists and weights are made of is smaller, since several arrays of its size are made of it.
PART_BYTES = 2 * 2**20
SPARSE_COLUMNS = 4096

Block = Any


class Columns(NamedTuple):
    """A panel of a sparse block: some columns of a matrix of `height` rows, in compressed form.

    `weights` are those of the entries, empty where all are 1. `every` says that the entries that are not stored are
    zeros that count, and not missing.
    """

    starts: NDArray[Any]
    rows: NDArray[Any]
    values: Float
    height: int
    weights: Float = np.empty(0)
    every: bool = True


Panel = Float | Columns


def work_dtype(dtype: DTypeLike, name: str = "V") -> np.dtype[Any]:
    """Return the float dtype that data of this dtype are worked on in.

    >>> [work_dtype(name).name for name in ("uint8", "float16", "float32", "int32", "float64")]
    ['float32', 'float32', 'float32', 'float64', 'float64']
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "f" and dtype.itemsize > 8:
        raise DataError(f"{name} has dtype {dtype}, and no more than float64 is worked on; give V.astype('float64').")
    if dtype.kind not in "buif":
        raise DataError(f"{name} has dtype {dtype}, which is no real number; give booleans, integers or floats.")
    small = dtype.itemsize <= 2 or (dtype.kind == "f" and dtype.itemsize == 4)
    return np.dtype(np.float32 if small else np.float64)


def panel_width(rows: int, dtype: DTypeLike) -> int:
    """Return the columns of a dense panel: `PANEL_BYTES` or less in the working dtype, a multiple of the lanes.

    >>> panel_width(2000, "float32"), panel_width(10**7, "float64")
    (1024, 128)
    """
    return max(1, PANEL_BYTES // (rows * np.dtype(dtype).itemsize * LANES)) * LANES


def part_width(rows: int, dtype: DTypeLike) -> int:
    """Return the columns of a dense panel that is listed or weighted: `PART_BYTES` or less, unless a column is more.

    >>> part_width(2000, "float32"), part_width(10**7, "float64")
    (256, 1)
    """
    width = max(1, PART_BYTES // (rows * np.dtype(dtype).itemsize))
    return width - width % LANES if width > LANES else width


def panels(V: Block, dtype: np.dtype[Any], scratch: Scratch, *, narrow: bool = False) -> Iterator[tuple[slice, Panel]]:
    """Yield the panels of a block with the columns they stand for; a panel is valid until the next one.

    Narrow ones have about `PART_BYTES` of entries.
    """
    height, width = V.shape
    if scipy.sparse.issparse(V):
        entries = PART_BYTES // dtype.itemsize if narrow else None
        for columns in stored_slices(V.indptr, SPARSE_COLUMNS, entries):
            starts = V.indptr[columns.start : columns.stop + 1]
            stored = slice(starts[0], starts[-1])
            values = V.data[stored].astype(dtype, copy=False)
            yield columns, Columns(starts - starts[0], V.indices[stored], values, height)
        return
    by_rows = V.strides[1] <= V.strides[0]
    for columns in slices(width, (part_width if narrow else panel_width)(height, dtype)):
        part = V[:, columns]
        if part.dtype != dtype or not part.flags.aligned:
            shape = part.shape if by_rows else part.shape[::-1]
            room = scratch.array("panel", shape, dtype)
            room = room if by_rows else room.T
            np.copyto(room, part, casting="unsafe")
            part = room
        yield columns, part


def slices(width: int, step: int) -> Iterator[slice]:
    """Cut 0 … width into slices of `step`.

    >>> list(slices(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, width, step):
        yield slice(start, min(start + step, width))


def stored_slices(starts: NDArray[Any], step: int, entries: int | None) -> Iterator[slice]:
    """Cut the columns of a sparse block into slices of `step` or less, with so many entries, unless one has more.

    >>> list(stored_slices(np.array([0, 2, 4, 9, 9]), 3, 4))
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
    """
    width, start = len(starts) - 1, 0
    while start < width:
        stop = min(start + step, width)
        if entries is not None and starts[stop] - starts[start] > entries:
            reach = int(np.searchsorted(starts[start : stop + 1] - starts[start], entries, side="right")) - 1
            stop = start + max(reach, 1)
        yield slice(start, stop)
        start = stop


def square_sum(V: Block, dtype: np.dtype[Any], scratch: Scratch, beta: float = 2.0) -> float:
    """Return ‖V‖² of a block in float64, having seen that its entries are finite, not negative and not too large for β.

    It is positive where the block is not 0, even if its squares are 0 in float64.

    Raises
    ------
    DataError
        With the `row` and `column`, within the block, of the first entry that is not.
    """
    total, least = 0.0, 0.0
    for _, panel in panels(V, dtype, scratch):
        values = panel.values[None, :] if isinstance(panel, Columns) else panel
        if values.strides[1] > values.strides[0]:
            values = values.T
        squares, low = _scan(values)
        total += squares
        least = min(least, low)
    _, largest = limits(dtype, beta)
    if not total <= largest**2 or least < 0:
        _blame(V, largest)
    if total == 0 and (V.data if scipy.sparse.issparse(V) else V).any():
        return LEAST_SQUARE
    return total


@kernel
def _scan(V):  # type: ignore[no-untyped-def]
    """Return the sum of squares, which NaN and infinity spoil, and the least entry or 0."""
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
    least = zero
    for j in range(LANES):
        total += sums[j]
        least = min(least, low[j])
    return total, least


def _blame(V: Block, largest: float) -> None:
    """Raise the error that names the first entry, by columns, that cannot be factorised, if there is one."""
    dense = not scipy.sparse.issparse(V)
    values = V if dense else V.data
    with np.errstate(invalid="ignore"):
        bad = ~((values >= 0) & (values.astype(np.float64) <= largest))
    if not bad.any():
        return
    if dense:
        column = int(np.argmax(bad.any(axis=0)))
        row = int(np.argmax(bad[:, column]))
        value = V[row, column]
    else:
        entry = int(np.argmax(bad))
        row, column = int(V.indices[entry]), int(np.searchsorted(V.indptr, entry, side="right")) - 1
        value = V.data[entry]
    raise BadEntry(float(value), row, column)


class BadEntry(DataError):
    """An entry, of V or another matrix, that is negative, NaN, too large, or 0 where it may not be, and its place."""

    def __init__(self, value: float, row: int, column: int, matrix: str = "") -> None:
        super().__init__(value, row, column, matrix)
        self.value, self.row, self.column, self.matrix = value, row, column, matrix
