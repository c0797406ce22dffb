"""Paths given by users."""

import itertools
import os
from pathlib import Path

from dnmf.errors import DataError, did_you_mean

# The most names of a folder among which a similar one is looked for.
MOST_NAMES = 1000


def absolute(given: str | Path) -> Path:
    """Return an absolute path, with `~` expanded; symbolic links are not resolved.

    Raises
    ------
    DataError
        If this process has no home, or its working folder has been deleted.

    >>> str(absolute("/data/V.zarr"))
    '/data/V.zarr'
    """
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError as error:
        raise DataError(
            f"{given} begins with a home folder that does not exist; give an absolute path, or set HOME."
        ) from error
    except FileNotFoundError as error:
        raise DataError(
            f"{given} is relative to the working folder, which has been deleted; give an absolute path, or change to "
            "a folder that exists."
        ) from error


def similar(given: str | Path) -> str:
    """Return a hint at the file or folder that is meant by a path that does not exist, or an empty text."""
    path = Path(given)
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in itertools.islice(entries, MOST_NAMES)]
    except (OSError, ValueError):
        return ""
    return did_you_mean(path.name, sorted(names))
