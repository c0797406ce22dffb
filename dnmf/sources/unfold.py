"""Choose the axes of an array that make the rows and the columns of V."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask.array as da

from dnmf.aliases import names_options
from dnmf.errors import DataError
from dnmf.kernels.floats import own_errors
from dnmf.sources.dask_array import check_sizes
from dnmf.sources.opening import check_axes_used, open_matrix
from dnmf.sources.unfolding import Axes, Unfolded, Unfolding

Side = str | int | Sequence[str | int] | None


@names_options()
@own_errors
def unfold(V: Any, rows: Side = None, columns: Side = None) -> Unfolded:
    """Choose the axes of an array that make the rows and the columns of the matrix to factorise.

    The last axis of each side varies fastest, as in `V.transpose(rows + columns).reshape(m, n)`; but the array is
    neither copied nor read. The matrix is called an unfolding, or a matricization (Kolda & Bader 2009, section 2.4).
    Without it, the first axis makes the rows, and all others the columns.

    Parameters
    ----------
    V
        An array of two or more axes: a NumPy or Dask array, an xarray DataArray, a `zarr.Array`, a dataset of h5py, or
        the address of an array. Addresses can name the axes themselves, as `"stack.zarr::(t)x(y,x)"`.
    rows, columns
        The axes that make the rows and the columns: their names, if they have some, or positions; one of them or a
        sequence. None is all other axes, in their order.

    Returns
    -------
    Unfolded
        An object that every function and estimator accepts as V. The factors have the shapes of both sides as
        `Result.row_shape` and `Result.column_shape`.

    Raises
    ------
    DataError
        If an axis is unknown, named twice or left out, if V has less than two axes, or if it is a join of matrices.

    Examples
    --------
    >>> import dnmf, numpy as np
    >>> scene = np.random.default_rng(0).random((6, 5, 4))  # y, x and bands
    >>> result = dnmf.factorize(dnmf.unfold(scene, rows=(0, 1), columns=2), rank=2)
    >>> result.W.shape, result.row_shape, result.column_shape
    ((30, 2), (6, 5), (4,))
    """
    if isinstance(V, Unfolded):
        raise DataError(f"V was unfolded by {V.axes}; give the array itself.")
    axes = Axes(_side(rows), _side(columns))
    if axes == Axes():
        axes = Axes(rows=(0,))
    array: Any = str(V) if isinstance(V, (str, Path)) else V
    if isinstance(array, da.Array) or (hasattr(array, "dims") and array.chunks is not None):
        check_sizes(array if isinstance(array, da.Array) else array.data)  # to open a Dask array computes a chunk
        found: Unfolding | None = Unfolding.of(array.shape, axes, getattr(array, "dims", None))
    else:
        source = open_matrix(array, missing="nan", axes=axes)
        check_axes_used(source, axes)
        found = source.layout.unfolding
    assert found is not None
    return Unfolded(array, found.axes)


def _side(given: Side) -> tuple[str | int, ...] | None:
    """Return the axes of a side as a tuple."""
    if given is None:
        return None
    return (given,) if isinstance(given, (str, int)) else tuple(given)
