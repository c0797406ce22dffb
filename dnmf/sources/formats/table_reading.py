"""How a table is read: as a dense matrix or as a list of entries, and by which columns.

An address settles it; without one, the table is taken for a list of entries if its columns have usual names, or if it
has no header, three columns and fields that only a list has, and for a dense matrix if all columns hold numbers, except
one with the names of the rows. Everything else is refused with the addresses that settle it.
"""

from typing import NamedTuple

from dnmf.errors import DataError
from dnmf.sources.addresses import MARK
from dnmf.sources.formats.fields import COMMAS, PLACE, is_number
from dnmf.sources.formats.headers import ID, are_ids, are_numbered
from dnmf.sources.formats.table_advice import example_of, held_in, no_columns, part_of, title_of, ways_of
from dnmf.sources.formats.table_files import Csv, Table, is_numeric
from dnmf.sources.formats.table_parts import DENSE, HEADER, LIST, NAME, Asked, Word

USUAL = (
    {"row", "rows", "i", "user", "users", "userid", "user_id"},
    {"column", "columns", "col", "cols", "j", "item", "items", "itemid", "item_id", "movieid", "movie_id"},
    {"value", "values", "v", "rating", "ratings"},
)
# Most columns of a list of entries, as with a time and a remark.
NARROW = 5


class Entries(NamedTuple):
    """A table as a list of entries: the columns of rows, columns and values, and whether ids are names."""

    columns: tuple[int, int, int]
    named: tuple[bool, bool]


class Dense(NamedTuple):
    """A table as a dense matrix: the columns of numbers, and the one with the names of the rows or None."""

    columns: tuple[int, ...]
    names: int | None


def reading_of(table: Table, asked: Asked, where: str) -> Entries | Dense:
    """Return how a table is read; DataError with the addresses that settle it if that is not certain."""
    if asked.form == "list":
        return _as_entries(table, asked, where)
    if asked.form == "dense":
        return _as_dense(table, None, where)
    if asked.form == "rows":
        return _as_dense(table, _column(table, asked.columns[0], where)[0], where)
    usual = usual_columns(table)
    if usual is not None:
        return Entries(usual, (False, False))
    return _guessed(table, where)


def _guessed(table: Table, where: str) -> Entries | Dense:
    """Return the reading of a table without usual names."""
    columns = table.columns
    kinds = [column.kind for column in columns]
    if table.header == 0 and len(columns) == 3:
        listed = _lists(table)
        if listed:
            return Entries((0, 1, 2), (False, False))
        if listed is None:
            names = kinds[0] in ("text", "digits")
            more = f", or {table.place}{MARK}{0 if names else DENSE},{HEADER} if its first line is a header"
            more = more if table.unsure else ""
            raise DataError(
                f"{where} has no header and three columns, and may be a list of entries (row, column, value) or a "
                f"dense table; give {table.place}{MARK}{LIST} for a list, or {table.place}{MARK}"
                f"{'0 for a table whose first column names the rows' if names else f'{DENSE} for a table'}{more}."
            )
    _refuse_unsure(table)
    if len(table.index) == 1:
        return _as_dense(table, table.index[0], where)
    _refuse_empty(table, where)
    if _mixed(table):
        _refuse_commas(table)
        raise DataError(
            f"{where} has numbers and texts in its first column{title_of(table, 0)}; give "
            f"{table.place}{MARK}{part_of(table, [0])} if they are names of rows, or correct the texts."
        )
    if _may_be_list(table):
        dense = part_of(table, [0]) if kinds[0] == "text" else DENSE
        raise DataError(
            f"{where} {held_in(table)}, and may be a list of entries or a dense table; give {table.place}{MARK}"
            f"{part_of(table, [0, 1, 2])} if these are row, column and value (with {NAME} after a column whose numbers "
            f"are names, as {table.place}{MARK}{part_of(table, [0, 1, 2], (NAME, NAME, ''))}), or {table.place}{MARK}"
            f"{dense} for a dense table."
        )
    quoted = _are_places(table, 0) and all(
        kind in ("digits", "number", "empty") for kind in kinds
    )  # every field is in quotes
    if kinds[0] == "text" or (kinds[0] == "digits" and not quoted) or columns[0].name == "":
        return _as_dense(table, 0, where)
    if len(columns) > 1 and _may_be_index(table):
        raise DataError(
            f"{where} has whole numbers in its first column{title_of(table, 0)}, which may be names of "
            f"rows or data; give {table.place}{MARK}{part_of(table, [0])} if they are names, or "
            f"{table.place}{MARK}{DENSE} if they are data."
        )
    return _as_dense(table, None, where)


def _lists(table: Table) -> bool | None:
    """Return whether a table of three columns without a header is a list of entries; None if it may be either."""
    first, second, third = (column.kind for column in table.columns)
    if third == "digits":  # every field is in quotes
        first, second = ("whole" if _are_places(table, at) else table.columns[at].kind for at in (0, 1))
    ids = ("whole", "digits", "text")
    if first not in ids or second not in ids or third == "text":
        return False
    if second != "whole":
        return True
    if first == "whole":
        return True if third in ("number", "flag") else None
    names = table.head(0)
    return True if len(set(names)) < len(names) else None


