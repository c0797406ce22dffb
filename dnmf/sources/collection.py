"""Several matrices that are joined to one: how they are given, ordered, labelled and recorded.

["a.h5ad", "b.zarr"]             a list of addresses or objects, joined along the rows
runs/*.h5ad::layers/counts       the files that match a pattern, in natural order
concat:{"matrices": […], …}      a join as a store records it
"""

import dataclasses
import glob
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from dnmf.checks import choice
from dnmf.choices import Axis, Join
from dnmf.errors import DataError
from dnmf.sources.addresses import MARK, Address
from dnmf.sources.base import Layout
from dnmf.sources.unfolding import Unfolded
from dnmf.storage.paths import absolute
from dnmf.storage.urls import is_url, without_file_scheme

SCHEME = "concat:"
# Separates the label of a matrix from a name in it.
SEPARATOR = ":"
WILD = re.compile(r"[*?[]")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Collection:
    """Matrices to be joined along an axis; the parameters are those of `dnmf.concat`.

    `recorded` is set for a join from a store, whose dropped names the user was warned of when the run began.
    """

    matrices: tuple[Any, ...]
    axis: Axis = "rows"
    join: Join = "inner"
    keys: tuple[str, ...] | None = None
    weights: tuple[float, ...] | None = None
    recorded: bool = False

    @classmethod
    def of(
        cls,
        matrices: Any,
        axis: Axis = "rows",
        join: Join = "inner",
        keys: Any = None,
        weights: Any = None,
        *,
        distinct: bool = True,
        literal: bool = False,
    ) -> Self:
        """Return a collection after checking its parameters.

        If `distinct`, no matrix may be there twice; if `literal`, no address is a pattern.

        Raises
        ------
        DataError
            If there is no matrix, one is given twice, or keys or weights are not one for each matrix.
        SettingsError
            If the axis or the join is not known.
        """
        choice("axis", axis, Axis)
        choice("join", join, Join)
        if isinstance(matrices, (str, Path)):
            matrices = matching(str(matrices)) if is_pattern(matrices) else [str(matrices)]
        elif not isinstance(matrices, (list, tuple)):
            raise DataError(
                f"The matrices to join are given as a {type(matrices).__qualname__}; give a list of addresses or "
                "matrices, or a pattern of paths such as 'runs/*.h5ad'."
            )
        given = tuple(matrices)
        if not literal:
            given = tuple(one for each in given for one in (matching(str(each)) if is_pattern(each) else [each]))
        if not given:
            raise DataError("The list of matrices is empty; give at least one address or matrix.")
        if distinct:
            _check_distinct(given)
        return cls(given, axis, join, _checked_keys(keys, len(given)), _checked_weights(weights, len(given)))

    @classmethod
    def parse(cls, text: str, distinct: bool = True) -> Self:
        """Return the collection of a text that `address` made.

        Raises
        ------
        DataError
            If the text is not one.
        """
        try:
            form = json.loads(text.removeprefix(SCHEME))
            if not isinstance(form, dict) or not all(isinstance(one, str) for one in form["matrices"]):
                raise ValueError("it has no list of addresses")
            if not form.keys() <= {"matrices", "axis", "join", "keys", "weights"}:
                raise ValueError("it has unknown fields")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"{text[:200]} is not the address of joined matrices ({error}); give one that dnmf has recorded, or a "
                "list of addresses."
            ) from error
        return dataclasses.replace(cls.of(**form, distinct=distinct, literal=True), recorded=True)

    def address(self, locations: Sequence[str | None]) -> str | None:
        """Return a text that opens the join again, from the location of each matrix; None if one is in memory."""
        if any(location is None for location in locations):
            return None
        return SCHEME + json.dumps({"matrices": list(locations), **self.form()}, ensure_ascii=False)

    def form(self) -> dict[str, Any]:
        """Return the way of joining in a JSON form."""
        form: dict[str, Any] = {"axis": self.axis, "join": self.join}
        lists = {"keys": self.keys, "weights": self.weights}
        return form | {name: list(values) for name, values in lists.items() if values is not None}

    def labels(self) -> tuple[str, ...]:
        """Return a distinct label for each matrix: its key, else the stem of its file, else its number.

        >>> Collection.of(["a/x.h5ad", "b/y.h5ad"]).labels(), Collection.of(["a/x.h5ad", "b/x.h5ad"]).labels()
        (('x', 'y'), ('a/x', 'b/x'))
        """
        if self.keys is not None:
            return self.keys
        numbers = tuple(map(str, range(len(self.matrices))))
        ways = ((1, False), (1, True), (2, False), (2, True), (3, True))
        for parents, part in ways:
            found = tuple(
                number if label is None else label
                for number, label in zip(numbers, (_label(one, parents, part) for one in self.matrices), strict=True)
            )
            if len(set(found)) == len(found):
                return found
        return numbers

    def described(self) -> list[str]:
        """Return the address of each matrix, or its label, for messages."""
        return [
            str(shown_location(str(given))) if isinstance(given, (str, Path)) else f"matrix {label!r}"
            for given, label in zip(self.matrices, self.labels(), strict=True)
        ]


def collection_in(given: Any, distinct: bool = True) -> Collection | None:
    """Return the collection that is given as V: a list of matrices, a pattern, or a recorded address; else None.

    A nested list of numbers is an array, and a list of arrays of one axis is as well.

    >>> collection_in([[1, 2], [3, 4]]) is None, len(collection_in(["a.npy", "b.npy"]).matrices)
    (True, 2)
    """
    if isinstance(given, Collection):
        return given
    if isinstance(given, (str, Path)):
        text = str(given)
        if text.startswith(SCHEME):
            return Collection.parse(text, distinct)
        return Collection.of(text) if is_pattern(text) else None
    if isinstance(given, (list, tuple)) and (not given or any(map(is_matrix, given))):
        return Collection.of(given, distinct=distinct)
    return None


