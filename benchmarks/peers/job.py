"""The job of a peer, and the steps that it reports."""

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of one peer.

    The folder holds V as `V.npy` and `V.zarr` (dense, samples × features) or as `V.npz` (sparse), and the start `W.npy`
    and `H.npy`. A matrix larger than the allowed memory is mapped rather than loaded; `limit` is in bytes
    beyond the memory of the process with its libraries loaded.
    """

    adapter: str
    folder: str
    out: str
    rank: int
    loss: str = "frobenius"
    threads: int = 1
    iterations: int = 100
    seconds: float = 10.0
    limit: int | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def path(self, name: str) -> str:
        """Return the path of a file of the problem."""
        return str(Path(self.folder) / name)

    @property
    def sparse(self) -> bool:
        return Path(self.path("V.npz")).exists()

    def matrix(self) -> Any:
        """Return V as CSR, as an array, or as a mapped file if memory is limited."""
        if self.sparse:
            import scipy.sparse as sp

            return sp.csr_matrix(sp.load_npz(self.path("V.npz")))
        return np.load(self.path("V.npy"), mmap_mode="r" if self.limit else None)

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Return W (samples, rank) and H (rank, features)."""
        return np.load(self.path("W.npy")), np.load(self.path("H.npy"))


def read_job(path: str) -> Job:
    """Read a job from JSON."""
    return Job(**json.loads(Path(path).read_text()))


@dataclasses.dataclass(frozen=True)
class Step:
    """Factors after a number of iterations: W, H or both; and the seconds if the peer measures them itself."""

    iterations: int
    W: Any = None
    H: Any = None
    seconds: float | None = None
    reads: float | None = None


def growing(limit: int) -> Iterator[int]:
    """Yield the number of iterations to do at once: one at first, later a tenth of those done.

    >>> list(growing(25))[-3:]
    [2, 2, 1]
    """
    done = 0
    while done < limit:
        step = min(max(1, done // 10), limit - done)
        done += step
        yield step


def timed(steps: Iterator[Step]) -> Iterator[tuple[Step, float]]:
    """Yield the steps with the seconds spent in them so far, without the time between them."""
    seconds = 0.0
    while True:
        start = time.perf_counter()
        step = next(steps, None)
        seconds += time.perf_counter() - start
        if step is None:
            return
        yield step, seconds if step.seconds is None else step.seconds
