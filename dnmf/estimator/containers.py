"""Containers of X and of the results: arrays for arrays, lazy ones for lazy ones, labelled for labelled.

scikit-learn validates NumPy arrays, SciPy matrices and frames. Dask arrays and frames, and data that `dnmf.factorize`
opens, are not read here: their entries are checked when they are read.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import zarr
from scipy.sparse import coo_array, issparse
from sklearn.utils import assert_all_finite, check_array
from sklearn.utils.validation import validate_data

from dnmf.errors import DataError, DataWarning, warn
from dnmf.kernels.blocks.panels import work_dtype
from dnmf.kernels.blocks.tiles import Float
from dnmf.settings import Missing
from dnmf.sources import Source, open_matrix
from dnmf.sources.alignment import names_in
from dnmf.sources.bad_entries import entry_error, hint_at_missing
from dnmf.sources.blocks import as_matrix, compressed, is_sparse_array, to_scipy
from dnmf.sources.bounds import BLOCK_BYTES
from dnmf.sources.collection import collection_in
from dnmf.sources.dask_array import verified
from dnmf.sources.emphasis import check_unweighted
from dnmf.sources.formats.tables import read_arrow
from dnmf.sources.memory import unmasked
from dnmf.sources.names import NO_NAMES, Names, Order, difference, order_of
from dnmf.sources.pieces import Join
from dnmf.sources.prepared import Prepared
from dnmf.sources.preparing import open_along
from dnmf.sources.unfolding import Unfolded

COMPONENT = "component"
# Bytes of rows to join at once from the chunks of a Dask array.
ROWS_BYTES = 64 * 2**20
STREAMED = (da.Array, zarr.Array, zarr.Group, str, Path, Unfolded)
# Classes of packages that represent a matrix in an open file.
IN_FILES = (("h5py", "Dataset"), ("h5py", "Group"), ("anndata", "AnnData"), ("anndata", "BaseCompressedSparseDataset"))


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """Opened X (n_samples, n_features).

    Attributes
    ----------
    matrix
        Argument of `open_matrix`: a NumPy array, a SciPy CSR or CSC matrix, a Dask array, a matrix in a file or a
        store, or its address.
    shape
        Shape of X; the number of samples is nan if a Dask array does not know it.
    lazy, in_memory
        Whether X is read block by block, and whether it is in memory, so that W is as well.
    labels
        The xarray DataArray that contained X.
    missing
        As in `dnmf.factorize`.
    names
        Names of samples and features, if X has names.
    order
        Order that brings the features of the fit into that of X, if the names are the same in another order.
    weights
        Weights of the entries, or None.
    """

    matrix: Any
    shape: tuple[int, int]
    lazy: bool
    in_memory: bool
    labels: Any = None
    missing: Missing = "none"
    names: Names = NO_NAMES
    order: Order | None = None
    weights: Any = None

    def source(self) -> Source:
        """Open the matrix for factorisation, cut along the axis that is fastest to read.

        A small matrix in memory is always cut along its rows, so that dense and sparse ones give the same factors.
        """
        small = not self.lazy and stored_bytes(self.matrix) <= BLOCK_BYTES
        return open_matrix(self.matrix, "rows" if small else None, self.weights, names=self.names, missing=self.missing)

    def by_rows(self) -> Source:
        """Open the matrix for reading by whole rows.

        Large chunks of a Dask array that is cut along its features are split along its samples as well.
        """
        matrix = self.matrix
        if isinstance(matrix, da.Array) and matrix.numblocks[1] > 1:
            height = max(1, ROWS_BYTES // (matrix.shape[1] * matrix.dtype.itemsize))
            if max(matrix.chunks[0]) > height:
                matrix = verified(matrix, self.missing).rechunk({0: height})
        return open_matrix(open_along(matrix, "rows", self.missing), weights=self.weights, names=self.names)

    def in_order(self, components: Float) -> Float:
        """Return H (r, n_features) in the order of the features of X."""
        return components if self.order is None else np.ascontiguousarray(components[:, self.order])

    @property
    def client(self) -> str | None:
        """Where to run passes over X: data in memory stay in this process."""
        return "threads" if self.in_memory else None

    def labelled(self, W: Any, names: Sequence[str]) -> Any:
        """Return W (n_samples, r) with the dimension and the coordinates of the samples of X, if X has labels."""
        if self.labels is None:
            return W
        samples = self.labels.dims[0]
        coords = {name: coord for name, coord in self.labels.coords.items() if set(coord.dims) <= {samples}}
        return type(self.labels)(W, dims=(samples, COMPONENT), coords={**coords, COMPONENT: list(names)})


def open_table(model: Any, X: Any, *, reset: bool, lengths: bool = True) -> Table:
    """Open X for an estimator, and set the features of the estimator or check that they are those of the fit.

    Parameters
    ----------
    model
        The estimator.
    X
        Data of any kind.
    reset
        Whether the estimator is being fitted.
    lengths
        Whether to compute the number of rows of a Dask frame, which reads it.

    Raises
    ------
    ValueError
        If X is not a matrix of non-negative numbers, as far as known without reading, or has other features.
    """
    labels, names = (X, _coordinates(X)) if _is(X, "xarray", "DataArray") else (None, None)
    inner, known = X if labels is None else X.data, names_in(X)
    if _is(inner, "dask", "DataFrame"):
        names, inner = list(inner.columns), inner.to_dask_array(lengths=True if lengths else None)
    elif _is(inner, "anndata", "AnnData") or _is(inner, "anndata", "Raw"):
        known = Names.of(inner.obs_names, inner.var_names)
        backed = getattr(inner, "isbacked", False)  # the X of raw data in a file is lazy itself
        names, inner = list(inner.var_names), inner if backed else inner.X
    elif _is(inner, "pyarrow", "Table"):
        inner, known, _ = read_arrow(inner)
        names = list(known.columns) if known.columns is not None else None
    elif _is(inner, "polars", "LazyFrame"):
        raise DataError("X is a polars LazyFrame, which has no rows yet; give X.collect().")
    inner = to_scipy(inner) if is_sparse_array(inner) else inner
    if isinstance(inner, Join) or (isinstance(inner, (list, tuple)) and collection_in(inner) is not None):
        inner = open_matrix(inner)
        check_unweighted(inner, "the estimators take no such weights, but dnmf.factorize does")
    if isinstance(inner, Prepared):
        raise DataError(
            "X is prepared by dnmf.preprocessing, and the estimators would take new data without that; give it to "
            "dnmf.factorize, whose result prepares new data in dnmf.transform, or put a transformer of scikit-learn in "
            "front of the estimator."
        )
    missing: Missing = getattr(model, "missing", "none")
    if isinstance(inner, (*STREAMED, Join)) or any(_is(inner, *kind) for kind in IN_FILES):
        shape, found, held = _lazy_shape(inner, reset)
        own = found.columns if names is None else None
        order = _check_features(model, shape[1], names if own is None else list(own), reset, own is not None)
        return Table(inner, shape, True, held, labels, missing, known.filled(found), order)
    if isinstance(inner, np.ma.MaskedArray):
        inner = unmasked(inner, missing, "X")
    elif issparse(inner):
        compressed(inner, "X")  # scikit-learn would use its indices
    asked: dict[str, Any] = {
        "accept_sparse": ("csr", "csc"),
        "dtype": "numeric",
        "ensure_all_finite": False,  # see check_finite
        "ensure_non_negative": True,
    }
    order = None
    if names is None:
        matrix = validate_data(model, inner, reset=reset, **asked)
    else:  # scikit-learn does not find these names
        matrix = check_array(inner, estimator=model, input_name="X", **asked)
        order = _check_features(model, matrix.shape[1], names, reset)
    check_finite(matrix, missing, "" if hasattr(model, "missing") else "NMF")
    if matrix.dtype == np.longdouble:
        matrix = matrix.astype(np.float64, copy=False)
    return Table(matrix, matrix.shape, False, True, labels, missing, known, order)


def check_finite(matrix: Any, missing: Missing, takes_missing: str) -> None:
    """Raise DataError for the first entry of a NumPy or SciPy matrix that is neither finite nor missing.

    `takes_missing` is the class of estimators that takes missing entries, if it is not this one.
    """
    try:
        assert_all_finite(matrix, allow_nan=missing == "nan")
    except ValueError:
        entries = coo_array(matrix) if issparse(matrix) else matrix
        values = entries.data if issparse(matrix) else entries
        bad = ~np.isfinite(values) & ~((missing == "nan") & np.isnan(values))
        first = np.unravel_index(np.argmax(bad), bad.shape)
        row, column = (entries.row[first], entries.col[first]) if issparse(matrix) else first
        hint = hint_at_missing(issparse(matrix), takes_missing)
        raise entry_error(f"X[{row}, {column}]", "X", float(values[first]), matrix.dtype, hint) from None


def stored_bytes(matrix: Any) -> int:
    """Return the bytes of a NumPy or SciPy matrix."""
    return int(getattr(matrix, "data", matrix).nbytes)


def as_product(W: Any, H: Any, names: Sequence[Any] | None) -> Any:
    """Return WH for W of any kind; for a DataArray, the features are the second dimension.

    Raises
    ------
    DataError
        If the number of columns of W is not that of the components.
    """
    shape = getattr(W, "shape", None) or np.shape(W)
    if not shape or shape[-1] != len(H):
        raise DataError(f"X has shape {tuple(shape)}, and W needs {len(H)} columns; give a W as from transform.")
    if not _is(W, "xarray", "DataArray"):
        return (as_matrix(W, "X") if issparse(W) else W) @ H
    samples = W.dims[0]
    coords = {name: coord for name, coord in W.coords.items() if set(coord.dims) <= {samples}}
    if names is not None:
        coords["feature"] = list(names)
    return type(W)(W.data @ H, dims=(samples, "feature"), coords=coords)


def _is(given: Any, package: str, name: str) -> bool:
    """Return whether an object is an instance of a class of a package that may not be installed."""
    return any(kind.__name__ == name and kind.__module__.split(".")[0] == package for kind in type(given).__mro__)


def _coordinates(labels: Any) -> list[Any] | None:
    """Return the coordinates of the second dimension of a DataArray, if there are any."""
    if labels.ndim != 2:
        raise DataError(
            f"X is a DataArray with dimensions {labels.dims}; give a 2-D one (samples, features), or dnmf.unfold(X)."
        )
    place = labels.dims[1]
    return labels.coords[place].values.tolist() if place in labels.coords else None


def _lazy_shape(matrix: Any, reset: bool) -> tuple[tuple[int, int], Names, bool]:
    """Return the shape and names of a matrix read block by block, and whether it is in memory; or raise DataError."""
    if not isinstance(matrix, da.Array):
        layout = open_matrix(matrix).layout
        return layout.user_shape, layout.names, layout.in_memory
    if matrix.ndim != 2:
        raise DataError(
            f"X is a Dask array of {matrix.ndim} dimension(s); give a 2-D one (samples, features), or dnmf.unfold(X)."
        )
    for count, what in zip(matrix.shape[::-1], ("features", "samples")[: 1 + reset], strict=False):
        if math.isnan(count):
            raise DataError(f"X is a Dask array whose number of {what} is unknown; call X.compute_chunk_sizes() first.")
    work_dtype(matrix.dtype)
    return (matrix.shape[0], matrix.shape[1]), NO_NAMES, False


def _check_features(
    model: Any, count: int, names: Sequence[Any] | None, reset: bool, movable: bool = False
) -> Order | None:
    """Set the features of an estimator, or check that they are those of the fit.

    Return the order that brings the features of the fit into that of X, if they are the same in another order and X is
    `movable`, as in a file. A frame or an AnnData must have the order of the fit, as in scikit-learn.
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
