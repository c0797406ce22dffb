"""Write a sparse matrix as a Zarr group with the layout of a CSR or CSC matrix in AnnData.

attributes        encoding-type (csr_matrix or csc_matrix), encoding-version, shape
data, indices     values of the entries, and their indices along the other axis
indptr            start of each row (or column)
obs, var          frames with the names of rows and columns, if there are names
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import StoreLike

from dnmf.conversion.buckets import Part, Parts, sort_entries
from dnmf.conversion.compressors import compressors_for
from dnmf.conversion.job import Job
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.tiles import slices
from dnmf.sources.base import Axis, Source
from dnmf.sources.blocks import as_dtype, read_block
from dnmf.sources.formats.entry_list import Entries, Extent, read_through, warn_of_duplicates
from dnmf.sources.names import Names

CHUNK_ENTRIES = 2**20
# Entries of a block that are distributed at once.
AT_ONCE = 2**18


def write_sparse(source: Source, job: Job) -> None:
    """Write a compressed sparse matrix (m, n), block by block or, along the other axis, sorted on disk."""
    layout = source.layout
    now: Axis = "rows" if layout.transposed else "columns"
    by, total = job.by or now, layout.stored_bytes
    done, scratch = 0, Scratch()
    writer = Writer(job.draft, layout.user_shape, by, layout.dtype, job.compressor)
    if by == now:
        for block in range(layout.blocks):
            part = _stored(source, block, scratch)
            if block + 1 < layout.blocks:
                source.expect(block + 1)
            writer.add(np.diff(part.indptr), part.indices, part.data)
            done += layout.block_bytes(block)
            job.report(done, total)
    else:

        def parts() -> Iterator[Part]:
            for block in range(layout.blocks):
                part, columns = _stored(source, block, scratch), layout.columns(block)
                share = columns.stop / layout.shape[1]
                for piece in slices(max(1, part.nnz), AT_ONCE):
                    entries = np.arange(piece.start, min(piece.stop, part.nnz))
                    minor = columns.start + np.searchsorted(part.indptr, entries, side="right") - 1
                    yield Part(part.indices[piece].astype(np.int64), minor, part.data[piece], share)

        counts = Counts()
        for part in _reporting(parts, 0, total, job)():
            counts.add(part.major)
        _write_sorted(writer, parts, counts.upto(layout.shape[0]), total, job)
    writer.close(layout.names)


def _stored(source: Source, block: int, scratch: Scratch) -> Any:
    """Return a block in the dtype of the matrix."""
    layout = source.layout
    return as_dtype(read_block(source, block, scratch), layout.dtype, f"{layout.name(block)} of V")


def write_entries(entries: Entries, job: Job) -> None:
    """Write a list of entries, sorted on disk; those at the same place are added."""
    total = max(1, _size(Path(entries.address.place)))

    def parts(axis: Axis) -> Callable[[], Iterator[Part]]:
        def chosen() -> Iterator[Part]:
            for batch in entries.batches():
                major, minor = (batch.rows, batch.columns) if axis == "rows" else (batch.columns, batch.rows)
                yield Part(major, minor, batch.values, batch.share)

        return chosen

    def counted(entries: Entries) -> tuple[Extent, dict[Axis, Counts]]:
        extent, along = Extent(), {axis: Counts() for axis in get_args(Axis)}
        for part in _reporting(parts("rows"), 0, total, job)():
            extent.add(part.major, part.minor)
            extent.check(entries)
            # the longer axis may not be known before everything is read
            along["rows"].add(part.major)
            along["columns"].add(part.minor)
        return extent, along

    extent, along = read_through(entries, counted)
    shape = extent.shape_of(entries)
    by = job.by or ("rows" if shape[0] > shape[1] else "columns")
    counts = along[by].upto(shape[0] if by == "rows" else shape[1])
    writer = Writer(job.draft, shape, by, entries.dtype, job.compressor)
    _write_sorted(writer, parts(by), counts, total, job)
    warn_of_duplicates(entries, extent.count - writer.entries)
    writer.close(entries.names.checked(shape))


class Counts:
    """Number of entries of each row (or column), for a growing number of rows."""

    def __init__(self) -> None:
        self._counts = np.zeros(0, np.int64)

    def add(self, places: NDArray[np.int64]) -> None:
        """Count entries by their rows."""
        if not len(places):
            return
        top = int(places.max()) + 1
        if top > len(self._counts):
            self._counts = self.upto(max(top, 2 * len(self._counts)))
        if top < 8 * len(places):
            self._counts[:top] += np.bincount(places)
        else:
            found, times = np.unique(places, return_counts=True)
            self._counts[found] += times

    def upto(self, size: int) -> NDArray[np.int64]:
        """Return the counts of the first `size` rows."""
        counts = np.zeros(size, np.int64)
        counts[: len(self._counts)] = self._counts[:size]
        return counts


class Writer:
    """Write the arrays of a compressed sparse matrix, by whole chunks."""

    def __init__(
        self, draft: StoreLike, shape: tuple[int, int], by: Axis, dtype: np.dtype[Any], compressor: str
    ) -> None:
        kind = "csr_matrix" if by == "rows" else "csc_matrix"
        attributes = {"encoding-type": kind, "encoding-version": "0.1.0", "shape": list(shape)}
        self.group = zarr.create_group(draft, attributes=attributes)
        long = (shape[1] if by == "rows" else shape[0]) >= 2**31
        self._data = _Growing(self.group, "data", dtype, compressor)
        self._indices = _Growing(self.group, "indices", np.dtype(np.int64 if long else np.int32), compressor)
        self._counts: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]
        self._compressor = compressor

    @property
    def entries(self) -> int:
        """The number of entries that have been appended."""
        return sum(int(counts.sum()) for counts in self._counts)

    def add(self, counts: NDArray[Any], indices: NDArray[Any], data: NDArray[Any]) -> None:
        """Append rows (or columns): the number of entries of each, their indices along the other axis, and values."""
        self._counts.append(counts.astype(np.int64))
        self._indices.add(indices)
        self._data.add(data)

    def close(self, names: Names) -> None:
        """Write the remaining entries, `indptr` and the names."""
        self._data.close()
        self._indices.close()
        starts = _Growing(self.group, "indptr", np.dtype(np.int64), self._compressor)
        starts.add(np.cumsum(np.concatenate(self._counts)))
        starts.close()
        for frame, labels in (("obs", names.rows), ("var", names.columns)):
            if labels is not None:
                _write_names(self.group, frame, labels)


class _Growing:
    """A one-dimensional array that is appended to, by whole chunks until it is closed."""

    def __init__(self, group: zarr.Group, name: str, dtype: np.dtype[Any], compressor: str) -> None:
        self._group, self._name, self._dtype, self._compressor = group, name, dtype, compressor
        self._array: Any = None
        self._waiting: list[NDArray[Any]] = []
        self._count, self._written = 0, 0

    def add(self, values: NDArray[Any]) -> None:
        # a copy: a block is valid until the next one is read
        self._waiting.append(values.astype(self._dtype))
        self._count += len(values)
        if self._count >= CHUNK_ENTRIES:
            whole = np.concatenate(self._waiting)
            full = len(whole) // CHUNK_ENTRIES * CHUNK_ENTRIES
            self._write(whole[:full])
            self._waiting, self._count = [whole[full:].copy()], len(whole) - full

    def close(self) -> None:
        rest = np.concatenate([np.zeros(0, self._dtype), *self._waiting])
        if len(rest) or self._array is None:
            self._write(rest)

    def _write(self, values: NDArray[Any]) -> None:
        if self._array is None:
            self._array = self._group.create_array(
                self._name,
                shape=(0,),
                chunks=(max(1, min(len(values), CHUNK_ENTRIES)),),
                dtype=self._dtype,
                compressors=compressors_for(self._compressor, values[:CHUNK_ENTRIES]),
                filters=None,
            )
        self._array.resize((self._written + len(values),))
        if len(values):
            self._array[self._written :] = values
        self._written += len(values)


def _write_sorted(writer: Writer, parts: Parts, counts: NDArray[np.int64], total: int, job: Job) -> None:
    """Sort and write entries that have been counted; counting, reading and writing are a third of the work each."""
    done = 0
    for found in sort_entries(_reporting(parts, 1, total, job), counts, job.memory, job.folder):
        writer.add(*found)
        done += len(found[0])
        job.report(2 * total + total * done // len(counts), 3 * total)


def _reporting(parts: Parts, third: int, total: int, job: Job) -> Parts:
    """Return parts that report the progress of a third of the work."""

    def reported() -> Iterator[Part]:
        for part in parts():
            job.report(third * total + int(total * part.share), 3 * total)
            yield part

    return reported


def _write_names(group: zarr.Group, frame: str, names: NDArray[Any]) -> None:
    """Write names as AnnData writes a data frame without columns."""
    attributes = {
        "encoding-type": "dataframe",
        "encoding-version": "0.2.0",
        "_index": "_index",
        "column-order": [],
    }
    held = group.create_group(frame, attributes=attributes)
    array: Any = held.create_array(
        "_index", shape=names.shape, dtype="string", chunks=(min(len(names), CHUNK_ENTRIES),)
    )
    array.update_attributes({"encoding-type": "string-array", "encoding-version": "0.2.0"})
    array[...] = names


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size
