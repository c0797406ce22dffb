"""Compression filters of HDF5 datasets, few of which come with the library."""

import functools
import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import MissingExtraError, missing_extra, needed

# The package that registers filters when it is imported, those that it has, and others by their names.
PLUGIN = "hdf5plugin"
IN_PLUGIN = {
    307: "BZIP2",
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32018: "FCIDECOMP",
    32024: "SZ3",
    32026: "Blosc2",
    32028: "SPERR",
    32033: "HTJ2K",
}
NAMES = IN_PLUGIN | {4: "SZIP", 305: "LZO", 32020: "VBZ"}


def filters_of(dataset: Any) -> list[int]:
    """Return the numbers of the filters of an HDF5 dataset, in their order."""
    created = dataset.id.get_create_plist()
    return [created.get_filter(index)[0] for index in range(created.get_nfilters())]


def check_filters(node: Any) -> None:
    """Raise MissingExtraError for an HDF5 dataset with a filter that is not installed; ignore arrays of Zarr."""
    if not hasattr(getattr(node, "id", None), "get_create_plist"):
        return
    h5py = needed("h5py", "HDF5")
    missing = [number for number in filters_of(node) if not h5py.h5z.filter_avail(number)]
    if missing and _plugins():
        missing = [number for number in missing if not h5py.h5z.filter_avail(number)]
    if not missing:
        return
    what = f"{node.file.filename}::{node.name.strip('/')}, compressed with the HDF5 filter {_listed(missing)},"
    if set(missing) <= set(IN_PLUGIN) and not _plugins():
        raise missing_extra(PLUGIN, what)
    raise MissingExtraError(
        f"{what} cannot be read, as that filter is not installed; write the file again without it where it is, as by: "
        "h5repack -f NONE old.h5 new.h5"
    )


def _listed(numbers: list[int]) -> str:
    """Return filters by their numbers and names.

    >>> _listed([32001, 40000])
    '32001 (Blosc), 40000'
    """
    return ", ".join(f"{number} ({NAMES[number]})" if number in NAMES else str(number) for number in numbers)


@functools.cache
def _plugins() -> bool:
    """Import the package of filters; return False if it is not installed."""
    try:
        importlib.import_module(PLUGIN)
    except ImportError:
        return False
    return True


def unshuffled(raw: NDArray[np.uint8], itemsize: int) -> NDArray[np.uint8]:
    """Assemble numbers that are stored as all first bytes, then all second bytes, and so on.

    >>> unshuffled(np.array([1, 2, 3, 10, 20, 30], np.uint8), 2).tolist()
    [1, 10, 2, 20, 3, 30]
    """
    whole = np.empty((len(raw) // itemsize, itemsize), np.uint8)
    for place, plane in enumerate(raw.reshape(itemsize, -1)):
        whole[:, place] = plane
    return whole.reshape(-1)
