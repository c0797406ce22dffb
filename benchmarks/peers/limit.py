"""The limit: only reading V, and only the two products of a pass in NumPy, with one thread per core."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from peers.job import Job, Step
from threadpoolctl import threadpool_limits

VERSION = f"NumPy {np.__version__}"
BUFFER = 2**24
PANEL = 2**22


def prepare(job: Job) -> Any:
    """Load V for the products, or one block of a matrix that does not fit."""
    if job.options["act"] == "reading":
        return None
    return job.matrix()


def steps(job: Job, V: Any) -> Iterator[Step]:
    """Yield after every round."""
    act = reading(job) if job.options["act"] == "reading" else products(job, V)
    seconds = 0.0
    for done in range(1, job.iterations + 1):
        seconds += next(act)
        yield Step(done, seconds=seconds)


def reading(job: Job) -> Iterator[float]:
    """Read every byte of the file of V into reused buffers, one part for each thread."""
    path = job.path("V.npz" if job.sparse else "V.npy")

    def read(part: int) -> None:
        with open(path, "rb", buffering=0) as file:
            size = file.seek(0, 2)
            file.seek(size * part // job.threads)
            buffer, left = bytearray(BUFFER), size * (part + 1) // job.threads - file.tell()
            while left > 0:
                left -= file.readinto(memoryview(buffer)[: min(left, BUFFER)]) or left

    with ThreadPoolExecutor(job.threads) as pool:
        while True:
            start = time.perf_counter()
            list(pool.map(read, range(job.threads)))
            yield time.perf_counter() - start


def products(job: Job, V: Any) -> Iterator[float]:
    """Multiply every panel of V by both factors, with one BLAS thread in each thread.

    Panels of a dense V have 4 MB, the fastest size of those tried; a sparse one has four for each thread.
    """
    W, H = job.start()
    height = max(1, V.shape[0] // (4 * job.threads) if job.sparse else PANEL // (4 * V.shape[1]))
    blocks = [slice(at, at + height) for at in range(0, V.shape[0], height)]
    if job.limit:
        first = np.array(V[:height])

    def multiply(rows: slice) -> None:
        panel = V[rows] if not job.limit else first[: len(range(*rows.indices(V.shape[0])))]
        panel @ H.T
        panel.T @ W[rows]

    with threadpool_limits(1), ThreadPoolExecutor(job.threads) as pool:
        while True:
            start = time.perf_counter()
            list(pool.map(multiply, blocks))
            yield time.perf_counter() - start
