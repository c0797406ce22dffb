"""Zarr groups: AnnData, compressed sparse matrices, variables that xarray wrote, and plain arrays."""

from typing import Any

import zarr

from dnmf.sources.addresses import Address
from dnmf.sources.compressed import Compressed, CompressedSource
from dnmf.sources.containers import find
from dnmf.sources.damage import reading_part
from dnmf.sources.layout import Axis, Source
from dnmf.sources.vectors import ZarrVector
from dnmf.sources.xarray_array import has_dimensions, open_zarr_variable
from dnmf.sources.zarr_array import ZarrSource


def open_group(group: zarr.Group, address: Address | None, streamed: Axis | None = None) -> Source:
    """Open the matrix of a group that an address means, or the only one of a group that has none.

    Raises
    ------
    DataError
        If it holds no such matrix.
    ReadError
        If what it holds cannot be read.
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
        return open_zarr_variable(node, address, streamed)
    return ZarrSource(node, location, streamed, found.names if found.what else None)
