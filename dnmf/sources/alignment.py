"""Factors and weights brought into the order of V by their names."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError, DataWarning, warn
from dnmf.sources.base import Axis, Layout, Source
from dnmf.sources.formats.xarray_array import coordinates_of
from dnmf.sources.frames import labels_of
from dnmf.sources.memory import ArraySource, SparseSource
from dnmf.sources.names import NO_NAMES, Names, Order, order_of, warn_of_order
from dnmf.sources.weighted import MemoryWeights, check_same_array

AXES: tuple[Axis, Axis] = ("rows", "columns")


def names_in(table: Any) -> Names:
    """Return the names of the rows and columns of a frame or a DataArray; no names for anything else.

    >>> bool(names_in([[1, 2]]))
    False
    """
    package, kind = type(table).__module__.partition(".")[0], type(table).__name__
    if package == "pandas" and kind == "DataFrame":
        return Names.of(labels_of(table.index), labels_of(table.columns))
    if package == "polars" and kind == "DataFrame":
        return Names.of(None, table.columns)
    if package == "xarray" and hasattr(table, "dims") and len(table.dims) == 2:
        return Names.of(*coordinates_of(table))
    return NO_NAMES


def aligned(table: Any, wanted: tuple[NDArray[Any] | None, NDArray[Any] | None], whose: str) -> Any:
    """Return a factor, or some columns of one, in the order of the wanted names of its rows and columns.

    Names are compared if both sides have them; a reordered factor causes one warning. A factor without names, or of a
    wrong shape, is returned unchanged.

    Raises
    ------
    DataError
        If the names differ.
    """
    names = names_in(table)
    if not names:
        return table
    orders: list[Order | None] = []
    for known, want, axis in zip((names.rows, names.columns), wanted, AXES, strict=True):
        fits = known is None or want is None or len(known) == len(want)
        orders.append(order_of(want, known, axis, whose, _advice(whose)) if fits else None)
    warn_of_order(orders, whose)
    rows, columns = (slice(None) if order is None else order for order in orders)
    return np.asarray(table)[rows][:, columns]


def aligned_factors(W: Any, H: Any, names: Names, where: str = "") -> tuple[Any, Any]:
    """Return two factors in the order of the names of V, and the components of H in the order of those of W.

    Raises
    ------
    DataError
        If their names differ.
    """
    components, own = names_in(W).columns, names_in(H).rows
    W = aligned(W, (names.rows, None), f"W{where}")
    H = aligned(H, (None, names.columns), f"H{where}")
    if components is None or own is None or len(components) != len(own):
        return W, H
    order = order_of(components, own, "components", f"H{where}", _advice(f"H{where}"), of=f"W{where}")
    if order is None:
        return W, H
    warn(f"W{where} and H{where} name the components in another order; H was brought into the order of W.", DataWarning)
    return W, np.asarray(H)[order]


def aligned_weights(source: Source, like: Layout, given: Names) -> Source | MemoryWeights:
    """Return weights in the order of V, by its own names or by those given for it.

    Raises
    ------
    DataError
        If the names differ, or are in another order and the weights are not in memory.
    """
    layout = source.layout
    check_same_array(layout.unfolding, like.unfolding)
    if layout.user_shape != like.user_shape:
        return source  # WeightedSource refuses its shape
    orders = [_weight_order(axis, layout.names, like.names, given) for axis in AXES]
    if isinstance(source, (ArraySource, SparseSource)) and layout.in_memory:
        matrix = source.matrix.T if layout.transposed else source.matrix
        rows, columns = orders
        matrix = matrix if rows is None else matrix[rows]
        matrix = matrix if columns is None else matrix[:, columns]
        warn_of_order(orders, "weights")
        return MemoryWeights(matrix, like)
    axes = [axis for axis, order in zip(AXES, orders, strict=True) if order is not None]
    if axes:
        raise DataError(
            f"weights has the names of V along its {axes[0]} in another order, and is not in memory; write it in "
            "the order of V, or give it as a DataFrame in memory."
        )
    return source


def _weight_order(axis: Axis, theirs: Names, own: Names, given: Names) -> Order | None:
    """Return the order that brings weights into the order of V along an axis, or None."""
    known = getattr(theirs, axis)
    wanted = [names for names in (getattr(own, axis), getattr(given, axis)) if names is not None]
    if not wanted or known is None:
        return None
    alike = [names for names in wanted if set(names) == set(known)]
    return order_of((alike or wanted)[0], known, axis, "weights", _advice("weights"))


def _advice(whose: str) -> str:
    return f"Give {whose} with the names of V, or as a NumPy array in its order."
