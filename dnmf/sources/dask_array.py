"""Dask arrays with NumPy or SciPy chunks. A block of V is one column (or row) of the chunk grid."""

import dataclasses
import math
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import dask
import dask.array as da
import numpy as np
import scipy.sparse
from dask._task_spec import DataNode
from dask.optimization import cull

from dnmf.errors import DataError, DataWarning, ReadError, exhausted, warn
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block, work_dtype
from dnmf.settings import Missing
from dnmf.sources.base import Axis, Layout, check_shape, name_of_block, relabelled
from dnmf.sources.blocks import as_matrix
from dnmf.sources.bounds import streams_rows
from dnmf.sources.unfolding import Unfolding
from dnmf.storage.urls import redacted

Key = tuple[Any, ...]
# The size of a block of an array that is cut along its other axis.
ALONG_BYTES = 64 * 2**20


class DaskSource:
    """A Dask array. Each block is computed in the task that visits it, in that task's thread.

    Chunks that a cluster holds, as after `persist`, are read from there.
    """

    computed: ClassVar[bool] = True

    def __init__(self, array: da.Array, streamed: Axis | None = None, missing: Missing = "none") -> None:
        check_sizes(array)
        shape = check_shape(array.shape, "V")
        array = array if streamed is None else cut_along(array, streamed)
        rows, columns = array.numblocks
        transposed = streams_rows(shape, streamed, (rows, columns))
        self._futures = {key: value for key, value in dict(array.__dask_graph__()).items() if _is_future(value)}
        (array,) = dask.optimize(array)
        grid = [[(array.name, i, j) for i in range(rows)] for j in range(columns)]
        keys = [list(keys) for keys in zip(*grid, strict=True)] if transposed else grid
        held = {key: DataNode(key, None) for key in self._futures}
        self._graph = {**dict(array.__dask_graph__()), **held}
        self._keys = dict(enumerate(keys))
        self._transposed, self._sizes, self._missing = transposed, array.chunks, missing
        widths = array.chunks[0 if transposed else 1]
        first = here(self._chunks(range(1), {0: name_of_block(0, 0, widths[0], transposed)})).read(0, Scratch())
        # later blocks may hold floats if they are declared, although the first has integers
        dtype = array.dtype if first.dtype.kind in "bui" and array.dtype.kind == "f" else first.dtype
        work_dtype(dtype)
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
        """Compute the chunks of a block and concatenate them."""
        return here(self.part(range(block, block + 1))).read(block, scratch)

    def expect(self, block: int) -> None:
        """Do nothing: the reads of a block are not known before it is computed."""

    def part(self, blocks: range) -> "Chunks":
        """Return the graph of these blocks, which needs the futures at its leaves."""
        return self._chunks(blocks, {block: self.layout.name(block) for block in blocks})

    def _chunks(self, blocks: range, names: Mapping[int, str]) -> "Chunks":
        keys = {block: self._keys[block] for block in blocks}
        graph, _ = cull(self._graph, [key for some in keys.values() for key in some])
        held = [key for key in graph if key in self._futures]
        shapes = {block: [self._shape(key) for key in some] for block, some in keys.items()}
        needs = [self._futures[key] for key in held]
        return Chunks(graph, keys, shapes, names, self._transposed, self._missing, held, needs)

    def _shape(self, key: Key) -> tuple[int, ...]:
        """Return the declared shape of a chunk."""
        return tuple(int(sizes[place]) for sizes, place in zip(self._sizes, key[1:], strict=True))


def check_sizes(array: da.Array) -> None:
    """Raise DataError if a Dask array does not know the sizes of its chunks."""
    if any(math.isnan(size) for axis in array.chunks for size in axis):
        raise DataError("V is a Dask array whose chunk sizes are not known; call V.compute_chunk_sizes() first.")


def open_dask(
    array: da.Array, streamed: Axis | None = None, missing: Missing = "none", unfolding: Unfolding | None = None
) -> DaskSource:
    """Open a Dask array as a matrix; `transpose` and `reshape` of Dask unfold it."""
    if unfolding is None:
        return DaskSource(array, streamed, missing)
    matrix = array.transpose(unfolding.order).reshape(unfolding.matrix_shape)
    source = DaskSource(matrix, streamed, missing)
    return relabelled(source, unfolding=unfolding, kind=f"{source.layout.kind}, {unfolding}")


