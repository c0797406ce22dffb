"""The scales of V at which sums of its powers are still floats."""

import math
from typing import Any

import numpy as np

from dnmf.errors import DataError

# Sums of a pass have the e-th power of V's entries at most, e = max(2, |β|, |β − 2|), and its steps their square.
# The powers of ten that these may have, below and above 1.
LOWEST = {"float32": 60, "float64": 150}
HIGHEST = {"float32": 54, "float64": 150}
# A single entry is kept below this, whatever the loss.
LARGEST = {"float32": 1e20, "float64": 1e75}


def check_scale(size: float, dtype: "np.dtype[Any]", beta: float) -> None:
    """Raise DataError where V, of which this is the root mean square, is too small or too large for its dtype.

    >>> check_scale(1e-100, np.dtype("float64"), 2.0)
    Traceback (most recent call last):
        ...
    dnmf.errors.DataError: The root mean square of V is 1e-100, and with loss β = 2 float64 needs one from 1e-75 to \
1e+75; multiply V by 1e+100, by which its factors then differ.
    """
    power = max(2.0, abs(beta), abs(beta - 2.0))
    least = 10.0 ** (-LOWEST[dtype.name] / power)
    most = min(10.0 ** (HIGHEST[dtype.name] / power), LARGEST[dtype.name])
    if size == 0 or least <= size <= most:
        return
    factor = f"multiply V by {10.0 ** -round(math.log10(size)):g}"
    raise DataError(
        f"The root mean square of V is {size:.3g}, and with loss β = {beta:g} {dtype} needs one from {least:.3g} to "
        f"{most:.3g}; {factor}, by which its factors then differ."
    )
