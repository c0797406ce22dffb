"""Compressed sparse matrices, CSR or CSC, in a file or a store: a block is a run of their rows or columns."""

from typing import NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dnmf.errors import DataError, ReadError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block, work_dtype
from dnmf.sources.addresses import convert_command
from dnmf.sources.base import Axis, Layout, check_shape
from dnmf.sources.bounds import entry_bounds
from dnmf.sources.formats.stored_vectors import Vector
from dnmf.sources.memory import as_columns
from dnmf.sources.names import NO_NAMES, Names
from dnmf.sources.read_errors import reading, reading_part
from dnmf.sources.reopened import ReopenableSource


class Compressed(NamedTuple):
    """The parts of a sparse matrix that is compressed by its rows (CSR) or its columns (CSC)."""

    shape: tuple[int, int]
    by: Axis
    data: Vector
    indices: Vector
    starts: Vector


class CompressedSource(ReopenableSource):
    """A sparse matrix on a disk or in an object store, read along the axis of its compression.

    The starts of its rows (or columns) are held in memory; the entries are read when they are needed.
    """

    def __init__(
        self,
        stored: Compressed,
        what: str,
        location: str | None,
        streamed: Axis | None = None,
        names: Names = NO_NAMES,
    ) -> None:
        form = "CSR" if stored.by == "rows" else "CSC"
        where = location or what
        if streamed not in (None, stored.by):
            command = convert_command(location or "V", streamed)
            raise DataError(
                f"{where} is compressed by its {stored.by} ({form}) and was to be read in blocks of {streamed}, each "
                f"of which would take a read of all of it; rewrite it with: {command}"
            )
        shape = check_shape(stored.shape, where)
        dtype = work_dtype(stored.data.dtype)
        # SciPy lacks float16, and needs native byte order
        kept = dtype if stored.data.dtype == np.float16 else stored.data.dtype.newbyteorder("=")
        transposed = stored.by == "rows"
        cut = shape[::-1] if transposed else shape
        self.data, self.indices = stored.data, stored.indices
        self.starts = _checked_starts(stored, cut[1], where, location)
        entries = int(self.starts[-1])
        entry_bytes = stored.data.dtype.itemsize + stored.indices.dtype.itemsize
        bounds = entry_bounds(self.starts, dtype.itemsize + stored.indices.dtype.itemsize)
        largest = int(np.diff(self.starts[list(bounds)]).max())
        self.layout = Layout(
            shape=cut,
            dtype=kept,
            bounds=bounds,
            transposed=transposed,
            # decoders, casts and the sorting of entries take as much as a block again, and the last chunk is kept
            read_bytes=2 * largest * (kept.itemsize + stored.indices.dtype.itemsize)
            + 2 * sum(getattr(vector, "kept_bytes", 0) for vector in (stored.data, stored.indices)),
            stored_bytes=entries * entry_bytes + self.starts.nbytes,
            sparse=True,
            on_disk=True,
            kind=f"{what}, {form} of {entries} stored entries",
            location=location,
            names=names.checked(shape),
            held_bytes=self.starts.nbytes,
        )

    @property
    def entries(self) -> int:
        """Number of stored entries."""
        return int(self.starts[-1])

    def read(self, block: int, scratch: Scratch) -> Block:
        """Read the columns of a block, as streamed."""
        columns = self.layout.columns(block)
        starts = self.starts[columns.start : columns.stop + 1]
        first, count = int(starts[0]), int(starts[-1] - starts[0])
        height = self.layout.shape[0]
        data = scratch.array("block", (count,), self.data.dtype)
        rows = scratch.array("rows", (count,), self.indices.dtype)
        with reading(self.layout, block):
            self.data.read(first, data)
            self.indices.read(first, rows)
        if count and (int(rows.min()) < 0 or int(rows.max()) >= height):
            raise ReadError(
                f"{self.layout.name(block)} of {self.layout.location} is damaged: an entry is at index {rows.max()} or "
                f"{rows.min()}, and there are {height}. Write it again from its origin."
            )
        data = data.astype(self.layout.dtype, copy=False)
        part = scipy.sparse.csc_array((height, len(starts) - 1), dtype=data.dtype)
        part.data, part.indices = data, rows if rows.dtype in ("int32", "int64") else rows.astype(np.int64)
        part.indptr = (starts - first).astype(part.indices.dtype)
        # SciPy would copy a view of a larger buffer
        return part if part.has_canonical_format else as_columns(part)

    def expect(self, block: int) -> None:
        """Take a hint that a block will be read soon."""
        columns = self.layout.columns(block)
        first, last = int(self.starts[columns.start]), int(self.starts[columns.stop])
        if last > first:
            self.data.expect(first, last)
            self.indices.expect(first, last)


def _checked_starts(stored: Compressed, columns: int, where: str, location: str | None) -> NDArray[np.int64]:
    """Read the starts of the columns, and check them."""
    if stored.starts.size != columns + 1:
        raise DataError(
            f"{where} is damaged: its indptr has {stored.starts.size} entries, and its shape needs {columns + 1}. "
            "Write it again from its origin."
        )
    starts = np.empty(columns + 1, stored.starts.dtype)
    with reading_part(f"indptr of {where}", location):
        stored.starts.read(0, starts)
    starts = starts.astype(np.int64, copy=False)
    sizes = {stored.data.size, stored.indices.size, int(starts[-1])}
    if len(sizes) > 1 or starts[0] != 0 or (np.diff(starts) < 0).any():
        raise DataError(
            f"{where} is damaged: its indptr goes from {starts[0]} to {starts[-1]}, its indices and data are "
            f"{stored.indices.size} and {stored.data.size}. Write it again from its origin."
        )
    if stored.indices.dtype.kind not in "iu":
        raise DataError(f"{where} has indices of dtype {stored.indices.dtype}; they must be integers.")
    return starts
