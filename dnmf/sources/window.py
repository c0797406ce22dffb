"""A matrix cut into other blocks, with its columns in the order of a join."""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse

from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.sources.addresses import convert_command
from dnmf.sources.base import Axis, InMemoryBlocks, Layout, Part, Source
from dnmf.sources.blocks import CheckedPart, part_for, read_block
from dnmf.sources.bounds import BLOCK_BYTES
from dnmf.sources.formats.compressed_sparse import CompressedSource
from dnmf.sources.formats.entry_list import HELD_ENTRIES
from dnmf.sources.formats.hdf5_array import Hdf5Source
from dnmf.sources.formats.raw_array import FileSource
from dnmf.sources.joined import holds_nan, is_small
from dnmf.sources.matching import monotone
from dnmf.sources.memory import ArraySource, SparseSource, columns_of, read_into_memory
from dnmf.sources.names import NO_NAMES, Order
from dnmf.sources.reopened import with_bounds
from dnmf.sources.weighted import MemoryWeights

# Sources whose matrix is in memory as a whole.
IN_MEMORY = (ArraySource, SparseSource, MemoryWeights)
# Sources that read any run of columns, not only whole blocks.
ANYWHERE = (*IN_MEMORY, FileSource, CompressedSource, Hdf5Source)


def recut(source: Source, bounds: tuple[int, ...], take: Order | None, fill: float, label: str) -> Source:
    """Return a matrix with other bounds of its blocks, and with its columns in the order of a join.

    Columns in another order are only taken in memory, into which a small matrix is read.

    Raises
    ------
    DataError
        If the order differs, and the matrix is too large for that.
    """
    layout = source.layout
    if take is None and layout.bounds == bounds:
        return source
    if take is None and isinstance(source, ANYWHERE):
        return with_bounds(source, bounds)
    if take is None or monotone(take):
        return Window(source, bounds, take, fill)
    if not isinstance(source, IN_MEMORY) or layout.on_disk:
        if layout.stored_bytes // layout.dtype.itemsize > HELD_ENTRIES:
            now, other = ("rows", "columns") if layout.transposed else ("columns", "rows")
            raise DataError(
                f"The {now} of {label} have the names of the other matrices in another order, and it is too large to "
                f"be sorted in memory; write it with its {now} in their order, or cut all matrices along their "
                f"{other}, as by: {convert_command(layout.location or 'V', other)}"
            )
        source = loaded(source, label)
    return Window(source, bounds, take, fill)


def loaded(source: Source, label: str) -> ArraySource | SparseSource:
    """Read a small matrix into memory."""
    layout = source.layout
    parts = [read_block(source, block, Scratch(), label).copy() for block in range(layout.blocks)]
    columns: Any = scipy.sparse.hstack(parts, format="csc") if layout.sparse else np.concatenate(parts, axis=1)
    axis: Axis = "rows" if layout.transposed else "columns"
    matrix = columns.T if layout.transposed else columns
    if layout.sparse:
        return read_into_memory(SparseSource(matrix, axis), layout.kind, None, layout.names)
    return read_into_memory(ArraySource(matrix, axis), layout.kind, None, layout.names)


