"""Zarr arrays. Uncompressed chunks of a local store are read directly into a buffer, all others through zarr."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import LocalStore

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.sources.base import Axis, Elsewhere, Layout, check_shape
from dnmf.sources.bounds import even_bounds, streams_rows
from dnmf.sources.formats.presence import Presence
from dnmf.sources.formats.raw_bytes import expect_file, read_into
from dnmf.sources.names import Names
from dnmf.sources.read_errors import reading

# The attributes of an array that hold the names of its rows and columns.
NAMES = ("row_names", "column_names")


class ZarrSource(Elsewhere):
    """A Zarr array, of format 2 or 3. A block of V is one column (or row) of its chunk grid."""

    def __init__(
        self,
        array: zarr.Array[Any],
        location: str | None = None,
        streamed: Axis | None = None,
        names: Names | None = None,
    ) -> None:
        shape = check_shape(array.shape, f"the Zarr array {location or array.store_path}")
        chunks = tuple(int(size) for size in (array.shards or array.chunks))
        rows, columns = (math.ceil(size / chunk) for size, chunk in zip(shape, chunks, strict=True))
        transposed = streams_rows(shape, streamed, (rows, columns))
        width = chunks[0 if transposed else 1]
        self.array = Presence(array)
        self.place = str(array.store_path)
        self.files = ChunkFiles.of(array, self.array, transposed)
        across = columns if transposed else rows
        padded = across * chunks[1 if transposed else 0]
        self.layout = Layout.of_file(
            shape,
            array.dtype,
            even_bounds(shape[0 if transposed else 1], width),
            transposed,
            # zarr holds the chunks as they are stored, decoded, and in the region that they are put into
            read_bytes=padded * width * array.dtype.itemsize * (1 if self.files else 3),
            kind=f"Zarr array, {rows} × {columns} chunks of {chunks[0]} × {chunks[1]}, "
            f"{'read directly' if self.files else 'read through zarr'}",
            location=location,
            names=names or names_kept(array),
        )

    def read(self, block: int, scratch: Scratch) -> Block:
        """Read a block."""
        columns, across = self.layout.columns(block), slice(0, self.layout.shape[0])
        reason = "the chunk is damaged, or its storage cannot be reached"
        with reading(self.layout, block, reason, self.place):
            if self.files:
                return self.files.read(block, columns.stop - columns.start, scratch)
            part = np.asarray(self.array[(columns, across) if self.layout.transposed else (across, columns)])
        return part.T if self.layout.transposed else part

    def expect(self, block: int) -> None:
        """Ask the system to read ahead."""
        if self.files:
            self.files.expect(block)

    def regions(self) -> Any:
        """Return an object that is indexed by slices of the user's rows and columns."""
        return self.array


def names_kept(array: zarr.Array[Any]) -> Names:
    """Return the names among the attributes of an array, as written by `dnmf convert`."""
    kept = [array.attrs.get(attribute) for attribute in NAMES]
    return Names.of(*(names if isinstance(names, list) else None for names in kept))


class ChunkFiles:
    """The chunks of a local Zarr array of plain little-endian numbers, one file for each chunk."""

    def __init__(self, array: zarr.Array[Any], presence: Presence, root: Path, transposed: bool) -> None:
        self.presence, self.root, self.transposed = presence, root, transposed
        self.dtype = array.dtype
        self.fill = array.fill_value
        self.shape = array.shape
        self.chunks = array.chunks
        self.across = 1 if transposed else math.ceil(array.shape[0] / array.chunks[0])
        self.size = math.prod(array.chunks) * array.dtype.itemsize

    @classmethod
    def of(cls, array: zarr.Array[Any], presence: Presence, transposed: bool) -> "ChunkFiles | None":
        """Return the chunk files of an array, or None if it must be read through zarr."""
        root = plain_root(array)
        one_chunk_wide = not transposed or array.chunks[1] >= array.shape[1]
        return cls(array, presence, root, transposed) if root is not None and one_chunk_wide else None

    def read(self, block: int, width: int, scratch: Scratch) -> Block:
        """Read the chunks of a block into one buffer, each as a run of whole rows."""
        height, breadth = self.chunks
        room = scratch.array("block", (self.across * height, breadth), self.dtype)
        missing, chunks = [], self.grid(block)
        for i in range(self.across):
            chunk = room[i * height : (i + 1) * height]
            path = self.path(chunks[i])
            if path.exists():
                read_into(path, 0, chunk.reshape(-1).view(np.uint8))
            else:
                missing.append(self.presence.key(chunks[i]))
                chunk[...] = self.fill if self.fill is not None else 0
        self.presence.take(((block, block + 1),), missing)
        if self.transposed:
            return room[:width, : self.shape[1]].T
        return room[: self.shape[0], :width]

    def expect(self, block: int) -> None:
        """Ask the system to read a block ahead."""
        for chunk in self.grid(block):
            expect_file(self.path(chunk), 0, self.size)

    def grid(self, block: int) -> list[tuple[int, int]]:
        """Return the positions in the grid of the chunks of a block."""
        return [(block, i) if self.transposed else (i, block) for i in range(self.across)]

    def path(self, chunk: tuple[int, int]) -> Path:
        """Return the file of a chunk."""
        return self.root / self.presence.key(chunk)


def plain_root(array: zarr.Array[Any]) -> Path | None:
    """Return the folder of the store of an array whose chunks are files of plain numbers, or None."""
    store = array.store
    plain = (
        isinstance(store, LocalStore)
        and not array.compressors
        and not array.filters
        and array.shards is None
        and array.order == "C"
        and array.dtype.isnative
        and _written_as_it_is(array.serializer)
    )
    return Path(store.root) if plain else None  # type: ignore[attr-defined]


def _written_as_it_is(serializer: Any) -> bool:
    """Return whether a serializer writes plain little-endian numbers; format 2 has none, and does so."""
    return serializer is None or serializer.to_dict() in (
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "bytes"},
    )
