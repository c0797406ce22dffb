"""Tables whose rows are entries (row, column, value).

Rows and columns are positions from 0, or texts, which become names in the order of their first appearance.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError, needed
from dnmf.kernels.blocks.panels import work_dtype
from dnmf.sources.addresses import MARK, Address
from dnmf.sources.formats.arrow_tables import ArrowTable
from dnmf.sources.formats.entry_list import Batch, ReadAgain
from dnmf.sources.formats.fields import MISSING
from dnmf.sources.formats.table_advice import other_reading, part_of
from dnmf.sources.formats.table_files import Csv, Form, Table
from dnmf.sources.formats.table_parts import NAME
from dnmf.sources.formats.table_reading import Entries
from dnmf.sources.names import Names
from dnmf.sources.read_errors import parsing

AXES = ("rows", "columns")


class TableEntries:
    """The rows of a table as the entries of a matrix."""

    def __init__(self, table: Table, reading: Entries, address: Address) -> None:
        self.address, self.table, self.reading = address, table, reading
        self.shape: tuple[int, int] | None = None
        self.count = table.count
        self._arrow, self._compute = needed("pyarrow", address.place), needed("pyarrow.compute", address.place)
        self._check_kinds()
        self.as_text = [
            named or self._column(axis).kind in ("text", "digits") for axis, named in enumerate(reading.named)
        ]
        self._labels: tuple[dict[str, int], dict[str, int]] = ({}, {})
        self.dtype = self._dtype()

    @property
    def what(self) -> str:
        """A description with the columns of rows, columns and values, and the line of the header."""
        header = {None: "", 0: "without a header"}.get(self.table.header, f"line {self.table.header} is its header")
        rows, columns, values = (
            self.table.columns[place].name if self.table.header != 0 else f"field {place}"
            for place in self.reading.columns
        )
        parts = [
            header,
            f"rows are {rows}, columns {columns}, values {values}",
            other_reading(self.table, listed=True),
        ]
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
            If a column of positions holds other texts later on; the next read takes all of it as texts.
        """
        # ids of CSV are read as texts, since pyarrow reads 007 and 0x7 as the number 7
        csv = isinstance(self.table, Csv)
        forms: list[Form] = [*("text" if csv or text else "number" for text in self.as_text), "number"]
        with parsing(self.address, self.table.what):
            for found, share in self.table.batches(self.reading.columns, forms):
                for axis, column in enumerate(found):
                    if column.null_count:
                        raise self._lacking(axis, int(np.flatnonzero(column.is_null().to_numpy(False))[0]))
                numbers = found[2].cast(self._arrow.from_numpy_dtype(self.dtype), safe=False)
                rows, columns = self._ids(found[0], 0), self._ids(found[1], 1)
                yield Batch(rows, columns, numbers.to_numpy(zero_copy_only=False), share)

    def naming(self, axes: Sequence[int] = (0, 1)) -> str:
        """Return advice for numbers along some axes that are names."""
        named = [self.reading.named[axis] or axis in axes for axis in (0, 1)]
        suffixes = (*(NAME if name else "" for name in named), "")
        part = part_of(self.table, list(self.reading.columns), suffixes)
        return f"if they are names, give {self.table.place}{MARK}{part}"

    def _column(self, axis: int) -> Any:
        return self.table.columns[self.reading.columns[axis]]

    def _lacking(self, axis: int, row: int) -> DataError:
        word = (*AXES, "value")[axis].removesuffix("s")
        name = self._column(axis).name if self.table.header != 0 else f"{word} (field {self.reading.columns[axis]})"
        return DataError(
            f"{self.address} has an entry without {name} in {self.table.line_of(row)}; fill it in, or drop that row."
        )

    def _check_kinds(self) -> None:
        """Raise DataError if the columns cannot hold rows, columns and values."""
        if isinstance(self.table, Csv):
            self.table.check([place for place in self.reading.columns[2:] if place in self.table.numbers])
        for axis in (0, 1):
            column = self._column(axis)
            if column.kind not in ("whole", "digits", "text", "empty") and not self.reading.named[axis]:
                raise DataError(
                    f"{self.address} has {column.type} in its column {column.name}; rows and columns "
                    f"are integers from 0, or texts; {self.naming([axis])}."
                )
        column = self._column(2)
        if column.kind in ("text", "other"):
            raise DataError(f"{self.address} has {column.type} in its column {column.name}; values are numbers.")

    def _dtype(self) -> np.dtype[Any]:
        """Return the float dtype of the values, in which sums of duplicate entries do not overflow."""
        if not isinstance(self.table, ArrowTable) or self._column(2).kind == "empty":
            return np.dtype(np.float64)
        kind = self.table.types[self.reading.columns[2]]
        return np.dtype(np.float64) if self._arrow.types.is_decimal(kind) else work_dtype(kind.to_pandas_dtype())

    def _ids(self, column: Any, axis: int) -> NDArray[np.int64]:
        """Return positions, those of texts in the order of their first appearance."""
        if not self.as_text[axis] and not isinstance(self.table, Csv):
            return self._positions(column, axis)
        coded = column if self._arrow.types.is_dictionary(column.type) else column.dictionary_encode()
        coded = coded.combine_chunks() if hasattr(coded, "combine_chunks") else coded
        codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        if not self.as_text[axis]:
            return np.asarray(self._whole(coded.dictionary, codes, axis)[codes], np.int64)
        known = self._labels[axis]
        texts = [_bare(text) for text in coded.dictionary.to_pylist()]
        order = list(dict.fromkeys(codes.tolist()))
        self._refuse_lacking([text == "" for text in texts], codes, axis)
        places = np.zeros(len(texts), np.int64)
        places[order] = [known.setdefault(texts[code], len(known)) for code in order]
        return np.asarray(places[codes], np.int64)

    def _whole(self, texts: Any, codes: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
        """Return whole numbers that are written as such; ReadAgain if one is written as a name, as 007."""
        bare = self._compute.utf8_trim_whitespace(texts)
        try:
            numbers = bare.cast(self._arrow.int64())
            if numbers.cast(self._arrow.string()).equals(bare.cast(self._arrow.string())):
                return self._positions(numbers, axis)
        except self._arrow.ArrowInvalid:
            pass
        self._refuse_lacking([text.lower() in MISSING for text in bare.to_pylist()], codes, axis)
        self.as_text[axis] = True
        raise ReadAgain(self.reading.columns[axis])

    def _refuse_lacking(self, missing: list[bool], codes: NDArray[np.int64], axis: int) -> None:
        if isinstance(self.table, Csv) and any(missing):
            lacking = np.array(missing, bool)[codes]
            if lacking.any():
                raise self._lacking(axis, int(lacking.argmax()))

    def _positions(self, column: Any, axis: int) -> NDArray[np.int64]:
        """Return positions that are given as numbers."""
        name = self._column(axis).name if self.table.header != 0 else AXES[axis]
        try:
            places = column.cast(self._arrow.int64()).to_numpy(zero_copy_only=False)
        except self._arrow.ArrowInvalid:
            raise DataError(
                f"{self.address} has numbers in {name} that are beyond all places; {self.naming([axis])}."
            ) from None
        if len(places) and int(places.min()) < 0:
            raise DataError(f"{self.address} has {places.min()} in {name}; places count from 0.")
        return np.asarray(places, np.int64)


def _bare(text: str) -> str:
    """Return a text without surrounding spaces, and quotes within these."""
    bare = text.strip()
    return bare[1:-1].strip() if len(bare) > 1 and bare[0] == bare[-1] == '"' else bare
