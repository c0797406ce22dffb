"""What xarray names: DataArrays, variables of NetCDF files, and those that it wrote into Zarr groups.

Its coordinates become names. The numbers of a variable that needs no decoding are read past xarray.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dnmf.errors import DataError, DnmfError
from dnmf.kernels.panels import Block, work_dtype
from dnmf.kernels.scratch import Scratch
from dnmf.sources.addresses import Address, NotInPlace
from dnmf.sources.damage import reading, reading_part
from dnmf.sources.dask_array import DaskSource
from dnmf.sources.extras import needed
from dnmf.sources.hdf5_array import open_dataset
from dnmf.sources.hdf5_filters import check_filters
from dnmf.sources.layout import Axis, Layout, Source, check_shape, cut_tiles, uncut_bounds
from dnmf.sources.memory import ArraySource
from dnmf.sources.names import Names
from dnmf.sources.nodes import child, is_group, matrices, names_in
from dnmf.sources.objects import zarr_store
from dnmf.sources.packing import FILLED, PACKED, is_nan, is_packed
from dnmf.sources.reopened import Reopened
from dnmf.sources.sparse_array import from_sparse, is_sparse_array
from dnmf.sources.urls import is_url, told
from dnmf.sources.zarr_array import ZarrSource


def open_dataarray(array: Any, streamed: Axis | None = None) -> Source:
    """Open a DataArray of two dimensions: in memory, of Dask chunks, or read from its file as it is needed."""
    names = names_of(array)
    if array.chunks is not None:
        source: Any = DaskSource(array.data, streamed)
    elif not getattr(array.variable, "_in_memory", True):
        return LazySource(array, names, None, streamed)
    elif is_sparse_array(array.data):
        source = from_sparse(array.data, streamed)
    else:
        source = ArraySource(array.to_numpy(), streamed)
    kind = f"xarray DataArray ({', '.join(map(str, array.dims))}), {source.layout.kind}"
    source.layout = dataclasses.replace(source.layout, names=names.checked(source.layout.user_shape), kind=kind)
    return source  # type: ignore[no-any-return]


def open_netcdf(address: Address, streamed: Axis | None = None) -> Source:
    """Open a variable of a NetCDF file; those of format 4 that need no decoding are read as the HDF5 they are.

    Raises
    ------
    MissingExtraError
        If xarray or h5netcdf is not installed.
    DataError
        If it is no NetCDF file, or holds no such variable.
    ReadError
        If what it holds cannot be read.
    """
    needed("xarray", address.place)
    path = Path(address.place)
    with open(path, "rb") as file:
        classic = file.read(3) == b"CDF"
    if not classic:
        needed("h5netcdf", address.place)
    try:
        group, name, deeper = (None, address.part, []) if classic else _place_of(address)
        data = _opened_file(path, classic, group, name)
    except DnmfError:
        raise
    except Exception as error:
        raise DataError(
            f"{path} is no NetCDF file, or a damaged one ({type(error).__name__}: {error}); write it again from its "
            "origin."
        ) from error
    with reading_part(str(address), str(address)):
        array = _chosen(data, address, group, name, deeper)
        names = names_of(array)
    if classic or _is_decoded(array):
        return LazySource(array, names, str(address), streamed)
    data.close()
    inner = f"{group or ''}/{array.name}"
    with needed("h5py", address.place).File(path, "r") as file, reading_part(str(address), str(address)):
        return open_dataset(file[inner], f"variable {array.name}", str(address), streamed, names)


def open_packed(dataset: Any, location: str, streamed: Axis | None = None) -> Source:
    """Open an HDF5 dataset whose attributes say that its numbers are packed, as the variable that it is."""
    for package in ("xarray", "h5netcdf"):
        needed(package, location)
    check_filters(dataset)
    group, _, name = str(dataset.name).rpartition("/")
    try:
        data = _opened_file(Path(dataset.file.filename), False, group or None, name)
        array = data[name]
    except Exception as error:
        raise _undecoded(location, dataset.attrs, error) from error
    check_dims(array)
    return LazySource(array, names_of(array), location, streamed)


def open_zarr_variable(node: Any, store: str, path: str, location: str, streamed: Axis | None = None) -> Source:
    """Open a variable that xarray wrote into a Zarr group; one that needs no decoding is read as the array it is.

    Where the group is none to xarray, as some node of it has no dimensions, the array is read without its names, unless
    its numbers are packed.
    """
    xarray = needed("xarray", location)
    folder, _, name = path.rpartition("/")

    def opened(**options: Any) -> Any:
        where = zarr_store(store) if is_url(store) else store
        return xarray.open_zarr(
            where, group=folder or None, chunks=None, consolidated=False, decode_timedelta=False, **options
        )

    try:
        array = _decoded(opened, [])[name]
        names = names_of(array)
    except DnmfError:
        raise
    except Exception as error:
        if is_packed_zarr(node):
            raise _undecoded(location, node.attrs, error) from (None if is_url(store) else error)
        return ZarrSource(node, location, streamed)
    if _is_decoded(array):
        return LazySource(array, names, location, streamed)
    return ZarrSource(node, location, streamed, names)


def is_packed_zarr(node: Any) -> bool:
    """Say whether the numbers of a Zarr array are packed; the fill value of a variable in format 2 is a missing one."""
    fill = node.fill_value if node.metadata.zarr_format == 2 and has_dimensions(node) else None
    return is_packed(node.attrs) or (fill is not None and not is_nan(fill))


def undecodable(location: str, attributes: Any) -> DataError:
    """Return the error for packed numbers that nothing decodes here."""
    marks = ", ".join(f"{name}={attributes[name]}" for name in (*PACKED, *FILLED) if name in attributes)
    return DataError(
        f"{location} holds packed numbers ({marks or 'with a fill value'}); open it with xarray, which decodes them, "
        "and give the variable, as xarray.open_zarr(path)['counts'] or xarray.open_dataset(path)['counts']."
    )


def _undecoded(location: str, attributes: Any, error: Exception) -> DataError:
    reason = undecodable(location, attributes)
    return DataError(f"{reason} Here xarray did not ({type(error).__name__}: {told(error)}).")


def has_dimensions(node: Any) -> bool:
    """Say whether the axes of a Zarr array have names, as xarray gives them."""
    return "_ARRAY_DIMENSIONS" in node.attrs or bool(getattr(node.metadata, "dimension_names", None))


def names_of(array: Any) -> Names:
    """Return the coordinates along the dimensions of a DataArray, where it has them.

    That of the dimension's own name goes first, then the first other one of one axis.
    """
    check_dims(array)
    found: list[Any] = []
    for dimension in array.dims:
        along = {name: values for name, values in array.coords.items() if values.dims == (dimension,)}
        named = along.get(dimension, next(iter(along.values()), None))
        found.append(None if named is None else named.values)
    return Names.of(*found)


def check_dims(array: Any) -> None:
    """Raise DataError where a DataArray has not two dimensions."""
    if len(array.dims) != 2:
        dims = ", ".join(map(str, array.dims))
        raise DataError(
            f"V has {len(array.dims)} dimension(s), ({dims}), and must be a matrix; choose from some of them, as by "
            "V.isel(time=0), or make one of several, as by V.stack(place=('lat', 'lon'))."
        )


class LazySource(Reopened):
    """A DataArray that is read, and decoded, as it is needed; a block is a run of whole chunks of its file."""

    def __init__(self, array: Any, names: Names, location: str | None, streamed: Axis | None = None) -> None:
        shape = check_shape(array.shape, location or "V")
        work_dtype(array.dtype)
        tiles = array.encoding.get("preferred_chunks") or {}
        if tiles:
            sizes = tuple(int(tiles.get(dim, size)) for dim, size in zip(array.dims, shape, strict=True))
            transposed, bounds = cut_tiles(shape, sizes, array.dtype, streamed)  # type: ignore[arg-type]
        else:
            transposed = shape[0] > shape[1] if streamed is None else streamed == "rows"
            bounds = uncut_bounds(shape[::-1] if transposed else shape, array.dtype)
        cut = shape[::-1] if transposed else shape
        self.array = array
        self.layout = Layout(
            shape=cut,
            dtype=array.dtype,
            bounds=bounds,
            transposed=transposed,
            read_bytes=3 * cut[0] * bounds[1] * array.dtype.itemsize,
            stored_bytes=math.prod(shape) * array.dtype.itemsize,
            sparse=False,
            on_disk=True,
            kind=f"xarray variable {array.name} ({', '.join(map(str, array.dims))}), decoded by xarray",
            location=location,
            names=names.checked(shape),
        )

    def read(self, block: int, scratch: Scratch) -> Block:
        """Read a block through xarray."""
        columns = self.layout.columns(block)
        with reading(self.layout, block, "its file is damaged, or cannot be reached"):
            part = self.array[columns, :] if self.layout.transposed else self.array[:, columns]
            values = np.asarray(part.to_numpy())
        return values.T if self.layout.transposed else values

    def expect(self, block: int) -> None:
        """Do nothing: where a block lies is known to xarray alone."""

    def regions(self) -> Any:
        """Return the matrix as something that gives the entries of any rows and columns."""
        return self.array


def _place_of(address: Address) -> tuple[str | None, str | None, list[str]]:
    """Return the group and the variable that an address means, and the matrices in groups below that group."""
    with needed("h5py", address.place).File(address.place, "r") as file:
        part = address.part
        below = [name for name, _ in matrices(file)]
        if part is None and len(below) == 1:
            part = below[0]
        node = file if part is None else child(file, part)
        if is_group(node):
            deeper = [name for name, _ in matrices(node) if "/" in name]
            return part, None, deeper if part is None else [f"{part}/{name}" for name in deeper]
    group, _, name = (part or "").rpartition("/")
    return group or None, name, [other for other in below if "/" in other and other.rpartition("/")[0] != group]


def _opened_file(path: Path, classic: bool, group: str | None, name: str | None) -> Any:
    """Open a group of a NetCDF file as a data set, of which all but one variable may not be decodable."""
    xarray = needed("xarray", str(path))
    others: list[str] = []
    if not classic and name is not None:
        with needed("h5py", str(path)).File(path, "r") as file:
            others = [other for other in names_in(file[group or "/"]) if other != name]

    def opened(**options: Any) -> Any:
        options |= {"engine": "scipy"} if classic else {"engine": "h5netcdf", "group": group, "phony_dims": "access"}
        return xarray.open_dataset(path, chunks=None, decode_timedelta=False, **options)

    return _decoded(opened, others)


def _decoded(opened: Callable[..., Any], others: list[str]) -> Any:
    """Return a data set, with raw numbers for a time that xarray cannot decode, or without the other variables.

    Raises
    ------
    Exception
        That of the first try, if none can be opened.
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


