"""Numbers in HDF5 datasets, read without the HDF5 library, which admits one thread at a time.

The library is asked once for the offsets of the bytes. Contiguous datasets are read directly; chunks are inflated and
unshuffled here, in several threads at once. Datasets with other filters, as LZF, are read through the library.
"""

import itertools
import math
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import ReadError, needed
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.sources.base import Axis, Layout, check_shape
from dnmf.sources.bounds import cut_tiles
from dnmf.sources.formats.hdf5_filters import check_filters, filters_of, unshuffled
from dnmf.sources.formats.raw_array import flat_bytes
from dnmf.sources.formats.raw_bytes import fill, opened
from dnmf.sources.names import NO_NAMES, Names
from dnmf.sources.read_errors import reading
from dnmf.sources.reopened import ReopenableSource

# The numbers of filters in HDF5.
DEFLATE, SHUFFLE = 1, 2
MOST_CHUNKS = 10**7


class Hdf5Array:
    """The numbers of a dataset.

    Attributes
    ----------
    offset
        The offset of the numbers in the file if they are contiguous, or None.
    table
        Offset, size and mask of skipped filters of each chunk of the grid, or None if the dataset is read through the
        library.
    """

    def __init__(self, path: Path, dataset: Any) -> None:
        h5py = needed("h5py", "HDF5")
        check_filters(dataset)
        self.path, self.name = path, dataset.name
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype = np.dtype(dataset.dtype.str)
        self.chunks: tuple[int, ...] | None = dataset.chunks
        self.offset: int | None = None
        self.table: NDArray[np.int64] | None = None
        created, file = dataset.id.get_create_plist(), dataset.file
        self.filters = filters_of(dataset)
        plain = (
            file.driver == "sec2"
            and created.get_external_count() == 0
            and h5py.h5t.py_create(self.dtype) == dataset.id.get_type()
        )
        kind = created.get_layout()
        if plain and kind == h5py.h5d.CONTIGUOUS:
            self.offset = dataset.id.get_offset()
        elif plain and kind == h5py.h5d.CHUNKED and set(self.filters) <= {DEFLATE, SHUFFLE}:
            self.table = _chunk_table(dataset)
            self.empty = dataset.fillvalue
        if file.userblock_size and not self._is_found(dataset, file.userblock_size):
            self.offset = self.table = None

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def direct(self) -> bool:
        """Whether it is read without the library."""
        return self.offset is not None or self.table is not None

    def read(self, first: int | Sequence[int], out: NDArray[Any]) -> None:
        """Fill `out`, contiguous and of the stored dtype, with the entries from `first` on along every axis."""
        corner = (first,) if isinstance(first, int) else tuple(first)
        if self.table is not None:
            with opened(self.path) as descriptor:
                for place in itertools.product(*self._places(corner, out.shape)):
                    self._take(descriptor, place, corner, out)
        else:
            chosen = tuple(slice(start, start + size) for start, size in zip(corner, out.shape, strict=True))
            with needed("h5py", "HDF5").File(self.path, "r") as file:
                file[self.name].read_direct(out, chosen)

    def __getitem__(self, chosen: tuple[slice, slice]) -> NDArray[Any]:
        ranges = [range(size)[part] for size, part in zip(self.shape, chosen, strict=True)]
        out = np.empty([len(part) for part in ranges], self.dtype)
        self.read([part.start for part in ranges], out)
        return out

    def expect(self, start: int | Sequence[int], stop: int | Sequence[int]) -> None:
        """Ask the system to read the entries between two corners ahead."""
        if self.table is None or not hasattr(os, "posix_fadvise"):
            return
        low = (start,) if isinstance(start, int) else tuple(start)
        high = (stop,) if isinstance(stop, int) else tuple(stop)
        places = self._places(low, [b - a for a, b in zip(low, high, strict=True)])
        stretches = self.table[np.ix_(*places)].reshape(-1, 3)[:, :2]
        with opened(self.path) as descriptor:
            for offset, length in _joined(stretches):
                os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_WILLNEED)

    def _is_found(self, dataset: Any, shift: int) -> bool:
        """Return whether the offsets in a file with a user block count from the start of the file.

        Releases of the library differ, so that known bytes are compared with those at the offset, and after the block.
        """
        if self.table is not None:
            places = np.argwhere(self.table[..., 1] > 0)
            if not len(places):
                return True
            offset = int(self.table[tuple(places[0])][0])
            expected = dataset.id.read_direct_chunk(tuple(map(int, places[0] * dataset.chunks)))[1]
        elif self.offset is not None and self.size:
            offset, expected = self.offset, np.asarray(dataset[:1]).tobytes()
        else:
            return False
        with open(self.path, "rb") as file:
            here, there = (bytes(file.read(len(expected))) for _ in map(file.seek, (offset, offset + shift)))
        return here == bytes(expected) != there

    def _places(self, corner: Sequence[int], extent: Sequence[int]) -> list[range]:
        """Return the positions in the grid of the chunks that overlap a region."""
        axes = zip(corner, extent, self.chunks or (), strict=True)
        return [range(start // chunk, -(-(start + size) // chunk)) for start, size, chunk in axes]

    def _take(self, descriptor: int, place: tuple[int, ...], corner: tuple[int, ...], out: NDArray[Any]) -> None:
        """Fill the part of a region that is in one chunk."""
        chunks, table = self.chunks or (), self.table
        assert table is not None
        offset, size, mask = (int(value) for value in table[place])
        here, there = [], []
        for index, chunk, start, extent in zip(place, chunks, corner, out.shape, strict=True):
            low, high = max(index * chunk, start), min((index + 1) * chunk, start + extent)
            here.append(slice(low - index * chunk, high - index * chunk))
            there.append(slice(low - start, high - start))
        target = out[tuple(there)]
        if size == 0:
            target[...] = self.empty
        elif len(chunks) == 1 and not self.filters:
            fill(descriptor, self.path, offset + here[0].start * self.dtype.itemsize, flat_bytes(target))
        else:
            raw = np.empty(size, np.uint8)
            fill(descriptor, self.path, offset, raw)
            target[...] = self._decoded(raw, mask, place)[tuple(here)]

    def _decoded(self, raw: Any, mask: int, place: tuple[int, ...]) -> NDArray[Any]:
        """Decode a chunk from its bytes, by undoing the filters in reverse order."""
        itemsize, expected = self.dtype.itemsize, math.prod(self.chunks or ()) * self.dtype.itemsize
        try:
            for number, code in reversed(list(enumerate(self.filters))):
                if mask >> number & 1:
                    continue
                if code == DEFLATE:
                    raw = np.frombuffer(zlib.decompress(raw, bufsize=expected), np.uint8)
                else:
                    raw = unshuffled(raw, itemsize)
        except (zlib.error, ValueError):
            raw = raw[:0]
        if len(raw) != expected:
            raise ReadError(
                f"{self.path} is damaged: chunk {place} of {self.name} cannot be unpacked. Write it again from its "
                "origin."
            )
        unpacked: NDArray[Any] = raw.view(self.dtype).reshape(self.chunks)
        return unpacked


class Hdf5Source(ReopenableSource):
    """A dense matrix in an HDF5 dataset that is stored in chunks; a block is a run of whole chunks.

    `in_columns` is set if the dataset holds the transpose of the matrix.
    """

    def __init__(
        self,
        array: Hdf5Array,
        what: str,
        location: str,
        streamed: Axis | None = None,
        names: Names = NO_NAMES,
        in_columns: bool = False,
    ) -> None:
        order = -1 if in_columns else 1
        shape = check_shape(array.shape[::order], location)
        tiles = (array.chunks or (1, 1))[::order]
        transposed, bounds = cut_tiles(shape, (tiles[0], tiles[1]), array.dtype, streamed)
        self.stored, self.turned = array, in_columns != transposed
        self.array = Turned(array) if in_columns else array
        across = shape[1 if transposed else 0]
        self.layout = Layout.of_file(
            shape,
            array.dtype,
            bounds,
            transposed,
            read_bytes=(across * bounds[1] + 3 * math.prod(tiles)) * array.dtype.itemsize,
            kind=f"{what}, {f'chunks of {tiles[0]} × {tiles[1]}' if array.chunks else 'contiguous'}, "
            f"{'read directly' if array.direct else 'read through h5py'}",
            location=location,
            names=names,
            held_bytes=0 if array.table is None else array.table.nbytes,
        )

    def read(self, block: int, scratch: Scratch) -> Block:
        """Read the chunks of a block into one buffer."""
        low, high = self._corners(block)
        out = scratch.array("block", (high[0] - low[0], high[1] - low[1]), self.layout.dtype)
        with reading(self.layout, block, "the chunk is damaged, or its file cannot be reached"):
            self.stored.read(low, out)
        return out.T if self.turned else out

    def expect(self, block: int) -> None:
        """Ask the system to read a block ahead."""
        if self.stored.table is not None:
            self.stored.expect(*self._corners(block))

    def _corners(self, block: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the start and the stop of a block along both axes, in the orientation of the file."""
        columns, rows = self.layout.columns(block), self.layout.shape[0]
        if self.turned:
            return (columns.start, 0), (columns.stop, rows)
        return (0, columns.start), (rows, columns.stop)


class Turned:
    """The transpose of the numbers of a dataset."""

    def __init__(self, array: Hdf5Array) -> None:
        self.array = array

    def __getitem__(self, chosen: tuple[slice, slice]) -> NDArray[Any]:
        return self.array[chosen[::-1]].T


def array_of(dataset: Any) -> Hdf5Array:
    """Return the numbers of a dataset; a link may lead to another file."""
    return Hdf5Array(Path(dataset.file.filename), dataset)


def _chunk_table(dataset: Any) -> NDArray[np.int64] | None:
    """Return the offsets of the chunks of a dataset; None for too many chunks, or an old library."""
    chunks = dataset.chunks
    grid = [-(-size // chunk) for size, chunk in zip(dataset.shape, chunks, strict=True)]
    if not hasattr(dataset.id, "chunk_iter") or math.prod(grid) > MOST_CHUNKS:
        return None
    table = np.zeros((*grid, 3), np.int64)

    def note(found: Any) -> None:
        place = tuple(start // chunk for start, chunk in zip(found.chunk_offset, chunks, strict=True))
        table[place] = found.byte_offset, found.size, found.filter_mask

    dataset.id.chunk_iter(note)
    return table


def _joined(stretches: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Join adjacent stretches of a file, given as offset and length.

    >>> _joined(np.array([[0, 5], [20, 2], [5, 5]]))
    [(0, 10), (20, 2)]
    """
    found: list[tuple[int, int]] = []
    for offset, length in sorted(map(tuple, stretches.tolist())):
        if found and sum(found[-1]) >= offset:
            found[-1] = found[-1][0], offset + length - found[-1][0]
        elif length:
            found.append((offset, length))
    return found
