"""Write a dense matrix as a Zarr array with chunks that are read as a whole."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import zarr

from dnmf.conversion.compressors import compressors_for
from dnmf.conversion.job import Job
from dnmf.errors import SettingsError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.sources.base import Layout, Source
from dnmf.sources.blocks import as_dtype, read_block
from dnmf.sources.bounds import default_chunks
from dnmf.sources.boxes import UnfoldedSource
from dnmf.sources.formats.zarr_array import NAMES, UNFOLDED
from dnmf.sources.read_errors import reading_part


def write_dense(source: Source, chunks: tuple[int, int] | None, job: Job) -> None:
    """Write a dense matrix (m, n) in chunks of the given shape, or of the default one."""
    shape, dtype = source.layout.user_shape, source.layout.dtype
    chunks = chunks or default_chunks(shape, dtype.itemsize, job.by)
    if len(chunks) != 2 or min(chunks) < 1:
        raise SettingsError(f"chunks={chunks!r} is not allowed; give the rows and columns of a chunk, as 2000,1000.")
    chunks = (min(chunks[0], shape[0]), min(chunks[1], shape[1]))
    done, total = 0, math.prod(shape) * dtype.itemsize
    array: Any = None
    with zarr.config.set({"async.concurrency": chunks_at_once(source, math.prod(chunks) * dtype.itemsize, job.memory)}):
        held = 2 * dtype.itemsize if isinstance(source, UnfoldedSource) else dtype.itemsize  # it may exchange axes
        for rows, columns, part in _parts(source, chunks, max(1, job.memory // held)):
            if array is None:
                array = zarr.create_array(
                    job.draft,
                    shape=shape,
                    chunks=chunks,
                    dtype=dtype,
                    compressors=compressors_for(job.compressor, part[: chunks[0], : chunks[1]]),
                    filters=None,
                    attributes=_attributes(source.layout),
                )
            array[rows, columns] = part
            done += part.nbytes
            job.report(done, total)


def chunks_at_once(source: Source, size: int, memory: int) -> int:
    """Return the number of chunks that Zarr may read or write at once, for chunks of `size` bytes in the target."""
    chunks = getattr(source, "chunks", ())
    if chunks:
        size = max(size, math.prod(chunks) * source.layout.dtype.itemsize)
    return max(1, min(int(zarr.config.get("async.concurrency")), memory // max(size, 1)))


def panels(shape: tuple[int, int], chunks: tuple[int, int], entries: int) -> Iterator[tuple[slice, slice]]:
    """Yield regions of whole chunks with at most `entries` entries, as long across as possible.

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
    """Yield rows, columns and entries of regions of whole chunks, or of blocks if the source has no regions."""
    layout = source.layout
    array: Any = getattr(source, "array", None)
    if array is not None:
        for rows, columns in panels(layout.user_shape, chunks, entries):
            place = f"rows {rows.start} to {rows.stop - 1}, columns {columns.start} to {columns.stop - 1}"
            with reading_part(f"{place} of {layout.location or 'V'}", layout.location):
                part = np.asarray(array[rows, columns])
            yield rows, columns, part
        return
    scratch, across = Scratch(), slice(0, layout.shape[0])
    for block in range(layout.blocks):
        part, along = read_block(source, block, scratch), layout.columns(block)
        part = as_dtype(part, layout.dtype, f"{layout.name(block)} of V")
        yield (along, across, part.T) if layout.transposed else (across, along, part)


def _attributes(layout: Layout) -> dict[str, Any]:
    """Return the names of rows and columns, and the array that was unfolded, as attributes."""
    found = zip(NAMES, (layout.names.rows, layout.names.columns), strict=True)
    attributes: dict[str, Any] = {attribute: labels.tolist() for attribute, labels in found if labels is not None}
    return attributes if layout.unfolding is None else {**attributes, UNFOLDED: layout.unfolding.to_json()}
