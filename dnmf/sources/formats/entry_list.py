"""Matrices as lists of their entries (row, column, value), which can only be read sequentially.

Small lists are read into memory when they are opened. Larger ones are for `dnmf convert`, which reads them twice.
"""

import bz2
import gzip
import lzma
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dnmf.errors import DataError, DataWarning, DnmfError, warn
from dnmf.sources.addresses import Address, NotInPlace, convert_command
from dnmf.sources.base import Axis, check_shape
from dnmf.sources.memory import SparseSource, read_into_memory, sparse_source
from dnmf.sources.names import GZIP, Names

# Most entries that are read into memory as they are opened: 64 MB, and about three times as much while they are sorted.
HELD_ENTRIES = 4 * 10**6
MOST_PLACES = 2**28
# From this length on, an axis of which few places have entries is one of ids.
GAPS_FROM = 10**4

# The first bytes of compressed files, as patterns, and functions that decompress them.
UNPACKED: dict[bytes, Callable[[Any], Any]] = {
    re.escape(GZIP): lambda file: gzip.GzipFile(fileobj=file),
    rb"BZh[1-9]1AY&SY": bz2.BZ2File,
    rb"\xfd7zXZ\x00": lzma.LZMAFile,
}
# Bytes of the lines that are read at once.
TEXT_BYTES = 8 * 2**20

Found = TypeVar("Found")


