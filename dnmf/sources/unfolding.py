"""Unfold an array of several axes into a matrix: some axes make its rows and the others its columns, in C order.

The literature calls the matrix an unfolding or a matricization (Kolda & Bader 2009, Tensor decompositions and
applications, SIAM Review 51, section 2.4).
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from dnmf.errors import DataError

AXES = re.compile(r"\(([^()]*)\)\s*[x×]\s*\(([^()]*)\)")
# The most axes of an array, as in NumPy, and the most characters of the name of one.
MOST_AXES, MOST_NAME = 64, 1000


class Axes(NamedTuple):
    """The axes of an array that make the rows and the columns, by name or position; None is all others in their order.

    >>> str(Axes.parse("(t) x (y, x)"))
    '(t)x(y,x)'
    """

    rows: tuple[int | str, ...] | None = None
    columns: tuple[int | str, ...] | None = None

    @classmethod
    def parse(cls, text: str) -> "Axes | None":
        """Return the axes in the part of an address, or None if it is something else."""
        found = AXES.fullmatch(text.strip())
        if found is None:
            return None
        rows, columns = ([name.strip() for name in side.split(",") if name.strip()] for side in found.groups())
        return cls(tuple(rows), tuple(columns))

    def __str__(self) -> str:
        return "x".join("(…)" if side is None else f"({','.join(map(str, side))})" for side in self)


@dataclasses.dataclass(frozen=True, slots=True)
class Unfolding:
    """An array as a matrix.

    Attributes
    ----------
    shape
        Shape of the array.
    rows, columns
        The positions of the axes that make the rows and the columns; the last one varies fastest.
    names
        The names of all axes of the array, in its order, or None.

    Examples
    --------
    >>> stack = Unfolding.of((500, 32, 24), Axes(("t",), ("x", "y")), ("t", "y", "x"))
    >>> stack.rows, stack.columns, stack.column_shape, stack.matrix_shape
    ((0,), (2, 1), (24, 32), (500, 768))
    """

    shape: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    names: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls, shape: Sequence[int], axes: "Axes | Unfolding | None", names: Sequence[Any] | None = None, what: str = "V"
    ) -> Self:
        """Return the unfolding of an array of this shape by the axes given, or of the first axis against all others.

        Raises
        ------
        DataError
            If the array has less than two axes or no entries, or if the axes are not those of the array, each once.
        """
        sizes, known = tuple(map(int, shape)), usable(names)
        if len(sizes) < 2:
            raise DataError(
                f"{what} has {len(sizes)} dimension(s), shape {sizes}; V must be a matrix, or an array of more axes."
            )
        if isinstance(axes, Unfolding):
            axes = axes.axes_for(len(sizes), known)
        rows, columns = Axes(rows=(0,)) if axes is None or axes == Axes() else axes
        here = _Given(len(sizes), known, what, str(Axes(rows, columns)))
        found = [None if side is None else tuple(map(here.place, side)) for side in (rows, columns)]
        first, second = (
            here.others(other) if side is None else side for side, other in zip(found, found[::-1], strict=True)
        )
        here.check(first, second)
        if 0 in sizes:
            raise DataError(f"{what} is empty: its shape is {sizes}; V needs at least one row and column.")
        return cls(sizes, first, second, known)

    @property
    def order(self) -> tuple[int, ...]:
        """The axes in the order of the matrix: those of the rows, then those of the columns."""
        return (*self.rows, *self.columns)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Lengths of the axes that make the rows."""
        return tuple(self.shape[axis] for axis in self.rows)

    @property
    def column_shape(self) -> tuple[int, ...]:
        """Lengths of the axes that make the columns."""
        return tuple(self.shape[axis] for axis in self.columns)

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        return math.prod(self.row_shape), math.prod(self.column_shape)

    @property
    def axes(self) -> Axes:
        """The axes by their names, or by their positions if they have none."""
        known: Sequence[Any] = range(len(self.shape)) if self.names is None else self.names
        return Axes(tuple(known[axis] for axis in self.rows), tuple(known[axis] for axis in self.columns))

    def axes_for(self, count: int, names: Sequence[str] | None) -> Axes | None:
        """Return the axes of another array that is to be unfolded in the same way; None if it has another number."""
        if count != len(self.shape):
            return None
        if self.names is not None and names is not None and set(names) == set(self.names):
            return self.axes
        return Axes(self.rows, self.columns)

    def differs(self, other: "Unfolding", side: str) -> bool:
        """Return whether the `"rows"` or the `"columns"` have another shape than those of another array, or order."""
        mine, theirs = ((one.row_shape if side == "rows" else one.column_shape) for one in (self, other))
        first, second = (getattr(one.axes, side) for one in (self, other))
        named = self.names is not None and other.names is not None
        return mine != theirs or (named and first != second and set(first) == set(second))

    @property
    def by_position(self) -> str:
        """The axes by position, with the shape of the array."""
        return str(dataclasses.replace(self, names=None))

    def __str__(self) -> str:
        return f"{self.axes} of {' × '.join(map(str, self.shape))}"

    def to_json(self) -> dict[str, Any]:
        """Return the unfolding for a header or an attribute; `from_json` reverses it."""
        names = None if self.names is None else list(self.names)
        return {"shape": list(self.shape), "rows": list(self.rows), "columns": list(self.columns), "names": names}

    @classmethod
    def from_json(cls, given: Any, matrix_shape: Sequence[int]) -> Self:
        """Return the unfolding of a header or an attribute.

        Raises
        ------
        ValueError
            If it is not one, or not of a matrix of this shape.

        Examples
        --------
        >>> stack = Unfolding((500, 32, 24), (0,), (1, 2))
        >>> Unfolding.from_json(stack.to_json(), (500, 768)) == stack
        True
        """
        if not isinstance(given, Mapping) or given.keys() != {"shape", "rows", "columns", "names"}:
            raise ValueError("it does not have shape, rows, columns and names")
        shape, rows, columns, names = (given[name] for name in ("shape", "rows", "columns", "names"))
        lists = [shape, rows, columns, *([] if names is None else [names])]
        if not all(isinstance(one, list) for one in lists) or not 2 <= len(shape) <= MOST_AXES:
            raise ValueError("its fields are not lists")
        if not all(type(number) is int and number >= 0 for number in (*shape, *rows, *columns)):
            raise ValueError("its sizes or axes are not whole numbers")
        if names is not None and (len(names) != len(shape) or names != list(usable(names) or ())):
            raise ValueError("its names are not those of axes")
        found = cls.of(shape, Axes(tuple(rows), tuple(columns)), names)
        if found.matrix_shape != tuple(matrix_shape):
            raise ValueError(f"it is of a matrix of shape {found.matrix_shape}")
        return found


