"""Variables of NetCDF files, classic or in the groups of format 4, decoded by xarray."""

from pathlib import Path
from typing import Any

from dnmf.errors import DataError, needed
from dnmf.sources.addresses import Address, NotInPlace
from dnmf.sources.axis_names import names_along
from dnmf.sources.base import Axis, Source
from dnmf.sources.formats.hdf5_dataset import open_dataset
from dnmf.sources.formats.hdf5_filters import check_filters
from dnmf.sources.formats.nodes import child, is_group, matrices, names_in
from dnmf.sources.formats.xarray_array import check_dims, coordinates_of, decoded, is_decoded, lazy_source, undecoded
from dnmf.sources.read_errors import parsing, reading_part
from dnmf.sources.unfolding import unfolding_of


def open_netcdf(address: Address, streamed: Axis | None = None) -> Source:
    """Open a variable of a NetCDF file; those of format 4 that need no decoding are read as HDF5 datasets.

    Raises
    ------
    MissingExtraError
        If xarray or h5netcdf is not installed.
    DataError
        If it is not a NetCDF file, or does not hold the variable.
    ReadError
        If its content cannot be read.
    """
    needed("xarray", address.place)
    path = Path(address.place)
    with open(path, "rb") as file:
        classic = file.read(3) == b"CDF"
    if not classic:
        needed("h5netcdf", address.place)
    with parsing(path, "NetCDF file"):
        group, name, deeper = (None, address.part, []) if classic else _place_of(address)
        data = _opened_file(path, classic, group, name)
    with reading_part(str(address), str(address)):
        array = _chosen(data, address, group, name, deeper)
        unfolding = unfolding_of(array.shape, address.axes, array.dims, address.array)
        names = names_along(coordinates_of(array), unfolding)
    if classic or is_decoded(array):
        return lazy_source(array, str(address), streamed, unfolding)
    data.close()
    inner = f"{group or ''}/{array.name}"
    with needed("h5py", address.place).File(path, "r") as file, reading_part(str(address), str(address)):
        return open_dataset(file[inner], f"variable {array.name}", str(address), streamed, names, unfolding)


def open_packed(dataset: Any, address: Address, streamed: Axis | None = None) -> Source:
    """Open an HDF5 dataset of packed numbers as a NetCDF variable."""
    location = str(address)
    for package in ("xarray", "h5netcdf"):
        needed(package, location)
    check_filters(dataset)
    group, _, name = str(dataset.name).rpartition("/")
    try:
        data = _opened_file(Path(dataset.file.filename), False, group or None, name)
        array = data[name]
    except Exception as error:
        raise undecoded(location, dataset.attrs, error) from error
    check_dims(array)
    unfolding = unfolding_of(array.shape, address.axes, array.dims, address.array)
    return lazy_source(array, location, streamed, unfolding)


def _place_of(address: Address) -> tuple[str | None, str | None, list[str]]:
    """Return the group and the variable of an address, and the matrices in groups below that group."""
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
    """Open a group of a NetCDF file as a data set, of which only the named variable must be decodable."""
    xarray = needed("xarray", str(path))
    others: list[str] = []
    if not classic and name is not None:
        with needed("h5py", str(path)).File(path, "r") as file:
            others = [other for other in names_in(file[group or "/"]) if other != name]

    def opened(**options: Any) -> Any:
        options |= {"engine": "scipy"} if classic else {"engine": "h5netcdf", "group": group, "phony_dims": "access"}
        return xarray.open_dataset(path, chunks=None, decode_timedelta=False, **options)

    return decoded(opened, others)


def _may_be_meant(data: Any) -> list[str]:
    """Return the names of the arrays of numbers in a data set that have two axes or more and are no bounds of cells."""
    bounds = {one.attrs.get("bounds", one.encoding.get("bounds")) for one in data.variables.values()}
    return [
        str(name)
        for name, array in data.data_vars.items()
        if array.ndim > 1 and array.size > 0 and array.dtype.kind in "buif" and name not in bounds
    ]


def _chosen(data: Any, address: Address, group: str | None, name: str | None, deeper: list[str]) -> Any:
    """Return the variable of an address, or the only one of two or more dimensions."""
    if name is not None and name in data:
        array = data[name]
        check_dims(array)
        return array
    names = _may_be_meant(data)
    if name is None and len(names) == 1:
        return data[names[0]]
    listed = [f"{group}/{name}" if group else name for name in names] + deeper
    what = f"{address.place} holds no variable {address.part}" if name else f"{address} is a data set"
    hint = (
        f"give one of its variables: {', '.join(listed)}; as {address.of_part(listed[0])}"
        if listed
        else "it holds no variable of two dimensions or more, and V must be a matrix."
    )
    if name is not None or not listed:
        raise DataError(f"{what}; {hint}")
    raise NotInPlace(f"{what}; {hint}", {"holds": ", ".join(listed)})
