"""Matrices joined along the streamed axis: their blocks follow each other, and none crosses a matrix.

Along the other axis, the rows of a block are brought into the order of the join as it is read. As for every matrix that
is cut along its rows, "columns" are those of the transpose here.
"""

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.sources.base import Layout, Source
from dnmf.sources.blocks import part_for
from dnmf.sources.bounds import BLOCK_BYTES
from dnmf.sources.collection import Collection
from dnmf.sources.joined_axes import joined_unfolding
from dnmf.sources.names import Names, Order
from dnmf.sources.pieces import Join, JoinPart, Piece, RowOrder

# The number of entries in the description of a matrix.
COUNT = re.compile(r" of \d+ stored entries")


class ReadInTurn:
    """Pieces whose blocks follow each other."""

    pieces: Mapping[int, Piece]
    starts: tuple[int, ...]
    fill: float
    buffer: str

    def find(self, block: int) -> tuple[int, int]:
        """Return the number of a piece and the block in it."""
        piece = int(np.searchsorted(self.starts, block, side="right")) - 1
        return piece, block - self.starts[piece]

    def read(self, block: int, scratch: Scratch) -> Block:
        """Return a block, which belongs to one piece."""
        piece, inner = self.find(block)
        return self.pieces[piece].read(inner, self.fill, scratch, self.buffer)

    def expect(self, block: int) -> None:
        """Pass a hint that a block will be read soon."""
        piece, inner = self.find(block)
        self.pieces[piece].source.expect(inner)


class Joined(ReadInTurn, Join):
    """Matrices that follow each other along the streamed axis.

    Parameters
    ----------
    sources
        The matrices, cut along this axis.
    takes
        For each, the row of the matrix for each row of the join, −1 for an absent one; None if the rows are the same.
    collection
        The matrices as they were given, and the way of joining.
    names
        Names of the join.
    fill
        Value of the entries of absent rows.
    location
        Address of the join, or None.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        takes: Sequence[Order | None],
        collection: Collection,
        names: Names,
        fill: float,
        location: str | None,
    ) -> None:
        self.collection, self.sources, self.takes, self.fill = collection, tuple(sources), tuple(takes), fill
        layouts = [source.layout for source in sources]
        orders = [
            None if take is None else RowOrder.of(take, layout.shape[0])
            for take, layout in zip(takes, layouts, strict=True)
        ]
        labels = collection.described()
        self.pieces = dict(enumerate(map(Piece, sources, orders, labels)))
        self.starts = (0, *itertools.accumulate(layout.blocks for layout in layouts[:-1]))
        self.buffer = f"joined {depth_of(self)}"
        height = layouts[0].shape[0] if takes[0] is None else len(takes[0])
        edges = [0, *itertools.accumulate(layout.shape[1] for layout in layouts)]
        bounds = (0, *(edge + stop for edge, layout in zip(edges, layouts, strict=False) for stop in layout.bounds[1:]))
        common = common_fields(sources, holds_nan(fill, takes))
        self.layout = Layout(
            shape=(height, edges[-1]),
            bounds=bounds,
            transposed=layouts[0].transposed,
            read_bytes=max(
                map(_read_bytes, layouts, orders, itertools.repeat(height), itertools.repeat(common["sparse"]))
            ),
            kind=described(layouts, collection.axis),
            location=location,
            names=names,
            files=tuple(zip(edges[:-1], labels, strict=True)),
            unfolding=joined_unfolding(layouts, takes, collection.axis),
            **common,
        )

    def part(self, blocks: range) -> "JoinedPart":
        """Return the form of these blocks that is sent to another process."""
        found: dict[int, Piece] = {}
        small = all(map(is_small, self.sources))
        for place, piece in self.pieces.items():
            first = self.starts[place]
            inner = range(max(blocks.start - first, 0), min(blocks.stop - first, piece.source.layout.blocks))
            if small or len(inner):
                found[place] = dataclasses.replace(piece, source=part_for(piece.source, inner))
        return JoinedPart(found, self.starts, self.fill, self.buffer, small)


@dataclasses.dataclass(frozen=True)
class JoinedPart(ReadInTurn, JoinPart):
    """Blocks of a join in the form sent to another process; `small` if all matrices are read there."""

    starts: tuple[int, ...]
    fill: float
    buffer: str
    small: bool


def is_small(source: Source) -> bool:
    """Return whether another process reads a matrix for itself."""
    return part_for(source, range(0)).small


def depth_of(source: Any) -> int:
    """Return how many joins a source is made of, one inside the other."""
    return max((1 + depth_of(one) for one in getattr(source, "sources", ())), default=0)


def holds_nan(fill: float, takes: Sequence[Order | None]) -> bool:
    """Return whether a join has absent entries that are NaN."""
    return fill != 0 and any(take is not None and bool((take < 0).any()) for take in takes)


def common_fields(sources: Sequence[Source], with_nan: bool) -> dict[str, Any]:
    """Return the fields of the layout of a join that do not depend on the axis.

    The dtype is the one that NumPy promotes those of the matrices to. If sparse and dense matrices are joined, the
    blocks are sparse if that takes less time: products with an entry of a sparse block take about four times as long.
    """
    layouts = [source.layout for source in sources]
    dtype = np.result_type(*(layout.dtype for layout in layouts))
    stored = sum(_entries(layout) for layout in layouts)
    sparse = {layout.sparse for layout in layouts}
    return {
        "dtype": np.result_type(dtype, np.float32) if with_nan else dtype,
        "stored_bytes": sum(layout.stored_bytes for layout in layouts),
        "sparse": sparse == {True}
        or (len(sparse) == 2 and 4 * stored < sum(layout.shape[0] * layout.shape[1] for layout in layouts)),
        "on_disk": any(layout.on_disk for layout in layouts),
        "in_memory": all(layout.in_memory for layout in layouts),
        "held_bytes": sum(layout.held_bytes for layout in layouts),
    }


def described(layouts: Sequence[Layout], axis: str) -> str:
    """Describe a join."""
    kinds = list(dict.fromkeys(COUNT.sub("", layout.kind.partition(",")[0]) for layout in layouts))
    return f"{len(layouts)} matrices joined along their {axis} ({', '.join(kinds[:3])}{', …' if kinds[3:] else ''})"


def _entries(layout: Layout) -> int:
    """Return the stored entries of a matrix, roughly."""
    if layout.sparse:
        return layout.stored_bytes // (layout.dtype.itemsize + 4)
    return layout.shape[0] * layout.shape[1]


def _read_bytes(layout: Layout, order: RowOrder | None, height: int, sparse: bool) -> int:
    """Return the memory of the read of a block, with that of its rows in another order or form."""
    size = layout.work_dtype.itemsize
    sparse_block = min(max(BLOCK_BYTES, layout.read_bytes), 2 * layout.stored_bytes)
    block = sparse_block if layout.sparse else height * layout.widest * size
    more = 0 if order is None or (order.run is not None and not layout.sparse) else block
    if layout.sparse and order is not None and not order.rises:
        more += block
    if layout.sparse != sparse:
        more += height * layout.widest * (size + 8 if sparse else size)
    return layout.read_bytes + more
