"""`.npz` files of sparse matrices, as written by `scipy.sparse.save_npz`.

The arrays of a file that was saved with `compressed=False` are read by blocks. A compressed file can only be read as a
whole, into memory, if it is small.
"""

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from dnmf.errors import DataError
from dnmf.kernels.blocks.panels import work_dtype
from dnmf.sources.addresses import Address
from dnmf.sources.base import Axis, Source
from dnmf.sources.formats.compressed_sparse import Compressed, CompressedSource
from dnmf.sources.formats.entry_list import Batch, check_held, held
from dnmf.sources.formats.raw_array import npy_header
from dnmf.sources.formats.stored_vectors import FileVector
from dnmf.sources.memory import SparseSource, read_into_memory, sparse_source
from dnmf.sources.names import NO_NAMES, Names
from dnmf.sources.read_errors import parsing

WHAT = ".npz file of a sparse matrix"
BATCH = 2**20
# The bytes of a local header of a zip file before its name; four of them are the lengths of the name and extra field.
LOCAL = 30


class NpzEntries:
    """The coordinates in an `.npz` file that is not compressed, as a list of entries."""

    names: Names = NO_NAMES
    what = ".npz coordinates"
    naming = "write them as texts"

    def __init__(self, address: Address) -> None:
        self.address = address
        self.shape: tuple[int, int] | None = shape_in(address)
        self._parts = [vector_in(address, name) for name in ("row", "col", "data")]
        self.count: int | None = self._parts[0].size
        self.dtype = work_dtype(self._parts[2].dtype)

    def batches(self) -> Iterator[Batch]:
        """Read the entries."""
        count = self._parts[0].size
        for start in range(0, count, BATCH):
            found = [np.empty(min(BATCH, count - start), part.dtype) for part in self._parts]
            for part, room in zip(self._parts, found, strict=True):
                part.read(start, room)
            rows, columns, values = found
            yield Batch(
                rows.astype(np.int64),
                columns.astype(np.int64),
                values.astype(self.dtype),
                min(1.0, (start + BATCH) / count),
            )


def open_npz(address: Address, streamed: Axis | None = None) -> Source:
    """Open a sparse matrix in an `.npz` file.

    Raises
    ------
    NotInPlace
        If it is compressed or a list of coordinates, and too large.
    """
    kind, packed, entries = kind_of(address)
    if not packed and kind == "coo":
        return held(NpzEntries(address), streamed)
    if not packed:
        parts = [vector_in(address, name) for name in ("data", "indices", "indptr")]
        by: Axis = "rows" if kind == "csr" else "columns"
        return CompressedSource(Compressed(shape_in(address), by, *parts), ".npz file", str(address), streamed)
    rows, columns = shape_in(address)
    facts = f"{rows} × {columns}, compressed .npz file of {entries} entries"
    check_held(address, entries, f"a compressed file of {entries} entries", facts, "save it with compressed=False, or ")
    with parsing(address, WHAT):
        matrix = scipy.sparse.load_npz(address.place)
    source = sparse_source(matrix, streamed) if kind == "coo" else SparseSource(matrix, streamed)
    return read_into_memory(source, f".npz file of {entries} stored entries", str(address))


def unpacked(address: Address, folder: Path) -> Address:
    """Decompress the arrays of a file into a folder, and return their address."""
    target = folder / "unpacked.npz"
    with parsing(address, WHAT), zipfile.ZipFile(address.place) as archive, zipfile.ZipFile(target, "w") as plain:
        for name in archive.namelist():
            with archive.open(name) as packed, plain.open(name, "w", force_zip64=True) as file:
                shutil.copyfileobj(packed, file, 2**20)
    return Address(str(target))


def kind_of(address: Address) -> tuple[str, bool, int]:
    """Return the format of a sparse matrix, whether it is compressed, and its number of entries."""
    with parsing(address, WHAT), zipfile.ZipFile(address.place) as archive:
        names = set(archive.namelist())
        if not {"format.npy", "shape.npy", "data.npy"} <= names:
            raise DataError(
                f"{address} holds {', '.join(sorted(name.removesuffix('.npy') for name in names)) or 'nothing'}, not "
                "a sparse matrix; save one with scipy.sparse.save_npz, or a dense one with numpy.save; or give "
                f"numpy.load({address.place!r})[name]."
            )
        kind = _array_in(archive, "format").item()
        with archive.open("data.npy") as file:
            entries = int(np.prod(npy_header(file)[0]))
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    if kind not in ("csr", "csc", "coo"):
        raise DataError(f"{address} is sparse in {kind} form; save it as CSR, CSC or COO, as by V.tocsr().")
    return kind, packed, entries


def shape_in(address: Address) -> tuple[int, int]:
    """Return the shape of the matrix."""
    with parsing(address, WHAT), zipfile.ZipFile(address.place) as archive:
        rows, columns = (int(size) for size in _array_in(archive, "shape"))
    return rows, columns


def vector_in(address: Address, name: str) -> FileVector:
    """Return the position in the file of an array that is not compressed."""
    path = Path(address.place)
    with parsing(address, WHAT), zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        file.seek(archive.getinfo(f"{name}.npy").header_offset)
        local = file.read(LOCAL)
        lengths = (int.from_bytes(local[at : at + 2], "little") for at in (26, 28))
        file.seek(sum(lengths), 1)
        shape, _, dtype = npy_header(file)
        return FileVector(path, file.tell(), int(shape[0]), dtype)


def _array_in(archive: zipfile.ZipFile, name: str) -> Any:
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)
