"""Zarr groups: AnnData, compressed sparse matrices, variables that xarray wrote, and plain arrays."""

from typing import Any

import zarr

from dnmf.sources.addresses import Address
from dnmf.sources.base import Axis, Source
from dnmf.sources.formats.anndata_groups import find
from dnmf.sources.formats.compressed_sparse import Compressed, CompressedSource
from dnmf.sources.formats.stored_vectors import ZarrVector
from dnmf.sources.formats.xarray_array import has_dimensions, is_packed_zarr, open_zarr_variable, undecodable
from dnmf.sources.formats.zarr_array import ZarrSource
from dnmf.sources.names import Names
from dnmf.sources.read_errors import reading_part


def open_group(group: zarr.Group, address: Address | None, streamed: Axis | None = None) -> Source:
    """Open the matrix of an address in a group, or the only matrix of a group without address.

    Raises
    ------
    DataError
        If there is no such matrix.
    ReadError
        If its content cannot be read.
    """
    location = None if address is None else str(address)
    with reading_part(location or str(group.store_path), location):
        return _matrix_in(group, address, location, streamed)


def _matrix_in(group: zarr.Group, address: Address | None, location: str | None, streamed: Axis | None) -> Source:
    found = find(group, address or Address(str(group.store_path)), "a Zarr")
    node: Any = found.node
    if found.form is not None:
        shape, by = found.form
        what = f"{found.what or 'sparse matrix'} in Zarr"
        parts = [ZarrVector(node[name]) for name in ("data", "indices", "indptr")]
        return CompressedSource(Compressed(shape, by, *parts), what, location, streamed, found.names)
    if address is not None and has_dimensions(node):
        return open_zarr_variable(node, address.place, str(node.path), str(address), streamed)
    return _plain(node, location, streamed, found.names if found.what else None)


def open_array(array: zarr.Array[Any], location: str | None, streamed: Axis | None = None) -> Source:
    """Open an array; packed numbers are decoded if it is in a group, as by the address of a part of the group."""
    if location is None or not (has_dimensions(array) and is_packed_zarr(array)):
        return _plain(array, location, streamed)
    store, _, name = location.rpartition("/")
    with reading_part(location, location):
        return open_zarr_variable(array, store, name, location, streamed)


def _plain(array: zarr.Array[Any], location: str | None, streamed: Axis | None, names: Names | None = None) -> Source:
    """Open an array whose numbers need no decoding."""
    if is_packed_zarr(array):
        raise undecodable(location or str(array.store_path), array.attrs)
    return ZarrSource(array, location, streamed, names)
