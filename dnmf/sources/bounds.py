"""Cut a matrix into blocks of columns, as streamed."""

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.kernels.blocks.panels import work_dtype
from dnmf.sources.base import Axis

# A matrix without chunks is read in blocks of about this size; one with chunks, by these.
BLOCK_BYTES = 16 * 2**20
# But written chunks, and blocks of a dense array in memory, have at least this many columns, unless these exceed this
# many bytes: to add a block to the sums of all rows takes as long as about ten of its columns.
NARROWEST, NARROWEST_BYTES = 32, 2**30
SPARSE_BLOCK_COLUMNS = 16384
# A matrix in memory is cut into at least `FINE` blocks, unless they are smaller than `FINE_BYTES`.
FINE, FINE_BYTES = 16, 4 * 2**20
# Blocks of a sparse matrix in memory have at least this many bytes, and entries for every row, but for `FINE_BYTES`.
SPARSE_BYTES, ENTRIES_OF_ROW = 2**20, 16


def even_bounds(columns: int, width: int) -> tuple[int, ...]:
    """Cut columns into blocks of one width, the last one narrower.

    >>> even_bounds(10, 4)
    (0, 4, 8, 10)
    """
    return (*range(0, columns, width), columns)


def dense_width(column: int, size: int = BLOCK_BYTES) -> int:
    """Return the number of columns of a dense block of about `size` bytes, given the bytes of a column.

    >>> dense_width(8000), dense_width(4 * 10**6), dense_width(10**9)
    (2097, 32, 1)
    """
    return max(1, size // column, min(NARROWEST, NARROWEST_BYTES // column))


def uncut_bounds(shape: tuple[int, int], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Cut a matrix that can be read anywhere into blocks of about `BLOCK_BYTES` in the working dtype.

    >>> uncut_bounds((2000, 5000), np.dtype("float32"))
    (0, 2097, 4194, 5000)
    """
    rows, columns = shape
    width = max(1, BLOCK_BYTES // (rows * work_dtype(dtype).itemsize))
    return even_bounds(columns, width)


def streams_rows(shape: tuple[int, int], streamed: Axis | None, grid: tuple[int, int] = (1, 1)) -> bool:
    """Return whether to stream rows: the requested axis, else the one that a grid of chunks cuts, else the longer one.

    >>> streams_rows((50, 100), None), streams_rows((50, 100), None, (5, 1)), streams_rows((50, 100), "columns", (5, 1))
    (False, True, False)
    """
    if streamed is not None:
        return streamed == "rows"
    if 1 in grid and grid != (1, 1):
        return grid[1] == 1
    return shape[0] > shape[1]


def streams_long(shape: tuple[int, int], rows_are_near: bool) -> bool:
    """Return whether to stream the rows: the longer axis, unless the lengths are similar.

    The factor of the axis that is not streamed is held whole, so that axis should be the short one. If they differ
    by less than 4 times, the axis that is contiguous in the file is streamed, which is read much faster.

    >>> streams_long((20000, 2000), rows_are_near=True), streams_long((2000, 10**6), rows_are_near=True)
    (True, False)
    """
    rows, columns = shape
    if 4 * columns <= rows:
        return True
    return rows_are_near and columns < 4 * rows


def default_chunks(shape: tuple[int, int], itemsize: int, by: Axis | None = None) -> tuple[int, int]:
    """Return the shape of the chunks that `dnmf convert` writes.

    They are panels of about `BLOCK_BYTES` across the shorter axis, or cut along the axis `by`.

    >>> default_chunks((2000, 10**6), 4), default_chunks((10**6, 2000), 4), default_chunks((10, 20), 4, "rows")
    ((2000, 2097), (2097, 2000), (10, 20))
    """
    by_rows = shape[0] > shape[1] if by is None else by == "rows"
    across = shape[1] if by_rows else shape[0]
    width = dense_width(across * itemsize)
    return (min(width, shape[0]), across) if by_rows else (across, min(width, shape[1]))


def cut_tiles(
    shape: tuple[int, int], tiles: tuple[int, int], dtype: np.dtype[Any], streamed: Axis | None
) -> tuple[bool, tuple[int, ...]]:
    """Cut a matrix that is stored in tiles, which may be small, into blocks of whole tiles of about `BLOCK_BYTES`.

    Return whether the rows are streamed, and the bounds of the blocks.

    >>> cut_tiles((2000, 5000), (100, 100), np.dtype("float32"), None)
    (False, (0, 2000, 4000, 5000))
    """
    rows, columns = (math.ceil(size / tile) for size, tile in zip(shape, tiles, strict=True))
    transposed = streams_rows(shape, streamed, (rows, columns))
    (tall, wide), tile = (shape[::-1], tiles[0]) if transposed else (shape, tiles[1])
    width = BLOCK_BYTES // (tall * work_dtype(dtype).itemsize)
    return transposed, even_bounds(wide, max(1, width // tile) * tile)


def entry_bounds(starts: NDArray[Any], entry_bytes: int) -> tuple[int, ...]:
    """Cut the columns of a sparse matrix into blocks of about `BLOCK_BYTES` and of a bounded width."""
    return bounds_by_entries(starts, BLOCK_BYTES // entry_bytes)


def bounds_by_entries(starts: NDArray[Any], entries: int) -> tuple[int, ...]:
    """Cut columns into blocks of about `entries` stored entries, and of a bounded width.

    >>> bounds_by_entries(np.array([0, 2, 3, 9, 9]), 4)
    (0, 2, 3, 4)
    """
    bounds = [0]
    last = len(starts) - 1
    while bounds[-1] < last:
        # NumPy would cast all starts to the dtype of another number, each time
        limit = starts.dtype.type(min(int(starts[bounds[-1]]) + entries, int(starts[-1])))
        reach = int(np.searchsorted(starts, limit, side="right")) - 1
        bounds.append(min(max(reach, bounds[-1] + 1), bounds[-1] + SPARSE_BLOCK_COLUMNS, last))
    return tuple(bounds)


def fine_bounds(shape: tuple[int, int], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Cut a matrix in memory into at least `FINE` blocks, one for each of as many threads, unless they become small.

    >>> fine_bounds((2000, 5000), np.dtype("float32"))
    (0, 524, 1048, 1572, 2096, 2620, 3144, 3668, 4192, 4716, 5000)
    """
    rows, columns = shape
    column = rows * work_dtype(dtype).itemsize
    size = min(max(column * columns // FINE, FINE_BYTES), BLOCK_BYTES)
    return even_bounds(columns, dense_width(column, size))


def fine_entry_bounds(starts: NDArray[Any], rows: int, entry_bytes: int) -> tuple[int, ...]:
    """Cut the columns of a sparse matrix in memory into blocks of as many entries each, of a bounded width.

    A small number of blocks is rounded to a power of two, so that two or four threads have equal shares.
    A pass over a sparse block takes longer than over a dense one of its size, so the blocks are smaller. But every task
    has sums for the rows of V, some of them for every pair of components, which must cost less than its entries.

    >>> fine_entry_bounds(np.array([0, 2, 3, 9, 9, 10]), rows=3, entry_bytes=2**20)
    (0, 2, 5)
    """
    total, last = int(starts[-1]), len(starts) - 1
    widest = int(np.diff(starts).max()) * entry_bytes  # by which a block may exceed the others
    if widest > BLOCK_BYTES // 2:
        return entry_bounds(starts, entry_bytes)
    least = min(max(ENTRIES_OF_ROW * rows * entry_bytes, SPARSE_BYTES), FINE_BYTES)
    size = min(max(total * entry_bytes // FINE, least), BLOCK_BYTES - widest)
    parts = max(total * entry_bytes / size, 1)
    count = 2 ** max(round(math.log2(parts)), 1) if 1 < parts < FINE else math.ceil(parts)
    ends = [total * (block + 1) // count for block in range(count)]
    cuts = np.searchsorted(starts, np.array(ends, starts.dtype), side="right") - 1
    edges = sorted({0, *cuts.tolist(), last})
    narrow = (range(start, stop, SPARSE_BLOCK_COLUMNS) for start, stop in itertools.pairwise(edges))
    return (*itertools.chain.from_iterable(narrow), last)
