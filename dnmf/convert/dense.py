"""A dense matrix as a Zarr array of chunks that are read whole."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import zarr
from zarr.storage import StoreLike

from dnmf.convert.compressors import compressors_for
from dnmf.errors import SettingsError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.sources.base import Axis, Source
from dnmf.sources.blocks import as_dtype, read_block
from dnmf.sources.formats.zarr_array import NAMES
from dnmf.sources.names import Names
from dnmf.sources.read_errors import reading_part

# Chunks of this size are read at the disk's speed.
CHUNK_BYTES = 16 * 2**20


def write_dense(
    source: Source,
    draft: StoreLike,
    chunks: tuple[int, int] | None,
    by: Axis | None,
    compressor: str,
    room: int,
    on_progress: Callable[[int, int], None],
) -> None:
    """Write a dense matrix to a draft, with about `room` bytes of it in memory at once."""
    shape, dtype = source.layout.user_shape, source.layout.dtype
    chunks = chunks or default_chunks(shape, dtype.itemsize, by)
    if len(chunks) != 2 or min(chunks) < 1:
        raise SettingsError(f"chunks={chunks!r} is not allowed; give the rows and columns of a chunk, as 2000,1000.")
    chunks = (min(chunks[0], shape[0]), min(chunks[1], shape[1]))
    done, total = 0, math.prod(shape) * dtype.itemsize
    array: Any = None
    with zarr.config.set({"async.concurrency": chunks_at_once(source, math.prod(chunks) * dtype.itemsize, room)}):
        for rows, columns, part in _parts(source, chunks, max(1, room // dtype.itemsize)):
            if array is None:
                array = zarr.create_array(
                    draft,
                    shape=shape,
                    chunks=chunks,
                    dtype=dtype,
                    compressors=compressors_for(compressor, part[: chunks[0], : chunks[1]]),
                    filters=None,
                    attributes=_attributes(source.layout.names),
                )
            array[rows, columns] = part
            done += part.nbytes
            on_progress(done, total)


def chunks_at_once(source: Source, size: int, room: int) -> int:
    """Return how many chunks Zarr may read or write at once, those of the target being of a size in bytes."""
    stored = getattr(source, "array", None)
    if isinstance(stored, zarr.Array):
        size = max(size, math.prod(stored.chunks) * stored.dtype.itemsize)
    return max(1, min(int(zarr.config.get("async.concurrency")), room // max(size, 1)))


def default_chunks(shape: tuple[int, int], itemsize: int, by: Axis | None = None) -> tuple[int, int]:
    """Return panels of about `CHUNK_BYTES` across the shorter axis, or cut along the axis that is named.

    >>> default_chunks((2000, 10**6), 4), default_chunks((10**6, 2000), 4), default_chunks((10, 20), 4, "rows")
    ((2000, 2097), (2097, 2000), (10, 20))
    """
    by_rows = shape[0] > shape[1] if by is None else by == "rows"
    across = shape[1] if by_rows else shape[0]
    width = max(1, CHUNK_BYTES // (across * itemsize))
    return (min(width, shape[0]), across) if by_rows else (across, min(width, shape[1]))


def panels(shape: tuple[int, int], chunks: tuple[int, int], entries: int) -> Iterator[tuple[slice, slice]]:
    """Yield regions made of whole chunks, as long across as fits into so many entries.

    >>> list(panels((4, 6), (4, 2), 16))
    [(slice(0, 4, None), slice(0, 4, None)), (slice(0, 4, None), slice(4, 6, None))]
    """
    along = 1 if chunks[0] >= shape[0] or chunks[1] < shape[1] else 0
    other = 1 - along
    across = min(shape[other], max(1, entries // (chunks[along] * chunks[other])) * chunks[other])
    width = max(1, entries // (across * chunks[along])) * chunks[along]
    for start in range(0, shape[other], across):
        for first in range(0, shape[along], width):
            wide = slice(first, min(first + width, shape[along]))
            tall = slice(start, min(start + across, shape[other]))
            yield (tall, wide) if along == 1 else (wide, tall)


def _parts(source: Source, chunks: tuple[int, int], entries: int) -> Iterator[tuple[slice, slice, Any]]:
    """Yield rows, columns and entries of regions of whole chunks, or of blocks where the source gives no others."""
    layout = source.layout
    if hasattr(source, "regions"):
        regions = source.regions()
        for rows, columns in panels(layout.user_shape, chunks, entries):
            place = f"rows {rows.start} to {rows.stop - 1}, columns {columns.start} to {columns.stop - 1}"
            with reading_part(f"{place} of {layout.location or 'V'}", layout.location):
                part = np.asarray(regions[rows, columns])
            yield rows, columns, part
        return
    scratch, across = Scratch(), slice(0, layout.shape[0])
    for block in range(layout.blocks):
        part, along = read_block(source, block, scratch), layout.columns(block)
        part = as_dtype(part, layout.dtype, f"{layout.name(block)} of V")
        yield (along, across, part.T) if layout.transposed else (across, along, part)


def _attributes(names: Names) -> dict[str, Any]:
    found = zip(NAMES, (names.rows, names.columns), strict=True)
    return {attribute: labels.tolist() for attribute, labels in found if labels is not None}
