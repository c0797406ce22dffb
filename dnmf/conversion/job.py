"""The parameters of a conversion."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from zarr.storage import StoreLike

from dnmf.sources.base import Axis


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """How to write a matrix, with `by` and `compressor` as in `convert`.

    Attributes
    ----------
    draft
        Zarr store of the new array or group.
    folder
        Local folder for temporary files.
    memory
        Bytes of the matrix to hold at once.
    report
        Function to call with the bytes done and the bytes in total.
    """

    draft: StoreLike
    folder: Path
    by: Axis | None
    compressor: str
    memory: int
    report: Callable[[int, int], None]
