"""Zarr arrays. Uncompressed chunks of a local store are read directly into a buffer, all others through zarr."""

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.sources.axis_names import names_along
from dnmf.sources.base import Axis, Layout, SharedSource, check_shape
from dnmf.sources.bounds import even_bounds, streams_rows
from dnmf.sources.boxes import UnfoldedSource
from dnmf.sources.formats.presence import Presence
from dnmf.sources.formats.raw_array import flat_bytes
from dnmf.sources.formats.raw_bytes import PART, expect_box, expect_file, fill_box, opened, read_into
from dnmf.sources.names import Names
from dnmf.sources.read_errors import reading
from dnmf.sources.slabs import Box
from dnmf.sources.unfolding import Unfolding

# The attributes of an array that hold the names of its rows and columns, and the array that was unfolded into it.
NAMES, UNFOLDED = ("row_names", "column_names"), "unfolded"


class ZarrSource(SharedSource):
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
        one_chunk_wide = not transposed or chunks[1] >= shape[1]
        self.files = ChunkFiles.of(array, self.array) if one_chunk_wide else None
        self.chunks, self.across = chunks, 1 if transposed else rows
        across = columns if transposed else rows
        padded = across * chunks[1 if transposed else 0]
        unfolding = unfolding_kept(array)
        self.layout = Layout.of_file(
            shape,
            array.dtype,
            even_bounds(shape[0 if transposed else 1], width),
            transposed,
            # zarr holds the chunks as they are stored, decoded, and in the region that they are put into
            read_bytes=padded * width * array.dtype.itemsize * (1 if self.files else 3),
            kind=f"Zarr array, {rows} × {columns} chunks of {chunks[0]} × {chunks[1]}, "
            f"{'read directly' if self.files else 'read through zarr'}{f', {unfolding}' if unfolding else ''}",
            location=location,
            names=names or names_kept(array),
            unfolding=unfolding,
        )

    def read(self, block: int, scratch: Scratch) -> Block:
        """Read a block."""
        columns, across = self.layout.columns(block), slice(0, self.layout.shape[0])
        reason = "the chunk is damaged, or its storage cannot be reached"
        with reading(self.layout, block, reason, self.place):
            if self.files:
                return self._read_files(self.files, block, scratch)
            part = np.asarray(self.array[(columns, across) if self.layout.transposed else (across, columns)])
        return part.T if self.layout.transposed else part

    def expect(self, block: int) -> None:
        """Ask the system to read ahead."""
        if self.files:
            for chunk in self._chunks(block):
                self.files.expect(chunk)

    def _read_files(self, files: "ChunkFiles", block: int, scratch: Scratch) -> Block:
        """Read the chunks of a block into one buffer, each as a run of whole rows."""
        height, breadth = self.chunks
        room = scratch.array("block", (self.across * height, breadth), self.layout.dtype)
        missing = [
            key
            for i, chunk in enumerate(self._chunks(block))
            for key in files.read(chunk, 0, room[i * height : (i + 1) * height])
        ]
        self.array.take(((block, block + 1),), missing)
        rows, columns = self.layout.shape[0], self.layout.columns(block)
        width = columns.stop - columns.start
        return room[:width, :rows].T if self.layout.transposed else room[:rows, :width]

    def _chunks(self, block: int) -> list[tuple[int, int]]:
        """Return the positions in the grid of the chunks of a block."""
        return [(block, i) if self.layout.transposed else (i, block) for i in range(self.across)]


def names_kept(array: zarr.Array[Any]) -> Names:
    """Return the names among the attributes of an array, as written by `dnmf convert`."""
    kept = [array.attrs.get(attribute) for attribute in NAMES]
    return Names.of(*(names if isinstance(names, list) else None for names in kept))


def unfolding_kept(array: zarr.Array[Any]) -> Unfolding | None:
    """Return the array that was unfolded into a matrix, by its attributes as written by `dnmf convert`, or None."""
    try:
        found = Unfolding.from_json(array.attrs.get(UNFOLDED), array.shape)
    except ValueError:
        return None
    return found if len(found.shape) > 2 else None


