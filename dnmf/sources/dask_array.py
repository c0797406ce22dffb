"""Dask arrays, with NumPy or SciPy blocks. A block of V is one column (or row) of their chunk grid."""

import math
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import dask
import dask.array as da
import numpy as np
import scipy.sparse
from dask.optimization import cull

from dnmf.errors import DataError, ReadError
from dnmf.kernels.panels import Block, work_dtype
from dnmf.kernels.scratch import Scratch
from dnmf.sources.layout import Axis, Layout, check_shape, streams_rows
from dnmf.sources.memory import as_columns


class DaskSource:
    """A Dask array. Each block is computed in the task that visits it, in that task's thread."""

    def __init__(self, array: da.Array, streamed: Axis | None = None) -> None:
        if any(math.isnan(size) for axis in array.chunks for size in axis):
            raise DataError("V is a Dask array whose chunk sizes are not known; call V.compute_chunk_sizes() first.")
        shape = check_shape(array.shape, "V")
        rows, columns = array.numblocks
        transposed = streams_rows(shape, (rows, columns)) if streamed is None else streamed == "rows"
        (array,) = dask.optimize(array)
        self._graph = dict(array.__dask_graph__())
        grid = [[(array.name, i, j) for i in range(rows)] for j in range(columns)]
        self._keys = [list(keys) for keys in zip(*grid, strict=True)] if transposed else grid
        self._transposed = transposed
        first = self._compute(self._keys[0])
        dtype = first.dtype
        work_dtype(dtype)
        widths = array.chunks[0 if transposed else 1]
        sparse = scipy.sparse.issparse(first)
        dense_bytes = max(widths) * shape[1 if transposed else 0] * dtype.itemsize
        sparse_bytes = 2 * (first.data.nbytes + first.indices.nbytes) if sparse else 0
        self.layout = Layout(
            shape=shape[::-1] if transposed else shape,
            dtype=dtype,
            bounds=tuple(int(bound) for bound in np.cumsum([0, *widths])),
            transposed=transposed,
            read_bytes=2 * (sparse_bytes if sparse else dense_bytes),
            stored_bytes=sparse_bytes // 2 * len(widths) if sparse else math.prod(shape) * dtype.itemsize,
            sparse=sparse,
            on_disk=False,
            kind=f"Dask array of {rows} × {columns} {'sparse' if sparse else 'dense'} chunks",
        )

    def read(self, block: int, scratch: Scratch) -> Block:
        """Compute the chunks of a block and lay them together."""
        try:
            return self._compute(self._keys[block])
        except Exception as error:
            raise ReadError(
                f"{self.layout.name(block)} of the Dask array could not be computed "
                f"({type(error).__name__}: {error}); compute that part alone to find out why."
            ) from error

    def _compute(self, keys: list[tuple[Any, ...]]) -> Block:
        graph, _ = cull(self._graph, keys)
        parts = list(dask.get(graph, keys))
        if scipy.sparse.issparse(parts[0]):
            whole = scipy.sparse.hstack(parts) if self._transposed else scipy.sparse.vstack(parts)
            return as_columns(whole.T if self._transposed else whole)
        if any(isinstance(part, np.ma.MaskedArray) for part in parts):
            raise DataError("V has masked blocks, and every entry of V counts; give V.map_blocks(np.ma.filled, 0).")
        parts = [np.asarray(part) for part in parts]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1 if self._transposed else 0)
        return whole.T if self._transposed else whole

    def expect(self, block: int) -> None:
        """Do nothing: what a block needs is not known before it is computed."""


def factor_array(
    read: Callable[[int], Any], bounds: Sequence[int], rank: int, dtype: np.dtype[Any], transposed: bool
) -> da.Array:
    """Return a long factor as a Dask array, one chunk to a block, read when it is computed.

    Its shape is (rank, n), or (n, rank) where the matrix was streamed by rows.
    """
    widths = tuple(int(width) for width in np.diff(bounds))

    def chunk(block_info: Any) -> Any:
        block = block_info[None]["chunk-location"][0 if transposed else 1]
        return read(block).T if transposed else read(block)

    chunks = (widths, (rank,)) if transposed else ((rank,), widths)
    return da.map_blocks(
        chunk, chunks=chunks, dtype=dtype, meta=np.empty((0, 0), dtype), name=f"factor-{uuid.uuid4().hex}"
    )
