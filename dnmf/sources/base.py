"""Interfaces shared by all sources: the layout of a matrix in blocks of columns, and the reading of its blocks.

Columns are streamed. A matrix that is cut along its rows is streamed as its transpose, and `transposed` is set; names
and shapes here are those of the streamed matrix, unless they are the user's.
"""

import bisect
import dataclasses
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

import numpy as np

from dnmf.choices import Axis as Axis
from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import BadEntry, Block, work_dtype
from dnmf.sources.bad_entries import entry_error, hint_at_missing
from dnmf.sources.names import NO_NAMES, Names
from dnmf.sources.unfolding import Unfolding


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """The shape of a matrix and its blocks.

    Attributes
    ----------
    shape
        Rows m and columns n, as streamed.
    dtype
        As stored.
    bounds
        Block j holds the columns bounds[j] … bounds[j + 1].
    transposed
        Whether the user's matrix is the transpose of the streamed one.
    read_bytes
        Memory that one read of the largest block takes, in bytes; 0 if a block is a view.
    stored_bytes
        Bytes of V that a pass reads.
    sparse
        Whether the blocks are sparse.
    on_disk
        Whether a read waits for a disk or a network.
    kind
        A description for people.
    location
        Path or URL, with its part, from which the matrix can be opened again, or None.
    names
        Names of rows and columns, in the user's orientation; a pickled layout has none.
    held_bytes
        Memory that the source holds between reads, in bytes; 0 if the matrix was in memory before.
    weights_bytes, prepared_bytes
        The shares of `read_bytes` that are for the weights of the entries, and for the preparation of a block.
    in_memory
        Whether the user holds the matrix in memory, and gets factors that are NumPy arrays.
    unfolding
        The shape of the array whose axes make the rows and the columns, or None.
    reads
        How often a pass reads each chunk of the matrix.
    files
        First column and address or label of each of several matrices that follow each other.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    bounds: tuple[int, ...]
    transposed: bool
    read_bytes: int
    stored_bytes: int
    sparse: bool
    on_disk: bool
    kind: str
    location: str | None = None
    names: Names = NO_NAMES
    held_bytes: int = 0
    weights_bytes: int = 0
    in_memory: bool = False
    prepared_bytes: int = 0
    unfolding: Unfolding | None = None
    reads: int = 1
    files: tuple[tuple[int, str], ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        fields = [field.name for field in dataclasses.fields(self)]
        return Layout, tuple(NO_NAMES if name == "names" else getattr(self, name) for name in fields)

    @classmethod
    def of_file(
        cls,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        bounds: tuple[int, ...],
        transposed: bool,
        *,
        kind: str,
        location: str | None,
        names: Names,
        read_bytes: int | None = None,
        **others: Any,
    ) -> Self:
        """Return the layout of a dense matrix on a disk or in a bucket, of the user's shape and names.

        A read takes one block of memory by default; other attributes keep their defaults unless they are given.
        """
        cut = shape[::-1] if transposed else shape
        work_dtype(dtype)
        return cls(
            shape=cut,
            dtype=dtype,
            bounds=bounds,
            transposed=transposed,
            read_bytes=cut[0] * bounds[1] * dtype.itemsize if read_bytes is None else read_bytes,
            stored_bytes=math.prod(shape) * dtype.itemsize,
            sparse=False,
            kind=kind,
            location=location,
            names=names.checked(shape),
            **{"on_disk": True, **others},
        )

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len(self.bounds) - 1

    @property
    def widest(self) -> int:
        """Columns of the widest block."""
        return max(stop - start for start, stop in itertools.pairwise(self.bounds))

    @property
    def user_shape(self) -> tuple[int, int]:
        """Shape of the matrix that the user gave."""
        return self.shape[::-1] if self.transposed else self.shape

    @property
    def work_dtype(self) -> np.dtype[Any]:
        """The float dtype of the factors."""
        return work_dtype(self.dtype)

    def columns(self, block: int) -> slice:
        """Return the columns of a block."""
        return slice(self.bounds[block], self.bounds[block + 1])

    def block_bytes(self, block: int) -> int:
        """Return the share of `stored_bytes` of a block, in proportion to its columns."""
        columns = self.columns(block)
        before, after = (self.stored_bytes * edge // self.shape[1] for edge in (columns.start, columns.stop))
        return int(after - before)

    def name(self, block: int) -> str:
        """Describe a block, in the user's orientation."""
        columns = self.columns(block)
        name = name_of_block(block, columns.start, columns.stop, self.transposed)
        return f"{name}, of {self._file(columns.start)[1]}" if self.files else name

    def _file(self, column: int) -> tuple[int, str]:
        """Return the first column of the matrix that a column belongs to, and its address or label."""
        return self.files[bisect.bisect(self.files, column, key=lambda file: file[0]) - 1]

    def place(self, block: int, error: BadEntry) -> DataError:
        """Return the error that names a bad entry by its place in the user's matrix."""
        row, column = error.row, self.bounds[block] + error.column
        at = (column, row) if self.transposed else (row, column)
        name = error.matrix or "V"
        inside = ""
        if self.files:
            first, file = self._file(column)
            inside = f", {'row' if self.transposed else 'column'} {column - first} of {file},"
        hint = hint_at_missing(self.sparse) if name == "V" else ""
        return entry_error(f"{name}[{at[0]}, {at[1]}]{inside}", name, error.value, self.work_dtype, hint)


