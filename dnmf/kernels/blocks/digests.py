"""Digests of a block, which show whether it has changed: sums of the bits of its entries, as integers.

A block is cut into tiles, which are dealt out to a number of classes, and every class has a digest. A pass may check
one class only, in turn: that reads one cache line in `CLASSES`, spread over a large block. A change of about `CLASSES`
tiles is seen at once, that of a single entry after at most `CLASSES` passes. A small block has one class, and is
compared as a whole. Sums of integers depend neither on the memory order nor on the processor.
"""

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dnmf.kernels.blocks.entries import Weighted
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.tiles import kernel

Digests = NDArray[np.uint64]

# A block of up to SMALL bytes has one class; a larger one has one for every SHARE bytes, rounded up to a power of 2,
# and at most CLASSES. To check all of it would take more than 2 % of a pass.
SMALL, SHARE, CLASSES = 2**16, 2**15, 128
# Edge of a tile: at least one cache line of float32. The stored entries of a sparse block are cut into runs instead.
TILE, RUN = 16, 256
# Advance of the class from a tile to the one below it, and the number of tiles downwards that advance it by 1.
DOWN, UP = 7, 55
# The upper half of 64 bits is also added to the lower one: two changed signs would cancel at the top.
HALF = np.uint64(32)


def classes_of(V: Block) -> int:
    """Return the number of digests of a block.

    >>> classes_of(np.ones((10, 10))), classes_of(np.ones((1000, 1000)))
    (1, 128)
    """
    size = sum(array.nbytes for array in _arrays(V))
    return 1 if size <= SMALL else min(CLASSES, 1 << (size // SHARE).bit_length())


def digests_of(V: Block) -> Digests:
    """Return the digests of all classes of a block.

    >>> V = np.arange(6.0).reshape(2, 3)
    >>> bool(digests_of(V) == digests_of(np.asfortranarray(V))), bool(digests_of(V) == digests_of(-V))
    (True, False)
    """
    sums = np.zeros(classes_of(V), np.uint64)
    _add(V, -1, sums)
    return sums


def digest_of(V: Block, turn: int) -> int:
    """Return the digest of one class of a block; as many turns as classes take each of them once."""
    sums = np.zeros(classes_of(V), np.uint64)
    only = turn % len(sums)
    _add(V, only, sums)
    return int(sums[only])


def _arrays(V: Block) -> list[Any]:
    """Return the arrays of a block."""
    if isinstance(V, Weighted):
        return [*_arrays(V.values), *_arrays(V.weights)]
    return [V.data, V.indices] if scipy.sparse.issparse(V) else [V]


def _add(V: Block, only: int, sums: Digests) -> None:
    """Add the digests of all classes, or of one."""
    if isinstance(V, Weighted):
        for part in V:
            sums *= np.uint64(3)
            _add(part, only, sums)
    elif scipy.sparse.issparse(V):
        _add_stored(V.indptr, V.indices, _bits(V.data), only, sums)
    elif len(sums) == 1 and (V.flags.c_contiguous or V.flags.f_contiguous):
        sums += np.uint64(_total(_bits(V.ravel("K"))))  # arrays wrap around without a warning
    elif V.strides[0] < V.strides[1]:
        _add_dense(_bits(V.T), 1, DOWN, UP, only, sums)
    else:
        _add_dense(_bits(V), DOWN, 1, 1, only, sums)


def _bits(array: NDArray[Any]) -> NDArray[Any]:
    """Return the entries of an array as unsigned integers of their size."""
    return array.view(f"u{array.dtype.itemsize}")


@kernel
def _add_dense(V, down, along, back, only, sums):  # type: ignore[no-untyped-def]
    """Add the tiles of a block in C order; `back` is the inverse of `along` modulo the number of classes."""
    count = len(sums)
    tiles = (V.shape[1] + TILE - 1) // TILE
    for upper in range((V.shape[0] + TILE - 1) // TILE):
        first, step = 0, 1
        if only >= 0:
            first, step = (back * (only - down * upper)) % count, count
        for left in range(first, tiles, step):
            place = down * upper + along * left
            total = np.uint64(0)
            start, stop = left * TILE, min((left + 1) * TILE, V.shape[1])
            for i in range(upper * TILE, min((upper + 1) * TILE, V.shape[0])):
                if stop - start == TILE:  # a length known at compilation, for vector instructions
                    for j in range(TILE):
                        word = np.uint64(V[i, start + j])
                        total += word + (word >> HALF)
                else:
                    for j in range(start, stop):
                        word = np.uint64(V[i, j])
                        total += word + (word >> HALF)
            sums[place % count] += total * np.uint64(2 * place + 1 if count > 1 else 1)


@kernel
def _total(entries):  # type: ignore[no-untyped-def]
    """Return the sum of contiguous entries."""
    total = np.uint64(0)
    for k in range(len(entries)):
        word = np.uint64(entries[k])
        total += word + (word >> HALF)
    return total


@kernel
def _add_stored(starts, indices, values, only, sums):  # type: ignore[no-untyped-def]
    """Add the runs of the stored entries of a block, and the starts of its columns."""
    count = len(sums)
    first, step = (0, 1) if only < 0 else (only, count)
    for run in range(first, (len(values) + RUN - 1) // RUN, step):
        total, places = np.uint64(0), np.uint64(0)
        for entry in range(run * RUN, min((run + 1) * RUN, len(values))):
            word = np.uint64(values[entry])
            total += word + (word >> HALF)
            places += np.uint64(indices[entry])
        sums[run % count] += (total + places * np.uint64(0x9E3779B97F4A7C15)) * np.uint64(2 * run + 1)
    for column in range(max(only, 0), len(starts), step if only >= 0 else 1):
        sums[column % count if only < 0 else only] += np.uint64(starts[column]) * np.uint64(2 * column + 1)