def is_matrix(given: Any) -> bool:
    """Return whether an element of a list is a matrix or its address, and not a row of numbers."""
    if isinstance(given, (str, Path, Collection, Unfolded)) or isinstance(getattr(given, "layout", None), Layout):
        return True
    if isinstance(given, (list, tuple)):
        return bool(given) and is_matrix(given[0])
    shape = getattr(given, "shape", None)
    return hasattr(given, "keys") if shape is None else len(shape) > 1


def is_pattern(given: Any) -> bool:
    """Return whether a text is a pattern of paths, and not the path of an existing file."""
    if not isinstance(given, (str, Path)) or str(given).startswith(SCHEME):
        return False
    place, _ = _split(str(given))
    if is_url(place):
        return "*" in place
    return bool(WILD.search(place)) and not absolute(place).exists()


def matching(pattern: str) -> list[str]:
    """Return the addresses that match a pattern, in natural order: run 2 before run 10.

    Raises
    ------
    DataError
        If there is none, or the pattern is a URL.
    """
    place, part = _split(pattern)
    if is_url(place):
        raise DataError(f"{pattern} is a pattern of URLs, and only paths are matched; give a list of URLs.")
    found = sorted(glob.glob(str(absolute(place)), recursive=True), key=natural)
    if not found:
        raise DataError(f"No file matches {pattern}; check the pattern, and put it in quotes on a command line.")
    return [file if part is None else f"{file}{MARK}{part}" for file in found]


def natural(text: str) -> list[tuple[int, int, str]]:
    """Return the key that sorts numbers within texts by value.

    >>> sorted(["run10", "run2", "run1"], key=natural)
    ['run1', 'run2', 'run10']
    """
    return [(0, int(word), word) if word.isdigit() else (1, 0, word) for word in re.split(r"(\d+)", text) if word]


def places_in(given: Any) -> Iterator[Any]:
    """Yield the addresses in a list, a pattern, or the address of a join; anything else is yielded unchanged."""
    found = collection_in(given, distinct=False) if isinstance(given, (str, Path, list, tuple)) else None
    if found is None:
        yield given
        return
    for one in found.matrices:
        yield from places_in(one)


def shown_location(location: str | None) -> str | None:
    """Return a location for people: that of a join as a short list.

    >>> shown_location('concat:{"matrices": ["/a.npy", "/b.npy"], "axis": "rows"}')
    '2 matrices joined along their rows: /a.npy, /b.npy'
    """
    if location is None or not location.startswith(SCHEME):
        return location
    found = Collection.parse(location, distinct=False)
    listed = ", ".join(map(str, found.matrices[:3])) + (", …" if len(found.matrices) > 3 else "")
    return f"{len(found.matrices)} matrices joined along their {found.axis}: {listed}"


def _split(text: str) -> tuple[str, str | None]:
    """Return the place and the part of a text that may be a pattern."""
    text = without_file_scheme(text)
    place, mark, part = text.rpartition(MARK)
    return (place, part) if mark else (text, None)


def _label(given: Any, parents: int, part: bool) -> str | None:
    """Return the stem of an address with some folders before it and its part; None for an object."""
    if not isinstance(given, (str, Path)) or str(given).startswith(SCHEME):
        return None
    place, inner = _split(str(given))
    *before, last = place.rstrip("/").split("/")
    stem = last.removesuffix(".gz").rpartition(".")
    words = [*before[len(before) - parents + 1 :], stem[0] or stem[2], *([inner] if part and inner else [])]
    return "/".join(words).replace(SEPARATOR, "_")


def _check_distinct(given: Sequence[Any]) -> None:
    """Raise DataError if a file or an object is there twice."""
    seen = set[Any]()
    for one in given:
        if isinstance(one, (str, Path)):
            identity: Any = str(one) if str(one).startswith(SCHEME) else Address.of(one)
        else:
            identity = id(one)
        if identity in seen:
            what = str(one) if isinstance(one, (str, Path)) else f"The {type(one).__qualname__}"
            raise DataError(f"{what} is given twice in the list of matrices; give every matrix once.")
        seen.add(identity)


def _checked_keys(keys: Any, count: int) -> tuple[str, ...] | None:
    if keys is None:
        return None
    words = (keys,) if isinstance(keys, str) else tuple(keys)
    sound = all(isinstance(word, (str, int)) and str(word) and SEPARATOR not in str(word) for word in words)
    if len(words) != count or not sound or len(set(map(str, words))) != count:
        raise DataError(
            f"keys={list(words)!r} is not allowed for {count} matrices; give a distinct text for each, without "
            f"{SEPARATOR!r}."
        )
    return tuple(map(str, words))


def _checked_weights(weights: Any, count: int) -> tuple[float, ...] | None:
    if weights is None:
        return None
    numbers = tuple(weights) if isinstance(weights, (list, tuple)) or hasattr(weights, "tolist") else (weights,)
    try:
        found = tuple(float(number) for number in numbers)
    except (TypeError, ValueError):
        found = ()
    if len(found) != count or not all(0 < number < float("inf") for number in found):
        raise DataError(
            f"weights={list(numbers)!r} is not allowed for {count} matrices; give a finite number above 0 for each."
        )
    return found
