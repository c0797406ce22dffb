"""Turn errors in the reading of a matrix into sentences that name the part."""

import contextlib
from collections.abc import Iterator

from dnmf.errors import DataError, DnmfError, ReadError, exhausted
from dnmf.sources.base import Layout
from dnmf.storage.urls import is_url, redacted

STORAGE = "its storage is damaged, or cannot be reached"


@contextlib.contextmanager
def reading_part(what: str, location: str | None, reason: str = STORAGE) -> Iterator[None]:
    """Turn an error in the reading of a part of a matrix into a ReadError that ends with the likely reason.

    Only an error of a file is kept as the cause: that of an object store may contain secrets.
    """
    try:
        yield
    except (DnmfError, Warning):
        raise  # the user may have turned warnings into errors
    except Exception as error:
        if exhausted(error):
            raise
        in_file = location is not None and not is_url(location)
        raise ReadError(f"{what} could not be read ({type(error).__name__}: {redacted(error)}); {reason}.") from (
            error if in_file else None
        )


def reading(
    layout: Layout, block: int, reason: str = STORAGE, place: str = "V"
) -> contextlib.AbstractContextManager[None]:
    """Turn an error in the reading of a block into a ReadError; `place` names a matrix without location."""
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
        raise DataError(f"{place} is not a readable {what} ({reason}); write it again from its origin.") from error
