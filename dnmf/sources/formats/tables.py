"""CSV and Parquet files whose rows are entries (row, column, value), read by pyarrow in batches.

Rows and columns are positions from 0, or texts, which become names in the order of their first appearance. A table is
taken for a list of entries only if that is certain: if the address names the three columns, if their names are usual
ones, or if a file of three columns has no header and its third field is a number.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError, needed
from dnmf.kernels.blocks.panels import work_dtype
from dnmf.sources.addresses import MARK, Address
from dnmf.sources.formats.entry_list import Batch, ReadAgain
from dnmf.sources.formats.table_files import CSV_BYTES, SAMPLE_BYTES, Csv, Parquet, Table
from dnmf.sources.names import Names
from dnmf.sources.read_errors import parsing

USUAL = (
    {"row", "rows", "i", "user", "users", "userid", "user_id"},
    {"column", "columns", "col", "cols", "j", "item", "items", "itemid", "item_id", "movieid", "movie_id"},
    {"value", "values", "v", "rating", "ratings"},
)
AXES = ("rows", "columns")
# The fourth word of a part: rows and columns are names, even if they look like positions.
NAMED = "names"


class TableEntries:
    """The rows of a table as the entries of a matrix."""

    def __init__(self, address: Address, *, batch_bytes: int = CSV_BYTES, sample_bytes: int = SAMPLE_BYTES) -> None:
        self.address = address
        self.shape: tuple[int, int] | None = None
        self.path = Path(address.place)
        given = _words(address.part)
        self._arrow = needed("pyarrow", address.place)
        if _is_parquet(self.path):
            self.table: Table = Parquet(self.path)
        else:
            self.table = Csv(self.path, given, batch_bytes, sample_bytes)
        self.count = self.table.count
        self.places = self._choose() if given is None else self._named(given)
        self._check_kinds()
        named = given is not None and given[3:] == [NAMED]
        self.as_text = [named or self._column(axis).kind in ("text", "digits") for axis in (0, 1)]
        self._labels: tuple[dict[str, int], dict[str, int]] = ({}, {})
        self.dtype = self._dtype()

    @property
    def what(self) -> str:
        """A description with the columns of rows, columns and values, and the line of the header."""
        header = {None: "", 0: "without a header"}.get(self.table.header, f"line {self.table.header} is its header")
        rows, columns, values = (
            self.table.columns[place].name if self.table.header != 0 else f"field {place}" for place in self.places
        )
        parts = [header, f"rows are {rows}, columns {columns}, values {values}"]
        return f"{self.table.what} ({'; '.join(filter(None, parts))})"

    @property
    def names(self) -> Names:
        """The texts read so far, in the order of their first appearance."""
        return Names.of(*(list(known) if known else None for known in self._labels))

    def batches(self) -> Iterator[Batch]:
        """Read the entries.

        Raises
        ------
        ReadAgain
            If a column of digits holds texts later on; the next read takes all of it as texts.
        """
        try:
            with parsing(self.address, self.table.what):
                for found, share in self.table.batches(self.places, self.as_text):
                    for axis, column in enumerate(found):
                        if column.null_count:
                            raise self._lacking(axis)
                    numbers = found[2].cast(self._arrow.from_numpy_dtype(self.dtype), safe=False)
                    rows, columns = self._ids(found[0], 0), self._ids(found[1], 1)
                    yield Batch(rows, columns, numbers.to_numpy(zero_copy_only=False), share)
        except ReadAgain as again:
            self.as_text = [
                text or place == again.column for text, place in zip(self.as_text, self.places[:2], strict=True)
            ]
            raise

    def _named(self, given: list[str]) -> list[int]:
        """Return the positions of the columns that the address names, or counts from 0."""
        names = [column.name for column in self.table.columns]
        words = given[:3]
        found = [names.index(word) if self.table.header != 0 and word in names else None for word in words]
        if None in found and all(word.isdecimal() and int(word) < len(names) for word in words):
            found = [int(word) for word in words]
        places = [place for place in found if place is not None]
        if len(set(places)) != 3 or len(given) > 4 or given[3:] not in ([], [NAMED]):
            raise DataError(
                f"{self.address} must name three columns, with rows, columns and values, by their names or by their "
                f"places from 0, as {self.path.name}{MARK}0,1,2, and may end with ,{NAMED}, so that numbers are taken "
                f"as names; {self.path.name} {self._held()}."
            )
        return places

    def _choose(self) -> list[int]:
        """Return the positions of the columns of rows, columns and values; DataError if these are not certain."""
        columns, header = self.table.columns, self.table.header
        if header == 0 and len(columns) == 3 and columns[2].kind != "text":
            # the header of a pandas frame without column names
            counts = isinstance(self.table, Csv) and self.table.line == ["0", "1", "2"]
            fractions = any(column.kind == "number" for column in columns[:2])
            if not (fractions or counts):
                return [0, 1, 2]
        elif header != 0:
            found = [[at for at, column in enumerate(columns) if column.name.lower() in some] for some in USUAL]
            if all(len(places) == 1 for places in found):
                return [places[0] for places in found]
        raise DataError(f"{self.address} {self._held()}; {self._ways()}")

    def _held(self) -> str:
        """Describe the columns of the table."""
        names = [column.name or '""' for column in self.table.columns]
        if self.table.header == 0:
            return f"has no header, and {len(names)} fields in a line"
        more = "" if len(names) <= 20 else f" and {len(names) - 20} more"
        return f"has the columns {', '.join(names[:20])}{more}"

    def _ways(self) -> str:
        """Advise how to give a table that may be a dense table or a list of entries."""
        columns, path = self.table.columns, str(self.path)
        texts = [at for at, column in enumerate(columns) if column.kind == "text"]
        numbers = [at for at, column in enumerate(columns) if column.kind in ("whole", "digits", "number", "flag")]
        by = ", by their places from 0" if self.table.header == 0 else ""
        name = f"name those with rows, columns and values{by}, as"
        if len(columns) > 2 and len(texts) > 1:
            last = next((at for at in numbers if at > texts[1]), None)
            if len(texts) > 2 or last is None:
                return f"{name} {path}{MARK}ROW,COLUMN,VALUE; names or places from 0 will do."
            return f"{name} {path}{MARK}{self._part([*texts, last])} if these are they."
        dense = f"give the DataFrame {self._frame(texts)} as V, or save its numbers with numpy.save and give the file"
        if len(columns) == 3:
            listed = f"give {path}{MARK}{self._part([0, 1, 2])} only if these are meant as row, column and value"
            return f"it may be a dense table of numbers or a list of entries. If a table, {dense}. If a list, {listed}."
        if len(columns) < 3:
            return f"a list of entries has a row, a column and a value in each line. If it is a table, {dense}."
        return f"{name} {path}{MARK}ROW,COLUMN,VALUE, if each line is an entry. If it is a dense table, {dense}."

    def _frame(self, texts: list[int]) -> str:
        """Return the call that reads a dense table, whose first column names the rows if it holds texts."""
        first, options = self.table.columns[0].name, [repr(str(self.path))]
        if not isinstance(self.table, Csv):
            return f"pandas.read_parquet({options[0]})" + (f".set_index({first!r})" if texts == [0] else "")
        counted = self.table.line == [str(at) for at in range(len(self.table.columns))]
        options += [] if self.table.mark == "," else [f"sep={self.table.mark!r}"]
        options += ["header=None"] if self.table.header == 0 and not counted else []
        options += ["index_col=0"] if texts == [0] or first == "" else []
        call = f"pandas.read_csv({', '.join(options)})"
        unsure = "index_col=0" not in options
        return f"{call} (with index_col=0 if its first column names the rows)" if unsure else call

    def _part(self, places: list[int]) -> str:
        """Return the part of an address for columns, by their names if these are plain and unique."""
        names = [column.name for column in self.table.columns]
        chosen = [names[place] for place in places]
        plain = all(name and names.count(name) == 1 and not set(name) & set(',"/') for name in chosen)
        return ",".join(chosen if plain and self.table.header != 0 else map(str, places))

    def _column(self, axis: int) -> Any:
        return self.table.columns[self.places[axis]]

    def _lacking(self, axis: int) -> DataError:
        word = (*AXES, "value")[axis].removesuffix("s")
        name = self._column(axis).name if self.table.header != 0 else f"{word} (field {self.places[axis]})"
        return DataError(f"{self.address} has an entry without {name}; fill it in, or drop that row.")

    def _check_kinds(self) -> None:
        """Raise DataError if the columns cannot hold rows, columns and values."""
        named = _words(self.address.part) or []
        for axis in (0, 1):
            column = self._column(axis)
            if column.kind not in ("whole", "digits", "text", "empty") and NAMED not in named[3:]:
                raise DataError(
                    f"{self.address} has {column.type} in its column {column.name}; rows and columns "
                    f"are integers from 0, or texts. If they are names, end the address with ,{NAMED}."
                )
        column = self._column(2)
        if column.kind in ("text", "other"):
            raise DataError(f"{self.address} has {column.type} in its column {column.name}; values are numbers.")

    def _dtype(self) -> np.dtype[Any]:
        """Return the float dtype of the values, in which sums of duplicate entries do not overflow."""
        column = self._column(2)
        if not isinstance(self.table, Parquet) or self._arrow.types.is_decimal(self.table.types[self.places[2]]):
            return np.dtype(np.float64)
        if column.kind == "empty":
            return np.dtype(np.float64)
        return work_dtype(self.table.types[self.places[2]].to_pandas_dtype())

    def _ids(self, column: Any, axis: int) -> NDArray[np.int64]:
        """Return positions, those of texts in the order of their first appearance."""
        if not self.as_text[axis]:
            return self._counted(column, axis)
        known = self._labels[axis]
        coded = column if self._arrow.types.is_dictionary(column.type) else column.dictionary_encode()
        coded = coded.combine_chunks() if hasattr(coded, "combine_chunks") else coded
        codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        texts = [_bare(text) for text in coded.dictionary.to_pylist()]
        order = list(dict.fromkeys(codes.tolist()))
        if any(texts[code] == "" for code in order) and isinstance(self.table, Csv):
            raise self._lacking(axis)
        places = np.zeros(len(texts), np.int64)
        places[order] = [known.setdefault(texts[code], len(known)) for code in order]
        return np.asarray(places[codes], np.int64)

    def _counted(self, column: Any, axis: int) -> NDArray[np.int64]:
        """Return positions that are given as numbers."""
        name = self._column(axis).name if self.table.header != 0 else AXES[axis]
        try:
            places = column.cast(self._arrow.int64()).to_numpy(zero_copy_only=False)
        except self._arrow.ArrowInvalid:
            raise DataError(f"{self.address} has numbers in {name} that are beyond all places; {self.naming}") from None
        if len(places) and int(places.min()) < 0:
            raise DataError(f"{self.address} has {places.min()} in {name}; places count from 0.")
        return np.asarray(places, np.int64)

    @property
    def naming(self) -> str:
        """Advice for numbers that are names."""
        return f"if they are names, give {self.path}{MARK}{self._part(self.places)},{NAMED}"


def _words(part: str | None) -> list[str] | None:
    """Split a part at commas outside quotes.

    >>> _words('user, "a, b",stars')
    ['user', 'a, b', 'stars']
    """
    return None if part is None else [word.strip() for word in next(csv.reader([part], skipinitialspace=True))]


def _bare(text: str) -> str:
    """Return a text without surrounding spaces, and quotes within these."""
    bare = text.strip()
    return bare[1:-1].strip() if len(bare) > 1 and bare[0] == bare[-1] == '"' else bare


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".pq") or path.is_dir()
