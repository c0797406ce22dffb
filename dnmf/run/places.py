"""Rows and columns of V as a user gives them: by position or by name."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError, did_you_mean
from dnmf.sources.base import Axis
from dnmf.sources.names import Names

Places = NDArray[np.int64]


def pairs_of(pairs: Any, shape: tuple[int, int], names: Names, what: str = "pairs") -> Places:
    """Return the rows and columns (2, p) of pairs.

    Parameters
    ----------
    pairs
        An array (p, 2) or a frame of two columns, or a tuple of two arrays (p,): rows and columns, by position or name.
    shape, names
        Those of V.
    what
        The name of the argument, for the errors.

    Raises
    ------
    DataError
        If these are not pairs, or if a row or a column is not one of V.
    """
    rows, columns = _two(pairs, what)
    if rows.shape != columns.shape or rows.ndim != 1:
        raise DataError(
            f"{what} has {rows.size} rows and {columns.size} columns; give one column for each row, as an array (p, 2) "
            "or as a tuple of two arrays (p,)."
        )
    return np.array([places_of(rows, "rows", shape[0], names), places_of(columns, "columns", shape[1], names)])


def _two(pairs: Any, what: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the arrays of rows and of columns, which may hold positions or names."""
    if isinstance(pairs, tuple) and len(pairs) == 2:
        rows, columns = (np.asarray(part) for part in pairs)
        return rows, columns
    if hasattr(pairs, "columns") and hasattr(pairs, "iloc"):  # a frame: an array of it may have numbers made texts
        if len(pairs.columns) == 2:
            return np.asarray(pairs.iloc[:, 0]), np.asarray(pairs.iloc[:, 1])
        raise DataError(f"{what} is a frame of {len(pairs.columns)} columns; give two, the rows and the columns of V.")
    given = np.asarray(pairs)
    if given.size == 0 and given.ndim == 1:
        given = np.zeros((0, 2), np.int64)
    if given.ndim != 2 or given.shape[1] != 2:
        raise DataError(
            f"{what} has shape {given.shape}; give an array (p, 2) of rows and columns, or a tuple of two arrays (p,)."
        )
    if given.dtype.kind == "U" and not isinstance(pairs, np.ndarray):  # a number may have become a text
        rows, columns = (np.array([pair[axis] for pair in pairs]) for axis in (0, 1))
        return rows, columns
    return given[:, 0], given[:, 1]


def places_of(given: Any, axis: Axis, size: int, names: Names) -> Places:
    """Return the positions (p,) of rows or columns of V that are given by position or by name.

    Texts are names. Whole numbers are positions, unless every name along the axis is a whole number, as an identifier;
    then they are names, too.

    Raises
    ------
    DataError
        If a position is not in 0 … size − 1, or a name is not among the names of the axis or not unique.

    Examples
    --------
    >>> names = Names.of(["17", "4", "30"], ["red", "green"])
    >>> places_of([4, "30"], "rows", 3, names).tolist(), places_of(["green", "red"], "columns", 2, names).tolist()
    ([1, 2], [1, 0])
    >>> places_of(2, "columns", 2, names)
    Traceback (most recent call last):
        ...
    dnmf.errors.DataError: column 2 is not in V, which has 2 columns; give positions from 0 to 1.
    """
    array, one = np.atleast_1d(np.asarray(given)), axis[:-1]
    known = getattr(names, axis)
    if array.ndim != 1:
        raise DataError(f"{axis} has shape {array.shape}; give a sequence of {axis}.")
    if array.dtype.kind in "iu" and not are_numbers(known):
        outside = (array < 0) | (array >= size)
        if outside.any():
            raise DataError(
                f"{one} {array[outside][0]} is not in V, which has {size} {axis}; give positions from 0 to {size - 1}."
            )
        return array.astype(np.int64)
    if array.dtype.kind not in "iuUO" and array.size:
        raise DataError(f"{axis} has dtype {array.dtype}; give positions as whole numbers, or names as texts.")
    if array.dtype.kind == "O" and not all(isinstance(value, (str, int, np.integer)) for value in array.tolist()):
        raise DataError(f"{axis} has values that are neither whole numbers nor texts; give positions or names.")
    if known is None and array.size:
        raise DataError(
            f"{one} {str(array[0])!r} is a name, and the {axis} of V have none; give positions from 0 to {size - 1}, "
            f"or fit V with {one}_names=."
        )
    return _places_of_names([str(value) for value in array.tolist()], axis, names)


def _places_of_names(texts: list[str], axis: Axis, names: Names) -> Places:
    """Return the positions of names."""
    one, known = axis[:-1], [] if (own := getattr(names, axis)) is None else own.tolist()
    places = {name: place for place, name in enumerate(known)}
    found = [places.get(text, -1) for text in texts]
    if -1 in found:
        name = texts[found.index(-1)]
        other: Axis = "columns" if axis == "rows" else "rows"
        others = getattr(names, other)
        also = f", but among its {other}" if others is not None and name in others else ""
        hint = did_you_mean(name, known[:1000]) or f" Give names of {axis}, such as {known[0]!r}."
        raise DataError(f"{one} {name!r} is not among the {axis} of V{also}.{hint}")
    if len(places) < len(known):
        counts = Counter(known)
        twice = next((text for text in texts if counts[text] > 1), None)
        if twice is not None:
            raise DataError(f"{one} {twice!r} is the name of {counts[twice]} {one}s of V; give unique names.")
    return np.array(found, np.int64)


def are_numbers(names: NDArray[Any] | None) -> bool:
    """Return whether there are names and all of them are whole numbers, as identifiers."""
    return names is not None and len(names) > 0 and all(map(_is_number, names))


def _is_number(name: str) -> bool:
    return name.isascii() and name.removeprefix("-").isdigit()


Label = str | int


def label_of(names: NDArray[Any] | None, place: int) -> Label:
    """Return the name of a position, or the position itself without names."""
    return place if names is None else str(names[place])
