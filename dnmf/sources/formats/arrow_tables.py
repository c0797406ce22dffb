"""Tables of pyarrow in memory, and Parquet files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnmf.errors import DataError, needed
from dnmf.sources.formats.fields import Kind
from dnmf.sources.formats.table_files import Column, Form, Rows, columns_of, matrix_of, texts_of
from dnmf.sources.read_errors import parsing

# Rows and fields of a batch, and bytes of all columns that are read ahead at once.
BATCH_ROWS, BATCH_FIELDS, AHEAD_BYTES = 2**18, 2**22, 2**25
HEAD_ROWS = 1000


class ArrowTable:
    """A table of pyarrow in memory."""

    what = "pyarrow Table"
    header: int | None = None
    unsure = False

    def __init__(self, table: Any, place: str = "V") -> None:
        self.place, self._table = place, table
        self._describe(table.schema, table.num_rows)

    def _describe(self, schema: Any, count: int) -> None:
        self._arrow, self._start = needed("pyarrow", self.place), 0
        self.count: int | None = count
        self.columns = [Column(str(field.name), self._kind(field.type), str(field.type)) for field in schema]
        self.types = [field.type for field in schema]
        stated = (schema.pandas_metadata or {}).get("index_columns", [])
        names = [column.name for column in self.columns]
        self.index: Sequence[int] = [names.index(name) for name in stated if isinstance(name, str) and name in names]

    def head(self, column: int) -> list[str]:
        batch = next(self._rows([column], HEAD_ROWS), None)
        return [] if batch is None else ["" if value is None else str(value) for value in batch.column(0).to_pylist()]

    def line_of(self, row: int) -> str:
        return f"row {self._start + row}"

    def batches(self, chosen: Sequence[int], forms: Sequence[Form]) -> Iterator[tuple[list[Any], float]]:
        done, rows = 0, max(1, min(BATCH_ROWS, BATCH_FIELDS // len(chosen)))
        for batch in self._rows(chosen, rows):
            self._start, done = done, done + batch.num_rows
            found = list(batch.columns)
            for at, (place, form) in enumerate(zip(chosen, forms, strict=True)):
                if form == "text" and self.columns[place].kind != "text":
                    found[at] = found[at].cast(self._arrow.string())
            yield found, done / max(1, self.count or 0)

    def rows(self, numeric: Sequence[int], names: int | None, dtype: np.dtype[Any]) -> Iterator[Rows]:
        for found, share in self.batches(*columns_of(numeric, names)):
            labels = None if names is None else texts_of(found[-1])
            yield Rows(matrix_of(found[: len(numeric)], dtype), labels, share)

    def _rows(self, chosen: Sequence[int], rows: int) -> Iterator[Any]:
        yield from self._table.select(list(chosen)).to_batches(rows)

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


class Parquet(ArrowTable):
    """A Parquet file, or a folder of them."""

    what = "Parquet table"

    def __init__(self, path: Path) -> None:
        self.place = str(path)
        self.files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not self.files:
            raise DataError(
                f"{path} is a folder without .parquet files; give a Parquet file, or a folder of Parquet files."
            )
        self._module = needed("pyarrow.parquet", str(path))
        with parsing(path, self.what):
            count = sum(self._module.read_metadata(file).num_rows for file in self.files)
            self._describe(self._module.read_schema(self.files[0]), count)

    def _rows(self, chosen: Sequence[int], rows: int) -> Iterator[Any]:
        names = [self.columns[place].name for place in chosen]
        ahead = max(2**12, min(2**20, AHEAD_BYTES // len(names)))
        for path in self.files:
            with self._module.ParquetFile(path, buffer_size=ahead, pre_buffer=False) as file:
                for batch in file.iter_batches(rows, columns=names):
                    yield batch.select(names)
