"""The parameters of a conversion."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from zarr.storage import StoreLike

from dnmf.sources.base import Axis


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """How to write a matrix, with `by`, `compressor` and `on_progress` as in `convert`.

    Attributes
    ----------
    draft
        Zarr store of the new array or group.
    folder
        Local folder for temporary files.
    memory
        Bytes of the matrix to hold at once.
    """

    draft: StoreLike
    folder: Path
    by: Axis | None
    compressor: str
    memory: int
    on_progress: Callable[[int, int], None]
