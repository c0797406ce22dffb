"""Errors of models on the entries that folds hold out: relative, and their means over the folds."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def relative_errors(missed: ArrayLike, scales: ArrayLike) -> NDArray[np.float64]:
    """Return errors divided by their scales; NaN where a scale is 0, as where all entries that are held out are 0.

    >>> relative_errors([1.0, 0.5], [2.0, 0.0]).tolist()
    [0.5, nan]
    """
    missed, scales = np.broadcast_arrays(np.asarray(missed, np.float64), np.asarray(scales, np.float64))
    errors = np.full(scales.shape, np.nan)
    np.divide(missed, scales, out=errors, where=scales > 0)
    return errors


def defined_folds(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the errors (k, folds) without folds whose error is not defined, which is NaN for every model.

    >>> defined_folds(np.array([[1.0, np.nan], [2.0, np.nan]])).tolist()
    [[1.0], [2.0]]
    """
    return errors[:, ~np.isnan(errors).all(axis=0)]


def mean_and_error(errors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the means of errors (k, folds) over the folds where they are defined, and the standard errors of these.

    >>> [found.tolist() for found in mean_and_error(np.array([[1.0, 3.0, np.nan], [5.0, 5.0, np.nan]]))]
    [[2.0, 5.0], [1.0, 0.0]]
    """
    known = defined_folds(errors)
    unknown, folds = np.full(len(known), np.nan), known.shape[1]
    with np.errstate(invalid="ignore"):  # errors of a model that failed may be infinite
        spreads = known.std(axis=1, ddof=1) / np.sqrt(folds) if folds > 1 else unknown
    return known.mean(axis=1) if folds else unknown, spreads