class ZarrBoxes:
    """A Zarr array of any number of axes, of format 2 or 3."""

    fortran = in_memory = False

    def __init__(self, array: zarr.Array[Any]) -> None:
        self.shape, self.dtype = tuple(map(int, array.shape)), array.dtype
        self.chunks = tuple(int(size) for size in (array.shards or array.chunks))
        self.array = Presence(array)
        self.files = ChunkFiles.of(array, self.array)
        self.anywhere = self.files is not None

    def read(self, box: Box, scratch: Scratch) -> NDArray[Any]:
        """Read a box from the files of its chunks, or through zarr."""
        if self.files is None:
            return np.asarray(self.array[tuple(slice(*edges) for edges in box)])
        out = scratch.array("block", tuple(stop - start for start, stop in box), self.dtype)
        missing = list[str]()
        for chunk, inner, wanted in self._overlapping(box):
            missing += self.files.read_box(chunk, inner, out[wanted])
        self.array.take(box, missing)
        return out

    def expect(self, box: Box) -> None:
        """Ask the system to read a box ahead."""
        for chunk, inner, _ in self._overlapping(box) if self.files else ():
            if self.files:
                self.files.expect_box(chunk, inner)

    def read_bytes(self, extent: Sequence[int]) -> int:
        """Return the memory of a box; zarr holds chunks as they are stored, decoded, and in the box."""
        size = math.prod(extent) * self.dtype.itemsize
        if self.files:
            return int(size + PART)
        covered = math.prod(
            min(-(-length // chunk) + (length % chunk > 0), -(-end // chunk)) * chunk
            for length, chunk, end in zip(extent, self.chunks, self.shape, strict=True)
        )
        return int(size + 2 * covered * self.dtype.itemsize)

    def _overlapping(self, box: Box) -> Iterator[tuple[tuple[int, ...], Box, tuple[slice, ...]]]:
        """Yield the places in the grid of the chunks that overlap a box, the boxes in them, and their places in it."""
        axes = zip(box, self.chunks, strict=True)
        for chunk in itertools.product(*(range(start // size, -(-stop // size)) for (start, stop), size in axes)):
            inner, wanted = [], []
            for place, size, (start, stop) in zip(chunk, self.chunks, box, strict=True):
                low, high = max(place * size, start), min((place + 1) * size, stop)
                inner.append((low - place * size, high - place * size))
                wanted.append(slice(low - start, high - start))
            yield chunk, tuple(inner), tuple(wanted)


def zarr_source(
    array: zarr.Array[Any],
    location: str | None,
    streamed: Axis | None = None,
    names: Names | None = None,
    unfolding: Unfolding | None = None,
) -> ZarrSource | UnfoldedSource:
    """Open a Zarr array as a matrix."""
    if unfolding is None:
        return ZarrSource(array, location, streamed, names)
    boxes = ZarrBoxes(array)
    how = "read directly" if boxes.files else "read through zarr"
    kind = f"Zarr array in chunks of {' × '.join(map(str, boxes.chunks))}, {how}"
    names = names or names_kept(array)
    return UnfoldedSource(
        boxes, unfolding, kind, location, streamed, names_along((names.rows, names.columns), unfolding)
    )


def dimensions_of(array: zarr.Array[Any]) -> list[str] | None:
    """Return the names of the axes of an array, as written by xarray, or None."""
    names: Any = array.attrs.get("_ARRAY_DIMENSIONS") or getattr(array.metadata, "dimension_names", None)
    known = isinstance(names, (list, tuple)) and len(names) == array.ndim and None not in names
    return [str(name) for name in names] if known else None


class ChunkFiles:
    """The chunks of a local Zarr array of plain little-endian numbers, one file for each chunk."""

    def __init__(self, array: zarr.Array[Any], presence: Presence, root: Path) -> None:
        self.presence, self.root = presence, root
        self.fill = array.fill_value or 0
        self.shape, self.itemsize = tuple(map(int, array.chunks)), array.dtype.itemsize
        self.size = math.prod(self.shape) * self.itemsize

    @classmethod
    def of(cls, array: zarr.Array[Any], presence: Presence) -> "ChunkFiles | None":
        """Return the chunk files of an array, or None if it must be read through zarr."""
        root = plain_root(array)
        return None if root is None else cls(array, presence, root)

    def read(self, chunk: tuple[int, ...], offset: int, out: NDArray[Any]) -> list[str]:
        """Fill `out`, contiguous, from a byte of a chunk on; return the key of a chunk that is missing."""
        path = self.root / self.presence.key(chunk)
        if path.exists():
            read_into(path, offset, flat_bytes(out))
            return []
        out[...] = self.fill
        return [self.presence.key(chunk)]

    def read_box(self, chunk: tuple[int, ...], box: Box, out: NDArray[Any]) -> list[str]:
        """Fill `out` with a box of a chunk; return the key of a chunk that is missing."""
        path = self.root / self.presence.key(chunk)
        if path.exists():
            with opened(path) as descriptor:
                fill_box(descriptor, path, 0, self.shape, box, out)
            return []
        out[...] = self.fill
        return [self.presence.key(chunk)]

    def expect_box(self, chunk: tuple[int, ...], box: Box) -> None:
        """Ask the system to read a box of a chunk ahead."""
        expect_box(self.root / self.presence.key(chunk), 0, self.shape, box, self.itemsize)

    def expect(self, chunk: tuple[int, ...]) -> None:
        """Ask the system to read a chunk ahead."""
        expect_file(self.root / self.presence.key(chunk), 0, self.size)


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
