"""Tiles of columns, on which the compiled row updates work, and the decorators that compile.

A tile has `LANES` columns, copied into a small array of fixed width: every loop over the columns then has a length
known at compilation, and becomes vector instructions. The arithmetic of a column does not depend on its lane, so that
its result does not depend on its neighbours.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.kernels.blocks.compiling import compiled

Float = NDArray[np.floating[Any]]
Vector = NDArray[np.float64]
# Calls a function for every item and returns the results in order, as `map` does.
MapFunction = Callable[..., Iterable[Any]]

LANES = 128


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that releases the interpreter lock, and cache its machine code on disk.

    A product and a sum may be contracted (one rounding in place of two); nothing is reordered.
    """
    return compiled(function, {"contract", "nsz"})


def reordered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as `kernel` does, with sums in the order that suits vector instructions.

    The order depends only on the lengths and the processor, so the bits are the same every time.
    """
    return compiled(function, {"contract", "nsz", "reassoc"})


def slices(stop: int, step: int, start: int = 0) -> Iterator[slice]:
    """Cut start … stop into slices of `step`.

    >>> list(slices(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for first in range(start, stop, step):
        yield slice(first, min(first + step, stop))


@kernel
def load_tile(source, start, tile):  # type: ignore[no-untyped-def]
    """Copy the columns from `start` on into the tile, and return their number."""
    width = min(tile.shape[1], source.shape[1] - start)
    for k in range(tile.shape[0]):
        for j in range(width):
            tile[k, j] = source[k, start + j]
    return width


@kernel
def store_tile(tile, target, start):  # type: ignore[no-untyped-def]
    """Copy the tile back to the columns from `start` on."""
    width = min(tile.shape[1], target.shape[1] - start)
    for k in range(tile.shape[0]):
        for j in range(width):
            target[k, start + j] = tile[k, j]


@kernel
def clear(tile):  # type: ignore[no-untyped-def]
    """Set a tile to 0."""
    for k in range(tile.shape[0]):
        for j in range(tile.shape[1]):
            tile[k, j] = 0


@kernel
def gram_row(gram, k, tile, out):  # type: ignore[no-untyped-def]
    """Write row k of gram · tile into `out` (LANES,)."""
    rank = gram.shape[1]
    i = 0
    for j in range(LANES):
        out[j] = 0
    while i + 4 <= rank:
        g0, g1, g2, g3 = gram[k, i], gram[k, i + 1], gram[k, i + 2], gram[k, i + 3]
        for j in range(LANES):
            out[j] += g0 * tile[i, j] + g1 * tile[i + 1, j] + g2 * tile[i + 2, j] + g3 * tile[i + 3, j]
        i += 4
    while i < rank:
        g0 = gram[k, i]
        for j in range(LANES):
            out[j] += g0 * tile[i, j]
        i += 1


@kernel
def gram_pair(gram, k, tile, out, below):  # type: ignore[no-untyped-def]
    """Write rows k and k + 1 of gram · tile into `out` and `below` (LANES,), loading the tile once."""
    rank = gram.shape[1]
    i = 0
    for j in range(LANES):
        out[j] = 0
        below[j] = 0
    while i + 4 <= rank:
        g0, g1, g2, g3 = gram[k, i], gram[k, i + 1], gram[k, i + 2], gram[k, i + 3]
        b0, b1, b2, b3 = gram[k + 1, i], gram[k + 1, i + 1], gram[k + 1, i + 2], gram[k + 1, i + 3]
        for j in range(LANES):
            t0, t1, t2, t3 = tile[i, j], tile[i + 1, j], tile[i + 2, j], tile[i + 3, j]
            out[j] += g0 * t0 + g1 * t1 + g2 * t2 + g3 * t3
            below[j] += b0 * t0 + b1 * t1 + b2 * t2 + b3 * t3
        i += 4
    while i < rank:
        g0, b0 = gram[k, i], gram[k + 1, i]
        for j in range(LANES):
            out[j] += g0 * tile[i, j]
            below[j] += b0 * tile[i, j]
        i += 1
