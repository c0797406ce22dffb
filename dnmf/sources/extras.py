"""Packages that only some matrices need, each with the extra that brings it."""

import importlib
from typing import Any

from dnmf.errors import MissingExtraError

EXTRAS = {"h5py": "hdf5", "xarray": "xarray", "h5netcdf": "xarray", "pyarrow": "parquet"}


def needed(module: str, what: str, extra: str | None = None) -> Any:
    """Import a module of an optional package, or raise MissingExtraError with what needs it.

    >>> needed("math", "counting").floor(1.5)
    1
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtraError(
            f"{what} needs the package {package}; install it with: pip install 'dnmf[{extra or EXTRAS[package]}]'"
        ) from error
