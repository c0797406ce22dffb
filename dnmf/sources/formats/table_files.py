"""Files of tables: CSV, whose header and kinds are inferred from a sample, and Parquet, which states both."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from dnmf.errors import DataError, needed
from dnmf.sources.formats.entry_list import ReadAgain, Text
from dnmf.sources.read_errors import parsing

# Rows of a batch of Parquet, bytes of a batch of CSV, and bytes of the sample of a CSV file.
BATCH_ROWS, CSV_BYTES, SAMPLE_BYTES = 2**18, 4 * 2**20, 2**17
MARKS = ("\t", ",", ";", "|")
# A whole number that can be a position: with leading zeros or more digits, it is a name.
WHOLE = re.compile(r"[+-]?[0-9]+")
PLACE = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")
FLAGS = {"true", "false"}
TYPES = {"text": "string", "number": "double", "whole": "int64", "flag": "bool"}
NO_ENTRY = {"", "na", "nan", "n/a", "null", "none"}
FAILED = re.compile(r"In CSV column #(\d+): CSV conversion error to int64")

# "digits" are whole numbers that are names: in quotes, with leading zeros, or too long for a position.
Kind = Literal["whole", "digits", "number", "flag", "text", "empty", "other"]


class Column(NamedTuple):
    """A column of a table: its name, the kind of its fields, and its type in the terms of the file."""

    name: str
    kind: Kind
    type: str


class Table(Protocol):
    """A table that is read in batches.

    `header` is the number of the line with the names of the columns, 0 without one, and None if the format states the
    names.
    """

    what: str
    count: int | None
    header: int | None
    columns: list[Column]

    def batches(self, chosen: list[int], as_text: list[bool]) -> Iterator[tuple[list[Any], float]]:
        """Yield batches of three columns, in order, with the share of the file that has been read."""


class Parquet:
    """A Parquet file, or a folder of them."""

    what = "Parquet table"
    header: int | None = None

    def __init__(self, path: Path) -> None:
        self.files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not self.files:
            raise DataError(
                f"{path} is a folder without .parquet files; give a Parquet file, or a folder of Parquet files."
            )
        self._arrow, self._module = needed("pyarrow", str(path)), needed("pyarrow.parquet", str(path))
        with parsing(path, self.what):
            self.sizes = [self._module.read_metadata(file).num_rows for file in self.files]
            schema = self._module.read_schema(self.files[0])
        self.count: int | None = sum(self.sizes)
        self.columns = [Column(str(field.name), self._kind(field.type), str(field.type)) for field in schema]
        self.types = [field.type for field in schema]

    def batches(self, chosen: list[int], as_text: list[bool]) -> Iterator[tuple[list[Any], float]]:
        done, names = 0, [self.columns[place].name for place in chosen]
        for path in self.files:
            with self._module.ParquetFile(path) as file:
                for batch in file.iter_batches(BATCH_ROWS, columns=names):
                    done += batch.num_rows
                    found = [batch.column(name) for name in names]
                    for axis in (0, 1):
                        if as_text[axis] and self.columns[chosen[axis]].kind != "text":
                            found[axis] = found[axis].cast(self._arrow.string())
                    yield found, done / max(1, self.count or 0)

    def _kind(self, kind: Any) -> Kind:
        types = self._arrow.types
        if types.is_dictionary(kind):
            kind = kind.value_type
            return "text" if self._kind(kind) == "text" else "other"
        if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
            return "text"
        if types.is_boolean(kind):
            return "flag"
        if types.is_integer(kind):
            return "whole"
        if types.is_null(kind):
            return "empty"
        return "number" if types.is_floating(kind) or types.is_decimal(kind) else "other"


class Csv:
    """A CSV file, with or without a header, whose fields are separated by commas, semicolons, tabs or bars.

    The first line is a header if its value is not a number: the third of three fields, or the one that `given` names or
    counts. With more fields, none may be a number.
    """

    what = "CSV table"
    count: int | None = None

    def __init__(self, path: Path, given: list[str] | None, batch_bytes: int, sample_bytes: int) -> None:
        self.path, self.batch_bytes = path, batch_bytes
        self._arrow, self._module = needed("pyarrow", str(path)), needed("pyarrow.csv", str(path))
        with parsing(path, self.what), Text(path) as text:
            sample = _decoded(text.file.read(sample_bytes), sample_bytes)
            lines = sample.split("\n")
            first = next((number for number, line in enumerate(lines) if line.strip()), None)
            if first is None:
                raise ValueError("it is empty")
            self.mark = _mark_of(lines[first])
            fields = list(_records("\n".join(lines[first:]), self.mark))
            if len(fields[0]) == 1:
                raise ValueError("its lines have one field, and a list of entries has three in a line")
        self.header: int | None = first + 1 if _is_header(fields[0], given) else 0
        self.line = [field.text for field in fields[0]]
        names = self.line if self.header else [str(place) for place in range(len(fields[0]))]
        body = fields[1:] if self.header else fields
        kinds = [_kind_of([line[place] for line in body if place < len(line)]) for place in range(len(names))]
        self.columns = [Column(name, kind, TYPES.get(kind, kind)) for name, kind in zip(names, kinds, strict=True)]

    def batches(self, chosen: list[int], as_text: list[bool]) -> Iterator[tuple[list[Any], float]]:
        arrow = self._arrow
        types = {str(place): arrow.string() if text else arrow.int64() for place, text in zip(chosen, as_text)}  # noqa: B905 - the third is a value
        types[str(chosen[2])] = arrow.bool_() if self.columns[chosen[2]].kind == "flag" else arrow.float64()
        try:
            with Text(self.path) as text:
                for batch in self._reader(text, types):
                    yield [batch.column(str(place)) for place in chosen], text.share
        except arrow.ArrowInvalid as error:
            failed = FAILED.search(str(error))
            if failed is None:
                raise
            raise ReadAgain(int(failed[1])) from error

    def _reader(self, text: Text, types: dict[str, Any]) -> Any:
        return self._module.open_csv(
            text.file,
            self._module.ReadOptions(
                block_size=self.batch_bytes,
                column_names=[str(place) for place in range(len(self.columns))],
                skip_rows=self.header or 0,
            ),
            self._module.ParseOptions(delimiter=self.mark),
            self._module.ConvertOptions(column_types=types, include_columns=list(types)),
        )


class _Field(NamedTuple):
    text: str
    quoted: bool = False


def _decoded(sample: bytes, size: int) -> str:
    """Return the whole lines of the first bytes of a text."""
    whole = sample.rpartition(b"\n")[0] if len(sample) == size and b"\n" in sample else sample
    return whole.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def _mark_of(line: str) -> str:
    """Return the separator of the fields of a line: a tab if there is one, else the most frequent mark.

    >>> _mark_of('"a;b;c",d,e')
    ','
    """
    bare = re.sub(r'"[^"]*"', "", line)
    return "\t" if "\t" in bare else max(MARKS[1:], key=bare.count)


def _records(text: str, mark: str) -> Iterator[list[_Field]]:
    """Yield the fields of every line, without surrounding spaces and quotes; empty lines are skipped.

    >>> [[field.text for field in record] for record in _records('a, "b, c" ,d\\n', ",")]
    [['a', 'b, c', 'd']]
    """
    outside = re.escape(mark)
    pattern = re.compile(rf'[ ]*(?:"((?:[^"]|"")*)"[^{outside}\n]*|([^{outside}\n]*))({outside}|\n|\Z)')
    record: list[_Field] = []
    for found in pattern.finditer(text):
        quoted, plain, end = found.groups()
        record.append(_Field(plain.strip()) if quoted is None else _Field(quoted.replace('""', '"').strip(), True))
        if end != mark:
            if len(record) > 1 or record[0].text:
                yield record
            record = []


def _is_header(fields: list[_Field], given: list[str] | None) -> bool:
    """Return whether the fields of the first line are the names of columns."""
    names = [field.text for field in fields]
    if given is not None and all(word.isdecimal() and int(word) < len(names) for word in given[:3]):
        return not _is_value(names[int(given[:3][-1])])
    if given is not None and set(given[:3]) <= set(names):
        return not _is_value(names[names.index(given[:3][-1])])
    if names[0] == "" and not fields[0].quoted:
        return True  # pandas leaves the field above the row names empty
    return not (_is_value(names[2]) if len(names) == 3 else any(_is_number(name) for name in names))


def _is_value(text: str) -> bool:
    """Return whether a field can be the value of an entry or a missing value, rather than the name of a column."""
    return _is_number(text) or text.lower() in FLAGS | NO_ENTRY


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _kind_of(fields: list[_Field]) -> Kind:
    """Return the common kind of fields.

    >>> [_kind_of([_Field("7")]), _kind_of([_Field("07")]), _kind_of([_Field("7", True)]), _kind_of([_Field("7.5")])]
    ['whole', 'digits', 'digits', 'number']
    """
    present = [field for field in fields if field.text.lower() not in NO_ENTRY]
    if not present:
        return "empty"
    if all(field.text.lower() in FLAGS for field in present):
        return "flag"
    if not all(_is_number(field.text) for field in present):
        return "text"
    if not all(WHOLE.fullmatch(field.text) for field in present):
        return "number"
    return "digits" if any(field.quoted or not PLACE.fullmatch(field.text) for field in present) else "whole"
