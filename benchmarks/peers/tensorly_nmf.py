"""tensorly: non-negative CP decomposition by HALS, of a tensor of two modes, which is NMF."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorly
from peers.job import Job, Step, growing
from tensorly.cp_tensor import CPTensor
from tensorly.decomposition import non_negative_parafac_hals

VERSION = f"tensorly {tensorly.__version__}"


def prepare(job: Job) -> Any:
    """Load V."""
    return job.matrix()


def steps(job: Job, V: Any) -> Iterator[Step]:
    """Yield the factors."""
    W, H = job.start()
    factors, done = [W, H.T.copy()], 0
    for step in growing(job.iterations):
        given = CPTensor((np.ones(job.rank, W.dtype), factors))
        factors = non_negative_parafac_hals(V, job.rank, n_iter_max=step, init=given, tol=None).factors
        done += step
        yield Step(done, factors[0], factors[1].T)