def _chosen(data: Any, address: Address, group: str | None, name: str | None, deeper: list[str]) -> Any:
    """Return the variable that an address means, or the only one of two dimensions."""
    if name is not None and name in data:
        array = data[name]
        check_dims(array)
        return array
    names = [str(name) for name, array in data.data_vars.items() if array.ndim == 2 and array.dtype.kind in "buif"]
    if name is None and len(names) == 1:
        return data[names[0]]
    listed = [f"{group}/{name}" if group else name for name in names] + deeper
    what = f"{address.place} holds no variable {address.part}" if name else f"{address} is a data set"
    hint = (
        f"give one of its variables: {', '.join(listed)}; as {address.of_part(listed[0])}"
        if listed
        else ("it holds no variable of two dimensions; open it with xarray, make one, as by stack, and give that as V.")
    )
    raise NotInPlace(f"{what}; {hint}", {"holds": ", ".join(listed) or "no matrix"})


def _is_decoded(array: Any) -> bool:
    """Say whether the numbers of a variable are others than those in its file."""
    encoding = array.encoding
    fills = [encoding[name] for name in FILLED if encoding.get(name) is not None]
    packed = any(name in encoding for name in PACKED)
    return packed or not all(map(is_nan, fills)) or encoding.get("dtype") != array.dtype
