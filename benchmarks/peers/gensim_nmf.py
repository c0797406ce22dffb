"""gensim: online NMF over chunks of documents, from its own start; the factor of the features is judged."""

from collections.abc import Iterator
from typing import Any

import gensim
import numpy as np
import scipy.sparse as sp
from gensim.models import Nmf
from peers.job import Job, Step

VERSION = f"gensim {gensim.__version__}"


class Documents:
    """The rows of a matrix on disk as a corpus of gensim, iterated over once per epoch, row by row."""

    def __init__(self, V: np.ndarray) -> None:
        self.V = V

    def __len__(self) -> int:
        return len(self.V)

    def __iter__(self) -> Iterator[list[tuple[int, float]]]:
        for row in self.V:
            yield list(enumerate(row.tolist()))


def prepare(job: Job) -> Any:
    """Load V as terms × documents in CSC, or as a stream of documents if memory is limited."""
    V = job.matrix()
    return Documents(V) if job.limit else sp.csc_matrix(V.T)


def steps(job: Job, corpus: Any) -> Iterator[Step]:
    """Yield the factor of the features after every epoch."""
    features = corpus.V.shape[1] if job.limit else corpus.shape[0]
    model = Nmf(num_topics=job.rank, id2word={i: str(i) for i in range(features)}, random_state=0, eval_every=None)
    for epoch in range(1, job.iterations + 1):
        model.update(corpus, passes=1)
        yield Step(epoch, H=model._W.T)
