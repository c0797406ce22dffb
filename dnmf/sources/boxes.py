"""Arrays of any number of axes that are read box by box, as a matrix whose blocks are slabs of the array."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block, work_dtype
from dnmf.sources.addresses import Address
from dnmf.sources.base import Axis, InMemoryBlocks, Layout
from dnmf.sources.bounds import streams_long, streams_rows
from dnmf.sources.names import NO_NAMES, Names
from dnmf.sources.read_errors import reading
from dnmf.sources.reopened import ReopenableSource
from dnmf.sources.slabs import Box, Piece, cut_slabs, pieces
from dnmf.sources.unfolding import Unfolding


class Boxes(Protocol):
    """An array that can be read box by box, from several threads at once.

    Attributes
    ----------
    shape, dtype
        Those of the array.
    chunks
        Shape of the parts that are stored together.
    anywhere
        Whether a box can be read without reading the rest of its chunks.
    fortran
        Whether boxes come with the first axis varying fastest.
    in_memory
        Whether the array is in the memory of this process.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    anywhere: bool
    fortran: bool
    in_memory: bool

    def read(self, box: Box, scratch: Scratch) -> NDArray[Any]:
        """Return a box, valid until the thread's next read."""

    def expect(self, box: Box) -> None:
        """Take a hint that a box will be read soon."""

    def read_bytes(self, extent: Sequence[int]) -> int:
        """Return the memory that the reading of a box of this shape takes, in bytes."""


