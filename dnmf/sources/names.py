"""Names of the rows and the columns of a matrix."""

import codecs
import csv
import dataclasses
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError, DataWarning, warn
from dnmf.sources.addresses import Address
from dnmf.storage.paths import absolute
from dnmf.storage.urls import is_url

# The memory of a name, roughly: a text of twenty letters, and its pointer in the array.
NAME_BYTES = 80
# The suffix that AnnData's make_unique adds to a duplicate name.
SUFFIX = re.compile(r"-\d+$")
GZIP = b"\x1f\x8b"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Names:
    """Names along both axes of the user's matrix; by convention, rows are samples and columns are features.

    Attributes
    ----------
    rows, columns
        One text for each (m,) and (n,), or None if the axis has no names.

    Examples
    --------
    >>> Names.of(None, ["red", "green"]).columns.tolist()
    ['red', 'green']
    """

    rows: NDArray[Any] | None = None
    columns: NDArray[Any] | None = None

    @classmethod
    def of(cls, rows: Iterable[Any] | str | Path | None, columns: Iterable[Any] | str | Path | None) -> Self:
        """Return names from anything that can be converted to texts, or from a file.

        A file has one name per line, or is a list in JSON, or is a table, of which `::` names a column by its header or
        by its position from 0, as `features.tsv.gz::1`.

        Raises
        ------
        DataError
            If a file cannot be read, or if a collection has no order.
        """
        return cls(_texts(rows, "row_names"), _texts(columns, "column_names"))

    def __bool__(self) -> bool:
        return self.rows is not None or self.columns is not None

    @property
    def held_bytes(self) -> int:
        """Approximate memory of the names, in bytes."""
        return NAME_BYTES * sum(len(names) for names in (self.rows, self.columns) if names is not None)

    def filled(self, others: "Names") -> Self:
        """Return the names, with those of others along an axis without names."""
        return dataclasses.replace(
            self,
            rows=others.rows if self.rows is None else self.rows,
            columns=others.columns if self.columns is None else self.columns,
        )

    def checked(self, shape: tuple[int, int]) -> Self:
        """Return the names; DataError if their number is not the length of the axis."""
        for names, size, axis in ((self.rows, shape[0], "rows"), (self.columns, shape[1], "columns")):
            if names is not None and len(names) != size:
                raise DataError(f"V has {size} {axis} and {len(names)} names for them; give one name for each.")
        return self


NO_NAMES = Names()
Order = NDArray[np.intp]


def order_of(
    wanted: NDArray[Any] | None,
    known: NDArray[Any] | None,
    axis: Literal["rows", "columns", "components"],
    whose: str,
    advice: str,
    *,
    of: str = "V",
    part: bool = False,
) -> Order | None:
    """Return the order that brings known names along an axis into the order of the wanted ones.

    Parameters
    ----------
    wanted
        The names of V.
    known
        The names of a factor, or of anything else that belongs to V.
    axis
        The axis of V, for the error.
    whose
        The owner of the known names, for the error.
    advice
        Advice for names that differ, for the error.
    of
        The owner of the wanted names, for the error.
    part
        Whether known names that are not wanted are left out.

    Returns
    -------
    ndarray or None
        `known[order]` equals `wanted`. None if both agree already, or one of them is None.

    Raises
    ------
    DataError
        If the names differ, or are in another order and not unique.

    Examples
    --------
    >>> red, green = Names.of(["a", "b"], ["b", "a"]).rows, Names.of(["a", "b"], ["b", "a"]).columns
    >>> order_of(red, green, "rows", "the factors", "")
    array([1, 0])
    """
    if wanted is None or known is None or (len(wanted) == len(known) and bool((wanted == known).all())):
        return None
    places = {name: place for place, name in enumerate(known.tolist())}
    order = np.array([places.get(name, -1) for name in wanted.tolist()], np.intp)
    fits = len(order) <= len(places) if part else len(order) == len(places)
    if fits and len(places) == len(known) and len(set(order.tolist())) == len(order) and order.min() >= 0:
        return order
    raise DataError(f"{difference(wanted, known, axis, whose, of=of)}{advice}")


def warn_of_order(orders: Sequence[Order | None], whose: str) -> None:
    """Warn once if something was brought into the order of V along its rows, its columns or both."""
    axes = [axis for axis, order in zip(("rows", "columns"), orders, strict=True) if order is not None]
    if axes:
        warn(
            f"The {' and '.join(axes)} of V and of {whose} have the same names in another order; {whose} was brought "
            "into the order of V.",
            DataWarning,
        )


