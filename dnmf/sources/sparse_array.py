"""Arrays of the package sparse: in memory, and as the blocks of a Dask array."""

from typing import Any

import numpy as np

from dnmf.errors import DataError


def is_sparse_array(thing: Any) -> bool:
    """Say whether this is an array of the package sparse, which is not loaded for that."""
    return type(thing).__module__.partition(".")[0] == "sparse" and hasattr(thing, "fill_value")


def to_scipy(array: Any, name: str = "V") -> Any:
    """Return a matrix of the package sparse as one of SciPy.

    Raises
    ------
    DataError
        If what it does not store is not 0.
    """
    if array.ndim == 2 and array.fill_value != 0:
        raise DataError(
            f"{name} has a fill value of {array.fill_value}, and what a sparse V does not store must be 0; give "
            "V.todense()."
        )
    if array.ndim != 2:
        raise DataError(f"{name} has {array.ndim} dimension(s), shape {array.shape}; V must be a matrix.")
    # SciPy has no float16
    return (array.astype(np.float32) if array.dtype == np.float16 else array).to_scipy_sparse()
