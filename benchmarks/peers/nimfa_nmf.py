"""nimfa: Lee and Seung's updates.

nimfa 1.4 calls `np.mat`, which NumPy 2 removed: it is put back here. Its update is called directly, since
`factorize` copies V with every call.
"""

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
import scipy.sparse as sp
from peers.job import Job, Step

np.mat = np.asmatrix  # noqa: NPY201

import nimfa  # noqa: E402

VERSION = f"nimfa {version('nimfa')}"


def prepare(job: Job) -> Any:
    """Load V and the start."""
    V, (W, H) = job.matrix(), job.start()
    V, W, H = (sp.csr_matrix(M) if job.sparse else np.asmatrix(M) for M in (V, W, H))
    update = "euclidean" if job.loss == "frobenius" else "divergence"
    model = nimfa.Nmf(V, seed=None, W=W, H=H, rank=job.rank, max_iter=1, update=update)
    model.W, model.H = model.seed.initialize(model.V, model.rank, model.options)
    return model


def steps(job: Job, model: Any) -> Iterator[Step]:
    """Yield the factors after every iteration."""
    for done in range(1, job.iterations + 1):
        model.update()
        model._adjustment()
        W, H = (M.toarray() if job.sparse else M for M in (model.W, model.H))
        yield Step(done, W, H)
