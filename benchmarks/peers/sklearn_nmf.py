"""scikit-learn: `NMF` step by step through `non_negative_factorization`, and `MiniBatchNMF` epoch by epoch.

An iteration of `cd` and `mu` reads V twice, and the mean that scales the start takes one read. An epoch of
`MiniBatchNMF` is one read, and the W of the last H takes one more; it uses its own start.
"""

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import sklearn
from peers.job import Job, Step, growing
from sklearn.decomposition import MiniBatchNMF, non_negative_factorization

VERSION = f"scikit-learn {sklearn.__version__}"


def prepare(job: Job) -> Any:
    """Load V."""
    return job.matrix()


def steps(job: Job, V: Any) -> Iterator[Step]:
    """Yield the steps of the solver that the job names."""
    if job.options["solver"] == "minibatch":
        return batches(V, job.rank, job.loss, 0, job.iterations)
    return alternating(V, *job.start(), job.loss, job.options["solver"], job.iterations)


def alternating(V: Any, W: np.ndarray, H: np.ndarray, loss: str, solver: str, iterations: int) -> Iterator[Step]:
    """Yield the steps of `cd` or `mu`."""
    done = 0
    for step in growing(iterations):
        W, H, _ = non_negative_factorization(
            V, W, H, n_components=len(H), init="custom", solver=solver, beta_loss=loss, max_iter=step, tol=0
        )
        done += step
        yield Step(done, W, H, reads=1.0 + 2 * done)


def batches(V: Any, rank: int, loss: str, seed: int, epochs: int, size: int = 1024) -> Iterator[Step]:
    """Yield the epochs of MiniBatchNMF; each is judged with the W of its H, of which one is counted."""
    model = MiniBatchNMF(rank, init="random", beta_loss=loss, random_state=seed, batch_size=size)
    order, seconds = np.random.default_rng(seed), 0.0
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        for rows in np.array_split(order.permutation(V.shape[0]), math.ceil(V.shape[0] / size)):
            model.partial_fit(V[np.sort(rows)])
        seconds += time.perf_counter() - start
        start = time.perf_counter()
        W = model.transform(V)
        yield Step(epoch, W, model.components_, seconds + time.perf_counter() - start, epoch + 1.0)
