"""Contiguous numbers in a file: `.npy`, raw numbers, and uncompressed arrays of other formats.

They are read in the task and never mapped into memory: a truncated file is an error, not a crash.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError, ReadError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block, work_dtype
from dnmf.sources.addresses import Address
from dnmf.sources.base import Axis, Layout, SharedSource, check_shape
from dnmf.sources.bounds import streams_long, uncut_bounds
from dnmf.sources.boxes import UnfoldedSource
from dnmf.sources.formats.raw_bytes import PART, expect_box, expect_file, fill, fill_box, opened, read_into
from dnmf.sources.names import NO_NAMES, Names
from dnmf.sources.slabs import Box
from dnmf.sources.unfolding import Unfolding, unfolding_of

RAW = re.compile(r"(?P<dtype>[^,]+),(?P<shape>\d+(x\d+)+)(,(?P<order>[CF]))?(,(?P<offset>\d+))?")


class Plain(NamedTuple):
    """The position of contiguous numbers in a file, with the last axis varying fastest, or the first one."""

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    in_columns: bool

    def check_size(self) -> None:
        """Raise ReadError if the file is too short for the numbers."""
        has, needs = self.path.stat().st_size, self.offset + math.prod(self.shape) * self.dtype.itemsize
        if has < needs:
            raise ReadError(
                f"{self.path} is truncated: it has {has} bytes and its header promises {needs}. Write it again from "
                "its origin."
            )


class FileSource(SharedSource):
    """A matrix of contiguous numbers in a file."""

    def __init__(
        self, numbers: Plain, kind: str, location: str, streamed: Axis | None = None, names: Names = NO_NAMES
    ) -> None:
        self.numbers = numbers
        _, _, given, dtype, in_columns = numbers
        shape = check_shape(given, location)
        work_dtype(dtype)
        numbers.check_size()
        transposed = streams_long(shape, not in_columns) if streamed is None else streamed == "rows"
        cut = shape[::-1] if transposed else shape
        self.together = in_columns != transposed
        self.layout = Layout.of_file(
            shape, dtype, uncut_bounds(cut, dtype), transposed, kind=kind, location=location, names=names
        )

    def read(self, block: int, scratch: Scratch) -> Block:
        """Read a block, row by row if its columns are not contiguous in the file."""
        rows, columns = self.layout.shape
        path, offset = self.numbers.path, self.numbers.offset
        chosen = self.layout.columns(block)
        width = chosen.stop - chosen.start
        size = self.layout.dtype.itemsize
        if self.together:
            block_T = scratch.array("block", (width, rows), self.layout.dtype)
            read_into(path, offset + chosen.start * rows * size, flat_bytes(block_T))
            return block_T.T
        part = scratch.array("block", (rows, width), self.layout.dtype)
        with opened(path) as descriptor:
            for row in range(rows):
                fill(descriptor, path, offset + (row * columns + chosen.start) * size, flat_bytes(part[row]))
        return part

    def expect(self, block: int) -> None:
        """Ask the system to read ahead, if a block is contiguous in the file."""
        if self.together:
            start = self.layout.bounds[block] * self.layout.shape[0] * self.layout.dtype.itemsize
            expect_file(self.numbers.path, self.numbers.offset + start, self.layout.read_bytes)

    @property
    def array(self) -> "FileBoxes":
        """The user's matrix, of which any region can be read."""
        return FileBoxes(self.numbers)


