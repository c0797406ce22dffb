"""The part of the address of a table: how it is to be read, and by which columns.

counts.csv::gene                   a dense table, with names of the rows in one column
counts.csv::0,header               the same by position, below a first line that is a header, whatever it holds
counts.csv::dense                  a dense table in which every column is data
ratings.csv::user:name,film,stars  a list of entries: the columns of rows, columns and values; numbers are names
ratings.csv::list                  a list of entries in three columns
counts.csv::"dense"                the column with this name
"""

import re
from typing import Literal, NamedTuple

# Words of an address: every column holds data; the columns are those of entries; the first line is a header.
DENSE, LIST, HEADER = "dense", "list", "header"
# Numbers of a column, or of both columns of ids, are names.
NAME, NAMES = ":name", "names"
WORD = re.compile(r'\s*(?:"(?P<quoted>(?:[^"]|"")*)"(?P<name>:name)?|(?P<plain>[^,]*?))\s*(?:,|\Z)')


class Word(NamedTuple):
    """A word of an address: a column by name or position, with whether its numbers are names, or a keyword."""

    text: str
    name: bool = False
    quoted: bool = False


class Asked(NamedTuple):
    """The reading that an address asks for; `form` is None if it leaves it open."""

    form: Literal["dense", "rows", "list"] | None = None
    columns: tuple[Word, ...] = ()
    header: bool | None = None
    named: bool = False


def asked_by(part: str | None) -> Asked:
    """Return the reading that a part of an address asks for; ValueError if it asks for none.

    >>> asked_by("dense").form, asked_by('"dense"').columns[0].text, asked_by("user:name,film,stars").columns[0]
    ('dense', 'dense', Word(text='user:name', name=False, quoted=False))
    """
    if part is None:
        return Asked()
    words = _words(part)
    keys = [None if word.quoted else word.text for word in words]
    if keys[-1] == NAMES and len(words) == 4:
        return Asked("list", tuple(words[:3]), named=True)
    if len(words) == 3:
        return Asked("list", tuple(words))
    if keys == [LIST]:
        return Asked("list")
    header = True if len(words) == 2 and keys[1] == HEADER else None
    if len(words) == 1 or header:
        return Asked("dense", (), header) if keys[0] == DENSE else Asked("rows", (words[0],), header)
    raise ValueError(f"{len(words)} words")


def _words(part: str) -> list[Word]:
    """Split a part at commas outside quotes.

    >>> [word.text for word in _words('user, "a, b",stars')]
    ['user', 'a, b', 'stars']
    """
    words, at = list[Word](), 0
    while at <= len(part):
        found = WORD.match(part, at)
        if found is None:
            raise ValueError("open quotes")
        quoted, name, plain = found["quoted"], found["name"], found["plain"]
        words.append(Word(plain) if quoted is None else Word(quoted.replace('""', '"'), name is not None, True))
        at = found.end() + (0 if found[0].endswith(",") else 1)
    return words
