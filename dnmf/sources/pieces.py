"""The matrices of a join, and the order in which their rows are read."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.row_selection import select_dense, select_sparse
from dnmf.settings import Missing
from dnmf.sources.base import Layout, Part, Source
from dnmf.sources.blocks import read_block
from dnmf.sources.collection import Collection
from dnmf.sources.matching import monotone
from dnmf.sources.names import Order


@dataclasses.dataclass(frozen=True, slots=True)
class RowOrder:
    """How the rows of a matrix become those of the join.

    Attributes
    ----------
    take
        The row of the matrix for each row of the join, −1 for an absent one.
    place
        The row of the join for each row of the matrix, −1 for a dropped one.
    rises
        Whether the order stays.
    run
        The rows as a slice, if they are a run of those of the matrix.
    """

    take: Order
    place: NDArray[np.int64]
    rises: bool
    run: slice | None

    @classmethod
    def of(cls, take: Order, height: int) -> "RowOrder":
        """Return the order of a matrix with `height` rows.

        >>> RowOrder.of(np.array([1, 2]), 4).run, RowOrder.of(np.array([1, 0]), 2).run
        (slice(1, 3, None), None)
        """
        place = np.full(height, -1, np.int64)
        present = np.flatnonzero(take >= 0)
        place[take[present]] = present
        run = len(present) == len(take) and bool((np.diff(take) == 1).all())
        return cls(take, place, monotone(take), slice(int(take[0]), int(take[0]) + len(take)) if run else None)

    def apply(self, block: Block, fill: float, scratch: Scratch, name: str) -> Block:
        """Return the rows of a block in the order of the join, with `fill` for absent rows."""
        if scipy.sparse.issparse(block):
            if fill == 0:
                return select_sparse(block, self.place, len(self.take), self.rises, scratch, name)
            block = block.toarray()
        return block[self.run] if self.run is not None else select_dense(block, self.take, fill, scratch, name)


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """One matrix of a join: a source, or its form for another process, and the order of its rows if that changes."""

    source: Any
    order: RowOrder | None
    label: str

    def read(self, block: int, fill: float, scratch: Scratch, name: str) -> Block:
        """Return a block of the matrix with the rows of the join."""
        found = read_block(self.source, block, scratch, self.label)
        return found if self.order is None else self.order.apply(found, fill, scratch, name)


class Join(ABC):
    """Matrices that are read as one, along either axis.

    Attributes
    ----------
    sources, takes, collection, layout
        As in `dnmf.sources.joined.Joined`.
    missing, dropped, absent
        The missing entries that the join was opened for, and the number of names that it drops from each matrix, or
        that each lacks.
    """

    sources: Sequence[Source]
    takes: Sequence[Order | None]
    collection: Collection
    layout: Layout
    missing: Missing = "none"
    dropped: Sequence[int] = ()
    absent: Sequence[int] = ()

    @abstractmethod
    def read(self, block: int, scratch: Scratch) -> Block:
        """Return a block."""

    @abstractmethod
    def expect(self, block: int) -> None:
        """Take a hint that a block will be read soon."""

    @abstractmethod
    def part(self, blocks: range) -> Part:
        """Return the form of these blocks that is sent to another process."""

    @property
    def computed(self) -> bool:
        """Whether the blocks of a matrix are computed again for every read."""
        return any(getattr(source, "computed", False) for source in self.sources)


@dataclasses.dataclass(frozen=True)
class JoinPart:
    """Blocks of the matrices of a join in the form sent to another process."""

    pieces: Mapping[int, Piece]

    @property
    def needs(self) -> Sequence[Any]:
        """Futures of all pieces."""
        return [need for piece in self.pieces.values() for need in piece.source.needs]

    def given(self, values: Sequence[Any]) -> Self:
        """Return the part with the values of its `needs`."""
        rest, found = list(values), {}
        for place, piece in self.pieces.items():
            count = len(piece.source.needs)
            mine, rest = rest[:count], rest[count:]
            found[place] = dataclasses.replace(piece, source=piece.source.given(mine))
        return dataclasses.replace(self, pieces=found)
