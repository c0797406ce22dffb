"""Tables that are read in batches, and CSV files, whose header and kinds of columns are inferred from a sample."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError, needed
from dnmf.sources.formats.fields import (
    MISSING,
    NUMERIC,
    Field,
    Kind,
    Record,
    is_number,
    kind_of,
    mostly_numbers,
    records_of,
    separator_of,
)
from dnmf.sources.formats.headers import is_header
from dnmf.sources.formats.table_faults import first_fault
from dnmf.sources.formats.text_lines import Block, TextLines, mark_of, unified
from dnmf.sources.formats.wide_lines import WIDE, flattened
from dnmf.sources.read_errors import parsing

# Bytes of a batch of CSV, of a part of it that one thread reads, and of a sample.
CSV_BYTES, THREAD_BYTES, SAMPLE_BYTES = 4 * 2**20, 2**20, 2**17
TYPES = {"text": "string", "number": "double", "whole": "int64", "flag": "bool"}
NULLS = sorted({form for word in MISSING for form in (word, word.upper(), word.capitalize())} | {"NaN", "-NaN"})
# How to read a column: texts with repetitions, or numbers.
Form = Literal["text", "number"]
Found = TypeVar("Found")


class Column(NamedTuple):
    """A column of a table: its name, the kind of its fields, and its type in the terms of the file."""

    name: str
    kind: Kind
    type: str


class Rows(NamedTuple):
    """Some rows of a matrix, NaN for missing numbers, their names if any, and the share of the table read so far."""

    values: NDArray[Any]
    names: list[str | None] | None
    share: float


class Table(Protocol):
    """A table that is read in batches.

    Attributes
    ----------
    what, place
        The format, and the path.
    count
        The number of rows, or None if it is unknown.
    header
        The number of the line with the names of the columns, 0 without one, and None if the format states the names.
    unsure
        Whether the first line, which is read as numbers, may be a header.
    index
        The columns that pandas wrote as the index, by position.
    """

    what: str
    place: str
    count: int | None
    header: int | None
    unsure: bool
    index: Sequence[int]
    columns: list[Column]

    def head(self, column: int) -> list[str]:
        """Return the first fields of a column."""

    def batches(self, chosen: Sequence[int], forms: Sequence[Form]) -> Iterator[tuple[list[Any], float]]:
        """Yield batches of some columns, in order, with the share of the table that has been read."""

    def rows(self, numeric: Sequence[int], names: int | None, dtype: np.dtype[Any]) -> Iterator[Rows]:
        """Yield batches of the numbers in some columns, and the names of the rows in another one."""

    def line_of(self, row: int) -> str:
        """Describe the place of a row of the last batch."""


class Csv:
    """A CSV file, with or without a header, whose fields are separated by commas, tabs or other marks.

    Parameters
    ----------
    path
        Path of the file.
    header
        Whether the first line is a header; None if that is to be inferred.
    names
        Texts that are in the first line only if it is a header.
    batch_bytes, sample_bytes
        Sizes of the parts that are read at once.
    """

    what = "CSV table"
    count: int | None = None
    index: Sequence[int] = ()

    def __init__(
        self, path: Path, header: bool | None, names: Sequence[str], batch_bytes: int, sample_bytes: int
    ) -> None:
        self.place, self._lines = str(path), TextLines(path)
        self._arrow, self._module = needed("pyarrow", str(path)), needed("pyarrow.csv", str(path))
        with parsing(path, self.what):
            lines = self._lines.sample(sample_bytes)
            if not any(line.strip() for line in lines):
                raise ValueError("it is empty")
            start = _comments(lines)
            self.separator = separator_of(lines[start:])
            records = list(records_of(lines[start:], self.separator, start + 1))
        (line, first), body = records[0], records[1:]
        if first[0].text.startswith("#"):  # the header of R, BIOM and numpy.savetxt
            first = [Field(first[0].text.lstrip("# ")), *first[1:]]
        shifted = bool(body) and all(len(record.fields) == len(first) + 1 for record in body)
        if shifted and not all(record.fields[-1] == Field("") for record in body):  # R names no column of row names
            first = [Field(""), *first]
        self.line = [field.text for field in first]
        named = header or any(name in self.line and not is_number(name) for name in names)
        inferred = is_header(first, body)
        found = bool(named or inferred or (shifted and first[0] == Field("")))
        self.header: int | None = line if found else 0
        self.skipped = line if found else line - 1
        self.body = body if found else records
        titles = self.line if found else [str(place) for place in range(len(first))]
        fields = [[record.fields[at] for record in self.body if at < len(record.fields)] for at in range(len(titles))]
        self.numbers = [at for at, column in enumerate(fields) if mostly_numbers(column)]
        kinds = [kind_of(column) for column in fields]
        self.columns = [Column(name, kind, TYPES.get(kind, kind)) for name, kind in zip(titles, kinds, strict=True)]
        self.unsure = inferred is None and not named and header is None
        self.batch_bytes = batch_bytes
        self._block = Block(b"", 1, 0.0)
        self._refuse_faults([Record(line, first), *self.body], ())

    def head(self, column: int) -> list[str]:
        return [record.fields[column].text for record in self.body]

    def check(self, numeric: Sequence[int]) -> None:
        """Raise DataError for the first line of the sample that cannot be read, with numbers in some columns."""
        self._refuse_faults(self.body, numeric)

    def line_of(self, row: int) -> str:
        found = [at for at, line in enumerate(self._block.data.split(b"\n")) if line.strip(b" ")]
        return f"line {self._block.line + found[row]}"

    def batches(self, chosen: Sequence[int], forms: Sequence[Form]) -> Iterator[tuple[list[Any], float]]:
        numeric = [place for place, form in zip(chosen, forms, strict=True) if form == "number"]
        yield from self._parts(lambda data: self._columns(data, chosen, forms), numeric)

    def rows(self, numeric: Sequence[int], names: int | None, dtype: np.dtype[Any]) -> Iterator[Rows]:
        chosen, forms = columns_of(numeric, names)
        mark, width = mark_of(self.separator), len(numeric)
        flags = any(self.columns[place].kind == "flag" for place in numeric)
        wide = width >= WIDE and len(chosen) == len(self.columns) and names in (None, 0) and not flags

        def read(data: bytes) -> tuple[NDArray[Any], list[str | None] | None]:
            flat = flattened(data, mark, width, named=names is not None) if wide else None
            if flat is not None:
                return self._numbers(flat.numbers).reshape(-1, width), flat.names
            found = self._columns(data, chosen, forms)
            return matrix_of(found[:width], dtype), None if names is None else texts_of(found[-1])

        for (values, labels), share in self._parts(read, numeric):
            yield Rows(values, labels, share)

    def _parts(self, read: Callable[[bytes], Found], numeric: Sequence[int]) -> Iterator[tuple[Found, float]]:
        """Read whole lines with a function, whose error becomes one that names the line."""
        mark = re.escape(mark_of(self.separator))
        # a quote at the start of a field, and none before the end of the line; re looks for its first sign fast
        unclosed = re.compile(rf'(?m)"(?:(?<=^")|(?<={mark}"))(?:[^"\n]|"")*$'.encode())
        with parsing(self.place, self.what):
            for block in self._lines.blocks(self.batch_bytes, self.skipped):
                self._block, data = block, unified(block.data, self.separator)
                try:
                    if b'"' in data and unclosed.search(data):  # pyarrow takes the line break as part of the field
                        raise ValueError("a quoted field is not closed")
                    found = read(data)
                except ValueError:  # also pyarrow's
                    lines = records_of(block.data.decode().split("\n"), self.separator, block.line)
                    self._refuse_faults(lines, numeric)
                    raise
                yield found, block.share

    def _columns(self, data: bytes, chosen: Sequence[int], forms: Sequence[Form]) -> list[Any]:
        """Read the columns of whole lines."""
        arrow, types = self._arrow, dict[str, Any]()
        for place, form in zip(chosen, forms, strict=True):
            number = arrow.bool_() if self.columns[place].kind == "flag" else arrow.float64()
            types[str(place)] = number if form == "number" else arrow.dictionary(arrow.int32(), arrow.string())
        titles = [str(place) for place in range(len(self.columns))]
        read = self._parsed(data, types, column_names=titles, block_size=len(data) + 1)
        return [read.column(str(place)) for place in chosen]

    def _numbers(self, data: bytes) -> NDArray[np.float64]:
        """Read lines of one number each, which may be missing."""
        read = self._parsed(data, {"0": self._arrow.float64()}, column_names=["0"], block_size=THREAD_BYTES)
        return np.asarray(read.column("0").to_numpy())

    def _parsed(self, data: bytes, types: dict[str, Any], **options: Any) -> Any:
        return self._module.read_csv(
            self._arrow.py_buffer(data),
            self._module.ReadOptions(**options),
            self._module.ParseOptions(delimiter=mark_of(self.separator), ignore_empty_lines=len(types) > 1),
            self._module.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=NULLS,
                true_values=["true", "TRUE", "True"],
                false_values=["false", "FALSE", "False"],
            ),
        )

    def _refuse_faults(self, records: Iterable[Record], numeric: Sequence[int]) -> None:
        """Raise DataError for the first line that cannot be read, with numbers in some columns."""
        titles = [column.name if self.header else f"{at} (from 0)" for at, column in enumerate(self.columns)]
        fault = first_fault(records, titles, numeric, self.separator, self.place)
        if fault is not None:
            raise DataError(f"{self.place}, {fault}")


def columns_of(numeric: Sequence[int], names: int | None) -> tuple[list[int], list[Form]]:
    """Return the columns of numbers and the one of names, with the forms to read them in."""
    forms: list[Form] = ["number"] * len(numeric)
    return [*numeric, *([] if names is None else [names])], [*forms, *([] if names is None else ["text"])]  # type: ignore[list-item]


def matrix_of(columns: Sequence[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return columns of pyarrow as a matrix, with NaN for missing numbers."""
    arrow = needed("pyarrow", "A table")
    kind = arrow.from_numpy_dtype(dtype)
    parts = [column if column.type == kind else column.cast(kind, safe=False) for column in columns]
    parts = [part.combine_chunks() if hasattr(part, "num_chunks") else part for part in parts]
    batch = arrow.RecordBatch.from_arrays(parts, [str(at) for at in range(len(parts))])
    return np.asarray(batch.to_tensor(null_to_nan=True, row_major=True).to_numpy())


def texts_of(column: Any) -> list[str | None]:
    """Return a column of pyarrow as texts, None for missing ones."""
    arrow = needed("pyarrow", "A table")
    return list(column.cast(arrow.string()).to_numpy(zero_copy_only=False)) if len(column) else []


def _comments(lines: Sequence[str]) -> int:
    """Return the number of lines before the table: empty ones, and comments with fewer separators than the table.

    >>> _comments(["# made by R", "#id,a,b", "x,1,2"]), _comments(["", "a,b"])
    (1, 1)
    """
    start = 0
    while start < len(lines) and not lines[start].strip():
        start += 1
    while start + 1 < len(lines) and lines[start].startswith("#"):
        last = next(line for line in reversed(lines) if line.strip())
        marks = [sum(line.count(mark) for mark in "\t,;|") for line in (lines[start], last)]
        if marks[0] == marks[1] > 0:
            break
        start += 1
    return start


def is_numeric(column: Column) -> bool:
    """Return whether a column can hold the numbers of a dense table."""
    return column.kind in NUMERIC
