"""CSV and Parquet files whose rows are entries: row, column, value. Read by pyarrow, a batch at a time.

Rows and columns are places, counted from 0, or texts, which become names in the order in which they come first.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError
from dnmf.kernels.panels import work_dtype
from dnmf.sources.addresses import Address
from dnmf.sources.extras import needed
from dnmf.sources.names import Names
from dnmf.sources.triplets import Batch, Text, explained

BATCH_ROWS, CSV_BYTES = 2**18, 4 * 2**20
USUAL = ({"row", "rows", "i"}, {"column", "columns", "col", "j"}, {"value", "values", "v"})


class TableEntries:
    """The rows of a table as the entries of a matrix."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.shape: tuple[int, int] | None = None
        self.path = Path(address.place)
        self._labels: tuple[dict[str, int], dict[str, int]] = ({}, {})
        self._arrow = needed("pyarrow", address.place)
        self.table: Any = _Parquet(self.path) if _is_parquet(self.path) else _Csv(self.path)
        self.what, self.count = self.table.what, self.table.count
        with explained(address, self.table.what):
            schema = self.table.schema()
        self.chosen = self._choose(schema.names)
        self._types = [schema.field(name).type for name in self.chosen]
        self.dtype = self._dtype()

    @property
    def names(self) -> Names:
        """The texts that were met, in their order."""
        return Names.of(*(list(known) if known else None for known in self._labels))

    def batches(self) -> Iterator[Batch]:
        """Read through."""
        with explained(self.address, self.what):
            for table, share in self.table.batches(self.chosen, self._types):
                rows, columns, values = (table.column(name) for name in self.chosen)
                for name, column in zip(self.chosen, (rows, columns, values), strict=True):
                    if column.null_count:
                        raise DataError(f"{self.address} has an entry without {name}; fill it in, or drop that row.")
                numbers = values.cast(self._arrow.from_numpy_dtype(self.dtype), safe=False)
                yield Batch(
                    self._places(rows, 0), self._places(columns, 1), numbers.to_numpy(zero_copy_only=False), share
                )

    def _choose(self, names: list[str]) -> list[str]:
        """Return the names of the columns that hold rows, columns and values."""
        if self.address.part is not None:
            given = [name.strip() for name in self.address.part.split(",")]
            missing = [name for name in given if name not in names]
            if len(given) != 3 or missing:
                raise DataError(
                    f"{self.address} must name the three columns with rows, columns and values; there are "
                    f"{', '.join(names[:20])}, as in {self.path.name}::{','.join(names[:3])}"
                )
            return given
        usual = [next((name for name in names if name.lower() in some), None) for some in USUAL]
        found = [name for name in usual if name is not None]
        chosen = found if len(found) == 3 else names
        if len(chosen) != 3:
            raise DataError(
                f"{self.address} has the columns {', '.join(names[:20])}; name those with rows, columns and values, as "
                f"in {self.path.name}::{','.join([*names, 'row', 'column', 'value'][:3])}"
            )
        return chosen

    def _dtype(self) -> np.dtype[Any]:
        """Return the float dtype of the values, so that sums of entries that come again do not overflow."""
        types, kind = self._arrow.types, self._types[2]
        for name, column in zip(self.chosen[:2], self._types[:2], strict=True):
            if not (types.is_integer(column) or _is_text(types, column)):
                raise DataError(
                    f"{self.address} has {column} in its column {name}; rows and columns are integers from 0, or texts."
                )
        if types.is_decimal(kind) or types.is_null(kind):
            return np.dtype(np.float64)
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
            raise DataError(f"{self.address} has {kind} in its column {self.chosen[2]}; values are numbers.")
        return work_dtype(kind.to_pandas_dtype())

    def _places(self, column: Any, axis: int) -> NDArray[np.int64]:
        """Return places, those of texts by the order in which they came first."""
        if not _is_text(self._arrow.types, column.type):
            places = column.cast(self._arrow.int64()).to_numpy(zero_copy_only=False)
            if len(places) and int(places.min()) < 0:
                raise DataError(f"{self.address} has {places.min()} in {self.chosen[axis]}; places count from 0.")
            return np.asarray(places, np.int64)
        known = self._labels[axis]
        coded = column if self._arrow.types.is_dictionary(column.type) else column.dictionary_encode()
        coded = coded.combine_chunks() if hasattr(coded, "combine_chunks") else coded
        codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        texts = coded.dictionary.to_pylist()
        order = list(dict.fromkeys(codes.tolist()))
        places = np.zeros(len(texts), np.int64)
        places[order] = [known.setdefault(texts[code], len(known)) for code in order]
        return np.asarray(places[codes], np.int64)


class _Parquet:
    """A Parquet file, or a folder of them."""

    what = "Parquet table"

    def __init__(self, path: Path) -> None:
        self.files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not self.files:
            raise DataError(f"{path} is a folder without .parquet files; give a Parquet file, or a folder of some.")
        self._module = needed("pyarrow.parquet", str(path))
        with explained(Address(str(path)), self.what):
            self.sizes = [self._module.read_metadata(file).num_rows for file in self.files]
        self.count: int | None = sum(self.sizes)

    def schema(self) -> Any:
        return self._module.read_schema(self.files[0])

    def batches(self, chosen: list[str], types: list[Any]) -> Iterator[tuple[Any, float]]:
        done = 0
        for path in self.files:
            with self._module.ParquetFile(path) as file:
                for batch in file.iter_batches(BATCH_ROWS, columns=chosen):
                    done += batch.num_rows
                    yield batch, done / max(1, self.count or 0)


class _Csv:
    """A CSV file, with or without a line of names, whose fields are parted by commas, semicolons or tabs."""

    what = "CSV table"

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, None
        self._module = needed("pyarrow.csv", str(path))
        with explained(Address(str(path)), self.what), Text(path) as text:
            first = text.file.readline().decode().strip()
        self.mark = next((mark for mark in "\t;," if mark in first), ",")
        self.bare = all(_is_number(field) for field in first.split(self.mark))

    def schema(self) -> Any:
        with Text(self.path) as text:
            return self._reader(text, {}).schema

    def batches(self, chosen: list[str], types: list[Any]) -> Iterator[tuple[Any, float]]:
        # The types of a first part of the file are not those of all: whole numbers may be followed by others.
        arrow = needed("pyarrow", str(self.path))
        kinds = [arrow.int64() if arrow.types.is_integer(kind) else arrow.string() for kind in types[:2]]
        with Text(self.path) as text:
            for batch in self._reader(text, dict(zip(chosen, [*kinds, arrow.float64()], strict=True))):
                yield batch, text.share

    def _reader(self, text: Text, types: dict[str, Any]) -> Any:
        return self._module.open_csv(
            text.file,
            self._module.ReadOptions(block_size=CSV_BYTES, autogenerate_column_names=self.bare),
            self._module.ParseOptions(delimiter=self.mark),
            self._module.ConvertOptions(column_types=types, include_columns=list(types)),
        )


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".pq") or path.is_dir()


def _is_text(types: Any, kind: Any) -> bool:
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
