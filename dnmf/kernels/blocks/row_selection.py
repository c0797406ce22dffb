"""Rows of a block selected and brought into another order, in time proportional to the entries.

`place` (m,) has the new index of every row, −1 for a row that is dropped. A sparse block stays sorted: if the order of
its rows changes, the entries are distributed to their rows, and back to their columns.
"""

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.tiles import kernel

# Entries that are sorted at once: they take a few hundred kB.
TILE_ENTRIES = 2**15


def select_sparse(block: Any, place: NDArray[np.int64], height: int, rises: bool, scratch: Scratch, name: str) -> Any:
    """Return the rows of a CSC block (m, w) as a CSC block (height, w), in buffers of the thread.

    `rises` states whether `place` keeps the order of the rows.

    >>> block = scipy.sparse.csc_array([[1, 0], [2, 3], [4, 5]])
    >>> select_sparse(block, np.array([1, -1, 0]), 2, False, Scratch(), "V").toarray().tolist()
    [[4, 5], [1, 0]]
    """
    starts = np.zeros(block.shape[1] + 1, np.int64)
    rows = scratch.array(f"{name} rows", (block.nnz,), block.indices.dtype)
    data = scratch.array(f"{name} data", (block.nnz,), block.data.dtype)
    move_rows(block.indptr, block.indices, block.data, place, starts, rows, data)
    count = int(starts[-1])
    rows, data = rows[:count], data[:count]
    if not rises:
        by_rows = scratch.array(f"{name} sorted", (count,), np.dtype(np.int32))
        values = scratch.array(f"{name} values", (count,), data.dtype)
        sort_rows(starts, rows, data, np.zeros(height + 1, np.int64), by_rows, values)
    part = scipy.sparse.csc_array((height, block.shape[1]), dtype=data.dtype)
    part.data, part.indices, part.indptr = data, rows, starts.astype(rows.dtype)
    return part


def select_dense(block: NDArray[Any], take: NDArray[np.intp], fill: float, scratch: Scratch, name: str) -> NDArray[Any]:
    """Return rows of a dense block in its memory order, in a buffer of the thread; `fill` where `take` is −1.

    >>> select_dense(np.eye(2), np.array([1, -1]), 0.0, Scratch(), "V").tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    absent = take < 0
    if absent.any() and fill != 0 and block.dtype.kind != "f":
        block = block.astype(np.result_type(block.dtype, np.float32))
    if block.strides[1] <= block.strides[0]:
        out = scratch.array(name, (len(take), block.shape[1]), block.dtype)
        np.take(block, take, axis=0, out=out, mode="clip")
        out[absent] = fill
        return out
    out = scratch.array(name, (block.shape[1], len(take)), block.dtype)
    np.take(block.T, take, axis=1, out=out, mode="clip")
    out[:, absent] = fill
    return out.T


@kernel
def move_rows(starts, rows, data, place, new_starts, new_rows, new_data):  # type: ignore[no-untyped-def]
    """Copy the entries whose rows are kept, with their new rows."""
    count = 0
    for j in range(len(starts) - 1):
        for e in range(starts[j], starts[j + 1]):
            row = place[rows[e]]
            if row >= 0:
                new_rows[count] = row
                new_data[count] = data[e]
                count += 1
        new_starts[j + 1] = count


@kernel
def sort_rows(starts, rows, data, heads, columns, values):  # type: ignore[no-untyped-def]
    """Sort the entries of every column by row: distributed to their rows in the order of the columns, and back.

    This is done for a few columns at a time, whose entries stay in the cache; `columns` and `values` have room for
    those of any tile of columns.
    """
    height, j = len(heads) - 1, 0
    while j < len(starts) - 1:
        first, start = j, starts[j]
        j += 1
        while j < len(starts) - 1 and starts[j + 1] - start <= max(TILE_ENTRIES, height):
            j += 1
        heads[:] = 0
        for e in range(start, starts[j]):
            heads[rows[e] + 1] += 1
        for i in range(1, height + 1):
            heads[i] += heads[i - 1]
        for column in range(first, j):
            for e in range(starts[column], starts[column + 1]):
                at = heads[rows[e]]
                columns[at] = column
                values[at] = data[e]
                heads[rows[e]] = at + 1
        nexts = starts[first : j + 1].copy()
        before = 0
        for i in range(height):
            for e in range(before, heads[i]):
                at = nexts[columns[e] - first]
                rows[at] = i
                data[at] = values[e]
                nexts[columns[e] - first] = at + 1
            before = heads[i]
