"""`.npz` files: sparse matrices, as written by `scipy.sparse.save_npz`, and arrays, as written by `numpy.savez`.

Arrays that are not compressed (`compressed=False`, or `numpy.savez`) are read by blocks. Compressed ones can only be
read as a whole, into memory, if they are small.
"""

import math
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from dnmf.errors import DataError
from dnmf.kernels.blocks.panels import work_dtype
from dnmf.sources.addresses import MARK, Address, NotInPlace
from dnmf.sources.base import Axis, Source
from dnmf.sources.formats.compressed_sparse import Compressed, CompressedSource
from dnmf.sources.formats.entry_list import Batch, check_held, held
from dnmf.sources.formats.raw_array import Plain, file_source, header, npy_header
from dnmf.sources.formats.stored_vectors import FileVector
from dnmf.sources.memory import SparseSource, array_read, read_into_memory, sparse_source
from dnmf.sources.names import NO_NAMES, Names
from dnmf.sources.read_errors import parsing
from dnmf.sources.unfolding import unfolding_of

WHAT = ".npz file"
SPARSE = {"format", "shape", "data"}
BATCH = 2**20
# The bytes of a local header of a zip file before its name; four of them are the lengths of the name and extra field.
LOCAL = 30


class NpzEntries:
    """The coordinates in an `.npz` file that is not compressed, as a list of entries."""

    names: Names = NO_NAMES
    what = ".npz coordinates"

    def __init__(self, address: Address) -> None:
        self.address = address
        self.shape: tuple[int, int] | None = shape_in(address)
        self._parts = [vector_in(address, name) for name in ("row", "col", "data")]
        self.count: int | None = self._parts[0].size
        self.dtype = work_dtype(self._parts[2].dtype)

    def naming(self, axes: Sequence[int] = (0, 1)) -> str:
        """Return advice for numbers that are names."""
        return "write them as texts"

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


class Stored(NamedTuple):
    """A dense array in a file."""

    name: str
    shape: tuple[int, ...]
    in_columns: bool
    dtype: np.dtype[Any]
    packed: bool


def open_npz(address: Address, streamed: Axis | None = None) -> Source:
    """Open the matrix in an `.npz` file.

    Raises
    ------
    NotInPlace
        If it is compressed or a list of coordinates, and too large; or if there are several dense ones, and the address
        does not name one.
    DataError
        If there is none.
    """
    if not is_sparse(address):
        return _open_dense(address, streamed)
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


def _open_dense(address: Address, streamed: Axis | None) -> Source:
    """Open a dense array."""
    array = chosen(address)
    unfolding = unfolding_of(array.shape, address.axes, None, address.array)
    if not array.packed:
        numbers = Plain(Path(address.place), _offset(address, array.name), array.shape, array.dtype, array.in_columns)
        return file_source(numbers, ".npz file", str(address), streamed, unfolding=unfolding)
    count = math.prod(array.shape)
    facts = f"{' × '.join(map(str, array.shape))}, compressed .npz file of {count} numbers"
    check_held(address, count, f"a compressed array of {count} numbers", facts, "save it with numpy.savez, or ")
    with parsing(address, WHAT), zipfile.ZipFile(address.place) as archive:
        values = _array_in(archive, array.name)
    return array_read(values, "compressed .npz file", address, streamed, unfolding)


def chosen(address: Address) -> Stored:
    """Return the dense array of an address, or the only one of two axes or more.

    Raises
    ------
    NotInPlace
        If there are several.
    DataError
        If there is none.
    """
    found = {array.name: array for array in _arrays(address)}
    if address.part in found:
        return found[address.part]
    numbers = [array for array in found.values() if array.dtype.kind in "buif" and 0 not in array.shape]
    likely = [array.name for array in numbers if len(array.shape) > 1]
    if address.part is None and len(likely) == 1:
        return found[likely[0]]
    what = f"holds {len(likely)} matrices" if address.part is None else f"holds no {address.part}"
    listed = ", ".join(likely)
    if not likely:
        raise DataError(
            f"{address.place} {what}, but {', '.join(found) or 'nothing'}; save a sparse matrix with "
            "scipy.sparse.save_npz, or a dense one with numpy.save or numpy.savez."
        )
    sentence = f"{address.place} {what}; give one of its arrays: {listed}; as {address.of_part(likely[0])}"
    raise NotInPlace(sentence, {"holds": listed}) if address.part is None else DataError(sentence)


def is_sparse(address: Address) -> bool:
    """Return whether a file holds a sparse matrix, which has no parts."""
    with parsing(address, WHAT), zipfile.ZipFile(address.place) as archive:
        sparse = {f"{name}.npy" for name in SPARSE} <= set(archive.namelist())
    if sparse and address.part is not None:
        raise DataError(f"{address.place} holds one matrix, and has no parts; give it without {MARK}{address.part}.")
    return sparse


def _arrays(address: Address) -> list[Stored]:
    """Return the arrays in a file."""
    found = []
    with parsing(address, WHAT), zipfile.ZipFile(address.place) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".npy"):
                with archive.open(entry) as file:
                    form = npy_header(file)
                packed = entry.compress_type != zipfile.ZIP_STORED
                found.append(Stored(entry.filename.removesuffix(".npy"), *form, packed))
    return found


def unpacked_dense(address: Address, folder: Path) -> Source:
    """Open a dense array of any size, after decompressing it into a folder."""
    array = chosen(address)
    if not array.packed:
        return open_npz(address)
    target = folder / "unpacked.npy"
    name = f"{array.name}.npy"
    with parsing(address, WHAT), zipfile.ZipFile(address.place) as archive, archive.open(name) as packed:
        with open(target, "wb") as file:
            shutil.copyfileobj(packed, file, 2**20)
        offset = header(target)[-1]
    numbers = Plain(target, offset, array.shape, array.dtype, array.in_columns)
    unfolding = unfolding_of(array.shape, address.axes, None, address.array)
    return file_source(numbers, ".npz file", str(address), None, unfolding=unfolding)


def unpacked(address: Address, folder: Path) -> Address:
    """Decompress the arrays of a sparse matrix into a folder, and return their address."""
    target = folder / "unpacked.npz"
    with parsing(address, WHAT), zipfile.ZipFile(address.place) as archive, zipfile.ZipFile(target, "w") as plain:
        for name in archive.namelist():
            with archive.open(name) as packed, plain.open(name, "w", force_zip64=True) as file:
                shutil.copyfileobj(packed, file, 2**20)
    return Address(str(target))


def kind_of(address: Address) -> tuple[str, bool, int]:
    """Return the format of a sparse matrix, whether it is compressed, and its number of entries."""
    with parsing(address, WHAT), zipfile.ZipFile(address.place) as archive:
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
    with parsing(address, WHAT), zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        shape, _, dtype = npy_header(file)
    return FileVector(path, _offset(address, name), int(shape[0]), dtype)


def _offset(address: Address, name: str) -> int:
    """Return the offset of the numbers of an array that is not compressed."""
    with parsing(address, WHAT), zipfile.ZipFile(address.place) as archive, open(address.place, "rb") as file:
        file.seek(archive.getinfo(f"{name}.npy").header_offset)
        local = file.read(LOCAL)
        lengths = (int.from_bytes(local[at : at + 2], "little") for at in (26, 28))
        file.seek(sum(lengths), 1)
        npy_header(file)
        return file.tell()


def _array_in(archive: zipfile.ZipFile, name: str) -> Any:
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)
