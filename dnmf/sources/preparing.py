"""The door for what is to be prepared as the matrix of a run was."""

from collections.abc import Sequence
from typing import Any

from dnmf.errors import DataError
from dnmf.kernels.steps import Step
from dnmf.sources.layout import Axis, Source
from dnmf.sources.opening import open_matrix
from dnmf.sources.prepared import Prepared


def open_prepared(
    V: Any,
    steps: Sequence[Step],
    streamed: Axis | None = None,
    weights: Any = None,
    bounds: Sequence[int] | None = None,
) -> Source:
    """Open a matrix and prepare it by the steps of a run; one that was prepared by the same is taken as it is.

    `open_matrix` has the other parameters.

    Raises
    ------
    DataError
        If V was prepared otherwise, or if the steps were fitted to a matrix of another shape.
    """
    if isinstance(V, Prepared):
        if steps and V.steps != tuple(steps):
            raise DataError(
                "V was prepared otherwise than the matrix that was factorised; give it as it is, and it is prepared as "
                "that one was."
            )
    elif steps:
        V = Prepared(open_matrix(V, streamed, bounds=bounds), steps)
    return open_matrix(V, streamed, weights, bounds)