class FileBoxes:
    """An array of contiguous numbers in a file, of which any box can be read."""

    anywhere, in_memory = True, False

    def __init__(self, numbers: Plain) -> None:
        work_dtype(numbers.dtype)
        numbers.check_size()
        self.numbers, self.shape, self.dtype, self.fortran = numbers, numbers.shape, numbers.dtype, numbers.in_columns
        self.chunks = (1,) * len(self.shape)

    def read(self, box: Box, scratch: Scratch) -> NDArray[Any]:
        """Read a box, run by run."""
        path, offset, shape, dtype, backwards = self.numbers
        box, shape = (box[::-1], shape[::-1]) if backwards else (box, shape)
        out = scratch.array("block", tuple(stop - start for start, stop in box), dtype)
        with opened(path) as descriptor:
            fill_box(descriptor, path, offset, shape, box, out)
        return out.T if backwards else out

    def __getitem__(self, region: tuple[slice, ...]) -> NDArray[Any]:
        """Read a region, of which every slice has a start and a stop."""
        return self.read(tuple((edges.start, edges.stop) for edges in region), Scratch())

    def expect(self, box: Box) -> None:
        """Ask the system to read a box ahead."""
        path, offset, shape, dtype, backwards = self.numbers
        box, shape = (box[::-1], shape[::-1]) if backwards else (box, shape)
        expect_box(path, offset, shape, box, dtype.itemsize)

    def read_bytes(self, extent: Sequence[int]) -> int:
        """Return the memory of a box."""
        return math.prod(extent) * self.dtype.itemsize + PART


def file_source(
    numbers: Plain,
    kind: str,
    location: str,
    streamed: Axis | None,
    names: Names = NO_NAMES,
    unfolding: Unfolding | None = None,
) -> "FileSource | UnfoldedSource":
    """Open contiguous numbers in a file as a matrix."""
    if unfolding is None:
        return FileSource(numbers, kind, location, streamed, names)
    return UnfoldedSource(FileBoxes(numbers), unfolding, kind, location, streamed, names)


def flat_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the bytes of a contiguous array."""
    return array.reshape(-1).view(np.uint8)


def open_npy(address: Address, streamed: Axis | None = None) -> FileSource | UnfoldedSource:
    """Open a file in NumPy's own format."""
    path = Path(address.place)
    shape, in_columns, dtype, offset = header(path)
    unfolding = unfolding_of(shape, address.axes, None, address.array)
    numbers = Plain(path, offset, shape, dtype, in_columns)
    return file_source(numbers, ".npy file", str(address), streamed, unfolding=unfolding)


def open_raw(address: Address, streamed: Axis | None = None) -> FileSource | UnfoldedSource:
    """Open numbers without a header, described by the part of their address: dtype, shape, order and offset.

    Raises
    ------
    DataError
        If the part does not, or the file has another size.
    """
    path = Path(address.place)
    found = RAW.fullmatch(address.part or "")
    try:
        dtype = np.dtype(found["dtype"]) if found else None
    except TypeError:
        dtype = None
    if found is None or dtype is None:
        raise DataError(
            f"{address} does not describe its numbers; give their type and shape, as "
            f"{path.name}::float32,2000x1000, then ,F if they are stored column by column, then the number of bytes "
            "before the first one, if any."
        )
    shape, offset = tuple(map(int, found["shape"].split("x"))), int(found["offset"] or 0)
    numbers = Plain(path, offset, shape, dtype, found["order"] == "F")
    has, needs = path.stat().st_size, offset + math.prod(shape) * dtype.itemsize
    if has != needs:
        raise DataError(
            f"{path} has {has} bytes, and {' × '.join(map(str, shape))} numbers of {dtype} after {offset} bytes take "
            f"{needs}; give their true type, shape and offset."
        )
    unfolding = unfolding_of(shape, address.axes, None, address.array)
    kind = f"raw {'columns' if numbers.in_columns else 'rows'}" if unfolding is None else "raw numbers"
    return file_source(numbers, kind, str(address), streamed, unfolding=unfolding)


def header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return the shape, whether columns are contiguous, the dtype and the offset of the data of a `.npy` file."""
    try:
        with open(path, "rb") as file:
            shape, in_columns, dtype = npy_header(file)
            return shape, in_columns, dtype, file.tell()
    except ValueError as error:
        raise DataError(f"{path} is not a .npy file ({error}); write it with numpy.save.") from error


def npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an array in NumPy's format, up to its numbers."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)
