"""Lines of many numbers, rewritten as one number in a line: pyarrow reads one long column much faster than many."""

import re
from typing import NamedTuple

# Columns from which on lines are rewritten.
WIDE = 100


class Flat(NamedTuple):
    """The names of rows, if they have any, and their numbers row by row, one in a line."""

    names: list[str | None] | None
    numbers: bytes


def flattened(data: bytes, mark: str, width: int, *, named: bool) -> Flat | None:
    r"""Rewrite whole lines of `width` numbers, after the names of the rows if these are named.

    None if a line has another number of fields or quotes a number.

    >>> flattened(b'"a, b",1,2\nc,3,\n', ",", 2, named=True)
    Flat(names=['a, b', 'c'], numbers=b'1\n2\n3\n\n')
    >>> flattened(b"1,2\n3\n", ",", 2, named=False) is None
    True
    """
    sign, names, parts = mark.encode(), list[str | None](), list[bytes]()
    quoted = re.compile(rb'"((?:[^"]|"")*)"[ ]*' + re.escape(sign))
    for line in data.split(b"\n"):
        if not line.strip(b" "):
            continue
        if named:
            found = quoted.match(line)
            name, end, line = line.partition(sign) if found is None else (found[1], sign, line[found.end() :])
            if not end or (found is None and name.startswith(b'"')):
                return None
            names.append((name if found is None else name.replace(b'""', b'"')).decode())
        if line.count(sign) != width - 1 or b'"' in line:
            return None
        parts.append(line)
    return Flat(names if named else None, b"\n".join([*parts, b""]).replace(sign, b"\n"))
