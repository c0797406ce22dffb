"""Sources that are pickled as the address of their matrix."""

import copyreg
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from dnmf.sources.addresses import Address
from dnmf.sources.base import Axis, Layout, SharedSource, Source


class ReopenableSource(SharedSource):
    """A source that holds too much to be sent: another process opens the matrix again, once.

    `stamp` distinguishes the opened file from one that has replaced it.
    """

    layout: Layout
    # Opens a matrix by its address; `dnmf.sources.opening`, which imports every kind of source, sets it.
    opener: ClassVar[Callable[[str, Axis], Source]]

    def __reduce__(self) -> tuple[Any, ...]:
        if self.layout.location is None:
            return copyreg.__newobj__, (type(self),), self.__dict__  # type: ignore[attr-defined]
        axis: Axis = "rows" if self.layout.transposed else "columns"
        return reopened, (ReopenableSource.opener, self.layout.location, axis, stamp(self.layout.location))


def stamp(location: str) -> tuple[int, int]:
    """Return the modification time and the size of the file at a location, or zeros."""
    try:
        found = Path(Address.of(location).place).stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=4)
def reopened(opener: Callable[[str, Axis], Source], location: str, streamed: Axis, stamp: tuple[int, int]) -> Source:
    """Open a matrix as another process did, unless this process has it open already."""
    return opener(location, streamed)