class Batch(NamedTuple):
    """Entries, and the share of the file that has been read so far."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[Any]
    share: float


class Entries(Protocol):
    """A list of entries that can be read repeatedly. The values of duplicate entries are added up.

    `shape` and `count` are None if they are unknown before a complete read; `names` are complete after one.
    """

    address: Address
    dtype: np.dtype[Any]
    shape: tuple[int, int] | None
    count: int | None

    @property
    def what(self) -> str:
        """A description for people."""

    @property
    def names(self) -> Names:
        """Names of the rows and columns read so far."""

    def batches(self) -> Iterator[Batch]:
        """Read the list in batches of bounded size, always in the same order."""

    def naming(self, axes: Sequence[int] = (0, 1)) -> str:
        """Return advice for numbers along some axes that are names and not positions."""


class ReadAgain(DnmfError):
    """A list of entries must be read again from its start: a column of digits holds texts later on."""

    def __init__(self, column: int) -> None:
        super().__init__(f"column {column} holds digits first and texts later; read the list again.")
        self.column = column


class Extent:
    """The largest row and column, and the number of entries, read so far."""

    def __init__(self) -> None:
        self.rows, self.columns, self.count = 0, 0, 0

    def add(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> None:
        """Add the positions of entries."""
        if len(rows):
            self.rows, self.columns = max(self.rows, int(rows.max()) + 1), max(self.columns, int(columns.max()) + 1)
            self.count += len(rows)

    def check(self, entries: Entries) -> None:
        """Raise DataError if positions are implausibly large."""
        far = [axis for axis, size in enumerate((self.rows, self.columns)) if size > MOST_PLACES]
        if entries.shape is None and far:
            raise DataError(
                f"{entries.address} has an entry at row or column {max(self.rows, self.columns) - 1}: its numbers are "
                f"not positions from 0. Number them from 0, or {entries.naming(far)}."
            )

    def shape_of(self, entries: Entries) -> tuple[int, int]:
        """Return the shape of the matrix; DataError if it is empty."""
        return check_shape(entries.shape or (self.rows, self.columns), str(entries.address))


def held(entries: Entries, streamed: Axis | None = None) -> SparseSource:
    """Read a small list of entries into memory, as CSR or CSC.

    Raises
    ------
    NotInPlace
        If it has more than `HELD_ENTRIES`.
    """
    _check_count(entries, entries.count or 0, f"{entries.count} entries")
    extent, parts = read_through(entries, _gathered)
    shape = extent.shape_of(entries)
    nothing = Batch(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, entries.dtype), 1.0)
    rows, columns, values = (np.concatenate(list(some)) for some in list(zip(nothing, *parts, strict=True))[:3])
    _warn_of_gaps(entries, shape, (rows, columns))
    index = np.int32 if max(shape) < 2**31 else np.int64
    matrix = scipy.sparse.coo_array((values, (rows.astype(index), columns.astype(index))), shape=shape)
    source = sparse_source(matrix, streamed)
    warn_of_duplicates(entries, extent.count - source.matrix.nnz)
    kind = f"{entries.what} of {extent.count} entries"
    return read_into_memory(source, kind, str(entries.address), entries.names.checked(shape))


def read_through(entries: Entries, read: Callable[[Entries], Found]) -> Found:
    """Read a list with a function, again after ReadAgain."""
    while True:
        try:
            return read(entries)
        except ReadAgain:
            continue


def _gathered(entries: Entries) -> tuple[Extent, list[Batch]]:
    """Return all entries of a list; NotInPlace if there are too many."""
    extent, parts = Extent(), []
    for batch in entries.batches():
        extent.add(batch.rows, batch.columns)
        extent.check(entries)
        _check_count(entries, extent.count, f"more than {HELD_ENTRIES} entries")
        parts.append(batch)
    return extent, parts


def warn_of_duplicates(entries: Entries, added: int) -> None:
    """Warn of entries that were added to another one at the same place."""
    if added:
        one = "entry was" if added == 1 else "entries were"
        warn(
            f"{entries.address} has several entries at the same place: {added} {one} added to an earlier one. Keep one "
            "entry for each place if they are repetitions.",
            DataWarning,
        )


def _warn_of_gaps(entries: Entries, shape: tuple[int, int], places: tuple[NDArray[Any], NDArray[Any]]) -> None:
    """Warn of axes whose numbers look like ids: most of their positions have no entry."""
    if entries.shape is not None:
        return
    found = [len(np.unique(at)) if size >= GAPS_FROM else size for size, at in zip(shape, places, strict=True)]
    gaps = [axis for axis in (0, 1) if shape[axis] > 5 * found[axis]]
    if gaps:
        facts = [f"{shape[axis]} {('rows', 'columns')[axis]}, of which {found[axis]} have entries" for axis in gaps]
        warn(
            f"{entries.address} has {', and '.join(facts)}: its numbers are read as positions from 0, and look like "
            f"ids; {entries.naming(gaps)}.",
            DataWarning,
        )


def _check_count(entries: Entries, count: int, many: str) -> None:
    shape = "" if entries.shape is None else f"{entries.shape[0]} × {entries.shape[1]}, "
    check_held(entries.address, count, f"a list of {many}", f"{shape}{entries.what} of {many}")


def check_held(address: Address, count: int, what: str, facts: str, also: str = "") -> None:
    """Raise NotInPlace for a matrix of more entries than are read into memory."""
    if count > HELD_ENTRIES:
        raise NotInPlace(
            f"{address} is {what}, and up to {HELD_ENTRIES} are read into memory; {also}write it as a "
            f"matrix that is read block by block, with: {convert_command(address)}",
            {"matrix": facts},
        )


class Text:
    """A file, compressed by gzip, bzip2, xz or not, that is read sequentially with its progress."""

    def __init__(self, path: Path) -> None:
        self.size = max(1, path.stat().st_size)
        self._raw: Any = open(path, "rb")  # noqa: SIM115 - __exit__ closes it
        first = self._raw.read(16)
        self._raw.seek(0)
        opened = next((opened for signs, opened in UNPACKED.items() if re.match(signs, first)), None)
        self.file: Any = self._raw if opened is None else opened(self._raw)

    @property
    def share(self) -> float:
        """Share of the bytes that has been read."""
        return min(1.0, self._raw.tell() / self.size) if not self._raw.closed else 1.0

    def __enter__(self) -> "Text":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()
        self._raw.close()


def runs_of_lines(text: Text) -> Iterator[tuple[bytes, float]]:
    """Yield runs of whole lines that are not all empty, and the share of the file that has been read."""
    rest = b""
    while piece := text.file.read(TEXT_BYTES):
        whole, _, rest = (rest + piece).rpartition(b"\n")
        if whole.strip():
            yield whole, text.share
    if rest.strip():
        yield rest, 1.0
