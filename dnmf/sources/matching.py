"""Match the names of several matrices along the axis that they share."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError, DataWarning, warn
from dnmf.sources.base import Axis
from dnmf.sources.names import Order

# Files that a warning lists one by one.
LISTED = 5


class Along(NamedTuple):
    """The shared axis of one matrix: its label, its names or None, its length, and the bytes of the matrix."""

    label: str
    names: NDArray[Any] | None
    size: int
    weight: int


class Match(NamedTuple):
    """The shared axis of the join.

    Attributes
    ----------
    names
        Names of the result, or None.
    size
        Length of the result.
    takes
        For each matrix, the place in it of every entry of the result, −1 for an absent one; None if it is unchanged.
    """

    names: NDArray[Any] | None
    size: int
    takes: tuple[Order | None, ...]

    def dropped(self, along: Sequence[Along]) -> list[int]:
        """Return the number of entries of each matrix that the result lacks."""
        return [
            0 if take is None else one.size - int((take >= 0).sum())
            for one, take in zip(along, self.takes, strict=True)
        ]

    def absent(self) -> list[int]:
        """Return the number of entries of the result that each matrix lacks."""
        return [0 if take is None else int((take < 0).sum()) for take in self.takes]


def match(along: Sequence[Along], axis: Axis, outer: bool) -> Match:
    """Match matrices by their names along an axis: those in all of them, or in any of them if `outer`.

    The order is that of the matrices that hold the most bytes, so that few have to be brought into another one. In
    an outer join, further names follow in the order in which they are found. Without names, positions count.

    Raises
    ------
    DataError
        If names are not unique where orders differ, no name is common, or matrices without names differ in length.

    Examples
    --------
    >>> names = [np.array(list("abc"), object), np.array(list("cab"), object)]
    >>> match([Along("x", names[0], 3, 1), Along("y", names[1], 3, 5)], "columns", False).takes
    (array([2, 0, 1]), None)
    """
    named = [one for one in along if one.names is not None]
    if len(named) < len(along):
        return _by_position(along, named, axis)
    texts = [tuple(one.names.tolist()) for one in named if one.names is not None]
    bytes_of = Counter[tuple[str, ...]]()
    for text, one in zip(texts, along, strict=True):
        bytes_of[text] += max(one.weight, 1)
    if len(bytes_of) == 1:
        return Match(along[0].names, along[0].size, (None,) * len(along))
    for text, one in zip(texts, along, strict=True):
        if len(set(text)) < len(text):
            name, times = Counter(text).most_common(1)[0]
            raise DataError(
                f"{times} {axis} of {one.label} are named {name!r}, and others have other names, so that their {axis} "
                "cannot be matched; make the names of every matrix unique, as by var_names_make_unique() of an AnnData."
            )
    result = _union(bytes_of) if outer else _intersection(bytes_of, texts, along, axis)
    takes: dict[tuple[str, ...], Order | None] = {}
    for text in bytes_of:
        places = {name: place for place, name in enumerate(text)}
        take = np.array([places.get(name, -1) for name in result], np.intp)
        takes[text] = None if text == result else take
    return Match(np.array(result, object), len(result), tuple(takes[text] for text in texts))


def monotone(take: Order) -> bool:
    """Return whether the entries that are not absent keep their order.

    >>> monotone(np.array([0, -1, 2])), monotone(np.array([1, 0]))
    (True, False)
    """
    present = take[take >= 0]
    return bool((np.diff(present) > 0).all())


def warn_of_dropped(match: Match, along: Sequence[Along], axis: Axis) -> None:
    """Warn of the names that an inner join drops, by matrix."""
    dropped = match.dropped(along)
    found = [f"{count} of {one.size} of {one.label}" for count, one in zip(dropped, along, strict=True) if count]
    if found:
        more = f" and of {len(found) - LISTED} others" if len(found) > LISTED else ""
        warn(
            f"{match.size} {axis} are in all {len(along)} matrices and are kept; dropped are "
            f"{', '.join(found[:LISTED])}{more}. Give join='outer' (--join outer) to keep all of them.",
            DataWarning,
        )


def _by_position(along: Sequence[Along], named: Sequence[Along], axis: Axis) -> Match:
    """Match matrices, some of which have no names, by position."""
    first = named[0] if named else along[0]
    other = next((one for one in along if one.size != first.size), None)
    bare = next(one for one in along if one.names is None)
    if other is not None:
        raise DataError(
            f"{other.label} has {other.size} {axis}, and {first.label} has {first.size}; {bare.label} has no names for "
            f"its {axis}, by which they could be matched. Give matrices with equal numbers of {axis}, or with names."
        )
    if first.names is None:
        return Match(None, first.size, (None,) * len(along))
    texts = first.names.tolist()
    wrong = next((one for one in named if one.names is not None and one.names.tolist() != texts), None)
    if wrong is not None:
        raise DataError(
            f"{bare.label} has no names for its {axis}, and {first.label} and {wrong.label} have different ones; give "
            "all matrices with names, or in one order."
        )
    warn(
        f"{bare.label} has no names for its {axis}; they are taken in the order of {first.label}.",
        DataWarning,
    )
    return Match(first.names, first.size, (None,) * len(along))


def _union(lists: Counter[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the names of all lists, those of the heaviest first."""
    first = max(lists, key=lambda text: lists[text])
    return tuple(dict.fromkeys([*first, *(name for text in lists for name in text)]))


def _intersection(
    lists: Counter[tuple[str, ...]], texts: Sequence[tuple[str, ...]], along: Sequence[Along], axis: Axis
) -> tuple[str, ...]:
    """Return the names in all lists, in the heaviest of their orders."""
    common = set(texts[0])
    for text, one in zip(texts, along, strict=True):
        before, common = common, common.intersection(text)
        if not common:
            raise DataError(
                f"The {axis} of {one.label} share no name with those of {along[0].label}"
                f"{' and the others before it' if one is not along[1] else ''}: they begin with {text[0]!r} and "
                f"{sorted(before)[0]!r}. Give matrices with common names, or join='outer' (--join outer)."
            )
    orders = Counter[tuple[str, ...]]()
    for text, weight in lists.items():
        orders[tuple(name for name in text if name in common)] += weight
    return max(orders, key=lambda order: orders[order])
