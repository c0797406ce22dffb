"""Stored arrays of one axis, of which any stretch can be read from several threads at once."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import zarr
from numpy.typing import NDArray

from dnmf.sources.formats.presence import Presence
from dnmf.sources.formats.raw_array import flat_bytes
from dnmf.sources.formats.raw_bytes import expect_file, read_into
from dnmf.sources.formats.zarr_array import ChunkFiles


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
    """A Zarr array of one axis; plain chunks in files are read directly."""

    def __init__(self, array: zarr.Array[Any]) -> None:
        self.array = Presence(array)
        self.size, self.dtype, self.chunk = int(array.size), array.dtype, int(array.chunks[0])
        self.files = ChunkFiles.of(array, self.array)

    def read(self, start: int, out: NDArray[Any]) -> None:
        """Read, chunk by chunk or through zarr."""
        if self.files is None:
            out[...] = self.array[(slice(start, start + len(out)),)]
            return
        done, missing = 0, list[str]()
        while done < len(out):
            chunk, inside = divmod(start + done, self.chunk)
            part = out[done : done + self.chunk - inside]
            missing += self.files.read((chunk,), inside * self.dtype.itemsize, part)
            done += len(part)
        self.array.take(((start, start + len(out)),), missing)

    def expect(self, start: int, stop: int) -> None:
        """Ask the system to read the chunks ahead, if they are files."""
        if self.files is not None:
            for chunk in range(start // self.chunk, -(-stop // self.chunk)):
                self.files.expect((chunk,))
