"""The errors for entries that a matrix must not have."""

from typing import Any

import numpy as np

from dnmf.errors import DataError


def entry_error(place: str, matrix: str, value: float, dtype: np.dtype[Any], hint: str = "") -> DataError:
    """Return the error for an entry of a matrix, with a hint at missing entries if it is NaN.

    >>> print(entry_error("V[2, 3]", "V", 1e30, np.dtype("float32")))
    V[2, 3] is 1e+30, and sums of such numbers leave the range of float32; divide V by a constant, or clip such entries.
    """
    if value == 0:
        return DataError(
            f"{place} is 0, where this loss is infinite; add a small constant to {matrix}, or take a loss whose β is "
            "above 0, as kullback-leibler."
        )
    if 0 < value < np.inf:
        return DataError(
            f"{place} is {value:g}, and sums of such numbers leave the range of {dtype}; divide {matrix} by a "
            "constant, or clip such entries."
        )
    what = "negative" if value < 0 and np.isfinite(value) else "not finite"
    return DataError(
        f"{place} is {value:g}, which is {what}; {matrix} must hold finite numbers of at least 0. Clip, fill or drop "
        f"such entries first.{f' {hint}' if hint and np.isnan(value) else ''}"
    )


def hint_at_missing(sparse: bool, by: str = "") -> str:
    """Return how NaN in a dense or sparse matrix can be taken as missing, by this class of estimators if not here.

    >>> hint_at_missing(sparse=False, by="NMF")
    "NaN is taken as missing by NMF with missing='nan'."
    """
    way = "Drop NaN, which is then" if sparse else "NaN is"
    return f"{way} taken as missing{f' by {by}' if by else ''} with missing={'zeros' if sparse else 'nan'!r}."
