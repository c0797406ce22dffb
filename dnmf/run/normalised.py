"""Components that sum to 1, by their scale: the product WH stays the same."""

import dataclasses
from typing import Any, TypeVar

import numpy as np

from dnmf.choices import Axis
from dnmf.inspection.components import component_sums
from dnmf.run.arrays import rescaled

R = TypeVar("R")

# The axes along which components sum to 1, by the options that ask for it.
AXES: dict[str, Axis] = {"columns_W": "rows", "rows_H": "columns"}


def within_sums(result: R) -> R:
    """Return a result with components that sum to 1, where its settings ask for it."""
    whole: Any = result
    for name, axis in AXES.items():
        if getattr(whole.settings, name) == "simplex":
            sums, of_long = component_sums(whole.parts(axis), whole.rank), (axis == "rows") == whole.rows_streamed
            short, long = rescaled(whole.short, whole.long, sums, np.arange(whole.rank), of_long)
            changed: R = dataclasses.replace(whole, short=short, long=long)
            return changed
    return result