@runtime_checkable
class Source(Protocol):
    """A matrix that can be read block by block, from several threads at once."""

    layout: Layout

    def read(self, block: int, scratch: Scratch) -> Block:
        """Return a block (m, w), a dense array or CSC, valid until the thread's next read."""

    def expect(self, block: int) -> None:
        """Take a hint that a block will be read soon."""

    def part(self, blocks: range) -> "Part":
        """Return the form of these blocks that is sent to another process."""


class Part(Protocol):
    """Blocks of a matrix in the form that is sent to another process; everything but `needs` is pickled."""

    @property
    def small(self) -> bool:
        """Whether it holds no entries of V but a place to read them from, the same for all blocks."""

    @property
    def needs(self) -> Sequence[Any]:
        """Futures on the cluster whose values the blocks are computed from."""

    def given(self, values: Sequence[Any]) -> "Part":
        """Return the part with the values of its `needs`."""

    def read(self, block: int, scratch: Scratch) -> Block:
        """Return a block, as the source does."""

    def expect(self, block: int) -> None:
        """Take a hint that a block will be read soon."""


Labelled = TypeVar("Labelled", bound=Source)


class SharedSource:
    """A source that every process can read for itself: it is pickled and sent."""

    small: ClassVar[bool] = True
    needs: ClassVar[Sequence[Any]] = ()

    def given(self, values: Sequence[Any]) -> Self:
        """Return itself, which needs nothing."""
        return self

    def part(self, blocks: range) -> Self:
        """Return itself."""
        return self

    def expect(self, block: int) -> None:
        """Do nothing."""


class InMemoryBlocks(SharedSource):
    """Blocks of a matrix in memory, sent to another process."""

    small: ClassVar[bool] = False

    def __init__(self, blocks: Mapping[int, Block]) -> None:
        self.blocks = blocks

    def read(self, block: int, scratch: Scratch) -> Block:
        """Return a block."""
        return self.blocks[block]


class InMemory(ABC):
    """A source whose blocks are in memory and are sent as they are."""

    @abstractmethod
    def read(self, block: int, scratch: Scratch) -> Block:
        """Return a block."""

    def expect(self, block: int) -> None:  # noqa: B027 - blocks in memory need no preparation
        """Do nothing."""

    def part(self, blocks: range) -> InMemoryBlocks:
        """Return the blocks themselves."""
        return InMemoryBlocks({block: self.read(block, Scratch()) for block in blocks})


def relabelled(source: Labelled, **changes: Any) -> Labelled:
    """Return a source after changing fields of its layout, as its kind or its names."""
    source.layout = dataclasses.replace(source.layout, **changes)
    return source


def name_of_block(block: int, start: int, stop: int, transposed: bool) -> str:
    """Describe a block of the columns start … stop, as streamed.

    >>> name_of_block(2, 20, 30, transposed=True)
    'block 2 (rows 20 to 29)'
    """
    return f"block {block} ({'rows' if transposed else 'columns'} {start} to {stop - 1})"


def check_shape(shape: Sequence[int], what: str) -> tuple[int, int]:
    """Return a shape of two axes that are not empty, or raise DataError."""
    if len(shape) != 2:
        advice = ", as that of reshape(1, -1) for a single row" if len(shape) == 1 else ""
        raise DataError(f"{what} has {len(shape)} dimension(s), shape {tuple(shape)}; it must be a matrix{advice}.")
    if 0 in shape:
        raise DataError(f"{what} is empty: its shape is {tuple(shape)}; give at least one row and column.")
    return int(shape[0]), int(shape[1])
