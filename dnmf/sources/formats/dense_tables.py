"""Tables as dense matrices: the columns of numbers are those of V, and one column may hold the names of the rows.

Small ones are read into memory when they are opened. Larger ones are for `dnmf convert`, which unpacks them.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError, needed
from dnmf.kernels.blocks.panels import work_dtype
from dnmf.sources.addresses import Address
from dnmf.sources.base import check_shape
from dnmf.sources.formats import entry_list
from dnmf.sources.formats.arrow_tables import ArrowTable
from dnmf.sources.formats.entry_list import check_held
from dnmf.sources.formats.table_advice import other_reading
from dnmf.sources.formats.table_files import Form, Table
from dnmf.sources.formats.table_reading import Dense
from dnmf.sources.names import Names
from dnmf.sources.read_errors import parsing


class Rows(NamedTuple):
    """Some rows of a matrix, their names if they have any, and the share of the table that has been read."""

    values: NDArray[Any]
    names: Sequence[str] | None
    share: float


class DenseTable:
    """A table as a dense matrix (m, n), which can only be read sequentially."""

    def __init__(self, table: Table, reading: Dense, address: Address) -> None:
        self.address, self.table, self.reading = address, table, reading
        self._arrow = needed("pyarrow", address.place)
        self.dtype = self._dtype()
        self.width = len(reading.columns)
        if table.count == 0:
            raise DataError(f"{address} has no rows; V needs at least one row and column.")

    @property
    def what(self) -> str:
        """A description with the line of the header and the column of names."""
        table, names = self.table, self.reading.names
        header = {None: "", 0: "without a header"}.get(table.header, f"line {table.header} is its header")
        column = "" if names is None else table.columns[names].name if table.header != 0 else f"field {names}"
        rows = "every column is data" if names is None else f"rows are named by {column or 'its first column'}"
        return f"dense {table.what} ({'; '.join(filter(None, [header, rows]))})"

    @property
    def described(self) -> str:
        """The description, with the address that reads the table in the other way."""
        other = other_reading(self.table, listed=False)
        return self.what if other is None else f"{self.what.removesuffix(')')}; {other})"

    @property
    def column_names(self) -> list[str] | None:
        """The names of the columns of numbers, or None without a header."""
        if self.table.header == 0:
            return None
        return [self.table.columns[place].name for place in self.reading.columns]

    def rows(self) -> Iterator[Rows]:
        """Read the table in batches of bounded size; missing numbers are NaN."""
        names = self.reading.names
        chosen = [*self.reading.columns, *([] if names is None else [names])]
        forms: list[Form] = [*("number" for _ in self.reading.columns), *([] if names is None else ["text"])]  # type: ignore[list-item]
        kind, count = self._arrow.from_numpy_dtype(self.dtype), 0
        with parsing(self.address, self.table.what):
            for columns, share in self.table.batches(chosen, forms):
                numbers = [
                    column if column.type == kind else column.cast(kind, safe=False) for column in columns[: self.width]
                ]
                numbers = [part.combine_chunks() if hasattr(part, "num_chunks") else part for part in numbers]
                batch = self._arrow.RecordBatch.from_arrays(numbers, [str(at) for at in range(self.width)])
                values = batch.to_tensor(null_to_nan=True, row_major=True).to_numpy()
                labels = None if names is None else self._labels(columns[-1])
                yield Rows(values, labels, share)
                count += len(values)
        check_shape((count, self.width), str(self.address))

    def _labels(self, column: Any) -> list[str]:
        """Return names of rows; DataError if one is missing."""
        labels = ["" if name is None else str(name) for name in column.to_pylist()]
        bad = next((row for row, name in enumerate(labels) if not name.strip()), None)
        if bad is not None:
            raise DataError(f"{self.address} has a row without a name in {self.table.line_of(bad)}; give it one.")
        return [name.strip() for name in labels]

    def _dtype(self) -> np.dtype[Any]:
        """Return the float dtype that holds all columns."""
        if not isinstance(self.table, ArrowTable):
            return np.dtype(np.float64)
        types = [self.table.types[place] for place in self.reading.columns]
        known = self._arrow.types
        floats = [
            np.dtype(np.float64)
            if known.is_decimal(kind)
            else np.dtype(np.float32)
            if known.is_null(kind)
            else work_dtype(np.dtype(kind.to_pandas_dtype()))
            for kind in types
        ]
        return np.result_type(*floats)


def read_dense(table: DenseTable, limit: int | None = None) -> tuple[NDArray[Any], Names]:
    """Read a dense table, up to a number of entries: the matrix (m, n) and its names.

    Raises
    ------
    NotInPlace
        If it has more entries.
    """
    parts, names, count = list[NDArray[Any]](), list[str](), 0
    for found in table.rows():
        parts.append(found.values)
        names += found.names or []
        count += found.values.size
        if limit is not None:
            _check_count(table, count, f"more than {limit} numbers")
    return np.concatenate(parts), Names.of(names or None, table.column_names)


def held_dense(table: DenseTable) -> tuple[NDArray[Any], Names]:
    """Read a dense table that is small enough to be held in memory."""
    limit = entry_list.HELD_ENTRIES
    if table.table.count is not None:
        count = table.table.count * table.width
        _check_count(table, count, f"{count} numbers")
    return read_dense(table, limit)


def _check_count(table: DenseTable, count: int, many: str) -> None:
    check_held(table.address, count, f"a table of {many}", f"{many} in {table.width} columns, {table.described}")


def unpack_dense(table: DenseTable, folder: Path) -> tuple[Address, Names]:
    """Write the numbers of a table in binary form into a folder, and return their address and the names."""
    target, names, rows = folder / "unpacked.bin", list[str](), 0
    with open(target, "wb") as file:
        for found in table.rows():
            found.values.tofile(file)
            names += found.names or []
            rows += len(found.values)
    address = Address(str(target), f"{table.dtype.name},{rows}x{table.width}")
    return address, Names.of(names or None, table.column_names)
