"""Stored arrays of one axis, of which any stretch can be read from several threads at once."""

import threading
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import zarr
from numpy.typing import NDArray

from dnmf.sources.formats.presence import Presence
from dnmf.sources.formats.raw_array import flat_bytes
from dnmf.sources.formats.raw_bytes import expect_file, read_into
from dnmf.sources.formats.zarr_array import ChunkFiles

# Chunks up to this size are decoded as a whole, and once for the blocks that share them.
KEPT_BYTES = 16 * 2**20


class Vector(Protocol):
    """One of the three stored arrays of a compressed sparse matrix."""

    @property
    def size(self) -> int:
        """Number of entries."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The stored dtype."""

    def read(self, start: int, out: NDArray[Any]) -> None:
        """Fill `out`, of the stored dtype, with the entries from `start` on."""

    def expect(self, start: int, stop: int) -> None:
        """Take a hint that a stretch will be read soon."""


class FileVector(NamedTuple):
    """Contiguous numbers in a file."""

    path: Path
    offset: int
    size: int
    dtype: np.dtype[Any]

    def read(self, start: int, out: NDArray[Any]) -> None:
        """Read the bytes."""
        read_into(self.path, self.offset + start * self.dtype.itemsize, flat_bytes(out))

    def expect(self, start: int, stop: int) -> None:
        """Ask the system to read ahead."""
        size = self.dtype.itemsize
        expect_file(self.path, self.offset + start * size, (stop - start) * size)


class ZarrVector:
    """A Zarr array of one axis; plain chunks in files are read directly.

    Of chunks that have to be decoded, each thread keeps the rest of the last one, where its next read begins.

    Attributes
    ----------
    kept_bytes
        Bytes that a thread keeps, at most.
    """

    def __init__(self, array: zarr.Array[Any]) -> None:
        self.array = Presence(array)
        self.size, self.dtype, self.chunk = int(array.size), array.dtype, int(array.chunks[0])
        self.files = ChunkFiles.of(array, self.array)
        chunk_bytes = min(self.chunk, self.size) * self.dtype.itemsize
        self.kept_bytes = chunk_bytes if self.files is None and chunk_bytes <= KEPT_BYTES else 0
        self._thread = threading.local()

    def read(self, start: int, out: NDArray[Any]) -> None:
        """Read, chunk by chunk or through zarr."""
        if self.files is None:
            self._decode(start, out)
            return
        done, missing = 0, list[str]()
        while done < len(out):
            chunk, inside = divmod(start + done, self.chunk)
            part = out[done : done + self.chunk - inside]
            missing += self.files.read((chunk,), inside * self.dtype.itemsize, part)
            done += len(part)
        self.array.take(((start, start + len(out)),), missing)

    def _decode(self, start: int, out: NDArray[Any]) -> None:
        """Read through zarr, after what the thread has kept."""
        first, rest = getattr(self._thread, "rest", (0, out[:0]))
        known = rest[start - first :][: len(out)] if first <= start else out[:0]
        out[: len(known)] = known
        start, out = start + len(known), out[len(known) :]
        if not len(out):
            return
        stop = start + len(out)
        end = min(-(-stop // self.chunk) * self.chunk, self.size) if self.kept_bytes else stop
        decoded = self.array[(slice(start, end),)]
        out[...] = decoded[: len(out)]
        self._thread.rest = stop, decoded[len(out) :].copy()

    def expect(self, start: int, stop: int) -> None:
        """Ask the system to read the chunks ahead, if they are files."""
        if self.files is not None:
            for chunk in range(start // self.chunk, -(-stop // self.chunk)):
                self.files.expect((chunk,))
