"""MatrixMarket files, known by their first line: coordinates as lists of entries, arrays column by column."""

import contextlib
import io
import lzma
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError
from dnmf.sources.addresses import Address
from dnmf.sources.base import Axis, Source, check_shape
from dnmf.sources.formats.entry_list import Batch, Text, check_held, held, runs_of_lines
from dnmf.sources.memory import ArraySource, read_into_memory
from dnmf.sources.names import NO_NAMES, Names
from dnmf.sources.read_errors import parsing

BANNER = "%%matrixmarket"
WHAT = "MatrixMarket file"
LINE = [("row", np.int64), ("column", np.int64), ("value", np.float64)]


class Market:
    """The head of a MatrixMarket file, and its lines.

    Attributes
    ----------
    form, field, symmetry
        The last words of its first line, as `coordinate`, `real` and `general`.
    size, sizes
        Rows and columns, and all numbers of the line of sizes.
    """

    def __init__(self, address: Address, path: Path | None = None) -> None:
        self.address, self.path = address, path or Path(address.place)
        with parsing(address, WHAT), Text(self.path) as text:
            words = text.file.readline().decode("latin-1").lower().split()
            if len(words) != 5 or words[0] != BANNER or words[1] != "matrix":
                raise ValueError("its first line is not %%MatrixMarket matrix …")
            self.form, self.field, self.symmetry = words[2:]
            self.sizes = [int(word) for word in _sizes(text.file).split()]
            if len(self.sizes) != (3 if self.form == "coordinate" else 2):
                raise ValueError("its line of sizes is incomplete")
        if self.field == "complex":
            raise DataError(f"{address} holds complex numbers; give real ones of at least 0.")
        self.size = check_shape(self.sizes[:2], str(address))

    def parts(self) -> Iterator[tuple[io.StringIO, float]]:
        """Yield runs of whole lines, and the share of the file that has been read."""
        with Text(self.path) as text:
            _sizes(text.file)
            for lines, share in runs_of_lines(text):
                yield io.StringIO(lines.decode("latin-1")), share


class MarketEntries(Market):
    """A MatrixMarket file of coordinates, as a list of entries; symmetric ones are expanded."""

    what = "MatrixMarket coordinates"
    names: Names = NO_NAMES

    def __init__(self, address: Address, path: Path | None = None) -> None:
        super().__init__(address, path)
        self.shape: tuple[int, int] | None = self.size
        self.dtype = np.dtype(np.float32 if self.field == "pattern" else np.float64)
        self.count: int | None = self.sizes[2] * (1 if self.symmetry == "general" else 2)

    def naming(self, axes: Sequence[int] = (0, 1)) -> str:
        """Return advice for numbers that are names."""
        return "write them as texts"

    def batches(self) -> Iterator[Batch]:
        """Read the entries, parsing each run of lines as a small file."""
        met = 0
        with parsing(self.address, WHAT):
            for text, share in self.parts():
                part = np.loadtxt(text, LINE[: 2 if self.field == "pattern" else 3], comments="%", ndmin=1)
                met += len(part)
                rows, columns = (part[name] - 1 for name in ("row", "column"))
                for places, size in ((rows, self.size[0]), (columns, self.size[1])):
                    if len(places) and (int(places.min()) < 0 or int(places.max()) >= size):
                        raise ValueError(f"it has an entry at {places.min() + 1} or {places.max() + 1} of {size}")
                values = np.ones(len(part)) if self.field == "pattern" else part["value"]
                yield from self._written_out(rows, columns, values.astype(self.dtype), share)
            if met != self.sizes[2]:
                raise ValueError(f"it has {met} entries, and its head promises {self.sizes[2]}")

    def _written_out(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], values: NDArray[Any], share: float
    ) -> Iterator[Batch]:
        """Yield entries, and their mirror images in a symmetric matrix."""
        yield Batch(rows, columns, values, share)
        if self.symmetry != "general":
            mirrored = rows != columns
            sign = -1 if self.symmetry == "skew-symmetric" else 1
            yield Batch(columns[mirrored], rows[mirrored], sign * values[mirrored], share)


class MarketArray(Market):
    """A MatrixMarket file of all numbers, column by column."""

    def values(self) -> Iterator[tuple[NDArray[np.float64], float]]:
        """Yield runs of numbers, column by column, with the share of the file that has been read.

        Raises
        ------
        DataError
            If their number is not that of the head, or they are a triangle.
        """
        if self.symmetry != "general":
            raise DataError(
                f"{self.address} holds a triangle of a {self.symmetry} array; write it whole, as by "
                "scipy.io.mmwrite(…, symmetry='general')."
            )
        met = 0
        with parsing(self.address, WHAT):
            for text, share in self.parts():
                part = np.loadtxt(text, comments="%", ndmin=1)
                if part.ndim != 1:
                    raise ValueError("it has more than one number in a line")
                met += len(part)
                yield part, share
            if met != self.size[0] * self.size[1]:
                raise ValueError(f"it has {met} numbers, and its head promises {self.size[0]} × {self.size[1]}")


def unpacked(market: MarketArray, folder: Path) -> Address:
    """Write the numbers of an array in binary form into a folder, and return their address."""
    target = folder / "unpacked.bin"
    with open(target, "wb") as file:
        for part, _ in market.values():
            part.astype(np.float64).tofile(file)
    return Address(str(target), "float64,{}x{},F".format(*market.size))


def is_market(path: Path) -> bool:
    """Return whether the first line of a file, compressed or not, is that of MatrixMarket."""
    with contextlib.suppress(OSError, EOFError, zlib.error, lzma.LZMAError), Text(path) as text:
        return bytes(text.file.read(len(BANNER))).lower() == BANNER.encode()
    return False


def open_market(address: Address, streamed: Axis | None = None) -> Source:
    """Open a MatrixMarket file that is small enough to be read into memory.

    Raises
    ------
    NotInPlace
        If it is larger.
    """
    if Market(address).form == "coordinate":
        return held(MarketEntries(address), streamed)
    market = MarketArray(address)
    rows, columns = market.size
    what = f"a text of {rows} × {columns} numbers"
    check_held(address, rows * columns, what, f"{rows} × {columns}, MatrixMarket array")
    values = np.concatenate([part for part, _ in market.values()])
    source = ArraySource(values.reshape((rows, columns), order="F"), streamed)
    return read_into_memory(source, "MatrixMarket array", str(address))


def _sizes(file: Any) -> str:
    """Read up to the line of sizes, and return it."""
    while line := file.readline():
        text = line.decode("latin-1").strip()
        if text and not text.startswith("%"):
            return str(text)
    raise ValueError("it ends before its line of sizes")
