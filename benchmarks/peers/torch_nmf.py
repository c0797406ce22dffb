"""torchnmf: multiplicative updates in PyTorch, on the CPU."""

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from peers.job import Job, Step, growing
from torchnmf.nmf import NMF

VERSION = f"torchnmf {version('torchnmf')}, torch {torch.__version__}"


def prepare(job: Job) -> Any:
    """Load V as a tensor, and let PyTorch compile on a tiny one."""
    torch.set_num_threads(job.threads)
    tiny = torch.rand(20, 10)
    NMF(tiny.shape, 2).fit(tiny.to_sparse() if job.sparse else tiny, beta=beta(job), max_iter=20)
    V = job.matrix()
    if not job.sparse:
        return torch.from_numpy(V)
    V = V.tocoo()
    return torch.sparse_coo_tensor(torch.from_numpy(np.array([V.row, V.col])), torch.from_numpy(V.data), V.shape)


def beta(job: Job) -> int:
    return 2 if job.loss == "frobenius" else 1


def steps(job: Job, V: Any) -> Iterator[Step]:
    """Yield the factors; what torchnmf calls H is W here, and its W is Hᵀ."""
    W, H = job.start()
    model = NMF(W=torch.from_numpy(H.T.copy()), H=torch.from_numpy(W))
    done = 0
    for step in growing(job.iterations):
        model.fit(V, beta=beta(job), tol=-float("inf"), max_iter=step)
        done += step
        yield Step(done, model.H.detach().numpy(), model.W.detach().numpy().T)
