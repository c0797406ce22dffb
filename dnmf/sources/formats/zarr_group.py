"""Zarr groups: AnnData, compressed sparse matrices, variables that xarray wrote, and plain arrays."""

from typing import Any

import zarr
from zarr.errors import ContainsArrayError

from dnmf.sources.addresses import Address
from dnmf.sources.base import Axis, Source
from dnmf.sources.formats.anndata_groups import Found, find
from dnmf.sources.formats.compressed_sparse import Compressed, CompressedSource
from dnmf.sources.formats.stored_vectors import ZarrVector
from dnmf.sources.formats.xarray_array import has_dimensions, is_packed_zarr, open_zarr_variable, undecodable
from dnmf.sources.formats.zarr_array import dimensions_of, zarr_source
from dnmf.sources.names import Names
from dnmf.sources.read_errors import reading_part
from dnmf.sources.unfolding import Axes, Unfolding, unfolding_of
from dnmf.storage.objects import UrlStore


def open_group(group: zarr.Group, address: Address, streamed: Axis | None = None, *, located: bool = True) -> Source:
    """Open the matrix of an address in a group, from which it can be opened again if it is `located`.

    Raises
    ------
    DataError
        If there is no such matrix.
    ReadError
        If its content cannot be read.
    """
    with reading_part(str(address), str(address) if located else None):
        found = find(group, address, "a Zarr")
        return _opened(found, address, str(address) if located else None, streamed)


def _opened(found: Found, address: Address, location: str | None, streamed: Axis | None) -> Source:
    node: Any = found.node
    if found.form is not None:
        shape, by = found.form
        what = f"{found.what or 'sparse matrix'} in Zarr"
        parts = [ZarrVector(node[name]) for name in ("data", "indices", "indptr")]
        return CompressedSource(Compressed(shape, by, *parts), what, location, streamed, found.names)
    unfolding = unfolding_of(node.shape, address.axes, dimensions_of(node), address.array)
    if location is not None and has_dimensions(node):
        return open_zarr_variable(node, address.place, str(node.path), location, streamed, unfolding)
    return _plain(node, location, streamed, found.names if found.what else None, unfolding)


def open_array(
    array: zarr.Array[Any],
    address: Address | None,
    streamed: Axis | None = None,
    axes: Axes | Unfolding | None = None,
) -> Source:
    """Open an array by the axes given or those of its address.

    Packed numbers are decoded if it is in a group, as by the address of a part of the group.
    """
    location = None if address is None else str(address)
    what = f"the Zarr array {array.store_path if address is None else address.array}"
    axes = axes if address is None else address.axes
    unfolding = unfolding_of(array.shape, axes, dimensions_of(array), what)
    if address is None or not (has_dimensions(array) and is_packed_zarr(array)):
        return _plain(array, location, streamed, None, unfolding)
    store, _, name = address.place.rpartition("/")
    with reading_part(str(address), str(address)):
        return open_zarr_variable(array, store, name, str(address), streamed, unfolding)


def _plain(
    array: zarr.Array[Any],
    location: str | None,
    streamed: Axis | None,
    names: Names | None,
    unfolding: Unfolding | None,
) -> Source:
    """Open an array whose numbers need no decoding."""
    if is_packed_zarr(array):
        raise undecodable(location or str(array.store_path), array.attrs)
    return zarr_source(array, location, streamed, names, unfolding)


def open_known_group(group: zarr.Group, streamed: Axis | None, axes: Axes | Unfolding | None = None) -> Source:
    """Open a group that zarr has opened, as a part of the root group, which may have names for it."""
    location = location_of(group)
    if location is None:
        return open_group(group, Address(str(group.store_path), axes=axes), streamed, located=False)
    address = Address.of(location)._replace(axes=axes)
    if not group.path:
        return open_group(group, address, streamed)
    try:
        root = zarr.open_group(group.store, mode="r")
    except (FileNotFoundError, ContainsArrayError):
        return open_group(group, address, streamed)
    inside = address._replace(place=address.place.removesuffix(f"/{group.path}"))
    return open_group(root, inside.of_part(group.path), streamed)


def open_node(store: Any) -> Any:
    """Open a Zarr array or group, without consolidated metadata if these have an array that cannot be opened."""
    try:
        return zarr.open(store, mode="r")
    except ValueError:
        try:
            return zarr.open_group(store, mode="r", use_consolidated=False)
        except Exception:
            pass
        raise


def location_of(array: zarr.Array[Any] | zarr.Group) -> str | None:
    """Return the path or URL of an opened array or group, or None if it is unknown."""
    if isinstance(array.store, UrlStore):
        return str(array.store_path)
    url = str(array.store_path)
    return url.removeprefix("file://") if url.startswith("file://") else None
