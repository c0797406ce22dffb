"""The textbook multiplicative updates in dask.array, with every update persisted.

Both updates in one graph would keep every block of V until its second use.
"""

from collections.abc import Iterator
from typing import Any

import dask
import dask.array as da
from peers.job import Job, Step

VERSION = f"dask {dask.__version__}"


def prepare(job: Job) -> Any:
    """Open V as a Dask array: of the file if memory is limited, otherwise of an array in memory."""
    dask.config.set(scheduler="threads", num_workers=job.threads)
    if job.limit or job.options.get("from_disk"):
        import zarr

        return da.from_zarr(zarr.open_array(job.path("V.zarr"), mode="r"), inline_array=True)
    V = job.matrix()
    return da.from_array(V, chunks=(max(1, 2**24 // (4 * V.shape[1])), V.shape[1]))


def steps(job: Job, V: Any) -> Iterator[Step]:
    """Yield the factors after every iteration: W in blocks like those of V, H in one."""
    W, H = job.start()
    W = da.from_array(W, chunks=(V.chunks[0], -1))
    H = da.from_array(H, chunks=-1)
    V = V.rechunk({1: -1})
    for done in range(1, job.iterations + 1):
        H = (H * (W.T @ V) / (W.T @ W @ H + 1e-9)).persist()
        W = (W * (V @ H.T) / (W @ (H @ H.T) + 1e-9)).persist()
        yield Step(done, W, H)
