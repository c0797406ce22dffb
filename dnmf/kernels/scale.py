"""The scales of V at which sums of its powers neither overflow nor vanish."""

import functools
import math
from typing import Any

import numpy as np

from dnmf.errors import DataError

# Between these, squares and products of entries of V are floats; those of float32 are summed in float64.
SMALLEST = {"float32": 5e-35, "float64": 1e-120}
LARGEST = {"float32": 1e33, "float64": 1e75}
# Decimal exponents, below and above 1, that the largest power of an entry in a pass may reach.
RANGE = {"float32": (42.0, 37.0), "float64": (250.0, 250.0)}
# The same for the root mean square of V where a constraint gives W its scale, and WᵀW that of its square.
SQUARED = {"float32": (1e-16, 1e14), "float64": (1e-60, 1e60)}
# The same where penalties make W and H share the scale of V: WᵀV has that of its power 3/2.
SHARED = {"float32": (1e-24, 1e22), "float64": (1e-120, 1e75)}


@functools.cache
def limits(dtype: "np.dtype[Any]", beta: float) -> tuple[float, float]:
    """Return the smallest root mean square and the largest entry of V that a pass of the loss can handle.

    >>> limits(np.dtype("float64"), 2.0)
    (1e-120, 1e+75)
    """
    power = max(1.0, abs(beta - 1.0), abs(beta - 2.0) - 1.0)
    low, high = RANGE[dtype.name]
    return max(SMALLEST[dtype.name], 10.0 ** (-low / power)), min(LARGEST[dtype.name], 10.0 ** (high / power))


def check_scale(
    size: float, dtype: "np.dtype[Any]", beta: float, *, constrained: bool = False, penalised: bool = False
) -> None:
    """Raise DataError if the root mean square of V is not 0 but too small for its dtype, or does not go with
    constraints or penalties.

    >>> check_scale(1e-150, np.dtype("float64"), 2.0)
    Traceback (most recent call last):
        ...
    dnmf.errors.DataError: The root mean square of V is 1e-150, and with loss β = 2 float64 needs one of at least \
1e-120; multiply V by 1e+150, by which its factors then differ.
    """
    if constrained:
        check_between(size, dtype, SQUARED[dtype.name], "constraints")
    elif penalised:
        check_between(size, dtype, SHARED[dtype.name], "penalties or targets")
    least, _ = limits(dtype, beta)
    if not 0 < size < least:
        return
    raise DataError(
        f"The root mean square of V is {size:.3g}, and with loss β = {beta:g} {dtype} needs one of at least "
        f"{least:.3g}; multiply V by {10.0 ** -round(math.log10(size)):g}, by which its factors then differ."
    )


def check_between(size: float, dtype: "np.dtype[Any]", allowed: tuple[float, float], what: str) -> None:
    """Raise DataError if the root mean square of V is too small or too large for other terms of the objective.

    >>> check_between(1e20, np.dtype("float32"), SQUARED["float32"], "constraints")
    Traceback (most recent call last):
        ...
    dnmf.errors.DataError: The root mean square of V is 1e+20, and with constraints float32 needs one between 1e-16 \
and 1e+14; multiply V by 1e-20.
    """
    least, most = allowed
    if size != 0 and not least <= size <= most:
        raise DataError(
            f"The root mean square of V is {size:.3g}, and with {what} {dtype} needs one between {least:g} and "
            f"{most:g}; multiply V by {10.0 ** -round(math.log10(size)):g}."
        )
