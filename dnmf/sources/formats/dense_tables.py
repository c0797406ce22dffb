"""Tables as dense matrices: the columns of numbers are those of V, and one column may hold the names of the rows.

Small ones are read into memory when they are opened. Larger ones are for `dnmf convert`, which unpacks them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from dnmf.sources.formats.table_files import Rows, Table
from dnmf.sources.formats.table_reading import Dense
from dnmf.sources.names import Names
from dnmf.sources.read_errors import parsing


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
        rows = "every column is data" if names is None else f"rows are named by {self._names_column(names)}"
        return f"dense {table.what} ({'; '.join(filter(None, [header, rows]))})"

    def _names_column(self, place: int) -> str:
        if self.table.header == 0:
            return f"field {place}"
        name = self.table.columns[place].name
        return "its index" if place in self.table.index else name or "its first column"

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
        """Read the table in batches of bounded size.

        Raises
        ------
        DataError
            If it has no rows, or one without a name.
        """
        count = 0
        with parsing(self.address, self.table.what):
            for found in self.table.rows(self.reading.columns, self.reading.names, self.dtype):
                yield found if found.names is None else found._replace(names=self._labels(found.names))
                count += len(found.values)
        check_shape((count, self.width), str(self.address))

    def _labels(self, names: list[Any]) -> list[str | None]:
        """Return names of rows; DataError if one is missing."""
        labels: list[str | None] = ["" if name is None else str(name).strip() for name in names]
        bad = next((row for row, name in enumerate(labels) if not name), None)
        if bad is not None:
            raise DataError(f"{self.address} has a row without a name in {self.table.line_of(bad)}; give it one.")
        return labels

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
    parts, names, count = list[NDArray[Any]](), list[str | None](), 0
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
    target, names, rows = folder / "unpacked.bin", list[str | None](), 0
    with open(target, "wb") as file:
        for found in table.rows():
            found.values.tofile(file)
            names += found.names or []
            rows += len(found.values)
    address = Address(str(target), f"{table.dtype.name},{rows}x{table.width}")
    return address, Names.of(names or None, table.column_names)
