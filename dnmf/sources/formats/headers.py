"""Whether the first line of a table is a header, and whether its first column holds ids."""

import itertools
import math
import re
from collections.abc import Sequence

from dnmf.sources.formats.fields import PLACE, WHOLE, Field, Record, is_number, is_value, mostly_numbers

# Names of columns of ids or names.
ID = re.compile(
    r"(?i:^(sample|gene|cell|barcode|patient|subject|user|item|type|name|label)s?$)"
    r"|(?i:(^|[ _.-])(id|index|idx|no|nr|key|name)$)|[a-z]I[dD]$"
)
# Names that differ by a number, as S1 and S2.
NUMBERED = re.compile(r"(.*?)[ _.-]?[0-9]+")
# Numbers from which on an increasing first line may be no coincidence, and bits of chance of one of large numbers.
INCREASING, CHANCE = 5, 4


def is_header(first: Sequence[Field], body: Sequence[Record]) -> bool | None:
    """Return whether the first line holds the names of columns; None if it may be either.

    It does if it lacks a number where the other lines have one.

    >>> line, body = [Field("a"), Field("b")], [Record(2, [Field("x"), Field("1")])]
    >>> is_header(line, body), is_header([Field("y"), Field("2")], body), is_header([Field("id"), Field("2")], body)
    (True, False, None)
    """
    names = [field.text for field in first]
    columns = [[record.fields[at] for record in body if at < len(record.fields)] for at in range(len(names))]
    numeric = [mostly_numbers(column) for column in columns]
    if not any(numeric):
        return not any(is_number(name) for name in names)
    for field, column, numbers in zip(first, columns, numeric, strict=True):
        if numbers and (not is_value(field.text) or (field.quoted and not any(other.quoted for other in column))):
            return True
    if names[0] == "":
        return True if not numeric[0] or are_ids([field.text for field in columns[0]]) else None
    start = 0 if numeric[0] else 1
    titled = start == 1 and ID.search(names[0]) is not None
    return None if titled or _stand_out(first[start:], columns[start:]) else False


def _stand_out(first: Sequence[Field], columns: Sequence[Sequence[Field]]) -> bool:
    """Return whether numbers of a first line differ from those below, as years, wavelengths and ids do."""
    second = [column[0] for column in columns if column]
    if _in_steps(first, 2 if len(columns) < 3 else 3) and (first[0].text == "0" or not _increases(second)):
        return True
    if len(first) >= INCREASING and _increases(first) and not _increases(second):
        return True
    numbers = [[float(field.text) for field in column if is_number(field.text)] for column in columns]
    if not all(is_number(field.text) for field in first) or not all(numbers):
        return False
    whole = {WHOLE.fullmatch(field.text) is not None for field in first}
    if len(whole) == 1 and not any(
        (WHOLE.fullmatch(field.text) is not None) in whole for column in columns for field in column
    ):
        return True
    large = sum(float(field.text) > max(column) for field, column in zip(first, numbers, strict=True))
    return large >= max(2, 0.75 * len(first)) and large * math.log2(min(map(len, numbers)) + 1) >= CHANCE


def _in_steps(fields: Sequence[Field], least: int) -> bool:
    """Return whether fields are whole numbers with equal steps: 0, 1, 2 … or years."""
    if len(fields) < least or not all(PLACE.fullmatch(field.text) for field in fields):
        return False
    steps = {int(other.text) - int(one.text) for one, other in itertools.pairwise(fields)}
    return len(steps) == 1 and (min(steps) > 0 if len(fields) > 2 else steps == {1})


def _increases(fields: Sequence[Field]) -> bool:
    """Return whether fields are numbers that increase."""
    if not all(is_number(field.text) for field in fields):
        return False
    return all(float(one.text) < float(other.text) for one, other in itertools.pairwise(fields))


def are_ids(texts: Sequence[str]) -> bool:
    """Return whether whole numbers may be ids: there are no two equal ones.

    >>> are_ids(["3", "1"]), are_ids(["3", "3"]), are_ids(["0.5", "1"])
    (True, False, False)
    """
    return len(set(texts)) == len(texts) > 1 and all(WHOLE.fullmatch(text) for text in texts)


def are_numbered(one: str, other: str) -> bool:
    """Return whether names of columns differ by a number, so that both hold data.

    >>> are_numbered("S1", "S2"), are_numbered("id", "S1")
    (True, False)
    """
    found = NUMBERED.fullmatch(one), NUMBERED.fullmatch(other)
    return found[0] is not None and found[1] is not None and found[0][1] == found[1][1] != ""
