"""Matrices side by side: the join along the axis that is not streamed, whose blocks have a part of every matrix."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.sources.base import Layout, Source
from dnmf.sources.blocks import part_for, read_block
from dnmf.sources.bounds import BLOCK_BYTES, even_bounds
from dnmf.sources.collection import Collection
from dnmf.sources.joined import common_fields, depth_of, described, holds_nan
from dnmf.sources.joined_axes import joined_unfolding
from dnmf.sources.matching import monotone
from dnmf.sources.names import Names, Order
from dnmf.sources.pieces import Join, JoinPart, Piece
from dnmf.sources.window import recut


class ReadBeside:
    """Pieces with the same blocks, stacked on top of each other."""

    pieces: Mapping[int, Piece]
    sparse: bool
    dtype: np.dtype[Any]
    buffer: str

    def read(self, block: int, scratch: Scratch) -> Block:
        """Return the parts of a block on top of each other."""
        if self.sparse:
            return self._sparse(block, scratch)
        room: Any = None
        inner, start = scratch.beside(), 0
        height = sum(piece.source.layout.shape[0] for piece in self.pieces.values())
        for piece in self.pieces.values():
            part = read_block(piece.source, block, inner, piece.label)
            part = part.toarray() if scipy.sparse.issparse(part) else part
            if room is None:
                room = scratch.array(self.buffer, (part.shape[1], height), self.dtype)
            room[:, start : start + len(part)] = part.T
            start += len(part)
        return room.T

    def _sparse(self, block: int, scratch: Scratch) -> Block:
        """Return the sparse parts of a block on top of each other."""
        parts, inner = list[Any](), scratch
        for piece in self.pieces.values():
            inner = inner.beside()
            part = read_block(piece.source, block, inner, piece.label)
            parts.append(part.T if scipy.sparse.issparse(part) else scipy.sparse.csr_array(part.T))
        return scipy.sparse.csr_array(scipy.sparse.hstack(parts, format="csr")).T

    def expect(self, block: int) -> None:
        """Pass a hint that a block will be read soon to all pieces."""
        for piece in self.pieces.values():
            piece.source.expect(block)


class Beside(ReadBeside, Join):
    """Matrices side by side; the parameters are those of `Joined`, with the columns that each contributes.

    The blocks are those of the matrix with the most bytes, so that none of its blocks is read twice.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        takes: Sequence[Order | None],
        collection: Collection,
        names: Names,
        fill: float,
        location: str | None,
        like: Layout | None = None,
    ) -> None:
        self.collection, self.sources, self.takes, self.fill = collection, tuple(sources), tuple(takes), fill
        labels = collection.described()
        bounds = joint_bounds(sources, takes) if like is None else like.bounds
        cut = [
            recut(source, bounds, take, fill, label) for source, take, label in zip(sources, takes, labels, strict=True)
        ]
        self.pieces = dict(enumerate(Piece(source, None, label) for source, label in zip(cut, labels, strict=True)))
        layouts = [source.layout for source in cut]
        self.buffer = f"beside {depth_of(self)}"
        height = sum(layout.shape[0] for layout in layouts)
        common = common_fields(cut, holds_nan(fill, takes))
        self.sparse, self.dtype = common["sparse"], common["dtype"]
        widest = int(np.diff(bounds).max())
        room = 2 * BLOCK_BYTES if self.sparse else height * widest * self.dtype.itemsize
        self.layout = Layout(
            shape=(height, bounds[-1]),
            bounds=bounds,
            transposed=layouts[0].transposed,
            read_bytes=sum(layout.read_bytes for layout in layouts) + room,
            kind=described([source.layout for source in sources], collection.axis),
            location=location,
            names=names,
            unfolding=joined_unfolding([source.layout for source in sources], takes, collection.axis),
            **common,
        )

    def part(self, blocks: range) -> "BesidePart":
        """Return the form of these blocks that is sent to another process."""
        pieces = {
            place: dataclasses.replace(piece, source=part_for(piece.source, blocks))
            for place, piece in self.pieces.items()
        }
        return BesidePart(pieces, self.sparse, self.dtype, self.buffer)


@dataclasses.dataclass(frozen=True)
class BesidePart(ReadBeside, JoinPart):
    """Blocks of matrices side by side in the form sent to another process."""

    sparse: bool
    dtype: np.dtype[Any]
    buffer: str

    @property
    def small(self) -> bool:
        """Whether no piece holds entries."""
        return all(piece.source.small for piece in self.pieces.values())


def joint_bounds(sources: Sequence[Source], takes: Sequence[Order | None]) -> tuple[int, ...]:
    """Return the bounds of the blocks: those of the matrix with the most bytes, as far as its columns are kept."""
    steady = [place for place, take in enumerate(takes) if take is None or monotone(take)]
    leader = max(steady, key=lambda place: sources[place].layout.stored_bytes)
    layout, take = sources[leader].layout, takes[leader]
    if take is None:
        return layout.bounds
    own = int(np.argmax(take < 0)) if (take < 0).any() else len(take)
    cut = np.searchsorted(take[:own], layout.bounds) if own else np.zeros(1, int)
    return tuple(sorted({0, *map(int, cut), *(own + edge for edge in even_bounds(len(take) - own, layout.widest))}))
