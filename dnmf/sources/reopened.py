"""Sources that are pickled as the address of their matrix."""

import copy
import copyreg
import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dnmf.sources.addresses import Address
from dnmf.sources.base import Axis, Labelled, Layout, SharedSource, Source, relabelled


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
        location = self.layout.location
        return reopened, (ReopenableSource.opener, location, axis, stamp(location), self.layout.bounds)


def stamp(location: str) -> tuple[int, int]:
    """Return the modification time and the size of the file at a location, or zeros."""
    try:
        found = Path(Address.of(location).place).stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=4)
def reopened(
    opener: Callable[[str, Axis], Source],
    location: str,
    streamed: Axis,
    stamp: tuple[int, int],
    bounds: tuple[int, ...],
) -> Source:
    """Open a matrix as another process did, unless this process has it open already."""
    source = opener(location, streamed)
    same = source.layout.bounds == bounds or source.layout.bounds[-1] != bounds[-1]  # another shape is refused later
    return source if same else with_bounds(source, bounds)


def with_bounds(source: Labelled, bounds: tuple[int, ...]) -> Labelled:
    """Return a source, which must be able to read any run of columns, with other bounds of its blocks."""
    before, found = source.layout, copy.copy(source)
    found.layout = after = dataclasses.replace(before, bounds=bounds)
    starts = getattr(source, "starts", None)
    if starts is None:
        share = after.widest / before.widest
    else:
        new, old = (int(np.diff(starts[list(layout.bounds)]).max()) for layout in (after, before))
        share = new / max(old, 1)
    return relabelled(found, read_bytes=math.ceil(before.read_bytes * share))