def _are_places(table: Table, at: int) -> bool:
    """Return whether the fields of a column are whole numbers that are written as positions."""
    return isinstance(table, Csv) and all(PLACE.fullmatch(text) for text in table.head(at))


def usual_columns(table: Table) -> tuple[int, int, int] | None:
    """Return the columns of rows, columns and values, if exactly these have usual names."""
    names = [column.name.lower() for column in table.columns]
    found = [[at for at, name in enumerate(names) if name in some] for some in USUAL]
    if table.header == 0 or not all(len(places) == 1 for places in found):
        return None
    rows, columns, values = (places[0] for places in found)
    return rows, columns, values


def _as_entries(table: Table, asked: Asked, where: str) -> Entries:
    """Return the reading as a list of entries, of the given columns, the usual ones or all three."""
    if asked.columns:
        found = [_column(table, word, where) for word in asked.columns]
        if len({place for place, _ in found}) < 3:
            raise no_columns(table, where)
        rows, columns, values = (place for place, _ in found)
        named = (asked.named or found[0][1], asked.named or found[1][1])
        return Entries((rows, columns, values), named)
    usual = usual_columns(table) or ((0, 1, 2) if len(table.columns) == 3 else None)
    if usual is None:
        raise DataError(f"{where} {held_in(table)}; name those with rows, columns and values, as {example_of(table)}.")
    return Entries(usual, (False, False))


def _as_dense(table: Table, names: int | None, where: str) -> Dense:
    """Return the reading as a dense matrix; DataError if a column holds no numbers."""
    numeric = tuple(at for at in range(len(table.columns)) if at != names)
    _refuse_empty(table, where)
    if isinstance(table, Csv):
        table.check([at for at in numeric if is_numeric(table.columns[at]) or _mostly_numbers(table, at)])
    wrong = [at for at in numeric if not is_numeric(table.columns[at])]
    if wrong or not numeric:
        raise DataError(f"{where} {held_in(table)}; {ways_of(table, wrong)}")
    return Dense(numeric, names)


def _refuse_empty(table: Table, where: str) -> None:
    """Raise DataError if a column has no name and no field, as where every line ends with a separator."""
    empty = [at for at, column in enumerate(table.columns) if column.kind == "empty"]
    bad = next((at for at in empty if table.header == 0 or table.columns[at].name == ""), None)
    if bad is not None and isinstance(table, Csv):
        raise DataError(f"{where} has an empty column without a name, column {bad} from 0; remove it.")


def _mixed(table: Table) -> bool:
    """Return whether a first column with texts holds mostly numbers, with or without commas."""
    first = table.columns[0]
    return isinstance(table, Csv) and first.kind == "text" and first.name != "" and _mostly_numbers(table, 0)


def _refuse_commas(table: Table) -> None:
    """Raise DataError for the first line with a comma in a number of the first column."""
    if isinstance(table, Csv) and any(COMMAS.fullmatch(text) for text in table.head(0)):
        table.check([0])


def _mostly_numbers(table: Csv, at: int) -> bool:
    fields = [text for text in table.head(at) if text]
    return 2 * sum(is_number(text) or bool(COMMAS.fullmatch(text)) for text in fields) > len(fields)


def _may_be_list(table: Table) -> bool:
    """Return whether the first columns of a narrow table look like the ids of entries."""
    if not 3 <= len(table.columns) <= NARROW:
        return False
    first, second = table.columns[:2]
    if second.kind not in ("whole", "digits") or first.kind not in ("whole", "digits", "text"):
        return False
    words = [column.name if table.header != 0 else "" for column in (first, second)]
    ids = [bool(ID.search(word)) or word.lower() in USUAL[0] | USUAL[1] for word in words]
    names = table.head(0)
    if first.kind == "text":
        return ids[1] or len(set(names)) < len(names)
    return table.header == 0 or ids[1] or (ids[0] and len(set(names)) < len(names))


def _may_be_index(table: Table) -> bool:
    """Return whether whole numbers in the first column may be names of rows: no two are equal."""
    first, values = table.columns[0], table.head(0)
    if first.kind not in ("whole", "digits"):
        return False
    if table.header != 0 and ID.search(first.name):
        return len(set(values)) == len(values)
    if table.header == 0:
        return are_ids(values) or len(values) == 1
    return are_ids(values) and not are_numbered(first.name, table.columns[1].name)


def _refuse_unsure(table: Table) -> None:
    """Raise DataError if the first line may be a header or data."""
    if table.unsure and isinstance(table, Csv):
        rows = 0 not in table.numbers
        data, header = ("0", "0,header") if rows else (DENSE, f"{DENSE},{HEADER}")
        raise DataError(
            f"{table.place} begins with {', '.join(table.line[:4])}, which may be a header or data; give "
            f"{table.place}{MARK}{header} if it is a header, or {table.place}{MARK}{data} if it is data."
        )


def _column(table: Table, word: Word, where: str) -> tuple[int, bool]:
    """Return the position of a column that a word gives by name or position, and whether its numbers are names."""
    names = [column.name for column in table.columns] if table.header != 0 else []
    bare = word.text.removesuffix(NAME)
    for text, name in {word.text: word.name, bare: word.name or bare != word.text}.items():
        if text in names:
            return names.index(text), name
    if bare.isdecimal() and int(bare) < len(table.columns):
        return int(bare), word.name or bare != word.text
    raise no_columns(table, where)
