"""dnmf: from the common start if the solver is named, otherwise from its own."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from measure import anonymous_bytes
from peers.job import Job, Step

import dnmf

VERSION = f"dnmf {dnmf.__version__}"
HELD = anonymous_bytes()


def settings(job: Job) -> dict[str, Any]:
    """Return the options of dnmf for a job; its memory limit includes the libraries."""
    words = {key: value for key, value in job.options.items() if key != "from_disk"}
    if job.limit:
        words["memory_limit"] = HELD + job.limit
    return {"loss": job.loss, "threads": job.threads, "tol": 0, "client": "threads", **words}


def prepare(job: Job) -> Any:
    """Load V, or take its path, and compile the kernels."""
    tiny = np.random.default_rng(0).random((8 * job.rank, 7 * job.rank), dtype=np.float32)
    dnmf.factorize(sp.csr_matrix(tiny) if job.sparse else tiny, job.rank, **{**settings(job), "max_passes": 2})
    return job.path("V.zarr") if job.limit or job.options.get("from_disk") else job.matrix()


def steps(job: Job, V: Any) -> Iterator[Step]:
    """Yield the factors after every pass."""
    words = settings(job)
    if "solver" in words:
        words["init"] = job.start()
    for result in dnmf.iterate(V, job.rank, max_passes=job.iterations, **words):
        reads = result.history[-1].bytes_read / per_pass(V)
        yield Step(result.passes, result.W, result.H, reads=reads)


def per_pass(V: Any) -> int:
    """Return the bytes of V as a pass reads them."""
    return int(dnmf.plan(V, 1).bytes_per_pass)
