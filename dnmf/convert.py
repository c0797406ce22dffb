"""Rewrite a dense matrix as a Zarr array that is read fast, out of core."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, ZstdCodec
from zarr.storage import StoreLike

from dnmf.checkpoint import appearing
from dnmf.errors import DataError, SettingsError, unknown
from dnmf.settings import parse_bytes
from dnmf.sources import open_matrix
from dnmf.sources.objects import zarr_store
from dnmf.sources.urls import is_url

# Chunks of this size are read at the disk's speed; compression pays where it makes them this many times smaller.
CHUNK_BYTES = 16 * 2**20
WORTHWHILE = 3.0
COMPRESSORS = ("auto", "none", "zstd", "lz4")


def convert(
    origin: str | Path,
    target: str | Path,
    *,
    chunks: tuple[int, int] | None = None,
    compressor: str = "auto",
    memory_limit: int | str = "1GB",
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write a matrix anew as a Zarr array, cut along its longer axis into chunks that are read whole.

    Parameters
    ----------
    origin
        Path or URL of a Zarr array, or path of a `.npy` file.
    target
        Path of the new array, or URL in an object store. It appears when it is whole, and not before.
    chunks
        Rows and columns of a chunk; by default, full panels across the shorter axis of about 16 MB.
    compressor
        `"none"`, `"zstd"`, `"lz4"`, or `"auto"`: zstd where it makes a sample at least 3 times smaller, else none.
    memory_limit
        Bytes that may be held; the more, the fewer times a badly cut matrix is read.
    overwrite
        Replace what is at the target.
    on_progress
        Called with bytes done and bytes in all.

    Raises
    ------
    DataError, SettingsError, StoreError
        If there is no matrix, an option is unknown, or the target exists.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> np.save(f"{folder}/V.npy", np.ones((4, 10), np.float32))
    >>> convert(f"{folder}/V.npy", f"{folder}/V.zarr", chunks=(4, 5))
    >>> zarr.open_array(f"{folder}/V.zarr").chunks
    (4, 5)
    """
    if compressor not in COMPRESSORS:
        raise unknown("compressor", compressor, COMPRESSORS)
    matrix = _open(origin)
    shape, itemsize = matrix.shape, matrix.dtype.itemsize
    chunks = chunks or default_chunks(shape, itemsize)
    if len(chunks) != 2 or min(chunks) < 1:
        raise SettingsError(f"chunks={chunks!r} is not allowed; give the rows and columns of a chunk, as 2000,1000.")
    chunks = (min(chunks[0], shape[0]), min(chunks[1], shape[1]))
    room = parse_bytes(memory_limit) // 4
    done, total = 0, math.prod(shape) * itemsize
    with appearing(target, overwrite) as draft:
        array: Any = None
        for rows, columns in panels(shape, chunks, max(1, room // itemsize)):
            part = np.asarray(matrix[rows, columns])
            if array is None:
                array = _create(draft, matrix, chunks, _compressors(compressor, part[: chunks[0], : chunks[1]]))
            array[rows, columns] = part
            done += part.nbytes
            on_progress(done, total)


def default_chunks(shape: tuple[int, int], itemsize: int) -> tuple[int, int]:
    """Return panels across the shorter axis of about `CHUNK_BYTES`.

    >>> default_chunks((2000, 10**6), 4), default_chunks((10**6, 2000), 4)
    ((2000, 2097), (2097, 2000))
    """
    short = min(shape)
    width = max(1, CHUNK_BYTES // (short * itemsize))
    return (short, min(width, shape[1])) if shape[0] <= shape[1] else (min(width, shape[0]), short)


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


def _open(origin: str | Path) -> Any:
    source = open_matrix(origin)
    location = str(source.layout.location or origin)
    if source.layout.kind.startswith(".npy"):
        return np.load(location, mmap_mode="r")
    node = zarr.open(zarr_store(location) if is_url(location) else location, mode="r")
    if not isinstance(node, zarr.Array):
        raise DataError(f"{origin} is no Zarr array.")
    return node


def _create(draft: StoreLike, matrix: Any, chunks: tuple[int, int], compressors: list[Any]) -> Any:
    return zarr.create_array(
        draft, shape=matrix.shape, chunks=chunks, dtype=matrix.dtype, compressors=compressors or None, filters=None
    )


def _compressors(name: str, sample: Any) -> list[Any]:
    """Return the compressor by its name, or the one that pays on a sample."""
    if name == "lz4":
        return [BloscCodec(cname="lz4", typesize=sample.dtype.itemsize)]
    if name == "zstd" or (name == "auto" and _shrinks(np.ascontiguousarray(sample))):
        return [ZstdCodec(level=3)]
    return []


def _shrinks(sample: Any) -> bool:
    kept = zarr.create_array(
        zarr.storage.MemoryStore(),
        shape=sample.shape,
        chunks=sample.shape,
        dtype=sample.dtype,
        compressors=[ZstdCodec(level=3)],
        filters=None,
    )
    kept[...] = sample
    return bool(sample.nbytes >= WORTHWHILE * kept.nbytes_stored())
