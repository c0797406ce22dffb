"""What is given as X, and what is returned for it: arrays for arrays, lazy ones for lazy ones, labelled for labelled.

NumPy arrays, SciPy matrices and frames go through scikit-learn's own validation. Dask arrays and frames, and what
`dnmf.factorize` opens by itself, are taken as they are: their entries are checked when they are read.
"""

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import zarr
from dask.delayed import delayed
from scipy.sparse import issparse
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from dnmf.errors import DataError, DataWarning, warn
from dnmf.estimator.rows import Rows, products, solve_products, solve_rows
from dnmf.kernels.blocks.panels import work_dtype
from dnmf.kernels.blocks.tiles import Float
from dnmf.settings import Missing
from dnmf.sources import Source, open_matrix
from dnmf.sources.alignment import names_in
from dnmf.sources.base import BLOCK_BYTES
from dnmf.sources.blocks import as_matrix, compressed
from dnmf.sources.dask_array import factor_array, verified
from dnmf.sources.memory import unmasked
from dnmf.sources.names import NO_NAMES, Names, Order, difference, order_of
from dnmf.sources.preparing import open_along
from dnmf.sources.sparse_array import is_sparse_array, to_scipy

COMPONENT = "component"
# Bytes of the rows that are put together from the chunks of a Dask array at once.
ROWS_BYTES = 64 * 2**20
STREAMED = (da.Array, zarr.Array, zarr.Group, str, Path)
# What lies in a file that a package has opened.
LYING = (("h5py", "Dataset"), ("h5py", "Group"), ("anndata", "AnnData"), ("anndata", "BaseCompressedSparseDataset"))


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """X (n_samples, n_features), opened.

    Attributes
    ----------
    matrix
        What `open_matrix` takes: a NumPy array, a SciPy CSR or CSC matrix, a Dask array, or what lies in a file or a
        store, or its address.
    shape
        Of X; the number of samples is nan where a Dask array does not know it.
    lazy
        Whether it is not in memory, so that W is to be lazy as well.
    labels
        The xarray DataArray that it came in.
    missing
        What is missing, as for `dnmf.factorize`.
    names
        Of samples and features, where X has names.
    order
        The order that brings the features of the fit into that of X, where their names are the same in another order.
    """

    matrix: Any
    shape: tuple[int, int]
    lazy: bool
    labels: Any = None
    missing: Missing = "none"
    names: Names = NO_NAMES
    order: Order | None = None

    def source(self) -> Source:
        """Return the matrix opened to be factorised, cut as it is best read.

        One that is small is cut along its rows, whatever its kind: then a dense and a sparse one give the same factors.
        """
        small = not self.lazy and stored_bytes(self.matrix) <= BLOCK_BYTES
        return open_matrix(self.matrix, "rows" if small else None, missing=self.missing)

    def by_rows(self) -> Source:
        """Return the matrix opened to be read by whole rows.

        The chunks of a Dask array that is cut along its features are cut along its samples as well, where a row of
        them would be large.
        """
        matrix = self.matrix
        if isinstance(matrix, da.Array) and matrix.numblocks[1] > 1:
            height = max(1, ROWS_BYTES // (matrix.shape[1] * matrix.dtype.itemsize))
            if max(matrix.chunks[0]) > height:
                matrix = verified(matrix, self.missing).rechunk({0: height})
        return open_along(matrix, "rows", self.missing)

    def in_order(self, components: Float) -> Float:
        """Return H (r, n_features) in the order of the features of X."""
        return components if self.order is None else np.ascontiguousarray(components[:, self.order])

    @property
    def client(self) -> str | None:
        """Where passes over X run: what is in this process's memory stays there."""
        return None if self.lazy else "threads"

    def labelled(self, W: Any, names: Sequence[str]) -> Any:
        """Return W (n_samples, r) with the dimension and the coordinates of X's samples, if it has such."""
        if self.labels is None:
            return W
        samples = self.labels.dims[0]
        coords = {name: coord for name, coord in self.labels.coords.items() if set(coord.dims) <= {samples}}
        return type(self.labels)(W, dims=(samples, COMPONENT), coords={**coords, COMPONENT: list(names)})


def opened(model: Any, X: Any, *, reset: bool, lengths: bool = True) -> Table:
    """Open X for an estimator, and tell the estimator of its features, or see that they are those of the fit.

    Parameters
    ----------
    model
        The estimator.
    X
        What was given.
    reset
        Whether the estimator is being fitted.
    lengths
        Whether a Dask frame is to be asked for the number of its rows, which reads it.

    Raises
    ------
    ValueError
        If X is no matrix of non-negative numbers, as far as that can be told, or has other features.
    """
    labels, names = (X, _coordinates(X)) if _is(X, "xarray", "DataArray") else (None, None)
    inner, known = X if labels is None else X.data, names_in(X)
    if _is(inner, "dask", "DataFrame"):
        names, inner = list(inner.columns), inner.to_dask_array(lengths=True if lengths else None)
    elif _is(inner, "anndata", "AnnData"):
        known = Names.of(inner.obs_names, inner.var_names)
        names, inner = list(inner.var_names), inner if inner.isbacked else inner.X
    elif _is(inner, "polars", "LazyFrame"):
        raise DataError("X is a polars LazyFrame, which has no rows yet; give X.collect().")
    inner = to_scipy(inner) if is_sparse_array(inner) else inner
    missing: Missing = getattr(model, "missing", "none")
    if isinstance(inner, STREAMED) or any(_is(inner, *kind) for kind in LYING):
        shape, found = _lazy_shape(inner, reset)
        own = found.columns if names is None else None
        order = _check_features(model, shape[1], names if own is None else list(own), reset, own is not None)
        return Table(inner, shape, lazy=True, labels=labels, names=known.filled(found), order=order, missing=missing)
    if isinstance(inner, np.ma.MaskedArray):
        inner = unmasked(inner, missing, "X")
    elif issparse(inner):
        compressed(inner, "X")  # scikit-learn would index by what it stores
    asked: dict[str, Any] = {
        "accept_sparse": ("csr", "csc"),
        "dtype": "numeric",
        "ensure_all_finite": "allow-nan" if missing == "nan" else True,
        "ensure_non_negative": True,
    }
    order = None
    if names is None:
        matrix = validate_data(model, inner, reset=reset, **asked)
    else:  # which scikit-learn does not find, and would miss
        matrix = check_array(inner, estimator=model, input_name="X", **asked)
        order = _check_features(model, matrix.shape[1], names, reset)
    if matrix.dtype == np.longdouble:
        matrix = matrix.astype(np.float64, copy=False)
    return Table(matrix, matrix.shape, lazy=False, labels=labels, names=known, order=order, missing=missing)


def stored_bytes(matrix: Any) -> int:
    """Return the bytes of a NumPy or SciPy matrix."""
    return int(getattr(matrix, "data", matrix).nbytes)


def lazy_rows(matrix: Any, rows: Rows) -> Any:
    """Return W (n_samples, r) of a matrix as a lazy Dask array, cut like the rows of X; nothing is computed here.

    The panels of a row of chunks are put together, but where all that is needed of them are their products with H.
    """
    rank = len(rows.components)
    if not isinstance(matrix, da.Array):
        source = open_along(matrix, "rows")
        layout = source.layout
        return factor_array(partial(rows.of_block, source), False, layout.bounds, rank, layout.work_dtype, True)
    dtype = work_dtype(matrix.dtype)
    told: dict[str, Any] = {"dtype": dtype, "meta": np.empty((0, 0), dtype), "concatenate": False}
    told["rows"] = delayed(rows, pure=False)
    heights, widths = matrix.chunks
    tall, wide = matrix.numblocks
    places = da.from_array(np.column_stack([np.arange(tall), heights]).ravel(), chunks=2)
    cut = {"align_arrays": False, **told}
    if wide == 1 or not rows.by_products:
        new = {"k": rank}
        return da.blockwise(solve_rows, "ik", matrix, "ij", places, "i", new_axes=new, widths=list(widths), **cut)
    across = np.stack([np.arange(wide), np.cumsum([0, *widths])[:-1], widths])
    panels = da.from_array(across, chunks=(3, 1)), "uj"
    narrow = {"j": lambda width: rank}
    parts = da.blockwise(products, "ij", matrix, "ij", *panels, places, "i", adjust_chunks=narrow, **cut)
    return da.blockwise(solve_products, "ik", parts, "ij", new_axes={"k": rank}, **told)


def as_product(W: Any, H: Any, names: Sequence[Any] | None) -> Any:
    """Return WH for whatever W is; a DataArray comes back with the features as its second dimension.

    Raises
    ------
    DataError
        If W has not one column for each component.
    """
    shape = getattr(W, "shape", None) or np.shape(W)
    if not shape or shape[-1] != len(H):
        raise DataError(f"X has shape {tuple(shape)}, and is to be a W, with a column for each of {len(H)} components.")
    if not _is(W, "xarray", "DataArray"):
        return (as_matrix(W, "X") if issparse(W) else W) @ H
    samples = W.dims[0]
    coords = {name: coord for name, coord in W.coords.items() if set(coord.dims) <= {samples}}
    if names is not None:
        coords["feature"] = list(names)
    return type(W)(W.data @ H, dims=(samples, "feature"), coords=coords)


def _is(given: Any, package: str, name: str) -> bool:
    """Say whether a thing is of a class of a package that need not be there."""
    return any(kind.__name__ == name and kind.__module__.split(".")[0] == package for kind in type(given).__mro__)


def _coordinates(labels: Any) -> list[Any] | None:
    """Return the names that a DataArray has for its second dimension, if it has any."""
    if labels.ndim != 2:
        raise DataError(f"X is a DataArray with the dimensions {labels.dims}; give one of two: samples and features.")
    place = labels.dims[1]
    return labels.coords[place].values.tolist() if place in labels.coords else None


def _lazy_shape(matrix: Any, reset: bool) -> tuple[tuple[int, int], Names]:
    """Return the shape and the names of a matrix that is not in memory, or raise DataError where it is none."""
    if not isinstance(matrix, da.Array):
        layout = open_matrix(matrix).layout
        return layout.user_shape, layout.names
    if matrix.ndim != 2:
        raise DataError(f"X is a Dask array of {matrix.ndim} dimension(s); give one of two: samples and features.")
    for count, what in zip(matrix.shape[::-1], ("features", "samples")[: 1 + reset], strict=False):
        if math.isnan(count):
            raise DataError(f"X is a Dask array whose {what} are not counted; call X.compute_chunk_sizes() first.")
    work_dtype(matrix.dtype)
    return (matrix.shape[0], matrix.shape[1]), NO_NAMES


def _check_features(
    model: Any, count: int, names: Sequence[Any] | None, reset: bool, movable: bool = False
) -> Order | None:
    """Tell an estimator of the features of its X, or see that they are those it was fitted to.

    Returns the order that brings those of the fit into that of X, where they are the same in another order and X is
    `movable`: it lies in a file. Of a frame or an AnnData, they are to have the order of the fit, as for scikit-learn.
    """
    texts = np.array(names, object) if names is not None and all(isinstance(name, str) for name in names) else None
    known = getattr(model, "feature_names_in_", None)
    if reset:
        model.n_features_in_ = int(count)
        if texts is not None:
            model.feature_names_in_ = texts
        elif known is not None:
            del model.feature_names_in_
        return None
    if count != model.n_features_in_:
        raise DataError(
            f"X has {count} features, but {type(model).__name__} is expecting {model.n_features_in_} features as input."
        )
    if texts is None or known is None or np.array_equal(texts, known):
        return None
    should = "The feature names should match those that were passed during fit. "
    advice = f"{should}Give X with the features of the fit, as by X[list(model.feature_names_in_)]."
    if not movable:
        raise DataError(f"{difference(texts, known, 'columns', 'the fit', of='X')}{advice}")
    order = order_of(texts, known, "columns", "the fit", advice, of="X")
    warn(
        "The features of X are those of the fit in another order; components_ is taken in the order of X.", DataWarning
    )
    return order
