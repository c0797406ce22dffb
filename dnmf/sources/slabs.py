"""Cut the axes that make the columns of an unfolded array into slabs, and ranges of places into boxes."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dnmf.sources.bounds import BLOCK_BYTES

# A slab of whole chunks has at most this size; chunks that are larger across are read in several slabs.
SLAB_BYTES = 256 * 2**20

# The start and the stop of a box along every axis.
Box = tuple[tuple[int, int], ...]


class Slabs(NamedTuple):
    """The bounds of blocks, and how many blocks each chunk is read for."""

    bounds: tuple[int, ...]
    reads: int


class Piece(NamedTuple):
    """A box, and the places in it, in C order, that are wanted."""

    box: Box
    wanted: slice


def cut_slabs(sizes: Sequence[int], chunks: Sequence[int], column_bytes: int, *, anywhere: bool = False) -> Slabs:
    """Cut the axes that make the columns into blocks, each a box of the array.

    A block is a slab of whole chunks along the first axis, of about `BLOCK_BYTES`. Larger chunks make a block of up to
    `SLAB_BYTES`. If they are larger still, they are cut, and each is read for several blocks; unless `anywhere`, which
    says that a part of a chunk can be read without the rest of it. Where a single place of the first axis is too large,
    the next axis is cut.

    Parameters
    ----------
    sizes, chunks
        Lengths of the axes, and of a chunk along each.
    column_bytes
        Bytes of a column of V.

    Examples
    --------
    >>> cut_slabs((1024, 1024), (64, 64), 4 * 500)
    Slabs(bounds=(0, 65536, 131072, ..., 983040, 1048576), reads=1)
    >>> cut_slabs((1024, 1024), (1024, 1024), 4 * 500).reads
    8
    >>> cut_slabs((1024, 1024), (1024, 1024), 4 * 500, anywhere=True).reads
    1
    """
    size, chunk, length = sizes[0], min(chunks[0], sizes[0]), math.prod(sizes[1:])
    place = column_bytes * length
    whole = chunk > 1 and not anywhere
    if len(sizes) > 1 and place > (SLAB_BYTES if whole else BLOCK_BYTES):
        inner = cut_slabs(sizes[1:], chunks[1:], column_bytes, anywhere=anywhere)
        bounds = (0, *(start * length + bound for start in range(size) for bound in inner.bounds[1:]))
        return Slabs(bounds, inner.reads * (chunk if whole else 1))
    if chunk * place <= SLAB_BYTES:
        width = max(1, BLOCK_BYTES // (chunk * place)) * chunk
        return Slabs((*range(0, size * length, width * length), size * length), 1)
    parts = math.ceil(chunk / max(1, (BLOCK_BYTES if anywhere else SLAB_BYTES) // place))
    width = math.ceil(chunk / parts)
    edges = [edge for start in range(0, size, chunk) for edge in range(start, min(start + chunk, size), width)]
    return Slabs((*(edge * length for edge in edges), size * length), 1 if anywhere else math.ceil(chunk / width))


def pieces(start: int, stop: int, sizes: Sequence[int]) -> Iterator[Piece]:
    """Cut a range of places in C order into boxes; a box holds at most twice as many places as are wanted of it.

    >>> list(pieces(6, 18, (4, 6)))
    [Piece(box=((1, 3), (0, 6)), wanted=slice(0, 12, None))]
    >>> list(pieces(5, 7, (4, 6)))
    [Piece(box=((0, 1), (5, 6)), wanted=slice(0, 1, None)), Piece(box=((1, 2), (0, 1)), wanted=slice(0, 1, None))]
    """
    length = math.prod(sizes[1:])
    first, last = start // length, (stop - 1) // length
    if len(sizes) > 1 and first == last:
        for box, wanted in pieces(start - first * length, stop - first * length, sizes[1:]):
            yield Piece(((first, first + 1), *box), wanted)
    elif (last + 1 - first) * length <= 2 * (stop - start):
        full = ((0, size) for size in sizes[1:])
        yield Piece(((first, last + 1), *full), slice(start - first * length, stop - first * length))
    else:
        edge = (first + 1) * length
        yield from pieces(start, edge, sizes)
        yield from pieces(edge, stop, sizes)