class ReadWindow:
    """Columns of a matrix in other blocks; those that are not in memory must rise."""

    source: Any
    layout: Layout
    take: Order | None
    fill: float

    def read(self, block: int, scratch: Scratch) -> Block:
        """Return the columns of a block."""
        take = self._take(block)
        places = np.flatnonzero(take >= 0)
        columns = take[places]
        if isinstance(self.source, IN_MEMORY):
            parts: list[tuple[Order, Any]] = [(places, self.source.matrix[:, columns])]
        else:
            parts = [self._inner(inner, places, columns, scratch) for inner in self._overlapping(columns)]
        if self.layout.sparse:
            return self._sparse(parts, len(take))
        room = scratch.array("window", (len(take), self.layout.shape[0]), self.layout.dtype)
        if len(places) < len(take):
            room[...] = self.fill
        for at, part in parts:
            room[at] = (part.toarray() if scipy.sparse.issparse(part) else part).T
        return room.T

    def expect(self, block: int) -> None:
        """Pass a hint that a block will be read soon."""
        take = self._take(block)
        if not isinstance(self.source, IN_MEMORY):
            for inner in self._overlapping(take[take >= 0]):
                self.source.expect(inner)

    def _take(self, block: int) -> Order:
        """Return the columns of the matrix in a block, −1 for an absent one."""
        wanted = self.layout.columns(block)
        return np.arange(wanted.start, wanted.stop) if self.take is None else self.take[wanted]

    def _overlapping(self, columns: Order) -> range:
        """Return the blocks of the matrix with some of its columns."""
        if not len(columns):
            return range(0)
        first, last = np.searchsorted(self.source.layout.bounds, (columns[0], columns[-1]), side="right") - 1
        return range(int(first), int(last) + 1)

    def _inner(self, inner: int, places: Order, columns: Order, scratch: Scratch) -> tuple[Order, Any]:
        """Return copies of columns in a block of the matrix, with their places."""
        start, stop = self.source.layout.bounds[inner : inner + 2]
        chosen = slice(*np.searchsorted(columns, (start, stop)))
        local = columns[chosen] - start
        part = read_block(self.source, inner, scratch)
        if len(local) and local[-1] - local[0] + 1 == len(local):
            part = columns_of(part, slice(int(local[0]), int(local[-1]) + 1))
        else:
            part = part[:, local]
        return places[chosen], part.copy()

    def _sparse(self, parts: Sequence[tuple[Order, Any]], width: int) -> Block:
        """Return sparse columns at their places among absent ones, which have no entries."""
        height = self.layout.shape[0]
        found = [part for _, part in parts if part.shape[1]]
        if not found:
            return scipy.sparse.csc_array((height, width), dtype=self.layout.dtype)
        joined = found[0] if len(found) == 1 else scipy.sparse.hstack(found, format="csc")
        if joined.shape[1] == width:
            return joined
        counts = np.zeros(width + 1, joined.indptr.dtype)
        counts[1 + np.concatenate([at for at, _ in parts])] = np.diff(joined.indptr)
        return scipy.sparse.csc_array((joined.data, joined.indices, np.cumsum(counts)), shape=(height, width))


class Window(ReadWindow):
    """Columns of a matrix in other blocks.

    Parameters
    ----------
    source
        The matrix.
    bounds
        The bounds of the new blocks.
    take
        The column of the matrix for each new one, −1 for an absent one; None for all of them. They must rise, unless
        the matrix is in memory.
    fill
        Value of the entries of absent columns.
    """

    def __init__(self, source: Source, bounds: tuple[int, ...], take: Order | None, fill: float) -> None:
        self.source, self.take, self.fill = source, take, fill
        before = source.layout
        nan = holds_nan(fill, [take])
        dtype = np.result_type(before.dtype, np.float32) if nan else before.dtype
        widest = int(np.diff(bounds).max())
        room = 2 * max(BLOCK_BYTES, before.read_bytes) if before.sparse else before.shape[0] * widest * dtype.itemsize
        self.layout = dataclasses.replace(
            before,
            shape=(before.shape[0], bounds[-1]),
            dtype=dtype,
            bounds=bounds,
            read_bytes=before.read_bytes + room,
            sparse=before.sparse and not nan,
            names=NO_NAMES,
            files=(),
        )

    @property
    def computed(self) -> bool:
        """Whether the blocks are computed again for every read."""
        return bool(getattr(self.source, "computed", False))

    def part(self, blocks: range) -> Part:
        """Return the form of these blocks that is sent to another process."""
        if isinstance(self.source, IN_MEMORY):
            return InMemoryBlocks({block: copy.copy(self.read(block, Scratch())) for block in blocks})
        if is_small(self.source):
            inner = range(self.source.layout.blocks)
        else:
            columns = np.concatenate([np.zeros(0, np.intp), *map(self._take, blocks)])
            inner = self._overlapping(columns[columns >= 0])
        return WindowPart(part_for(self.source, inner), self.layout, self.take, self.fill)


@dataclasses.dataclass(frozen=True)
class WindowPart(ReadWindow):
    """Blocks of a window in the form sent to another process."""

    source: CheckedPart
    layout: Layout
    take: Order | None
    fill: float

    @property
    def small(self) -> bool:
        """Whether it holds no entries of the matrix."""
        return self.source.small

    @property
    def needs(self) -> Sequence[Any]:
        """Futures on the cluster whose values the blocks are computed from."""
        return self.source.needs

    def given(self, values: Sequence[Any]) -> "WindowPart":
        """Return the part with the values of its `needs`."""
        return dataclasses.replace(self, source=self.source.given(values))
