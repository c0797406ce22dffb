"""Sentences about the columns of a table, and the addresses that settle how it is read."""

from dnmf.errors import DataError
from dnmf.sources.addresses import MARK
from dnmf.sources.formats.table_files import Table, is_numeric
from dnmf.sources.formats.table_parts import DENSE, LIST, NAME


def no_columns(table: Table, where: str) -> DataError:
    """Return the error for an address that names no columns of a table."""
    place = table.place.rpartition("/")[2]
    return DataError(
        f"{where} must name the column with the names of the rows, as {place}{MARK}0, or three columns, with rows, "
        f"columns and values, as {place}{MARK}0,1,2, by their names or by their places from 0, with {NAME} after a "
        f"column whose numbers are names; {MARK}{DENSE} takes every column as data; {place} {held_in(table)}."
    )


def held_in(table: Table) -> str:
    """Describe the columns of a table."""
    names = [column.name or '""' for column in table.columns]
    if table.header == 0:
        return f"has no header, and {len(names)} fields in a line"
    more = "" if len(names) <= 20 else f" and {len(names) - 20} more"
    return f"has the columns {', '.join(names[:20])}{more}"


def ways_of(table: Table, wrong: list[int]) -> str:
    """Advise how to give a table with texts in several columns."""
    columns = table.columns
    texts = [at for at, column in enumerate(columns) if not is_numeric(column)]
    numbers = [at for at, column in enumerate(columns) if is_numeric(column)]
    by = ", by their places from 0" if table.header == 0 else ""
    last = next((at for at in numbers if len(texts) == 2 and at > texts[1]), None)
    if last is not None:
        example = f"{table.place}{MARK}{part_of(table, [*texts, last])} if these are they"
    else:
        example = example_of(table)
    names = ", ".join(columns[at].name or str(at) for at in wrong[:5])
    return (
        f"name those with rows, columns and values{by}, as {example}. A dense table has texts in the column "
        f"with the names of the rows alone: drop {names} for one."
    )


def example_of(table: Table) -> str:
    return f"{table.place}{MARK}ROW,COLUMN,VALUE"


def title_of(table: Table, at: int) -> str:
    return f" {table.columns[at].name}" if table.header != 0 else ""


def part_of(table: Table, places: list[int], suffixes: tuple[str, ...] = ("", "", "")) -> str:
    """Return the part of an address for columns, by their names if these are plain and unique."""
    names = [column.name for column in table.columns]
    chosen = [names[place] for place in places]
    keys = {DENSE, LIST} if len(places) == 1 else set()
    plain = all(name and names.count(name) == 1 and not set(name) & set(',"/:') and name not in keys for name in chosen)
    words = chosen if plain and table.header != 0 else map(str, places)
    return ",".join(word + suffix for word, suffix in zip(words, suffixes, strict=False))


def other_reading(table: Table, *, listed: bool) -> str | None:
    """Describe the address that reads a table in the other way, or return None if there is no other way.

    Columns of numbers are never proposed as names.
    """
    columns = table.columns
    if not listed:
        example = f"{table.place.rpartition('/')[2]}{MARK}ROW,COLUMN,VALUE"
        return f"as a list of entries, {example}" if len(columns) > 2 else None
    texts = [at for at, column in enumerate(columns) if not is_numeric(column)]
    if texts in ([], [0]):
        return f"as a dense table, {table.place}{MARK}{part_of(table, texts) if texts else DENSE}"
    return None
