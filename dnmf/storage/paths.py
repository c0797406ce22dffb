"""Paths given by users."""

from pathlib import Path

from dnmf.errors import DataError


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