class _Given(NamedTuple):
    """The axes of an array, and the axes that were given for it, for sentences."""

    ndim: int
    names: tuple[str, ...] | None
    what: str
    text: str

    def place(self, axis: Any) -> int:
        """Return the position of an axis."""
        if self.names is not None and axis in self.names:
            return self.names.index(axis)
        try:
            place = int(axis)
        except (TypeError, ValueError):
            place = self.ndim
        if isinstance(axis, (bool, float)) or not -self.ndim <= place < self.ndim:
            raise DataError(f"{self.what} has no axis {axis!r}; its axes are {self._listed(range(self.ndim))}.")
        return place % self.ndim

    def others(self, side: tuple[int, ...] | None) -> tuple[int, ...]:
        """Return all axes that are not on the other side, in their order."""
        return tuple(axis for axis in range(self.ndim) if axis not in (side or ()))

    def check(self, rows: tuple[int, ...], columns: tuple[int, ...]) -> None:
        """Raise DataError unless every axis is there once, and some on each side."""
        both = (*rows, *columns)
        twice = sorted({axis for axis in both if both.count(axis) > 1})
        if twice:
            raise DataError(f"{self.text} names {self._listed(twice)} of {self.what} twice; name every axis once.")
        for side, which in ((rows, "rows"), (columns, "columns")):
            if not side:
                raise DataError(f"{self.text} leaves no axis for the {which} of {self.what}; give at least one.")
        left = [axis for axis in range(self.ndim) if axis not in both]
        if left:
            raise DataError(
                f"{self.text} leaves out {self._listed(left)} of {self.what}; name every axis for the rows or for the "
                f"columns, of {self._listed(range(self.ndim))}."
            )

    def _listed(self, axes: Sequence[int]) -> str:
        """List axes by their positions and names."""
        return ", ".join(str(axis) if self.names is None else f"{self.names[axis]} ({axis})" for axis in axes)


def unfolding_of(
    shape: Sequence[int], axes: Axes | Unfolding | None, names: Sequence[Any] | None = None, what: str = "V"
) -> Unfolding | None:
    """Return how to unfold an array; None for one of at most two axes, unless its own axes are given.

    >>> unfolding_of((3, 4), None) is None, unfolding_of((3, 4), Axes((1,), (0,))).matrix_shape
    (True, (4, 3))
    """
    if len(shape) <= 2 and not isinstance(axes, Axes):
        return None
    return Unfolding.of(shape, axes, names, what)


def usable(names: Sequence[Any] | None) -> tuple[str, ...] | None:
    """Return the names of axes as texts; None if they are not unique or cannot be written in an address.

    >>> usable(["t", "y", "x"]), usable(["t", "x", "x"]), usable(["a (b)", "c"])
    (('t', 'y', 'x'), None, None)
    """
    if names is None:
        return None
    texts = tuple(str(name) for name in names)
    plain = all(text.strip() == text and 0 < len(text) < MOST_NAME and not set("(),") & set(text) for text in texts)
    return texts if plain and len(set(texts)) == len(texts) else None


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Unfolded:
    """An array with the axes that make its rows and its columns, as made by `dnmf.unfold`; it is opened as a matrix."""

    array: Any
    axes: Axes

    def __repr__(self) -> str:
        found = self.array if isinstance(self.array, str) else type(self.array).__name__
        return f"<Unfolded: {found}, {self.axes}>"
