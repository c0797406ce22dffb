"""Factors as Zarr arrays with a digest of every chunk."""

import dataclasses
import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec
from zarr.storage import LocalStore, StoreLike

from dnmf.checkpoint.read import read_array
from dnmf.engine.factor import Factor
from dnmf.kernels.blocks.tiles import Float
from dnmf.storage.durable import sync
from dnmf.storage.location import Location
from dnmf.storage.retries import LocationError
from dnmf.storage.urls import object_errors, without_file_scheme

# Narrow blocks are joined to chunks of about this size.
CHUNK_BYTES = 4 * 2**20
# The bytes that Crc32cCodec adds to a chunk.
CHECKSUM_BYTES = 4


def chunk_columns(bounds: Sequence[int], rank: int, itemsize: int) -> int:
    """Return the number of columns of a chunk of H: one block, or several narrow ones.

    >>> chunk_columns([0, 500000, 1000000], rank=20, itemsize=4)
    500000
    >>> chunk_columns([0, 100, 200, 300], rank=20, itemsize=4)
    300
    """
    widest = max(stop - start for start, stop in itertools.pairwise(bounds))
    blocks = max(1, CHUNK_BYTES // (widest * rank * itemsize))
    return int(min(widest * blocks, bounds[-1]))


def gather(H: Factor, bounds: Sequence[int], width: int) -> Iterator[Float]:
    """Yield H in chunks of `width` columns, reading each of its blocks once."""
    waiting: list[Float] = []
    count = 0
    for block in range(len(bounds) - 1):
        waiting.append(H.read(block))
        count += waiting[-1].shape[1]
        while count >= width or (block == len(bounds) - 2 and count):
            whole = np.concatenate(waiting, axis=1) if len(waiting) > 1 else waiting[0]
            yield whole[:, :width]
            count = max(count - width, 0)
            waiting = [whole[:, width:]] if count else []


class StoredFactor(Factor):
    """The long factor of a checkpoint, read block by block: a missing chunk is an error, and not zeros."""

    shared = True

    def __init__(self, array: zarr.Array[Any], bounds: Sequence[int], transposed: bool) -> None:
        self.array, self._bounds, self._transposed = array, bounds, transposed
        self._last = threading.local()

    @classmethod
    def at(cls, path: StoreLike, bounds: Sequence[int], transposed: bool) -> "StoredFactor":
        """Open a long factor that `write_long` wrote."""
        return cls(zarr.open_array(path, mode="r", zarr_format=3), bounds, transposed)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.array, self._bounds, self._transposed)

    def follow(self, newer: "StoredFactor") -> None:
        """Read from a newer checkpoint with the same numbers from now on, since this one may be deleted."""
        self.array, self._last = newer.array, threading.local()

    def read(self, block: int) -> Float:
        """Read a block. Each thread caches the last chunk for narrow blocks, which share it.

        Raises
        ------
        StoreError
            If a chunk of it is missing.
        """
        start, stop = self._bounds[block], self._bounds[block + 1]
        width = self.array.chunks[0 if self._transposed else 1]
        if stop - start >= width:
            return self._columns(start, stop)
        chunks = range(start // width * width, stop, width)
        parts = [self._chunk(first, first + width)[:, max(start - first, 0) : stop - first] for first in chunks]
        return np.ascontiguousarray(np.concatenate(parts, axis=1))

    def _chunk(self, start: int, stop: int) -> Float:
        if getattr(self._last, "start", None) != start:
            self._last.chunk, self._last.start = self._columns(start, stop), start
        chunk: Float = self._last.chunk
        return chunk

    def _columns(self, start: int, stop: int) -> Float:
        columns = slice(start, stop)
        part = read_array(self.array, (columns, slice(None)) if self._transposed else (slice(None), columns))
        return np.ascontiguousarray(part.T if self._transposed else part)


def write_factors(
    place: Location, group: str, W: Float, H: Factor, bounds: Sequence[int], transposed: bool
) -> dict[str, list[str]]:
    """Write both factors into a group, under the user's names; return the digests of their chunks.

    If rows are streamed, the long factor is the user's W, and is stored as W.
    """
    short, long = ("H", "W") if transposed else ("W", "H")
    whole = np.ascontiguousarray(W.T if transposed else W)
    zarr.create_group(place.zarr(group))
    small = write_whole(place, f"{group}/{short}", whole)
    digests = write_long(place.zarr(f"{group}/{long}"), H, bounds, W.shape[1], W.dtype, transposed)
    return {short: [small], long: digests}


def write_whole(place: Location, name: str, whole: Float) -> str:
    """Write an array as one chunk, and return its digest."""
    array = create_factor(place.zarr(name), whole.shape, whole.shape, whole.dtype)
    array[...] = whole
    return digest(whole)


def write_long(
    path: StoreLike, H: Factor, bounds: Sequence[int], rank: int, dtype: np.dtype[Any], transposed: bool
) -> list[str]:
    """Write a long factor as a Zarr array (r, n), or transposed (n, r); return the digests of its chunks."""
    width = chunk_columns(bounds, rank, dtype.itemsize)
    shape, chunks = (rank, bounds[-1]), (rank, width)
    array = create_factor(path, shape[::-1] if transposed else shape, chunks[::-1] if transposed else chunks, dtype)
    write = ChunkWriter(array, transposed)
    if isinstance(H, Spread) and H.sees_store:
        return H.each_chunk(bounds, width, write)
    return [write(index * width, part) for index, part in enumerate(gather(H, bounds, width))]


@runtime_checkable
class Spread(Protocol):
    """A factor whose blocks are in other processes."""

    @property
    def sees_store(self) -> bool:
        """Whether those processes can write to the store."""

    def each_chunk(self, bounds: Sequence[int], width: int, act: Callable[[int, Float], str]) -> list[str]:
        """Call `act(start, part)` there for every chunk of `width` columns, and return the results."""


@dataclasses.dataclass(frozen=True, slots=True)
class ChunkWriter:
    """Writes a chunk of a long factor, in any process that can write to the store."""

    array: zarr.Array[Any]
    transposed: bool

    def __call__(self, start: int, part: Float) -> str:
        """Write the columns (r, w) from `start` on durably; return their digest."""
        columns = slice(start, start + part.shape[1])
        chunk = np.ascontiguousarray(part.T if self.transposed else part)
        try:
            self.array[(columns, slice(None)) if self.transposed else (slice(None), columns)] = chunk
        except object_errors() as error:  # the caller explains it by the path that the user gave
            place = without_file_scheme(str(self.array.store_path))
            raise LocationError.of(f"A chunk of {place}", "written", error) from error
        if isinstance(self.array.store, LocalStore):
            width = self.array.chunks[0 if self.transposed else 1]
            key = chunk_key(self.array, start // width, self.transposed)
            sync(Path(self.array.store.root) / self.array.path / key)
        return digest(chunk)


def chunk_key(array: zarr.Array[Any], index: int, by_rows: bool) -> str:
    """Return the key of a chunk below its array."""
    metadata: Any = array.metadata
    return str(metadata.encode_chunk_key((index, 0) if by_rows else (0, index)))


def create_factor(
    path: StoreLike, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: np.dtype[Any]
) -> zarr.Array[Any]:
    """Create an array whose chunks have checksums, and whose missing chunks read as NaN."""
    with zarr.config.set({"array.write_empty_chunks": True}):
        return zarr.create_array(
            path,
            shape=shape,
            chunks=chunks,
            dtype=dtype,
            fill_value=np.nan,
            compressors=[Crc32cCodec()],
            filters=None,
        )


def digest(chunk: Float) -> str:
    """Return a digest of the numbers of a chunk, in C order."""
    return hashlib.blake2b(chunk.tobytes(), digest_size=16).hexdigest()
