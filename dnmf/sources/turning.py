"""Read a matrix along an axis that it may not be cut along."""

from collections.abc import Callable
from typing import Any

import scipy.sparse

from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.settings import Missing
from dnmf.sources.base import Axis, Source
from dnmf.sources.blocks import read_block
from dnmf.sources.formats import entry_list
from dnmf.sources.formats.compressed_sparse import CompressedSource
from dnmf.sources.memory import SparseSource, read_into_memory


def open_along(open_one: Callable[..., Source], V: Any, axis: Axis, missing: Missing) -> Source:
    """Open a matrix by a function like `open_matrix`, to be read along an axis, even if it is not cut along it.

    A small sparse matrix on a disk that is compressed by its other axis is read into memory.

    Raises
    ------
    DataError
        If it is too large for that, or was opened to be read along the other axis.
    """
    source = open_one(V, missing=missing)
    if source.layout.transposed == (axis == "rows"):
        return source
    if isinstance(source, CompressedSource) and source.entries <= entry_list.HELD_ENTRIES:
        return _turned(source, axis)
    source = open_one(V, axis, missing=missing)
    if source.layout.transposed != (axis == "rows"):
        other = "columns" if axis == "rows" else "rows"
        raise DataError(
            f"V was opened to be read along its {other}, and is to be read along its {axis}; give the matrix itself, "
            "or its address."
        )
    return source


def _turned(source: CompressedSource, axis: Axis) -> Source:
    """Read a compressed matrix into memory, to stream its other axis."""
    layout = source.layout
    parts = [read_block(source, block, Scratch()) for block in range(layout.blocks)]
    columns = scipy.sparse.hstack(parts, format="csc")
    held = SparseSource(columns.T if layout.transposed else columns, axis)
    return read_into_memory(held, layout.kind, None, layout.names)
