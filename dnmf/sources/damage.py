"""What goes wrong in reading a block, as a sentence that names the block."""

import contextlib
from collections.abc import Iterator

from dnmf.errors import DnmfError, ReadError
from dnmf.sources.layout import Layout
from dnmf.sources.urls import is_url, told


@contextlib.contextmanager
def reading(layout: Layout, block: int, reason: str, place: str = "V") -> Iterator[None]:
    """Turn what goes wrong in reading a block into a ReadError, which ends with what the reason may be.

    `place` is what a matrix is called that has no location. The error of what lies elsewhere than in a file is not
    passed on as the cause, since it may tell secrets.
    """
    try:
        yield
    except DnmfError:
        raise
    except Exception as error:
        in_file = layout.location is not None and not is_url(layout.location)
        raise ReadError(
            f"{layout.name(block)} of {layout.location or place} could not be read ({type(error).__name__}: "
            f"{told(error)}); {reason}."
        ) from (error if in_file else None)
