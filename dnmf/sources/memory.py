"""Matrices in memory: NumPy arrays and SciPy sparse matrices. Their blocks are views."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block, work_dtype
from dnmf.settings import Missing
from dnmf.sources.addresses import Address
from dnmf.sources.base import Axis, InMemory, Layout, Source, check_shape, relabelled
from dnmf.sources.blocks import as_matrix, canonical, to_scipy, with_nan
from dnmf.sources.bounds import fine_bounds, fine_entry_bounds, streams_rows
from dnmf.sources.boxes import ArrayBoxes, UnfoldedSource, joins
from dnmf.sources.names import NO_NAMES, Names
from dnmf.sources.unfolding import Unfolding

Held = TypeVar("Held", "ArraySource", "SparseSource")


class ArraySource(InMemory):
    """A NumPy array of any real dtype and memory order."""

    def __init__(self, given: ArrayLike, streamed: Axis | None = None) -> None:
        array = np.asarray(given)
        shape = check_shape(array.shape, "V")
        work_dtype(array.dtype)
        transposed = streams_rows(shape, streamed)
        self.matrix = array.T if transposed else array
        self.layout = Layout(
            shape=self.matrix.shape,
            dtype=array.dtype,
            bounds=fine_bounds(self.matrix.shape, array.dtype),
            transposed=transposed,
            read_bytes=0,
            stored_bytes=array.nbytes,
            sparse=False,
            on_disk=isinstance(given, np.memmap),
            kind="NumPy array",
            in_memory=not isinstance(given, np.memmap),
        )

    def read(self, block: int, scratch: Scratch) -> Block:
        """Return a view."""
        return self.matrix[:, self.layout.columns(block)]


def array_of(given: Any) -> NDArray[Any]:
    """Return an array, or the one that a list of rows makes.

    Raises
    ------
    DataError
        If the rows are not of one length.
    """
    try:
        return given if isinstance(given, np.ndarray) else np.asarray(given)
    except ValueError as error:
        raise DataError(
            f"V is a {type(given).__name__} whose elements do not make a matrix ({error}); give an array, or a SciPy "
            "CSR or CSC matrix, as gensim.matutils.corpus2csc makes one of a corpus."
        ) from error


def open_numpy(
    array: NDArray[Any], streamed: Axis | None = None, unfolding: Unfolding | None = None
) -> ArraySource | UnfoldedSource:
    """Open an array in memory as a matrix, without a copy of the whole."""
    if unfolding is None:
        return ArraySource(array, streamed)
    turned, height = array.transpose(unfolding.order), len(unfolding.rows)
    if joins(turned.shape, turned.strides, height):
        source: ArraySource | UnfoldedSource = ArraySource(turned.reshape(unfolding.matrix_shape), streamed)
        return relabelled(source, unfolding=unfolding, kind=f"{source.layout.kind}, {unfolding}")
    source = UnfoldedSource(ArrayBoxes(array), unfolding, "NumPy array", None, streamed)
    mapped = isinstance(array, np.memmap)
    return relabelled(source, on_disk=mapped, in_memory=not mapped)


class SparseSource(InMemory):
    """A SciPy sparse matrix or array; CSC is streamed by columns, CSR by rows."""

    def __init__(self, matrix: Any, streamed: Axis | None = None) -> None:
        if matrix.format not in ("csr", "csc"):
            raise DataError(f"V is sparse in {matrix.format} form; give CSR or CSC, as by V.tocsr().")
        shape = check_shape(matrix.shape, "V")
        dtype = work_dtype(matrix.dtype)
        sound = canonical(matrix, "V")
        transposed = matrix.format == "csr" if streamed is None else streamed == "rows"
        found = as_columns(sound.T if transposed else sound)
        self.matrix = columns_of(found, slice(0, found.shape[1]))  # which may be the one that was given
        self._blocks: dict[tuple[int, int], Any] = {}
        rows, entry_bytes = self.matrix.shape[0], dtype.itemsize + self.matrix.indices.itemsize
        self.layout = Layout(
            shape=shape[::-1] if transposed else shape,
            dtype=matrix.dtype,
            bounds=fine_entry_bounds(self.matrix.indptr, rows, entry_bytes),
            transposed=transposed,
            read_bytes=0,
            stored_bytes=self.matrix.data.nbytes + self.matrix.indices.nbytes + self.matrix.indptr.nbytes,
            sparse=True,
            on_disk=False,
            kind=f"SciPy {matrix.format.upper()} matrix of {matrix.nnz} stored entries",
            in_memory=True,
        )

    def read(self, block: int, scratch: Scratch) -> Block:
        """Return the columns, sharing their memory; to make a sparse matrix of them takes longer than to check it."""
        columns = self.layout.columns(block)
        place = columns.start, columns.stop
        if place not in self._blocks:
            self._blocks[place] = columns_of(self.matrix, columns)
        return self._blocks[place]


def recut(source: Source, bounds: Sequence[int] | None) -> Source:
    """Cut a matrix in memory as in an earlier run, if it has as many columns; any other source stays as it is."""
    held = isinstance(source, (ArraySource, SparseSource))
    if not held or bounds is None or bounds[-1] != source.layout.shape[1]:
        return source
    return relabelled(source, bounds=tuple(bounds))


def sparse_source(matrix: Any, streamed: Axis | None = None) -> SparseSource:
    """Open a sparse matrix of any form, by default cut along its longer axis."""
    by_rows = streams_rows(matrix.shape, streamed)
    return SparseSource(matrix.tocsr() if by_rows else matrix.tocsc(), streamed)


def from_sparse(array: Any, streamed: Axis | None = None) -> SparseSource:
    """Open an array of the package sparse."""
    source = sparse_source(to_scipy(array), streamed)
    return relabelled(source, kind=f"sparse {type(array).__name__}, {source.layout.kind}")


def read_into_memory(source: Held, kind: str, location: str | None, names: Names = NO_NAMES) -> Held:
    """Describe a source as the matrix of a file that has been read into memory."""
    held, kind = source.layout.stored_bytes, f"{kind}, read into memory"
    return relabelled(source, kind=kind, location=location, names=names, held_bytes=held, in_memory=False)


def array_read(
    values: NDArray[Any], kind: str, address: Address, streamed: Axis | None, unfolding: Unfolding | None
) -> Source:
    """Open an array of a file that has been read into memory."""
    source: Any = open_numpy(values, streamed, unfolding)
    if unfolding is not None:
        kind, address = f"{kind}, {unfolding}", address._replace(axes=unfolding.axes)
    found: Source = read_into_memory(source, kind, str(address))
    return found


def unmasked(masked: Any, missing: Missing, name: str = "V") -> NDArray[Any]:
    """Return a masked array with NaN for masked entries, or its data if none is masked.

    Raises
    ------
    DataError
        If entries are masked and `missing` is not `"nan"`.

    Examples
    --------
    >>> unmasked(np.ma.masked_array([[1, 2]], [[False, True]]), "nan")
    array([[ 1., nan]])
    """
    if missing != "nan" and np.ma.is_masked(masked):
        raise DataError(
            f"{name} is a masked array, and every entry of {name} counts; give {name}.filled(0), or {name}.data, or "
            f"{name}.filled(np.nan) with missing='nan', which takes a masked array as well."
        )
    return with_nan(masked)


def as_columns(matrix: Any, name: str = "V") -> Any:
    """Return a sparse matrix as a canonical CSC array: sorted, without duplicates, sharing memory if possible."""
    columns = as_matrix(matrix, name)
    return columns if columns.format == "csc" else columns.tocsc()


def columns_of(matrix: Any, columns: slice) -> Any:
    """Return some columns of an array or a CSC matrix, sharing their memory."""
    if not scipy.sparse.issparse(matrix):
        return matrix[:, columns]
    starts = matrix.indptr[columns.start : columns.stop + 1]
    stored = slice(int(starts[0]), int(starts[-1]))
    part = scipy.sparse.csc_array((matrix.shape[0], len(starts) - 1), dtype=matrix.dtype)
    part.data, part.indices = matrix.data[stored], matrix.indices[stored]
    part.indptr = starts - starts[0]
    return part
