"""Open a graph between the rows or the columns of V: its weights, symmetric and without loops."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dnmf.errors import DataError, DataWarning, warn
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.graph import Graph
from dnmf.sources.addresses import MARK
from dnmf.sources.alignment import names_in
from dnmf.sources.base import Axis, Layout, Source
from dnmf.sources.blocks import read_block
from dnmf.sources.names import Names, Order, order_of
from dnmf.sources.opening import open_matrix

Mapper = Callable[[Source, str, bool], Graph | None]
# The groups of an AnnData that hold graphs between its rows and between its columns.
GRAPH_GROUPS = ("obsp/", "varp/")
HOW = "give a SciPy sparse matrix, a NumPy array, or the address of one, as cells.h5ad::obsp/connectivities"


def located_graph(given: Any, V: Any) -> Any:
    """Return a graph, where `"obsp/…"` and `"varp/…"` name one in V, which is an AnnData or its address."""
    if not (isinstance(given, str) and given.startswith(GRAPH_GROUPS)):
        return given
    if isinstance(V, (str, Path)):
        return f"{str(V).partition(MARK)[0]}{MARK}{given}"
    group, _, name = given.partition("/")
    held = getattr(V, group, None)
    if held is None:
        raise DataError(f"The graph {given!r} names a part of an AnnData, and V is a {type(V).__name__}; {HOW}.")
    if name not in held:
        raise DataError(f"The AnnData has no graph {given!r}; it has {', '.join(map(repr, held)) or 'none'}.")
    return held[name]


def open_graph(
    given: Any, size: int, name: str, mapped: Mapper | None = None, wanted: Sequence[NDArray[Any] | None] = ()
) -> Graph:
    """Return the weights of a graph between `size` rows or columns of V.

    Parameters
    ----------
    given
        A SciPy sparse matrix or array, a NumPy array, or the address of a matrix (n, n).
    size
        n.
    name
        `"graph_W"` or `"graph_H"`.
    mapped
        Returns the graph of a source that is too large for memory, and None for others; it refuses one whose nodes are
        to be brought into another order.
    wanted
        Names of the rows or columns: those of V, and those given for it. If the graph has names too, its nodes are
        brought into the order of V, and others are left out.

    Raises
    ------
    DataError
        If it has another shape, other names, a weight that is negative or not finite, or no edge.

    Examples
    --------
    >>> open_graph(np.array([[0, 1, 0], [1, 0, 2], [0, 2, 0]]), 3, "graph_H").degrees().tolist()
    [1.0, 3.0, 2.0]
    """
    source = open_matrix(given) if isinstance(given, (str, Path)) else None
    orders = _orders(names_in(given) if source is None else source.layout.names, wanted, name)
    if source is not None:
        if orders is None:
            _check_shape(source.layout.user_shape, size, name)
        found = None if mapped is None else mapped(source, name, orders is not None)
        if found is not None:
            return found
    matrix = _read(given if source is None else source, name)
    if orders is not None:
        lost = max(matrix.shape) - len(orders[0])
        left = f"; {lost} that V lacks are left out, with their edges" if lost > 0 else ""
        warn(f"The nodes of {name} were brought into the order of V by their names{left}.", DataWarning)
        matrix = matrix[orders[0]][:, orders[1]]
    _check_shape(matrix.shape, size, name)
    return _symmetric(matrix, name)


def _orders(names: Names, wanted: Sequence[NDArray[Any] | None], name: str) -> tuple[Order, Order] | None:
    """Return the orders that bring the rows and the columns of a graph into the order of V by names, or None.

    Raises
    ------
    DataError
        If the graph lacks a row or column of V.
    """
    rows = names.columns if names.rows is None else names.rows
    columns = rows if names.columns is None else names.columns
    if rows is None or columns is None:
        return None
    own = [one for one in wanted if one is not None] or [rows]
    fitting = [one for one in own if set(one) <= set(rows)] if len(own) > 1 else own
    nodes = (fitting or own)[0]
    advice = f"Give {name} as a SciPy matrix in the order of V."
    orders = [order_of(nodes, known, _axis(name), name, advice, part=True) for known in (rows, columns)]
    if all(order is None for order in orders):
        return None
    one, two = (np.arange(len(rows)) if order is None else order for order in orders)
    return one, two


def _symmetric(matrix: Any, name: str) -> Graph:
    """Return the graph of a CSC matrix of its weights, which are checked and made symmetric."""
    matrix.sum_duplicates()
    bad = ~(np.isfinite(matrix.data) & (matrix.data >= 0))
    if bad.any():
        place = int(np.argmax(bad))
        column = int(np.searchsorted(matrix.indptr, place, side="right")) - 1
        raise DataError(
            f"{name}[{int(matrix.indices[place])}, {column}] is {matrix.data[place]:g}; the weights of a graph are "
            "finite numbers of at least 0."
        )
    if matrix.diagonal().any():
        matrix.setdiag(0)
    matrix.eliminate_zeros()
    matrix.sort_indices()
    other = matrix.T.tocsc()
    if not _equal(matrix, other):
        if (abs(matrix - other) > 4 * np.finfo(matrix.dtype).eps * abs(matrix)).nnz:
            warn(
                f"{name} is not symmetric; each weight becomes the larger one of both directions, max(A, Aᵀ).",
                DataWarning,
            )
        matrix = matrix.maximum(other).tocsc()
        matrix.sort_indices()
    if not matrix.nnz:
        raise DataError(
            f"{name} has no edge: all of its {matrix.shape[0]} nodes are isolated; give a graph with edges, or none."
        )
    narrow = np.int32 if matrix.shape[0] < 2**31 else np.int64
    return Graph(matrix.indptr.astype(np.int64), matrix.indices.astype(narrow, copy=False), matrix.data)


def _equal(one: Any, other: Any) -> bool:
    """Return whether two CSC matrices, whose indices are sorted, have the same entries."""
    return all(np.array_equal(getattr(one, part), getattr(other, part)) for part in ("indptr", "indices", "data"))


def open_edges(given: Any, shape: tuple[int, int]) -> Any:
    """Return the weights of edges between new and fitted rows or columns, a CSR matrix (new, fitted).

    Raises
    ------
    DataError
        If it has another shape, or a weight that is negative or not finite.
    """
    matrix = _read(given, "edges").tocsr()
    if matrix.shape != shape:
        raise DataError(
            f"edges has shape {matrix.shape}; {shape[0]} new ones and {shape[1]} of the fit need the shape {shape}."
        )
    matrix.sum_duplicates()
    bad = ~(np.isfinite(matrix.data) & (matrix.data >= 0))
    if bad.any():
        place = int(np.argmax(bad))
        row = int(np.searchsorted(matrix.indptr, place, side="right")) - 1
        raise DataError(
            f"edges[{row}, {int(matrix.indices[place])}] is {matrix.data[place]:g}; the weights of a graph are finite "
            "numbers of at least 0."
        )
    return matrix


def digest_of_graph(graph: Graph) -> str:
    """Return a digest of the weights of a graph."""
    digest = hashlib.blake2b(digest_size=16)
    for array in (graph.starts, graph.neighbours, graph.weights):
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def _axis(name: str) -> Axis:
    return "rows" if name == "graph_W" else "columns"


def _check_shape(shape: tuple[int, ...], size: int, name: str) -> None:
    axis = _axis(name)
    if shape != (size, size):
        raise DataError(
            f"{name} has shape {shape}; V has {size} {axis}, and a graph between them has shape {(size, size)}."
        )


def _read(given: Any, name: str) -> Any:
    """Return a new CSC matrix of floats."""
    given, new = open_matrix(given) if isinstance(given, (str, Path)) else given, False
    if scipy.sparse.issparse(given):
        matrix = given
    elif isinstance(getattr(given, "layout", None), Layout):
        blocks = [read_block(given, block, Scratch(), name) for block in range(given.layout.blocks)]
        matrix = scipy.sparse.hstack([scipy.sparse.csc_array(block) for block in blocks], format="csc")
        del blocks
        matrix, new = matrix.T if given.layout.transposed else matrix, True
    else:
        matrix = np.asarray(given)
        if matrix.ndim != 2:
            raise DataError(f"{name} is a {type(given).__name__} of shape {matrix.shape}; {HOW}.")
    if matrix.dtype.kind not in "buif":
        raise DataError(f"{name} has dtype {matrix.dtype}; give real numbers.")
    dtype = np.float32 if matrix.dtype in (np.dtype(np.float32), np.dtype(bool)) else np.float64
    return scipy.sparse.csc_array(matrix, dtype=dtype, copy=not new)
