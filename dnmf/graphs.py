"""Graphs for `graph_W` and `graph_H`: sparse matrices of the weights between rows or columns of V.

Any other graph will do as well, such as that of `sklearn.neighbors.kneighbors_graph`, or of scanpy and squidpy in the
`obsp` of an AnnData, as `graph_W="obsp/connectivities"`.

    >>> import dnmf, numpy as np
    >>> V = np.random.default_rng(0).random((30, 12 * 12))  # 30 features of the pixels of an image
    >>> result = dnmf.factorize(V, rank=3, graph_H=dnmf.graphs.grid((12, 12)))
    >>> result.H.shape
    (3, 144)
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse

from dnmf.errors import DataError, SettingsError
from dnmf.run.arrays import whole
from dnmf.run.result import Result
from dnmf.sources.base import Axis


def chain(n: int) -> scipy.sparse.csr_array:
    """Return the graph (n, n) of a sequence, such as times: each is joined to the one before and the one after.

    Examples
    --------
    >>> chain(3).toarray().astype(int).tolist()
    [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    """
    return grid((n,))


def grid(shape: Sequence[int]) -> scipy.sparse.csr_array:
    """Return the graph of the points of a grid, such as pixels: each is joined to its neighbours along every axis.

    Parameters
    ----------
    shape
        Sizes of the axes: (height, width) of an image, whose pixels are numbered row by row as by `ravel`.

    Returns
    -------
    scipy.sparse.csr_array
        Weights of 1 (n, n), with n the product of the sizes.

    Raises
    ------
    SettingsError
        If a size is not a whole number of at least 1, or there is one point alone.

    Examples
    --------
    >>> grid((2, 3)).sum(axis=0).astype(int).tolist()
    [2, 3, 2, 2, 3, 2]
    """
    sizes = [shape] if isinstance(shape, (int, np.integer)) else list(shape)
    if not sizes or not all(isinstance(size, (int, np.integer)) and size > 0 for size in sizes) or max(sizes) < 2:
        raise SettingsError(f"The shape {shape!r} is not that of a grid; give whole numbers, as (100, 100).")
    places = np.arange(math.prod(sizes)).reshape(sizes)
    ends = [(places.take(range(size - 1), axis), places.take(range(1, size), axis)) for axis, size in enumerate(sizes)]
    one, two = (np.concatenate([pair[side].ravel() for pair in ends]) for side in (0, 1))
    both = np.concatenate([one, two]), np.concatenate([two, one])
    return scipy.sparse.csr_array((np.ones(len(both[0]), np.float32), both), shape=(places.size, places.size))


def knn(features: Any, k: int = 15, *, axis: Axis = "columns") -> scipy.sparse.csr_array:
    """Return the graph of the k nearest neighbours: two points are joined if one is among the k nearest of the other.

    The features are held in memory, and searched with scikit-learn. For more points than that allows, take the graph of
    a library for approximate neighbours.

    Parameters
    ----------
    features
        An array (n, d) with a row for every point, such as coordinates or embeddings; or a result, whose factor is the
        features.
    k
        Number of neighbours.
    axis
        For a result: `"columns"` for the columns of its H, `"rows"` for the rows of its W.

    Returns
    -------
    scipy.sparse.csr_array
        Weights of 1 (n, n), symmetric.

    Raises
    ------
    DataError
        If the features are not a matrix of finite numbers.
    SettingsError
        If k is not a whole number from 1 to n − 1.

    Examples
    --------
    >>> knn(np.array([[0.0], [1.0], [5.0]]), k=1).toarray().astype(int).tolist()
    [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    """
    points = np.asarray(whole(features, axis) if isinstance(features, Result) else features)
    if points.ndim != 2 or points.dtype.kind not in "buif" or not np.isfinite(points).all():
        raise DataError("The features of a graph are a matrix of finite numbers, with a row for every point.")
    if not isinstance(k, (int, np.integer)) or not 0 < k < len(points):
        raise SettingsError(f"k={k!r} is not allowed; give a whole number from 1 to {len(points) - 1}.")
    from sklearn.neighbors import kneighbors_graph  # it loads slowly

    found = scipy.sparse.csr_array(kneighbors_graph(points, int(k), mode="connectivity").astype(np.float32))
    return found.maximum(found.T).tocsr()
