"""What xarray names: DataArrays, variables of NetCDF files, and those that it wrote into Zarr groups.

Its coordinates become names. The numbers of a variable that needs no decoding are read past xarray.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from dnmf.errors import DataError
from dnmf.kernels.panels import Block, work_dtype
from dnmf.kernels.scratch import Scratch
from dnmf.sources.addresses import Address, NotInPlace
from dnmf.sources.damage import reading, reading_part
from dnmf.sources.dask_array import DaskSource
from dnmf.sources.extras import needed
from dnmf.sources.hdf5_file import open_dataset
from dnmf.sources.layout import Axis, Layout, Source, check_shape, cut_tiles, uncut_bounds
from dnmf.sources.memory import ArraySource
from dnmf.sources.names import Names
from dnmf.sources.objects import zarr_store
from dnmf.sources.reopened import Reopened
from dnmf.sources.sparse_array import from_sparse, is_sparse_array
from dnmf.sources.urls import is_url
from dnmf.sources.zarr_array import ZarrSource

PACKED = ("scale_factor", "add_offset")
FILLED = ("_FillValue", "missing_value")


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
    xarray = needed("xarray", address.place)
    path = Path(address.place)
    with open(path, "rb") as file:
        classic = file.read(3) == b"CDF"
    if not classic:
        needed("h5netcdf", address.place)
    try:
        data = xarray.open_dataset(path, engine="scipy" if classic else "h5netcdf", chunks=None)
    except Exception as error:
        raise DataError(
            f"{path} is no NetCDF file, or a damaged one ({type(error).__name__}: {error}); write it again from its "
            "origin."
        ) from error
    with reading_part(str(address), str(address)):
        array = _chosen(data, address)
        names = names_of(array)
    if classic or _is_decoded(array):
        return LazySource(array, names, str(address), streamed)
    data.close()
    with needed("h5py", address.place).File(path, "r") as file, reading_part(str(address), str(address)):
        return open_dataset(path, file[array.name], f"variable {array.name}", str(address), streamed, names)


def open_zarr_variable(node: Any, address: Address, streamed: Axis | None = None) -> Source:
    """Open a variable that xarray wrote into a Zarr group; one that needs no decoding is read as the array it is."""
    xarray = needed("xarray", str(address))
    store = zarr_store(address.place) if is_url(address.place) else address.place
    folder, _, name = str(node.path).rpartition("/")
    data = xarray.open_zarr(store, group=folder or None, chunks=None, consolidated=False)
    array = _chosen(data, Address(address.place, name))
    names = names_of(array)
    if _is_decoded(array):
        return LazySource(array, names, str(address), streamed)
    return ZarrSource(node, str(address), streamed, names)


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


def _chosen(data: Any, address: Address) -> Any:
    """Return the variable that an address means, or the only one of two dimensions."""
    if address.part is not None and address.part in data:
        array = data[address.part]
        check_dims(array)
        return array
    names = [str(name) for name, array in data.data_vars.items() if array.ndim == 2 and array.dtype.kind in "buif"]
    if address.part is None and len(names) == 1:
        return data[names[0]]
    what = f"{address.place} holds no variable {address.part}" if address.part else f"{address} is a data set"
    hint = (
        f"give one of its variables: {', '.join(names)}; as {address.of_part(names[0])}"
        if names
        else ("it holds no variable of two dimensions; open it with xarray, make one, as by stack, and give that as V.")
    )
    raise NotInPlace(f"{what}; {hint}", {"holds": ", ".join(names) or "no matrix"})


def _is_decoded(array: Any) -> bool:
    """Say whether the numbers of a variable are others than those in its file."""
    encoding = array.encoding
    fills = [encoding[name] for name in FILLED if encoding.get(name) is not None]
    filled = any(not np.all(np.isnan(fill)) for fill in fills)
    return filled or any(name in encoding for name in PACKED) or encoding.get("dtype") != array.dtype