class UnfoldedSource(ReopenableSource):
    """An array as a matrix; a block is a slab of the array that consists of whole chunks if they are not too large."""

    def __init__(
        self,
        boxes: Boxes,
        unfolding: Unfolding,
        kind: str,
        location: str | None = None,
        streamed: Axis | None = None,
        names: Names = NO_NAMES,
        held_bytes: int = 0,
    ) -> None:
        self.boxes, self.unfolding, self.chunks = boxes, unfolding, boxes.chunks
        shape, dtype = unfolding.matrix_shape, np.dtype(boxes.dtype)
        work_dtype(dtype)
        transposed = self._streams_rows(streamed)
        held, cut = (shape[1], unfolding.rows) if transposed else (shape[0], unfolding.columns)
        sizes, chunks = ([one[axis] for axis in cut] for one in (boxes.shape, boxes.chunks))
        bounds, reads = cut_slabs(sizes, chunks, held * work_dtype(dtype).itemsize, anywhere=boxes.anywhere)
        self.layout = Layout.of_file(
            shape,
            dtype,
            bounds,
            transposed,
            kind=f"{kind}, {unfolding}",
            location=None if location is None else str(Address.of(location)._replace(axes=unfolding.axes)),
            names=names,
            read_bytes=0,
            held_bytes=held_bytes,
            unfolding=unfolding,
            reads=reads,
            on_disk=not boxes.in_memory,
        )
        self.layout = dataclasses.replace(self.layout, read_bytes=self._read_bytes())

    def _streams_rows(self, streamed: Axis | None) -> bool:
        """Return whether to stream the rows, by the chunks of the array, or by its lengths if it is read anywhere."""
        shape, order = self.unfolding.matrix_shape, self.unfolding.order
        if streamed is None and self.boxes.anywhere:
            slowest = len(order) - 1 if self.boxes.fortran else 0
            return streams_long(shape, slowest in self.unfolding.rows)
        counts = [-(-size // chunk) for size, chunk in zip(self.boxes.shape, self.boxes.chunks, strict=True)]
        rows, columns = (
            math.prod(counts[axis] for axis in side) for side in (self.unfolding.rows, self.unfolding.columns)
        )
        return streams_rows(shape, streamed, (rows, columns))

    def _read_bytes(self) -> int:
        """Return the memory of the largest read: the box, and a copy of it if its axes have to be exchanged."""
        layout = self.layout
        block = max(range(layout.blocks), key=lambda block: layout.bounds[block + 1] - layout.bounds[block])
        most = 0
        for rows, columns in self._boxes_of(*self._region(block)):
            extent = self._extent(rows, columns)
            size = math.prod(extent) * layout.dtype.itemsize
            copied = 0 if self._is_view(extent) else size
            most = max(most, self.boxes.read_bytes(extent) + copied)
        return most

    def _is_view(self, extent: Sequence[int]) -> bool:
        """Return whether a box of this shape is a matrix without a copy."""
        steps = [1] * len(extent)
        places = range(1, len(extent)) if self.boxes.fortran else range(len(extent) - 2, -1, -1)
        for axis in places:
            near = axis - 1 if self.boxes.fortran else axis + 1
            steps[axis] = steps[near] * extent[near]
        order = self.unfolding.order
        return not self.boxes.in_memory and joins(
            [extent[axis] for axis in order], [steps[axis] for axis in order], len(self.unfolding.rows)
        )

    def _region(self, block: int) -> tuple[slice, slice]:
        """Return the rows and the columns of a block, in the user's orientation."""
        columns, rows = self.layout.columns(block), slice(0, self.layout.shape[0])
        return (columns, rows) if self.layout.transposed else (rows, columns)

    def _boxes_of(self, rows: slice, columns: slice) -> list[tuple[Piece, Piece]]:
        """Cut a region of the matrix into boxes of the array."""
        down = pieces(rows.start, rows.stop, self.unfolding.row_shape)
        across = list(pieces(columns.start, columns.stop, self.unfolding.column_shape))
        return [(piece, other) for piece in down for other in across]

    def _box(self, rows: Piece, columns: Piece) -> Box:
        """Return the box of a piece of the rows and one of the columns, in the order of the axes of the array."""
        found = dict(zip(self.unfolding.order, (*rows.box, *columns.box), strict=True))
        return tuple(found[axis] for axis in range(len(found)))

    def _extent(self, rows: Piece, columns: Piece) -> tuple[int, ...]:
        return tuple(stop - start for start, stop in self._box(rows, columns))

    def read(self, block: int, scratch: Scratch) -> Block:
        """Read a block."""
        with reading(self.layout, block, "a chunk is damaged, or its storage cannot be reached"):
            part = self._read(*self._region(block), scratch)
        return part.T if self.layout.transposed else part

    def _read(self, rows: slice, columns: slice, scratch: Scratch) -> NDArray[Any]:
        """Return a region of the matrix, valid until the thread's next read."""
        found = self._boxes_of(rows, columns)
        if len(found) == 1:
            return self._matrix(*found[0], scratch)
        out = np.empty((rows.stop - rows.start, columns.stop - columns.start), self.layout.dtype)
        row = column = 0
        for piece, other in found:
            part = self._matrix(piece, other, scratch)
            out[row : row + part.shape[0], column : column + part.shape[1]] = part
            column += part.shape[1]
            if column == out.shape[1]:
                row, column = row + part.shape[0], 0
        return out

    def _matrix(self, rows: Piece, columns: Piece, scratch: Scratch) -> NDArray[Any]:
        """Return the wanted rows and columns of a box as a matrix."""
        box, height = self._box(rows, columns), len(self.unfolding.rows)
        part = self.boxes.read(box, scratch).transpose(self.unfolding.order)
        if not joins(part.shape, part.strides, height):
            turned = scratch.array("unfolded", part.shape, part.dtype)
            np.copyto(turned, part)
            part = turned
        matrix: NDArray[Any] = part.reshape(math.prod(part.shape[:height]), math.prod(part.shape[height:]))
        return matrix[rows.wanted, columns.wanted]

    def __getitem__(self, region: tuple[slice, slice]) -> NDArray[Any]:
        return self._read(*region, Scratch())

    @property
    def array(self) -> "UnfoldedSource":
        """The matrix in the user's orientation, which is read region by region."""
        return self

    def expect(self, block: int) -> None:
        """Take a hint that a block will be read soon."""
        for rows, columns in self._boxes_of(*self._region(block)):
            self.boxes.expect(self._box(rows, columns))

    def part(self, blocks: range) -> Any:
        """Return the source itself, or the blocks of an array in memory."""
        if not self.boxes.in_memory:
            return self
        return InMemoryBlocks({block: self.read(block, Scratch()) for block in blocks})


class ArrayBoxes:
    """A NumPy array, of which a box is a view."""

    anywhere, fortran = True, False

    def __init__(self, array: NDArray[Any]) -> None:
        self.array, self.shape, self.dtype = np.asarray(array), array.shape, array.dtype
        self.chunks, self.in_memory = (1,) * array.ndim, True

    def read(self, box: Box, scratch: Scratch) -> NDArray[Any]:
        """Return a view."""
        return self.array[tuple(slice(*edges) for edges in box)]

    def expect(self, box: Box) -> None:
        """Do nothing."""

    def read_bytes(self, extent: Sequence[int]) -> int:
        """Return 0: a view takes no memory."""
        return 0


def joins(shape: Sequence[int], strides: Sequence[int], height: int) -> bool:
    """Return whether the first `height` axes of an array can be joined without a copy, and the others too.

    >>> a = np.zeros((2, 3, 4))
    >>> joins(a.shape, a.strides, 1), joins(a.T.shape, a.T.strides, 1), joins(a.T.shape, a.T.strides, 2)
    (True, False, False)
    """
    return all(
        strides[axis] == strides[nearer] * shape[nearer]
        for side in (range(height), range(height, len(shape)))
        for axis, nearer in itertools.pairwise([axis for axis in side if shape[axis] != 1])
    )
