"""Read the arrays of a checkpoint; missing chunks are an error, and not zeros."""

from functools import partial
from typing import Any

import numpy as np
import zarr

from dnmf.checkpoint.commit import Commit
from dnmf.errors import StoreError
from dnmf.storage import retries
from dnmf.storage.location import Location
from dnmf.storage.retries import LocationError, patiently
from dnmf.storage.urls import redacted


class Gone(StoreError):
    """A checkpoint has been deleted, as a running fit replaces it by a newer one."""


def open_array(place: Location, commit: Commit, name: str) -> zarr.Array[Any]:
    """Open an array of a checkpoint."""
    path = f"{commit.group}/{name}"
    try:
        return patiently(partial(zarr.open_array, place.zarr(path), mode="r", zarr_format=3), f"{place}/{path}")
    except FileNotFoundError:
        raise gone(f"{place}/{path}") from None
    except ValueError as error:
        raise damaged(f"{place}/{path}", error) from None


def read_array(array: zarr.Array[Any], region: Any = ...) -> Any:
    """Return the content of an array, or of a region of it.

    Raises
    ------
    StoreError
        If it cannot be read; `Gone` if a chunk of it is missing.
    """
    where = str(array.store_path)
    for delay in (*retries.DELAYS, None):
        try:
            part: Any = patiently(partial(array.__getitem__, region), where)
        except (LocationError, ValueError) as error:
            raise damaged(where, error) from None
        if not np.isnan(part).any():
            return part
        if delay is not None:
            retries.wait(delay)
    raise gone(where)


def gone(where: str) -> Gone:
    """Return the error for a checkpoint of which a part is missing."""
    return Gone(
        f"{where} is no longer complete: the run has continued and deleted this checkpoint, or it is damaged. Load the "
        "store again."
    )


def damaged(where: str, error: Exception) -> StoreError:
    """Return the error for an array that cannot be read."""
    reason = error.failure.reason if isinstance(error, LocationError) else redacted(error)
    return StoreError(
        f"{where} could not be read ({reason}); it is damaged, or cannot be reached. Load the store again."
    )
