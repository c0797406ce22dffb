"""DataArrays of xarray, and the variables that it reads from NetCDF files and Zarr groups.

Coordinates become names. A variable that needs no decoding is read without xarray.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from dnmf.errors import DataError, DnmfError, needed
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.sources.base import Axis, Layout, Source, check_shape, relabelled
from dnmf.sources.blocks import is_sparse_array
from dnmf.sources.bounds import cut_tiles, streams_rows, uncut_bounds
from dnmf.sources.dask_array import DaskSource
from dnmf.sources.formats.packing import FILLED, PACKED, is_nan, is_packed
from dnmf.sources.formats.presence import SecondLook
from dnmf.sources.formats.zarr_array import ZarrSource
from dnmf.sources.formats.zip_store import store_at
from dnmf.sources.memory import ArraySource, from_sparse
from dnmf.sources.names import Names
from dnmf.sources.read_errors import reading
from dnmf.sources.reopened import ReopenableSource
from dnmf.storage.urls import is_url, redacted


def open_dataarray(array: Any, streamed: Axis | None = None) -> Source:
    """Open a DataArray of two dimensions: in memory, of Dask chunks, or read lazily from its file."""
    names = names_of(array)
    if is_packed(array.attrs):
        raise DataError(
            "V is an xarray DataArray of packed numbers, to be decoded by its attributes; open it without "
            "decode_cf=False, or give xarray.decode_cf(V.to_dataset(name='V'))['V']."
        )
    if array.chunks is not None:
        source: Source = DaskSource(array.data, streamed)
    elif not getattr(array.variable, "_in_memory", True):
        return LazySource(array, names, None, streamed)
    elif is_sparse_array(array.data):
        source = from_sparse(array.data, streamed)
    else:
        source = ArraySource(array.to_numpy(), streamed)
    kind = f"xarray DataArray ({', '.join(map(str, array.dims))}), {source.layout.kind}"
    return relabelled(source, names=names.checked(source.layout.user_shape), kind=kind)


def open_zarr_variable(node: Any, store: str, path: str, location: str, streamed: Axis | None = None) -> Source:
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
        names = names_of(array)
    except DnmfError:
        raise
    except Exception as error:
        if is_packed_zarr(node):
            raise undecoded(location, node.attrs, error) from (None if is_url(store) else error)
        return ZarrSource(node, location, streamed)
    if is_decoded(array):
        return LazySource(array, names, location, streamed)
    return ZarrSource(node, location, streamed, names)


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


def names_of(array: Any) -> Names:
    """Return the coordinates along the dimensions of a DataArray as names.

    The coordinate with the name of the dimension has precedence over others along that dimension.
    """
    check_dims(array)
    found: list[Any] = []
    for dimension in array.dims:
        along = {name: values for name, values in array.coords.items() if values.dims == (dimension,)}
        named = along.get(dimension, next(iter(along.values()), None))
        found.append(None if named is None else named.values)
    return Names.of(*found)


def check_dims(array: Any) -> None:
    """Raise DataError if a DataArray does not have two dimensions."""
    if len(array.dims) != 2:
        dims = ", ".join(map(str, array.dims))
        raise DataError(
            f"V has {len(array.dims)} dimension(s), ({dims}), and must be a matrix; choose from some of them, as by "
            "V.isel(time=0), or make one of several, as by V.stack(place=('lat', 'lon'))."
        )


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
