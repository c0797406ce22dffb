"""HDF5 files: AnnData's `.h5ad`, counts of 10x Genomics, loom, MATLAB 7.3, and datasets of two or more axes."""

from pathlib import Path
from typing import Any

import numpy as np

from dnmf.errors import needed
from dnmf.sources.addresses import Address
from dnmf.sources.axis_names import names_along
from dnmf.sources.base import Axis, Source
from dnmf.sources.formats.anndata_groups import find
from dnmf.sources.formats.compressed_sparse import Compressed, CompressedSource
from dnmf.sources.formats.hdf5_array import array_of
from dnmf.sources.formats.hdf5_dataset import dimensions_of, open_dataset
from dnmf.sources.formats.netcdf_file import open_packed
from dnmf.sources.formats.packing import is_packed
from dnmf.sources.formats.stored_vectors import FileVector, Vector
from dnmf.sources.read_errors import parsing, reading_part
from dnmf.sources.unfolding import unfolding_of


def open_hdf5(address: Address, streamed: Axis | None = None) -> Source:
    """Open a matrix in an HDF5 file.

    Raises
    ------
    MissingExtraError
        If h5py is not installed.
    DataError
        If it is not an HDF5 file, or does not hold the matrix.
    ReadError
        If its content cannot be read.
    """
    annotated = address.place.lower().endswith((".h5ad", ".h5mu"))
    h5py = needed("h5py", address.place, "anndata" if annotated else "hdf5")
    path = Path(address.place)
    with parsing(path, "HDF5 file"):
        file = h5py.File(path, "r")
    with file, reading_part(str(address), str(address)):
        found = find(file, address, "an HDF5")
        if found.form is None and is_packed(found.node.attrs):
            return open_packed(found.node, address, streamed)
        if found.form is None:
            order = -1 if found.transposed else 1
            shape, axes = found.node.shape[::order], dimensions_of(found.node)
            unfolding = unfolding_of(shape, address.axes, axes and axes[::order], address.array)
            names = names_along((found.names.rows, found.names.columns), unfolding)
            return open_dataset(found.node, found.what, str(address), streamed, names, unfolding, found.transposed)
        form, by = found.form
        parts = [_vector(found.node[name]) if name in found.node else _empty(path) for name in found.parts]
    what = f"{found.what or 'sparse matrix'} in HDF5"
    return CompressedSource(Compressed(form, by, *parts), what, str(address), streamed, found.names)


def _empty(path: Path) -> Vector:
    """Return the values or indices that MATLAB omits in a matrix of zeros."""
    return FileVector(path, 0, 0, np.dtype(np.int64))


def _vector(dataset: Any) -> Vector:
    """Return a dataset of one axis, read in the fastest way."""
    array = array_of(dataset)
    return array if array.offset is None else FileVector(array.path, array.offset, array.size, array.dtype)
