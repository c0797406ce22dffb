"""Read and check the blocks of a matrix; every block passes through here before it is used.

The kernels index without bounds checks, so a block must be what its layout promises: of its shape, of real numbers,
dense or CSC; the indices of a sparse one must be within its shape, sorted and unique.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import Weighted
from dnmf.kernels.blocks.index_order import in_order
from dnmf.kernels.blocks.panels import Block, work_dtype
from dnmf.sources.base import Layout, Part, Source

REBUILD = "build it again from its entries, as by scipy.sparse.coo_array((values, (rows, columns))).tocsr()"


def read_block(source: "Source | CheckedPart", block: int, scratch: Scratch, what: str = "V") -> Block:
    """Read a block (m, w) and return it checked, valid until the thread's next read.

    Raises
    ------
    DataError
        If the block is not what the layout of the source promises.

    Examples
    --------
    >>> from dnmf.sources import open_matrix
    >>> read_block(open_matrix(np.ones((3, 5))), 0, Scratch()).shape
    (3, 5)
    """
    found = source.part if isinstance(source, CheckedPart) else source
    return checked(found.read(block, scratch), source.layout, block, what)


def part_for(source: Source, blocks: range) -> "CheckedPart":
    """Return blocks in the form sent to another process, which checks them."""
    return CheckedPart(source.part(blocks), source.layout)


@dataclasses.dataclass(frozen=True)
class CheckedPart:
    """Blocks of a matrix in the form sent to another process, and the layout to check them against."""

    part: Part
    layout: Layout

    @property
    def small(self) -> bool:
        """Whether it holds no entries of V."""
        return self.part.small

    @property
    def needs(self) -> Sequence[Any]:
        """Futures on the cluster whose values the blocks are computed from."""
        return self.part.needs

    def given(self, values: Sequence[Any]) -> "CheckedPart":
        """Return the part with the values of its `needs`."""
        return CheckedPart(self.part.given(values), self.layout)

    def read(self, block: int, scratch: Scratch) -> Block:
        """Read a block and return it checked."""
        return read_block(self, block, scratch)

    def expect(self, block: int) -> None:
        """Take a hint that a block will be read soon."""
        self.part.expect(block)


def checked(V: Any, layout: Layout, block: int, what: str = "V") -> Block:
    """Return a block after checking it against its layout: dense, or canonical CSC.

    Raises
    ------
    DataError
        If it has another shape, does not hold real numbers, or is a sparse matrix with wrong indices.
    """
    columns = layout.columns(block)
    shape = layout.shape[0], columns.stop - columns.start
    if isinstance(V, Weighted):
        return Weighted(checked(V.values, layout, block), _checked(V.weights, shape, layout, block, "weights"))
    V = _checked(V, shape, layout, block, what)
    if scipy.sparse.issparse(V) == layout.sparse:
        return V
    return scipy.sparse.csc_array(V.astype(storable(V.dtype), copy=False)) if layout.sparse else V.toarray()


def _checked(V: Any, shape: tuple[int, int], layout: Layout, block: int, what: str) -> Block:
    """Return a block of a shape (m, w), dense or canonical CSC."""
    if type(V) is np.ndarray and V.shape == shape and V.dtype.kind in "buif" and V.dtype.itemsize <= 8:
        return V
    name = f"{layout.name(block)} of {what}"
    V = as_matrix(V, name)
    if V.shape != shape:
        mine, wanted = ((size[::-1] if layout.transposed and len(size) == 2 else size) for size in (V.shape, shape))
        raise DataError(
            f"{name} has shape {mine}, and its layout promises {wanted}; give blocks of the shape promised."
        )
    return V.tocsc() if scipy.sparse.issparse(V) else V


def as_dtype(block: Block, dtype: np.dtype[Any], name: str) -> Block:
    """Cast a checked block to the dtype that it is stored in.

    Raises
    ------
    DataError
        If an entry changes in that dtype, except for the rounding to a shorter float.

    Examples
    --------
    >>> as_dtype(np.array([[1.5]]), np.dtype("int64"), "block 1 of V")
    Traceback (most recent call last):
        ...
    dnmf.errors.DataError: block 1 of V has dtype float64, and the first block int64, which cannot hold its entries; ...
    """
    if block.dtype == dtype:
        return block
    with np.errstate(all="ignore"):
        cast = block.astype(dtype)
        before, after = (matrix.data if scipy.sparse.issparse(matrix) else matrix for matrix in (block, cast))
        floats = block.dtype.kind == dtype.kind == "f"
        same = np.isfinite(before) == np.isfinite(after) if floats else (before == after) & (before < 2.0**63)
    if not same.all():
        raise DataError(
            f"{name} has dtype {block.dtype}, and the first block {dtype}, which cannot hold its entries; give blocks "
            "of one dtype, as by V.astype('float64')."
        )
    return cast


def as_matrix(given: Any, name: str) -> Any:
    """Convert anything array-like to an array of real numbers or a canonical CSR or CSC matrix; masked entries are NaN.

    Raises
    ------
    DataError
        If it does not hold real numbers, or is a sparse matrix with wrong indices.
    """
    given = to_scipy(given, name) if is_sparse_array(given) else given
    if scipy.sparse.issparse(given):
        found: Any = compressed(given, name)
    elif isinstance(given, np.ma.MaskedArray):
        found = with_nan(given)
    else:
        try:
            found = np.asarray(given)
        except Exception as error:
            raise DataError(
                f"{name} is a {type(given).__module__}.{type(given).__qualname__}, which cannot become an array "
                f"({type(error).__name__}); give NumPy arrays or SciPy matrices."
            ) from None
    work_dtype(found.dtype, name)
    return found


def is_sparse_array(thing: Any) -> bool:
    """Return whether this is an array of the package sparse, without importing it."""
    return type(thing).__module__.partition(".")[0] == "sparse" and hasattr(thing, "fill_value")


def to_scipy(array: Any, name: str = "V") -> Any:
    """Convert an array of the package sparse to a SciPy matrix.

    Raises
    ------
    DataError
        If its fill value is not 0.
    """
    if array.ndim == 2 and array.fill_value != 0:
        raise DataError(
            f"{name} has a fill value of {array.fill_value}, and entries that a sparse V does not store "
            "must be 0; give V.todense()."
        )
    if array.ndim != 2:
        raise DataError(f"{name} has {array.ndim} dimension(s), shape {array.shape}; V must be a matrix.")
    # SciPy has no float16
    return (array.astype(np.float32) if array.dtype == np.float16 else array).to_scipy_sparse()


def with_nan(masked: Any) -> NDArray[Any]:
    """Return a masked array with NaN for masked entries, or its data if none is masked.

    >>> with_nan(np.ma.masked_array([1, 2], [False, True])), with_nan(np.ma.masked_array([1, 2]))
    (array([ 1., nan]), array([1, 2]))
    """
    if not np.ma.is_masked(masked):
        return np.asarray(masked.data)
    floats = masked.dtype if masked.dtype.kind not in "bui" else np.result_type(masked.dtype, np.float32)
    return np.asarray(masked.astype(floats).filled(np.nan))


def compressed(matrix: Any, name: str) -> Any:
    """Return a sparse matrix of any form and dtype as canonical CSR or CSC; DataError if it is damaged."""
    if matrix.format in ("csr", "csc"):
        return canonical(matrix, name)
    entries = matrix.tocoo()
    for places, size in zip((entries.row, entries.col), entries.shape, strict=True):
        if len(places) and not (int(places.min()) >= 0 and int(places.max()) < size):
            raise _damaged(name, f"an index is {_outside(places, size)}, and 0 to {size - 1} are allowed")
    return canonical(entries.tocsc(), name)


def canonical(matrix: Any, name: str) -> Any:
    """Return a CSR or CSC matrix as an array in canonical form, sorted and without duplicates.

    It is the same array if it has this form, or else shares its memory if possible.

    Raises
    ------
    DataError
        If its indptr, indices and values do not fit together, or an index is out of range.
    """
    along, size = matrix.shape if matrix.format == "csr" else matrix.shape[::-1]
    starts, indices, values = matrix.indptr, matrix.indices, matrix.data
    _check_starts(starts, indices, values, along, name)
    entries = int(starts[-1])
    dtype = np.int32 if starts.dtype == indices.dtype == np.int32 else np.int64
    # SciPy would copy a view of a larger buffer
    values = values[:entries].astype(storable(values.dtype), copy=False)
    starts, indices = starts.astype(dtype, copy=False), indices[:entries]
    own, form = (values, indices.astype(dtype, copy=False), starts), getattr(scipy.sparse, f"{matrix.format}_array")
    ordered, given = in_order(starts, own[1], size), (matrix.data, matrix.indices, matrix.indptr)
    if not ordered and entries and (int(indices.min()) < 0 or int(indices.max()) >= size):
        raise _damaged(name, f"an index is {_outside(indices, size)}, and 0 to {size - 1} are allowed")
    same = all(new.shape == old.shape and new.dtype == old.dtype for new, old in zip(own, given, strict=True))
    if ordered and same and type(matrix) is form:
        return matrix
    part = form(matrix.shape)
    part.data, part.indices, part.indptr = own
    if not ordered:
        part = part.copy()
        part.sum_duplicates()
    return part


def storable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype for SciPy's sparse matrices, which need native byte order and lack float16."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype.newbyteorder("=")


def _check_starts(starts: NDArray[Any], indices: NDArray[Any], values: NDArray[Any], along: int, name: str) -> None:
    """Raise DataError if indptr, indices and values do not fit together."""
    if starts.shape != (along + 1,):
        raise _damaged(name, f"its indptr has {starts.size} entries, and its shape needs {along + 1}")
    if starts.dtype.kind not in "iu" or indices.dtype.kind not in "iu":
        raise _damaged(name, f"its indptr is {starts.dtype} and its indices {indices.dtype}; both must be integers")
    sizes = indices.shape == values.shape and indices.ndim == 1 and int(starts[-1]) <= len(indices)
    if not sizes or starts[0] != 0 or (starts[1:] < starts[:-1]).any():
        raise _damaged(
            name,
            f"its indptr must rise from 0 to the number of its entries, and goes from {starts[0]} to {starts[-1]} "
            f"with {indices.size} indices and {values.size} values",
        )


def _outside(indices: NDArray[Any], size: int) -> int:
    """Return the first index that is not one of 0 … size − 1."""
    return int(indices[np.argmax((indices < 0) | (indices >= size))])


def _damaged(name: str, fault: str) -> DataError:
    return DataError(f"{name} is a damaged sparse matrix: {fault}; {REBUILD}.")
