"""A graph that is larger than memory: written block by block to files, which products of its columns map."""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.tiles import Vector
from dnmf.kernels.graph import Graph
from dnmf.sources.base import Source
from dnmf.sources.blocks import read_block

# Products with a random vector from both sides of a symmetric graph differ by less than this share of their size.
ROUNDED = 1e-5


def mapped_graph(source: Source, folder: Path, name: str, owner: object = None) -> Graph:
    """Write a symmetric graph to files in a folder, and return it mapped from there.

    Parameters
    ----------
    source
        The square matrix of its weights.
    folder
        Where to write the files.
    name
        The option that gave it, for errors.
    owner
        An object that keeps the folder as long as the graph.

    Raises
    ------
    DataError
        If a weight is negative or not finite, there is no edge, or the graph is not symmetric.
    """
    size, bounds = source.layout.shape[1], source.layout.bounds
    narrow = np.int32 if size < 2**31 else np.int64
    float_kind = np.float32 if source.layout.dtype.itemsize <= 4 else np.float64
    random = np.random.default_rng(0).standard_normal(size)
    from_rows, from_columns, scale = np.zeros(size), np.zeros(size), np.zeros(size)
    starts = np.zeros(size + 1, np.int64)
    with open(folder / "neighbours", "wb") as places, open(folder / "weights", "wb") as values:
        for block in range(source.layout.blocks):
            part = _checked_block(source, block, name, float_kind)
            columns = slice(bounds[block], bounds[block + 1])
            starts[columns.start + 1 : columns.stop + 1] = starts[columns.start] + part.indptr[1:]
            places.write(np.ascontiguousarray(part.indices, narrow).data)
            values.write(np.ascontiguousarray(part.data).data)
            from_columns[columns] = part.T @ random
            scale[columns] = part.T @ np.abs(random)
            from_rows += part @ random[columns]
    if not starts[-1]:
        raise DataError(f"{name} has no edge: all of its {size} nodes are isolated; give a graph with edges, or none.")
    _check_symmetric(from_rows, from_columns, scale, name)
    neighbours = np.asarray(np.memmap(folder / "neighbours", narrow, "r+"))
    weights = np.asarray(np.memmap(folder / "weights", float_kind, "r+"))
    return Graph(starts, neighbours, weights, owner)


def _checked_block(source: Source, block: int, name: str, float_kind: Any) -> Any:
    """Return a block as CSC without loops, or raise DataError for a weight that is not allowed."""
    first = source.layout.bounds[block]
    part = scipy.sparse.csc_array(read_block(source, block, Scratch(), name), dtype=float_kind, copy=True)
    bad = ~(np.isfinite(part.data) & (part.data >= 0))
    if bad.any():
        place = int(np.argmax(bad))
        column = first + int(np.searchsorted(part.indptr, place, side="right")) - 1
        raise DataError(
            f"{name}[{int(part.indices[place])}, {column}] is {part.data[place]:g}; the weights of a graph are finite "
            "numbers of at least 0."
        )
    if part.diagonal(k=-first).any():
        part.setdiag(0, k=-first)
    part.eliminate_zeros()
    part.sort_indices()
    return part


def _check_symmetric(from_rows: Vector, from_columns: Vector, scale: Vector, name: str) -> None:
    """Raise DataError if the products of a random vector from both sides differ."""
    bad = np.abs(from_rows - from_columns) > ROUNDED * np.maximum(scale, np.abs(from_rows))
    if bad.any():
        raise DataError(
            f"{name} is not symmetric, at node {int(np.argmax(bad))} first, and is too large to be made so in memory; "
            "give max(A, Aᵀ), or raise memory_limit."
        )
