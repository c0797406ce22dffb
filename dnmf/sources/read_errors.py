"""What goes wrong in reading a matrix, as a sentence that names the part."""

import contextlib
from collections.abc import Iterator

from dnmf.errors import DataError, DnmfError, ReadError, exhausted
from dnmf.sources.base import Layout
from dnmf.storage.urls import is_url, told

STORAGE = "its storage is damaged, or cannot be reached"


@contextlib.contextmanager
def reading_part(what: str, location: str | None, reason: str = STORAGE) -> Iterator[None]:
    """Turn what goes wrong in reading some part of a matrix into a ReadError, which ends with what the reason may be.

    The error of what lies elsewhere than in a file is not passed on as the cause, since it may tell secrets.
    """
    try:
        yield
    except (DnmfError, Warning):
        raise  # a warning is an error where the user wants that
    except Exception as error:
        if exhausted(error):
            raise
        in_file = location is not None and not is_url(location)
        raise ReadError(f"{what} could not be read ({type(error).__name__}: {told(error)}); {reason}.") from (
            error if in_file else None
        )


def reading(
    layout: Layout, block: int, reason: str = STORAGE, place: str = "V"
) -> contextlib.AbstractContextManager[None]:
    """Turn what goes wrong in reading a block into a ReadError; `place` is what a matrix without location is called."""
    return reading_part(f"{layout.name(block)} of {layout.location or place}", layout.location, reason)


@contextlib.contextmanager
def parsing(place: object, what: str) -> Iterator[None]:
    """Turn an error in a file that should be of some format into a DataError."""
    try:
        yield
    except (DnmfError, Warning):
        raise
    except Exception as error:
        if exhausted(error):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{place} is no {what}, or a damaged one ({reason}); write it again from its origin."
        ) from error