def difference(wanted: NDArray[Any], known: NDArray[Any], axis: str, whose: str, *, of: str = "V") -> str:
    """Return a sentence on the first name that differs, without advice."""
    one, first, second = axis[:-1], wanted.tolist(), known.tolist()
    if Counter(first) == Counter(second):
        name, times = Counter(first).most_common(1)[0]
        if times == 1:
            place = first_other(first, second)
            return (
                f"The {axis} of {of} and of {whose} have the same names in another order: {one} {place} of {of} is "
                f"{first[place]!r}, and that of {whose} {second[place]!r}. "
            )
        return (
            f"The {axis} of {of} and of {whose} have the same names in another order, and {name!r} is the name of "
            f"{times} of them, so that they cannot be told apart. Give {of} in the order of {whose}, or unique names. "
        )
    if only_suffixes(first, second):
        place = first_other(first, second)
        return (
            f"The {axis} of {of} and of {whose} differ only by the suffix that make_unique adds: {one} {place} of {of} "
            f"is {first[place]!r}, and that of {whose} {second[place]!r}. Make both unique, or neither. "
        )
    others = [set(second), set(first)]
    stranger = next((place for place, name in enumerate(first) if name not in others[0]), None)
    if stranger is None:
        lacks = next((name for name in second if name not in others[1]), None)
        if lacks is None:
            return f"{of} has {len(first)} names for its {axis}, and {whose} {len(second)}: some are there twice. "
        return f"{of} lacks the {one} {lacks!r} of {whose}. "
    there = f" ({one} {stranger} there is {second[stranger]!r})" if stranger < len(second) else ""
    return f"{one.capitalize()} {stranger} of {of} is {first[stranger]!r}, which is not among those of {whose}{there}. "


def first_other(names: Sequence[str], others: Sequence[str]) -> int:
    """Return the first position where names differ from as many others."""
    return next(place for place, pair in enumerate(zip(names, others, strict=True)) if pair[0] != pair[1])


def only_suffixes(names: list[str], others: list[str]) -> bool:
    """Return whether names differ from others, position by position, only by a suffix that `make_unique` adds.

    >>> only_suffixes(["MYC", "MYC-1"], ["MYC", "MYC"]), only_suffixes(["MYC", "TP53"], ["MYC", "MYC"])
    (True, False)
    """
    if len(names) != len(others):
        return False
    return all(
        one == other or SUFFIX.sub("", one) == other or SUFFIX.sub("", other) == one
        for one, other in zip(names, others, strict=True)
    )


def _texts(given: Iterable[Any] | str | Path | None, what: str) -> NDArray[Any] | None:
    if given is None:
        return None
    if isinstance(given, (Mapping, Set)) or not isinstance(given, (Iterable, Path)):
        raise DataError(
            f"{what} is a {type(given).__name__}, which is not a list of names; give one name for each of the "
            f"{what.split('_')[0]}s of V, in their order."
        )
    names = _read(given) if isinstance(given, (str, Path)) else given
    return np.array([_text(name) for name in names], dtype=object)


def _text(name: Any) -> str:
    """Return a name as valid Unicode text.

    >>> _text(b"na\\xc3\\xafve"), _text("\\udcff"), _text(7)
    ('naïve', '\\\\udcff', '7')
    """
    if isinstance(name, bytes):
        return name.decode(errors="backslashreplace")
    return str(name).encode(errors="backslashreplace").decode()


def _read(given: str | Path) -> list[Any]:
    """Return the names in a file, or in a column of it."""
    place, part = (Path(given), None) if is_url(str(given)) else Address.of(given)[:2]
    path = absolute(Path(place))
    try:
        packed = path.read_bytes()
        inner = path.name.lower().removesuffix(".gz")
        raw = gzip.decompress(packed) if packed.startswith(GZIP) else packed
        text = raw.decode("utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
        if part is not None:
            return _column(text, part)
        names = json.loads(text) if inner.endswith(".json") else _lines(text, inner)
        if not isinstance(names, list) or not all(isinstance(name, (str, int, float)) for name in names):
            raise ValueError("it is not a list of texts")
    except (OSError, EOFError, zlib.error, ValueError, RecursionError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"The names in {given} cannot be read ({reason}); give a text file with one name per line, a column of a "
            "table as features.tsv::1, a .json file with a list of them, or the names themselves."
        ) from error
    return names


def _column(text: str, part: str) -> list[str]:
    """Return a column of a table, by its header or by its position from 0.

    >>> _column("id\\tname\\n7\\tTP53\\n", "name"), _column("7\\tTP53\\n", "1")
    (['TP53'], ['TP53'])
    """
    first = text.partition("\n")[0]
    mark = "\t" if "\t" in first else max(",;|", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=True)
    records = [(reader.line_num, [field.strip() for field in record]) for record in reader if record]
    header = records[0][1] if records else []
    if header.count(part) > 1:
        raise ValueError(f"it has several columns {part}")
    if part not in header and not part.isdecimal():
        raise ValueError(f"it has no column {part}, and begins with {', '.join(header[:5])}")
    place, body = (header.index(part), records[1:]) if part in header else (int(part), records)
    short = next((line for line, record in body if len(record) <= place), None)
    if short is not None:
        raise ValueError(f"line {short} has no field {place} from 0")
    return [record[place] for _, record in body]


def _lines(text: str, name: str) -> list[str]:
    """Return the names in a text: its lines, or the second fields of a feature table of 10x Genomics.

    >>> _lines("ENSG1\\tTP53\\tGene Expression\\n", "features.tsv"), _lines("a b\\nc\\n", "names.txt")
    (['TP53'], ['a b', 'c'])
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    if not any("\t" in line for line in lines):
        return lines
    fields = [line.split("\t") for line in lines]
    if name.endswith(("features.tsv", "genes.tsv")) and all(len(line) > 1 for line in fields):
        return [line[1] for line in fields]
    raise ValueError("its lines have several fields, separated by tabs: choose one, as with ::0")
