"""Files of svmlight and LIBSVM: in each line the label of a row, then column:value for each of its entries.

The labels, and the query identifiers, are dropped. Columns count from 1, or from 0 if a column 0 occurs, as in
`sklearn.datasets.load_svmlight_file`; a part of the address, 0 or 1, decides otherwise.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnmf.errors import DataError
from dnmf.sources.addresses import MARK, Address
from dnmf.sources.base import Axis, Source
from dnmf.sources.formats.entry_list import Batch, ReadAgain, Text, held, runs_of_lines
from dnmf.sources.names import NO_NAMES, Names
from dnmf.sources.read_errors import parsing

WHAT = "svmlight file"


class SvmlightEntries:
    """The entries of a file of svmlight."""

    names: Names = NO_NAMES
    dtype = np.dtype(np.float64)
    count: int | None = None

    def __init__(self, address: Address) -> None:
        if address.part not in (None, "0", "1"):
            raise DataError(
                f"{address} does not name the first column; give {MARK}0 or {MARK}1 for columns that count from 0 or 1."
            )
        self.address = address
        self.shape: tuple[int, int] | None = None
        self._first = int(address.part or 1)

    @property
    def what(self) -> str:
        """A description."""
        return f"svmlight file (labels dropped, columns count from {self._first})"

    def naming(self, axes: Sequence[int] = (0, 1)) -> str:
        """Return advice for numbers that are names."""
        return "number them from 0"

    def batches(self) -> Iterator[Batch]:
        """Read the entries.

        Raises
        ------
        ReadAgain
            If a column 0 occurs, after columns have been counted from 1.
        """
        rows, columns, before = 0, 0, 0
        with parsing(self.address, WHAT), Text(Path(self.address.place)) as text:
            for lines, share in runs_of_lines(text):
                part = _parsed(lines, before)
                places = part.indices.astype(np.int64) - self._first
                if len(places) and places.min() < 0:
                    self._count_from_0()
                of_rows = rows + np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
                yield Batch(of_rows, places, part.data, share)
                rows, before = rows + part.shape[0], before + lines.count(b"\n") + 1
                columns = max(columns, int(places.max()) + 1 if len(places) else 0)
        self.shape = rows, columns

    def _count_from_0(self) -> None:
        """Read the list again with columns that count from 0; DataError if the address has it otherwise."""
        if self.address.part is not None:
            raise DataError(f"{self.address} has an entry in column 0; give it with {MARK}0.")
        self._first = 0
        raise ReadAgain(0)


def open_svmlight(address: Address, streamed: Axis | None = None) -> Source:
    """Open a file of svmlight that is small enough to be read into memory.

    Raises
    ------
    NotInPlace
        If it is larger.
    """
    return held(SvmlightEntries(address), streamed)


def _parsed(lines: bytes, before: int) -> Any:
    """Return the rows in a run of lines, in CSR form; ValueError with the number of a line that is damaged."""
    try:
        return _loaded(lines)
    except ValueError as error:
        for number, line in enumerate(lines.split(b"\n"), before + 1):
            try:
                _loaded(line)
            except ValueError as reason:
                raise ValueError(f"line {number}: {reason}") from error
        raise


def _loaded(lines: bytes) -> Any:
    from sklearn.datasets import load_svmlight_file  # slow to import, and needed for these files alone

    return load_svmlight_file(io.BytesIO(lines), multilabel=True, zero_based=True)[0]