def cut_along(array: da.Array, axis: Axis) -> da.Array:
    """Rechunk an array that is cut along its other axis, if a block would be large.

    Each chunk is then computed once for every block.
    """
    across, along = (1, 0) if axis == "rows" else (0, 1)
    if streams_rows(array.shape, None, array.numblocks) == (axis == "rows") or array.numblocks == (1, 1):
        return array
    width = max(1, ALONG_BYTES // (array.shape[across] * array.dtype.itemsize))
    if max(array.chunks[along]) <= width:
        return array
    times = math.ceil(max(array.chunks[along]) / width)
    warn(
        f"V is a Dask array with chunks of {array.chunksize}, and is to be read along its {axis}, so that each chunk "
        f"is computed {times} times; give V.rechunk({{{across}: -1, {along}: {width}}}).persist(), or a matrix that is "
        f"cut along its {axis}.",
        DataWarning,
    )
    return array.rechunk({along: width})


def here(part: "Chunks") -> "Chunks":
    """Return the graph of some blocks after fetching the chunks that a cluster holds."""
    return part.given([future.result() for future in part.needs]) if part.needs else part


@dataclasses.dataclass
class Chunks:
    """The graph that computes some blocks of a Dask array."""

    graph: Mapping[Any, Any]
    keys: Mapping[int, Sequence[Key]]
    shapes: Mapping[int, Sequence[tuple[int, ...]]]
    names: Mapping[int, str]
    transposed: bool
    missing: Missing
    held: Sequence[Key]
    needs: Sequence[Any]

    small: ClassVar[bool] = False

    def __reduce__(self) -> tuple[Any, ...]:
        graph = self.graph, self.keys, self.shapes, self.names
        return type(self), (*graph, self.transposed, self.missing, self.held, ())

    def given(self, values: Sequence[Any]) -> "Chunks":
        """Return the graph with chunks in the place of its futures."""
        found = {key: DataNode(key, value) for key, value in zip(self.held, values, strict=True)}
        return dataclasses.replace(self, graph={**self.graph, **found}, needs=[])

    def read(self, block: int, scratch: Scratch) -> Block:
        """Compute the chunks of a block and concatenate them.

        An error is raised without its cause: chunks may come from a bucket, and an error may contain its secrets.
        """
        try:
            return self.compute(block)
        except DataError:
            raise
        except Exception as error:
            if exhausted(error):
                raise
            raise ReadError(
                f"{self.names[block]} of the Dask array could not be computed "
                f"({type(error).__name__}: {redacted(error)}); compute that part alone to find out why."
            ) from None

    def expect(self, block: int) -> None:
        """Do nothing: the reads of a block are not known before it is computed."""

    def compute(self, block: int) -> Block:
        """Compute and concatenate the chunks of a block, with the original errors."""
        keys = list(self.keys[block])
        graph = cull(self.graph, keys)[0] if len(self.keys) > 1 else self.graph
        found = zip(keys, self.shapes[block], dask.get(graph, keys), strict=True)
        whole = beside(
            [declared(part, shape, self._name(key, block), self.missing) for key, shape, part in found],
            axis=1 if self.transposed else 0,
        )
        return whole.T if self.transposed else whole

    def _name(self, key: Key, block: int) -> str:
        """Describe a chunk by its place in the grid and its block."""
        return f"chunk {tuple(key[1:])} of the Dask array, in {self.names[block]}"


def declared(part: Any, shape: Sequence[float], name: str, missing: Missing, what: str = "V") -> Any:
    """Return a computed chunk as an array or a SciPy matrix of its declared shape, in which unknown sizes are NaN.

    Raises
    ------
    DataError
        If it has another shape, is masked although no entries may be missing, or is a damaged sparse matrix.
    """
    if missing != "nan" and np.ma.is_masked(part):
        raise DataError(
            f"{what} has masked blocks, and every entry of {what} counts; give {what}.map_blocks(np.ma.filled, 0), or "
            f"{what}.map_blocks(np.ma.filled, np.nan) with missing='nan', which takes masked blocks as well. The first "
            f"one is {name}."
        )
    matrix = as_matrix(part, name)
    if len(matrix.shape) != len(shape) or any(
        found != wanted for found, wanted in zip(matrix.shape, shape, strict=True) if not math.isnan(wanted)
    ):
        raise DataError(
            f"{name} has shape {matrix.shape}, and {tuple(shape)} was declared for it; declare the shape that it has, "
            f"by chunks= of map_blocks or shape= of from_delayed, or call {what}.compute_chunk_sizes()."
        )
    return matrix


def verified(array: da.Array, missing: Missing) -> da.Array:
    """Return a Dask array whose chunks are checked against their declared shapes before they are rechunked."""

    def verify(part: Any, block_info: Any = None) -> Any:
        place = block_info[0]["chunk-location"]
        shape = tuple(stop - start for start, stop in block_info[0]["array-location"])
        return declared(part, shape, f"chunk {place} of X", missing, "X")

    return da.map_blocks(verify, array, dtype=array.dtype, meta=array._meta)


def beside(parts: Sequence[Any], axis: int) -> Any:
    """Concatenate matrices along an axis; the first one decides whether the result is dense or sparse."""
    if len(parts) == 1:
        return parts[0]
    if scipy.sparse.issparse(parts[0]):
        return scipy.sparse.hstack(parts, "csc") if axis == 1 else scipy.sparse.vstack(parts, "csr")
    return np.concatenate([part.toarray() if scipy.sparse.issparse(part) else part for part in parts], axis=axis)


def _is_future(value: Any) -> bool:
    """Return whether a value of a graph is a future on a cluster."""
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(value, distributed.Future)


def factor_array(
    read: Callable[[int], Any], now: bool, bounds: Sequence[int], rank: int, dtype: np.dtype[Any], transposed: bool
) -> da.Array:
    """Return a long factor as a Dask array, one chunk for each block, read now or when it is computed.

    Its shape is (r, n), or (n, r) if rows were streamed.
    """
    widths = tuple(int(width) for width in np.diff(bounds))
    name = f"factor-{uuid.uuid4().hex}"
    chunks = (widths, (rank,)) if transposed else ((rank,), widths)

    def chunk(block: int) -> Any:
        return read(block).T if transposed else read(block)

    graph = {
        (name, block, 0) if transposed else (name, 0, block): chunk(block) if now else (chunk, block)
        for block in range(len(widths))
    }
    return da.Array(graph, name, chunks, dtype=dtype)


def lazy_product(short: Any, long: da.Array, transposed: bool, numbers: int) -> da.Array:
    """Return WH from W (m, r) in memory and a lazy H, or from a lazy W and Hᵀ, in chunks of at most `numbers`."""
    width = max(long.chunks[0 if transposed else 1])
    whole = da.from_array(short, chunks=(max(1, numbers // width), -1))
    return long @ whole.T if transposed else whole @ long
