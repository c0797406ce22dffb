"""The fields of the first lines of a table: their separator and their kinds."""

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from dnmf.sources.formats.text_lines import BLANKS, mark_of, unified

SEPARATORS = ("\t", ",", ";", "|", "::")
WORDS = "tabs, commas, semicolons, bars, double colons or blanks"
# Lines that the choice of a separator looks at.
LINES = 100
# A whole number that can be a position: with leading zeros or more digits, it is a name.
WHOLE = re.compile(r"[+-]?[0-9]+")
PLACE = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")
NUMBER = re.compile(r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|inf|infinity|nan)", re.IGNORECASE)
COMMAS = re.compile(r"[+-]?[0-9]+,[0-9]+(e[+-]?[0-9]+)?|[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?", re.IGNORECASE)
FLAGS = {"true", "false"}
# Texts of a missing number, in lower case.
MISSING = ("", "na", "nan", "n/a", "#n/a", "null", "none", "<na>", "-nan")
QUOTED = re.compile(r'"(?:[^"]|"")*"')

# "digits" are whole numbers that are names: in quotes, with leading zeros, or too long for a position.
Kind = Literal["whole", "digits", "number", "flag", "text", "empty", "other"]
NUMERIC: tuple[Kind, ...] = ("whole", "digits", "number", "flag", "empty")


class Field(NamedTuple):
    """A field without surrounding blanks and quotes, and whether it was in quotes."""

    text: str
    quoted: bool = False


class Record(NamedTuple):
    """The fields of a line, and its number."""

    line: int
    fields: list[Field]


def separator_of(lines: Sequence[str]) -> str:
    """Return the separator of the fields of some lines.

    Raises
    ------
    ValueError
        If there is none, or several are possible.

    Examples
    --------
    >>> separator_of(['"a;b;c",d,e']), separator_of(["1::1193::5::978", "1::661::3::978"])
    (',', '::')
    """
    lines = [line for line in lines if line.strip()][:LINES]
    scores = {mark: score for mark in SEPARATORS if (score := _score(lines, mark)) is not None}
    if not scores:
        blank = _score(lines, BLANKS)
        if blank is not None and blank[0] >= 0.9 and blank[1] > 0:
            return BLANKS
        raise ValueError(f"its lines are not fields that are separated by {WORDS}")
    best = max(scores.values())
    found = [mark for mark, score in scores.items() if score == best]
    if len(found) > 1:
        raise ValueError(f"its fields may be separated by {' or '.join(map(repr, found))}")
    return found[0]


def _score(lines: Sequence[str], separator: str) -> tuple[float, float, int] | None:
    """Return the share of lines with the usual number of fields, that of numbers among these, and the number.

    None if lines have one field.
    """
    split = [_split(line, separator) for line in lines]
    body = split[1:] or split
    counts = [len(fields) for fields in body]
    usual = max(set(counts), key=lambda count: (counts.count(count), count))
    if usual < 2:
        return None
    head = {usual: 1.0, usual - 1: 0.9}.get(len(split[0]), 0.5)  # R gives no name to the column of row names
    fields = [field.strip(' "') for record in body for field in record]
    numbers = sum(is_number(field) or (separator != "," and bool(COMMAS.fullmatch(field))) for field in fields)
    return head * counts.count(usual) / len(counts), numbers / len(fields), usual


def _split(line: str, separator: str) -> list[str]:
    bare = QUOTED.sub('""', line)
    return bare.split() if separator == BLANKS else bare.split(separator)


def records_of(lines: Sequence[str], separator: str, first: int = 1) -> Iterator[Record]:
    """Yield the fields of every line that is not empty, the first of which has the number `first`.

    >>> [[field.text for field in record.fields] for record in records_of(['a, "b, c" ,d', ""], ",")]
    [['a', 'b, c', 'd']]
    """
    mark = re.escape(mark_of(separator))
    pattern = re.compile(rf'[ ]*(?:"((?:[^"]|"")*)"[^{mark}]*|([^{mark}]*))({mark}|\Z)')
    for at, given in enumerate(lines):
        if given.strip(" "):
            line = unified(given.encode(), separator).decode()
            yield Record(first + at, list(_fields(pattern, line)))


def _fields(pattern: re.Pattern[str], line: str) -> Iterator[Field]:
    for found in pattern.finditer(line):
        quoted, plain, end = found.groups()
        yield Field(plain.strip()) if quoted is None else Field(quoted.replace('""', '"').strip(), True)
        if not end:
            return


def is_number(text: str) -> bool:
    """Return whether a field is a number, as pyarrow reads it.

    >>> [is_number(text) for text in ("1e5", "-.5", "inf", "0x1F", "1_0", "1,5")]
    [True, True, True, False, False, False]
    """
    return NUMBER.fullmatch(text) is not None


def is_value(text: str) -> bool:
    """Return whether a field can be the value of an entry or a missing value, rather than the name of a column."""
    return is_number(text) or text.lower() in FLAGS or text.lower() in MISSING


def kind_of(fields: Sequence[Field]) -> Kind:
    """Return the common kind of fields.

    >>> [kind_of([Field("7")]), kind_of([Field("07")]), kind_of([Field("7", True)]), kind_of([Field("7.5")])]
    ['whole', 'digits', 'digits', 'number']
    """
    present = [field for field in fields if field.text.lower() not in MISSING]
    if not present:
        return "empty"
    if all(field.text.lower() in FLAGS for field in present):
        return "flag"
    if not all(is_number(field.text) for field in present):
        return "text"
    if not all(WHOLE.fullmatch(field.text) for field in present):
        return "number"
    return "digits" if any(field.quoted or not PLACE.fullmatch(field.text) for field in present) else "whole"


def mostly_numbers(fields: Sequence[Field]) -> bool:
    """Return whether most fields are numbers or flags, so that a text among them is the exception."""
    present = [field.text for field in fields if field.text.lower() not in MISSING]
    return 2 * sum(is_number(text) or text.lower() in FLAGS for text in present) > len(present)
