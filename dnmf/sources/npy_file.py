"""A `.npy` file, read in the task and never mapped: a file cut short is an error, not a crash."""

from pathlib import Path
from typing import Any

import numpy as np

from dnmf.errors import DataError, ReadError
from dnmf.kernels.panels import Block, work_dtype
from dnmf.kernels.scratch import Scratch
from dnmf.sources.files import expect_file, fill, opened, read_into
from dnmf.sources.layout import Axis, Elsewhere, Layout, check_shape, uncut_bounds


class NpySource(Elsewhere):
    """A matrix in NumPy's own file format."""

    def __init__(self, path: Path, streamed: Axis | None = None) -> None:
        self.path = path.absolute()
        header, in_columns, dtype, self.offset = _header(self.path)
        shape = check_shape(header, str(path))
        work_dtype(dtype)
        expected = self.offset + shape[0] * shape[1] * dtype.itemsize
        if self.path.stat().st_size < expected:
            raise ReadError(
                f"{path} is truncated: it has {self.path.stat().st_size} bytes and its header promises {expected}. "
                "Write it again from its origin."
            )
        transposed = _streams_rows(shape, not in_columns) if streamed is None else streamed == "rows"
        cut = shape[::-1] if transposed else shape
        self.together = in_columns != transposed
        bounds = uncut_bounds(cut, dtype)
        self.layout = Layout(
            shape=cut,
            dtype=dtype,
            bounds=bounds,
            transposed=transposed,
            read_bytes=cut[0] * bounds[1] * dtype.itemsize,
            stored_bytes=shape[0] * shape[1] * dtype.itemsize,
            sparse=False,
            on_disk=True,
            kind=".npy file",
            location=str(self.path),
        )

    def read(self, block: int, scratch: Scratch) -> Block:
        """Read a block; where its columns are spread over the file, row by row."""
        rows, columns = self.layout.shape
        chosen = self.layout.columns(block)
        width = chosen.stop - chosen.start
        size = self.layout.dtype.itemsize
        if self.together:
            block_T = scratch.array("block", (width, rows), self.layout.dtype)
            read_into(self.path, self.offset + chosen.start * rows * size, _bytes(block_T))
            return block_T.T
        part = scratch.array("block", (rows, width), self.layout.dtype)
        with opened(self.path) as descriptor:
            for row in range(rows):
                fill(descriptor, self.path, self.offset + (row * columns + chosen.start) * size, _bytes(part[row]))
        return part

    def expect(self, block: int) -> None:
        """Ask the system to read ahead, where a block is one stretch of the file."""
        if self.together:
            start = self.layout.bounds[block] * self.layout.shape[0] * self.layout.dtype.itemsize
            expect_file(self.path, self.offset + start, self.layout.read_bytes)


def _bytes(array: Any) -> Any:
    return array.reshape(-1).view(np.uint8)


def _streams_rows(shape: tuple[int, int], rows_are_near: bool) -> bool:
    """Say whether to stream the rows: the longer axis, unless the lengths are alike.

    The factor of the axis that is not streamed is held whole, so that axis should be the short one. Where they
    differ by less than 4 times, the axis whose neighbours lie together in the file is read much faster.

    >>> _streams_rows((20000, 2000), rows_are_near=True), _streams_rows((2000, 10**6), rows_are_near=True)
    (True, False)
    """
    rows, columns = shape
    if 4 * columns <= rows:
        return True
    return rows_are_near and columns < 4 * rows


def _header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, whether columns lie together, dtype and where the data start."""
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, in_columns, dtype = read(file)
            return shape, in_columns, dtype, file.tell()
    except ValueError as error:
        raise DataError(f"{path} is no .npy file ({error}); write it with numpy.save.") from error
