"""The scales of V at which sums of its powers are still floats."""

import math
from typing import Any

import numpy as np

from dnmf.errors import DataError

# Between these, squares and products of V's entries are floats: those of float32 where they are summed in float64.
SMALLEST = {"float32": 5e-35, "float64": 1e-75}
LARGEST = {"float32": 1e33, "float64": 1e75}
# The power of ten, below and above 1, that the largest power of an entry in a pass may have.
RANGE = {"float32": (42.0, 37.0), "float64": (250.0, 250.0)}


def check_scale(size: float, dtype: "np.dtype[Any]", beta: float) -> None:
    """Raise DataError where V, of which this is the root mean square, is too small or too large for its dtype.

    >>> check_scale(1e-100, np.dtype("float64"), 2.0)
    Traceback (most recent call last):
        ...
    dnmf.errors.DataError: The root mean square of V is 1e-100, and with loss β = 2 float64 needs one from 1e-75 to \
1e+75; multiply V by 1e+100, by which its factors then differ.
    """
    power = max(1.0, abs(beta - 1.0), abs(beta - 2.0) - 1.0)
    low, high = RANGE[dtype.name]
    least = max(SMALLEST[dtype.name], 10.0 ** (-low / power))
    most = min(LARGEST[dtype.name], 10.0 ** (high / power))
    if size == 0 or least <= size <= most:
        return
    factor = f"multiply V by {10.0 ** -round(math.log10(size)):g}"
    raise DataError(
        f"The root mean square of V is {size:.3g}, and with loss β = {beta:g} {dtype} needs one from {least:.3g} to "
        f"{most:.3g}; {factor}, by which its factors then differ."
    )
