"""Open new data, and prepare them like the matrix of a run."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from dnmf.errors import DataError
from dnmf.kernels.preparation.steps import WEIGHT, Step
from dnmf.settings import Missing
from dnmf.sources import turning
from dnmf.sources.base import Axis, Source
from dnmf.sources.names import NO_NAMES, Names, Order
from dnmf.sources.opening import open_matrix
from dnmf.sources.prepared import Prepared
from dnmf.sources.unfolding import Axes, Unfolding


def open_prepared(
    V: Any,
    steps: Sequence[Step],
    streamed: Axis | None = None,
    weights: Any = None,
    bounds: Sequence[int] | None = None,
    names: Names = NO_NAMES,
    missing: Missing = "none",
    axes: Axes | Unfolding | None = None,
) -> Source:
    """Open a matrix and prepare it by the steps of a run, unless it is prepared by them already.

    Without weights, it may be cut along the other axis than that which is `streamed`. The other parameters are those
    of `open_matrix`.

    Raises
    ------
    DataError
        If V was prepared by other steps, or if the steps were fitted to a matrix of another shape.
    """
    if streamed is not None and weights is None and not isinstance(V, Prepared):
        V = open_along(V, streamed, missing, axes, bounds)
    if isinstance(V, Prepared):
        own, weights_of_join = (tuple(s for s in steps if (s.name == WEIGHT) == heavy) for heavy in (False, True))
        if own and V.steps not in (own, tuple(steps)):
            raise DataError(
                "V was prepared by other steps than the factorised matrix; give it unprepared, and it is prepared by "
                "the same steps."
            )
        if weights_of_join and V.steps != tuple(steps):
            V = Prepared(V.source, (*V.steps, *weights_of_join))
    elif steps:
        V = Prepared(open_matrix(V, streamed, bounds=bounds, missing=missing, axes=axes), steps)
    return open_matrix(V, streamed, weights, bounds, names, missing, axes)


def open_along(
    V: Any,
    axis: Axis,
    missing: Missing = "none",
    axes: Axes | Unfolding | None = None,
    bounds: Sequence[int] | None = None,
) -> Source:
    """Open a matrix to be read along an axis, even if it is not cut along it.

    The other parameters are those of `open_matrix`. A small sparse matrix on a disk that is compressed by its other
    axis is read into memory.

    Raises
    ------
    DataError
        If it is too large for that, or was prepared or opened to be read along the other axis.
    """
    return turning.open_along(functools.partial(open_matrix, axes=axes, bounds=bounds), V, axis, missing)


def steps_along(steps: Sequence[Step], axis: Axis, order: Order | None = None) -> tuple[Step, ...]:
    """Return the steps of a run for new data that are read along an axis, with the other axis in a given order.

    Factors of new rows (or columns) are computed from their blocks; those of the other axis are the fitted ones.

    Raises
    ------
    DataError
        If a step kept no fitted factors for the other axis, which was streamed in the run.
    """
    found = list[Step]()
    for step in steps:
        if step.name == WEIGHT and step.along == axis:
            continue  # it does not change the solution of a new row (or column)
        if step.along is not None and step.along != axis and step.factors is None:
            raise DataError(
                f"The preparation {step.name!r} has a factor for each of the {step.along} of the factorised matrix, "
                f"and kept none, as that was read along its {step.along}; new {axis} cannot be prepared by it. Fit a "
                f"matrix that is cut along its {axis}, as by `dnmf convert --by {axis}`."
            )
        if step.along == axis and step.factors is not None:
            step = dataclasses.replace(step, factors=None)
        elif step.factors is not None and order is not None:
            step = dataclasses.replace(step, factors=np.ascontiguousarray(step.factors[order]))
        found.append(step)
    return tuple(found)
