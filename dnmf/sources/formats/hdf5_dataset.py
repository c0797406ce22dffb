"""HDF5 datasets of two axes or more, opened in the fastest way."""

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.sources.base import Axis
from dnmf.sources.boxes import UnfoldedSource
from dnmf.sources.formats.hdf5_array import Hdf5Array, Hdf5Source, array_of
from dnmf.sources.formats.raw_array import FileSource, Plain, file_source
from dnmf.sources.names import Names
from dnmf.sources.slabs import Box
from dnmf.sources.unfolding import Unfolding


class Hdf5Boxes:
    """A dataset of any number of axes that is stored in chunks, in reverse order if `fortran` is set."""

    anywhere = in_memory = False

    def __init__(self, array: Hdf5Array, fortran: bool) -> None:
        self.array, self.dtype, self.fortran = array, array.dtype, fortran
        self.order = -1 if fortran else 1
        self.shape = array.shape[:: self.order]
        self.chunks = (array.chunks or (1,) * len(array.shape))[:: self.order]

    def read(self, box: Box, scratch: Scratch) -> NDArray[Any]:
        """Read a box, chunk by chunk."""
        box = box[:: self.order]
        out = scratch.array("block", tuple(stop - start for start, stop in box), self.dtype)
        self.array.read([start for start, _ in box], out)
        return out.T if self.fortran else out

    def expect(self, box: Box) -> None:
        """Ask the system to read a box ahead."""
        box = box[:: self.order]
        self.array.expect([start for start, _ in box], [stop for _, stop in box])

    def read_bytes(self, extent: Sequence[int]) -> int:
        """Return the memory of a box, and of a chunk as it is stored, decompressed and unshuffled."""
        return int((math.prod(extent) + 3 * math.prod(self.chunks)) * self.dtype.itemsize)


def open_dataset(
    dataset: Any,
    what: str,
    location: str,
    streamed: Axis | None,
    names: Names,
    unfolding: Unfolding | None = None,
    in_columns: bool = False,
) -> FileSource | Hdf5Source | UnfoldedSource:
    """Open a dense array in the fastest way; the dataset has its axes in reverse order if `in_columns` is set."""
    what = f"{what or 'dataset'} in HDF5"
    if dataset.dtype.kind not in "buif":
        raise DataError(f"{location} has dtype {dataset.dtype}, which is not a real number; pass a dataset of numbers.")
    array = array_of(dataset)
    if array.offset is not None:
        shape = array.shape[::-1] if in_columns else array.shape
        numbers = Plain(array.path, array.offset, shape, array.dtype, in_columns)
        return file_source(numbers, f"{what}, contiguous, read directly", location, streamed, names, unfolding)
    if unfolding is None:
        return Hdf5Source(array, what, location, streamed, names, in_columns)
    boxes = Hdf5Boxes(array, in_columns)
    chunks = f"chunks of {' × '.join(map(str, boxes.chunks))}" if array.chunks else "contiguous"
    kind = f"{what}, {chunks}, {'read directly' if array.direct else 'read through h5py'}"
    held = 0 if array.table is None else array.table.nbytes
    return UnfoldedSource(boxes, unfolding, kind, location, streamed, names, held)


def dimensions_of(dataset: Any) -> list[str] | None:
    """Return the names of the axes of a dataset: their labels, or the names of their scales; None without them."""
    found = [axis.label or (axis[0].name.rpartition("/")[2] if len(axis) else "") for axis in dataset.dims]
    return found if all(found) else None
