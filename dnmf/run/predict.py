"""Predictions of single entries of V, and the best columns for a row; WH is never formed."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.aliases import names_options
from dnmf.checks import choice, integer
from dnmf.engine import single_threaded_products
from dnmf.kernels.blocks.products import entries_of_product
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.floats import own_errors
from dnmf.run.known import Known, known_entries
from dnmf.run.places import Label, label_of, pairs_of, places_of
from dnmf.run.result import Result
from dnmf.run.stored import fitted_result
from dnmf.run.watcher import Watch
from dnmf.sources.axes import other
from dnmf.sources.base import Axis

# Scores that are held at once.
SCORES = 2**22


@names_options()
@own_errors
def predict(fitted: Result | str | Path, pairs: Any) -> NDArray[np.float64]:
    """Return the entries of WH at pairs of rows and columns.

    The factors are read block by block, and only the blocks with pairs. If V was prepared by `dnmf.preprocessing`, the
    predictions are of the prepared V.

    Parameters
    ----------
    fitted
        A result, or the path or URL of a store.
    pairs
        An array (p, 2) or a DataFrame of two columns, rows and columns of V; or a tuple of two arrays (p,). Texts are
        names. Whole numbers are positions, unless all names along the axis are whole numbers, as identifiers: then they
        are names, too.

    Returns
    -------
    numpy.ndarray
        Predictions (p,) in float64.

    Raises
    ------
    DataError
        If a row or a column is not one of V, or if a name is not unique.

    Examples
    --------
    >>> import dnmf, numpy as np
    >>> V = np.outer([1, 2, 1], [1, 3, 0, 4])
    >>> result = dnmf.factorize(V, rank=1, row_names=["ann", "bob", "cy"])
    >>> predict(result, [("bob", 3), ("cy", 1)]).round(3).tolist()
    [8.0, 3.0]
    """
    result = fitted_result(fitted)
    places = pairs_of(pairs, result.shape, result.names)
    if result.rows_streamed:
        places = places[::-1]
    values = np.empty(places.shape[1])
    order = np.argsort(places[1], kind="stable")
    edges = np.searchsorted(places[1], result.bounds, sorter=order).tolist()
    for block, (start, stop) in enumerate(itertools.pairwise(edges)):
        if start < stop:
            own = order[start:stop]
            inside = np.array([places[0, own], places[1, own] - result.bounds[block]])
            values[own] = entries_of_product(result.short, result.long.read(block), inside)
    return values


@names_options()
@own_errors
@single_threaded_products()
def recommend(
    fitted: Result | str | Path,
    rows: Any = None,
    n: int = 10,
    exclude: Any = None,
    *,
    axis: Axis = "rows",
    memory_limit: int | str | None = None,
    threads: int | None = None,
    watchers: Watch = (),
    progress: bool | None = None,
    client: Any = None,
) -> list[list[tuple[Label, float]]]:
    """Return the columns with the largest entries of WH in some rows, without those that are known.

    At most a few million entries of WH are held at once.

    Parameters
    ----------
    fitted
        A result, or the path or URL of a store.
    rows
        Rows by position or name, as in `predict`, or one of them; None are all.
    n
        Number of columns for each row.
    exclude
        The matrix of known entries, of any kind that `factorize` takes and of the shape of V, as V itself. Known are
        the entries that a sparse one stores, and those of a dense one that are not 0, or not NaN if the run had
        `missing="nan"`. It is read once, and the known entries of the rows are held in memory. None excludes nothing.
    axis
        `"rows"` for the best columns of rows; `"columns"` for the best rows of columns, which are then given as `rows`.
    memory_limit, threads, watchers, progress, client
        Options for the read of `exclude`, as for `factorize`.

    Returns
    -------
    list of list of tuple
        For each row its columns, the best first, of equal ones the first: a name, or a position without names, and the
        entry of WH. A row has fewer than `n` if fewer are not known.

    Raises
    ------
    DataError
        If a row is not one of V, or if `exclude` has another shape or other names.
    SettingsError
        If `n` is not a whole number of at least 1, or `axis` is not known.

    Examples
    --------
    >>> import dnmf, numpy as np
    >>> V = np.outer([1, 2, 1], [1, 3, 0, 4])
    >>> result = dnmf.factorize(V, rank=1, column_names=["Alien", "Brazil", "Clue", "Diva"])
    >>> [[(film, round(stars, 3)) for film, stars in one] for one in recommend(result, [1], 2)]
    [[('Diva', 8.0), ('Brazil', 6.0)]]
    """
    n = integer("n", n, 1)
    result = fitted_result(fitted)
    choice("axis", axis, Axis)
    size, items = result.shape if axis == "rows" else result.shape[::-1]
    wanted = np.arange(size) if rows is None else places_of(rows, axis, size, result.names)
    known = None
    if exclude is not None:
        known = known_entries(result, exclude, wanted, axis, memory_limit, threads, watchers, progress, client)
    names = getattr(result.names, other(axis))
    best = best_items if (axis == "rows") == result.rows_streamed else best_items_by_block
    places, scores = best(result, wanted, min(n, items), known)
    return [
        [(label_of(names, place), score) for place, score in zip(*row, strict=True) if score > -np.inf]
        for row in zip(places.tolist(), scores.tolist(), strict=True)
    ]


def best_items(result: Result, wanted: NDArray[np.int64], n: int, known: Known | None) -> tuple[Any, Any]:
    """Return the best items (k, n) of wanted places of the streamed axis and their scores; known ones have −∞."""
    places, scores = np.empty((len(wanted), n), np.int64), np.empty((len(wanted), n))
    order = np.argsort(wanted, kind="stable")
    edges = np.searchsorted(wanted, result.bounds, sorter=order).tolist()
    items = np.asarray(result.short.T, np.float64)
    for block, (start, stop) in enumerate(itertools.pairwise(edges)):
        if start == stop:
            continue
        H = result.long.read(block)
        for own in batches(order[start:stop], len(result.short)):
            found = product(H[:, wanted[own] - result.bounds[block]].T, items)
            if known is not None:
                known.hide(own, 0, found)
            places[own], scores[own] = largest(found, n)
    return places, scores


def best_items_by_block(result: Result, wanted: NDArray[np.int64], n: int, known: Known | None) -> tuple[Any, Any]:
    """Return the best items (k, n) of wanted places of the axis that is held whole, merged over the blocks."""
    places, scores = np.zeros((len(wanted), n), np.int64), np.full((len(wanted), n), -np.inf)
    for block, (first, last) in enumerate(itertools.pairwise(result.bounds)):
        H = result.long.read(block)
        for own in batches(np.arange(len(wanted)), last - first):
            found = product(result.short[wanted[own]], H)
            if known is not None:
                known.hide(own, first, found)
            here, values = largest(found, min(n, last - first))
            both = np.hstack([places[own], here + first]), np.hstack([scores[own], values])
            kept = np.argsort(-both[1], axis=1, kind="stable")[:, :n]
            places[own], scores[own] = (np.take_along_axis(array, kept, axis=1) for array in both)
    return places, scores


def batches(places: NDArray[np.int64], width: int) -> list[NDArray[np.int64]]:
    """Return places in batches whose rows of scores, of a width, can be held at once."""
    step = max(1, SCORES // width)
    return [places[start : start + step] for start in range(0, len(places), step)]


def product(A: Float, B: Float) -> NDArray[np.float64]:
    """Return a product in float64."""
    return np.asarray(np.asarray(A, np.float64) @ np.asarray(B, np.float64))


def largest(scores: NDArray[np.float64], n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the columns (k, n) of the largest scores in every row, the largest first, of equal ones the first.

    >>> [array.tolist() for array in largest(np.array([[1.0, 3, 3, 2]]), 2)]
    [[[1, 2]], [[3.0, 3.0]]]
    """
    rows, width = scores.shape
    least = np.partition(scores, width - n, axis=1)[:, width - n, None]
    above, equal = scores > least, scores == least
    lacking = n - above.sum(axis=1, keepdims=True)
    taken = above | (equal & (equal.cumsum(axis=1) <= lacking))
    columns = np.nonzero(taken)[1].reshape(rows, n)
    values = np.take_along_axis(scores, columns, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)
