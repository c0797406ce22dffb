"""Sources that travel as the address of their matrix."""

import copyreg
import functools
from pathlib import Path
from typing import Any

from dnmf.sources.addresses import Address
from dnmf.sources.base import Axis, Elsewhere, Layout


class Reopened(Elsewhere):
    """A source that holds too much to be sent: another process opens the matrix again, once.

    `stamp` tells the file that was opened from one that took its place.
    """

    layout: Layout

    def __reduce__(self) -> tuple[Any, ...]:
        if self.layout.location is None:
            return copyreg.__newobj__, (type(self),), self.__dict__  # type: ignore[attr-defined]
        axis: Axis = "rows" if self.layout.transposed else "columns"
        return reopened, (self.layout.location, axis, stamp(self.layout.location))


def stamp(location: str) -> tuple[int, int]:
    """Return when the file at a location was changed, and its size, where there is one."""
    try:
        found = Path(Address.of(location).place).stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=4)
def reopened(location: str, streamed: Axis, stamp: tuple[int, int]) -> Any:
    """Open a matrix as another process did, unless this one has it open already."""
    from dnmf.sources.opening import open_matrix  # which opens what is here

    return open_matrix(location, streamed)
