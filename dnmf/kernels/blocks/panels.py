"""A block cut into panels of columns small enough to work on at once, and the check of their entries.

A block V (m, w) is a dense array of any real dtype and either memory order, or a `scipy.sparse` array in CSC form. Its
panels have the working dtype: those of a float block are views, those of an integer block are cast one at a time.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import DTypeLike, NDArray

from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.dense_panel import DensePanel
from dnmf.kernels.blocks.sparse_panel import SparsePanel
from dnmf.kernels.blocks.tiles import LANES, slices
from dnmf.kernels.scale import limits

# ‖V‖² of a block that is not 0, where its squares are 0 in float64.
LEAST_SQUARE = float(np.nextafter(0, 1))
PANEL_BYTES = 8 * 2**20
# Several arrays of the size of a weighted or listed panel are formed, so it is smaller.
PART_BYTES = 2 * 2**20
# A product of the size of a panel is formed for each update of H.
RATIO_BYTES = 2**20
SPARSE_COLUMNS = 4096

Block = Any
Panel = DensePanel | SparsePanel


def work_dtype(dtype: DTypeLike, name: str = "V") -> np.dtype[Any]:
    """Return the float dtype of the arithmetic on data of a dtype.

    >>> [work_dtype(name).name for name in ("uint8", "float16", "float32", "int32", "float64")]
    ['float32', 'float32', 'float32', 'float64', 'float64']
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "f" and dtype.itemsize > 8:
        raise DataError(f"{name} has dtype {dtype}, and the widest supported is float64; pass V.astype('float64').")
    if dtype.kind not in "buif":
        raise DataError(f"{name} has dtype {dtype}, which is not a real number; pass booleans, integers or floats.")
    small = dtype.itemsize <= 2 or (dtype.kind == "f" and dtype.itemsize == 4)
    return np.dtype(np.float32 if small else np.float64)


def panel_width(rows: int, dtype: DTypeLike) -> int:
    """Return the number of columns of a dense panel: a multiple of the lanes, of at most `PANEL_BYTES` if possible.

    >>> panel_width(2000, "float32"), panel_width(10**7, "float64")
    (1024, 128)
    """
    return max(1, PANEL_BYTES // (rows * np.dtype(dtype).itemsize * LANES)) * LANES


def part_width(rows: int, dtype: DTypeLike) -> int:
    """Return the number of columns of a listed or weighted dense panel: at most `PART_BYTES`, but at least one column.

    >>> part_width(2000, "float32"), part_width(10**7, "float64")
    (256, 1)
    """
    width = max(1, PART_BYTES // (rows * np.dtype(dtype).itemsize))
    return width - width % LANES if width > LANES else width


def narrow_width(rows: int, itemsize: int) -> int:
    """Return the number of columns of a panel of about `RATIO_BYTES`, in whole vectors.

    >>> narrow_width(2000, 4), narrow_width(10**7, 4)
    (128, 1)
    """
    width = RATIO_BYTES // (rows * itemsize)
    return max(1, width - width % 32 if width > 32 else width)


def panels(V: Block, dtype: np.dtype[Any], scratch: Scratch, *, narrow: bool = False) -> Iterator[tuple[slice, Panel]]:
    """Yield the panels of a block with their columns; a panel is valid until the next one.

    Narrow ones have about `PART_BYTES` of entries.
    """
    height, width = V.shape
    if scipy.sparse.issparse(V):
        entries = PART_BYTES // dtype.itemsize if narrow else None
        for columns in stored_slices(V.indptr, SPARSE_COLUMNS, entries):
            starts = V.indptr[columns.start : columns.stop + 1]
            stored = slice(starts[0], starts[-1])
            values = V.data[stored].astype(dtype, copy=False)
            yield columns, SparsePanel(starts - starts[0], V.indices[stored], values, height)
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
        yield columns, DensePanel.unweighted(part)


def stored_slices(starts: NDArray[Any], step: int, entries: int | None) -> Iterator[slice]:
    """Cut the columns of a sparse block into slices of at most `step` columns and `entries` entries, if possible.

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
    """Return ‖V‖² of a block in float64, after a check that its entries are finite, ≥ 0 and not too large for β.

    It is positive where the block is not 0, even if its squares are 0 in float64.

    Raises
    ------
    BadEntry
        With row and column, within the block, of the first entry that fails the check.
    """
    return check_panels(panels(V, dtype, scratch), limits(dtype, beta)[1])


def check_panels(panels: Iterator[tuple[slice, Panel]], largest: float, *, positive: bool = False) -> float:
    """Return Σ m v² of the panels of a block as `square_sum` does; entries of weight > 0 may have to be positive."""
    total, nonzero = 0.0, False
    for columns, panel in panels:
        squares, smallest = panel.scan()
        total += squares
        if positive or smallest < 0 or not total <= largest**2:
            _refuse(panel, columns.start, largest, positive)
        if total == 0 and not nonzero:
            nonzero = bool((panel.values > 0)[panel.weights > 0 if panel.weights.size else ...].any())
    return LEAST_SQUARE if total == 0 and nonzero else total


def _refuse(panel: Panel, start: int, largest: float, positive: bool) -> None:
    """Raise BadEntry for the first value, or else weight, of a panel that is not allowed, if there is one."""
    values, weights = panel.values, panel.weights
    with np.errstate(invalid="ignore"):
        bad = ~((values >= 0) & (values <= largest))
        bad_weights = ~((weights >= 0) & (weights <= limits(values.dtype, 2.0)[1]))
    if positive:
        bad |= (values == 0) & (weights > 0) if weights.size else values == 0
    for matrix, marks, numbers in (("", bad, values), ("weights", bad_weights, weights)):
        if marks.any():
            row, column, index = panel.first(marks)
            raise BadEntry(float(numbers[index]), row, start + column, matrix)


class BadEntry(DataError):
    """An entry, of V or another matrix, that is negative, NaN, too large, or 0 where it may not be, and its place."""

    def __init__(self, value: float, row: int, column: int, matrix: str = "") -> None:
        super().__init__(value, row, column, matrix)
        self.value, self.row, self.column, self.matrix = value, row, column, matrix
