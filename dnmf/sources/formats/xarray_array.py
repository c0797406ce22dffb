"""DataArrays of xarray, and the variables that it reads from NetCDF files and Zarr groups.

Coordinates become names, where one dimension makes the rows or the columns. A variable that needs no decoding is read
without xarray.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError, DnmfError, needed
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.sources.axis_names import names_along
from dnmf.sources.base import Axis, Layout, Source, check_shape, relabelled
from dnmf.sources.blocks import is_sparse_array
from dnmf.sources.bounds import cut_tiles, streams_rows, uncut_bounds
from dnmf.sources.boxes import UnfoldedSource
from dnmf.sources.dask_array import check_sizes, open_dask
from dnmf.sources.formats.packing import FILLED, PACKED, is_nan, is_packed
from dnmf.sources.formats.presence import SecondLook
from dnmf.sources.formats.zarr_array import zarr_source
from dnmf.sources.formats.zip_store import store_at
from dnmf.sources.memory import from_sparse, open_numpy
from dnmf.sources.names import Names
from dnmf.sources.read_errors import reading
from dnmf.sources.reopened import ReopenableSource
from dnmf.sources.slabs import Box
from dnmf.sources.unfolding import Axes, Unfolding, unfolding_of
from dnmf.storage.urls import is_url, redacted


def open_dataarray(array: Any, streamed: Axis | None = None, axes: Axes | Unfolding | None = None) -> Source:
    """Open a DataArray: in memory, of Dask chunks, or read lazily from its file."""
    if is_packed(array.attrs):
        raise DataError(
            "V is an xarray DataArray of packed numbers, to be decoded by its attributes; open it without "
            "decode_cf=False, or give xarray.decode_cf(V.to_dataset(name='V'))['V']."
        )
    if array.chunks is not None:
        check_sizes(array.data)
    check_dims(array)
    unfolding = unfolding_of(array.shape, axes, array.dims)
    if array.chunks is not None:
        source: Source = open_dask(array.data, streamed, unfolding=unfolding)
    elif not getattr(array.variable, "_in_memory", True):
        return lazy_source(array, None, streamed, unfolding)
    elif is_sparse_array(array.data):
        source = from_sparse(array.data, streamed)
    else:
        source = open_numpy(array.to_numpy(), streamed, unfolding=unfolding)
    kind = f"xarray DataArray ({', '.join(map(str, array.dims))}), {source.layout.kind}"
    names = names_along(coordinates_of(array), unfolding)
    return relabelled(source, names=names.checked(source.layout.user_shape), kind=kind)


def open_zarr_variable(
    node: Any, store: str, path: str, location: str, streamed: Axis | None = None, unfolding: Unfolding | None = None
) -> Source:
    """Open a variable that xarray wrote into a Zarr group; one that needs no decoding is read as a Zarr array.

    If xarray cannot open the group, as some node lacks dimensions, the array is read without names, unless its numbers
    are packed.
    """
    xarray = needed("xarray", location)
    folder, _, name = path.rpartition("/")

    def opened(**options: Any) -> Any:
        where = store_at(store)
        where = where if isinstance(where, str) else SecondLook(where)
        return xarray.open_zarr(
            where, group=folder or None, chunks=None, consolidated=False, decode_timedelta=False, **options
        )

    try:
        array = decoded(opened, [])[name]
        names = names_along(coordinates_of(array), unfolding)
    except DnmfError:
        raise
    except Exception as error:
        if is_packed_zarr(node):
            raise undecoded(location, node.attrs, error) from (None if is_url(store) else error)
        return zarr_source(node, location, streamed, None, unfolding)
    if is_decoded(array):
        return lazy_source(array, location, streamed, unfolding)
    return zarr_source(node, location, streamed, names, unfolding)


def is_packed_zarr(node: Any) -> bool:
    """Return whether the numbers of a Zarr array are packed; in format 2, the fill value of a variable is missing."""
    fill = node.fill_value if node.metadata.zarr_format == 2 and has_dimensions(node) else None
    return is_packed(node.attrs) or (fill is not None and not is_nan(fill))


def undecodable(location: str, attributes: Any) -> DataError:
    """Return the error for packed numbers that cannot be decoded here."""
    marks = ", ".join(f"{name}={attributes[name]}" for name in (*PACKED, *FILLED) if name in attributes)
    return DataError(
        f"{location} holds packed numbers ({marks or 'with a fill value'}); open it with xarray, which decodes them, "
        "and give the variable, as xarray.open_zarr(path)['counts'] or xarray.open_dataset(path)['counts']."
    )


def undecoded(location: str, attributes: Any, error: Exception) -> DataError:
    """Return the error for packed numbers that xarray failed to decode."""
    reason = undecodable(location, attributes)
    return DataError(f"{reason} Here xarray failed ({type(error).__name__}: {redacted(error)}).")


def has_dimensions(node: Any) -> bool:
    """Return whether the axes of a Zarr array have names, as those written by xarray."""
    return "_ARRAY_DIMENSIONS" in node.attrs or bool(getattr(node.metadata, "dimension_names", None))


def coordinates_of(array: Any) -> list[Any]:
    """Return the coordinates along each dimension of a DataArray, or None for a dimension without any.

    The coordinate with the name of the dimension has precedence over others along that dimension.
    """
    found: list[Any] = []
    for dimension in array.dims:
        along = {name: values for name, values in array.coords.items() if values.dims == (dimension,)}
        named = along.get(dimension, next(iter(along.values()), None))
        found.append(None if named is None else named.values)
    return found


def check_dims(array: Any) -> None:
    """Raise DataError if a DataArray does not have at least two dimensions."""
    if len(array.dims) < 2:
        dims = ", ".join(map(str, array.dims))
        raise DataError(f"V has {len(array.dims)} dimension(s), ({dims}), and must be a matrix, or an array of more.")


def lazy_source(
    array: Any, location: str | None, streamed: Axis | None = None, unfolding: Unfolding | None = None
) -> "LazySource | UnfoldedSource":
    """Open a DataArray that is read lazily as a matrix."""
    names = names_along(coordinates_of(array), unfolding)
    if unfolding is None:
        return LazySource(array, names, location, streamed)
    kind = f"xarray variable {array.name} ({', '.join(map(str, array.dims))}), decoded by xarray"
    return UnfoldedSource(LazyBoxes(array), unfolding, kind, location, streamed, names)


class LazyBoxes:
    """A DataArray of any number of axes that is read and decoded lazily."""

    anywhere = fortran = in_memory = False

    def __init__(self, array: Any) -> None:
        tiles = array.encoding.get("preferred_chunks") or {}
        self.array, self.shape, self.dtype = array, tuple(map(int, array.shape)), array.dtype
        self.chunks = tuple(int(tiles.get(dim, 1)) for dim in array.dims)

    def read(self, box: Box, scratch: Scratch) -> NDArray[Any]:
        """Read a box through xarray."""
        return np.asarray(self.array[tuple(slice(*edges) for edges in box)].to_numpy())

    def expect(self, box: Box) -> None:
        """Do nothing."""

    def read_bytes(self, extent: Sequence[int]) -> int:
        """Return the memory of a box as it is stored, decoded and converted."""
        return 3 * math.prod(extent) * int(self.dtype.itemsize)


class LazySource(ReopenableSource):
    """A DataArray that is read and decoded lazily; a block is a run of whole chunks of its file."""

    def __init__(self, array: Any, names: Names, location: str | None, streamed: Axis | None = None) -> None:
        shape = check_shape(array.shape, location or "V")
        tiles = array.encoding.get("preferred_chunks") or {}
        if tiles:
            sizes = tuple(int(tiles.get(dim, size)) for dim, size in zip(array.dims, shape, strict=True))
            transposed, bounds = cut_tiles(shape, sizes, array.dtype, streamed)  # type: ignore[arg-type]
        else:
            transposed = streams_rows(shape, streamed)
            bounds = uncut_bounds(shape[::-1] if transposed else shape, array.dtype)
        self.array = array
        self.layout = Layout.of_file(
            shape,
            array.dtype,
            bounds,
            transposed,
            read_bytes=3 * shape[1 if transposed else 0] * bounds[1] * array.dtype.itemsize,
            kind=f"xarray variable {array.name} ({', '.join(map(str, array.dims))}), decoded by xarray",
            location=location,
            names=names,
        )

    def read(self, block: int, scratch: Scratch) -> Block:
        """Read a block through xarray."""
        columns = self.layout.columns(block)
        with reading(self.layout, block, "its file is damaged, or cannot be reached"):
            part = self.array[columns, :] if self.layout.transposed else self.array[:, columns]
            values = np.asarray(part.to_numpy())
        return values.T if self.layout.transposed else values


def decoded(opened: Callable[..., Any], others: list[str]) -> Any:
    """Return a data set, with raw numbers for times that xarray cannot decode, or without the other variables.

    Raises
    ------
    Exception
        The error of the first try, if all fail.
    """
    first: Exception | None = None
    tries: list[dict[str, Any]] = [{}, {"decode_times": False}]
    tries += [{"decode_times": False, "drop_variables": others}] if others else []
    for options in tries:
        try:
            return opened(**options)
        except Exception as error:
            first = first or error
    assert first is not None
    raise first


def is_decoded(array: Any) -> bool:
    """Return whether the numbers of a variable differ from those in its file."""
    encoding = array.encoding
    fills = [encoding[name] for name in FILLED if encoding.get(name) is not None]
    packed = any(name in encoding for name in PACKED)
    return packed or not all(map(is_nan, fills)) or encoding.get("dtype") != array.dtype
