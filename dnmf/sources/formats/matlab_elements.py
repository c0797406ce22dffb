"""The elements of MATLAB files of version 5.

Such a file has a header of 128 bytes and an element for each variable. An element is a tag, with its type and its
number of bytes, and its data, padded to 8 bytes; data of up to 4 bytes are in the tag:

    matrix          flags, dimensions, name, and the numbers, column by column; or, if it is sparse, the row of each
                    entry, the start of each column, and the entries
    compressed      a matrix, compressed by zlib
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnmf.sources.formats.stored_vectors import FileVector

HEADER_BYTES = 128
# The types of elements.
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATRIX, PACKED = 14, 15
# The classes of variables.
WORDS = {1: "cell", 2: "struct", 3: "object", 4: "char", 16: "function_handle", 17: "object"}
SPARSE, NUMBERS = 5, range(6, 16)
COMPLEX, LOGICAL = 0x0800, 0x0200
Order = Literal["<", ">"]


class Variable(NamedTuple):
    """A variable of a file of version 5.

    Attributes
    ----------
    start, size, packed
        The offset and the bytes of its element, and whether that is compressed.
    kind, flags
        The number of its class, and flags of its numbers.
    entries
        The number of its entries, or of those that a sparse one has room for.
    order
        The byte order of the file, `<` or `>`.
    """

    name: str
    kind: int
    flags: int
    shape: tuple[int, ...]
    entries: int
    start: int
    size: int
    packed: bool
    order: Order


class Inflated:
    """The decompressed bytes of an element, read in order."""

    def __init__(self, file: Any, size: int) -> None:
        self._file, self._left, self._inflate = file, size, zlib.decompressobj()

    @property
    def ended(self) -> bool:
        """Whether the end has been read."""
        return self._inflate.eof

    def read(self, size: int) -> bytes:
        """Return the next bytes, or fewer at the end."""
        found, lacking = list[bytes](), size
        while lacking and not self._inflate.eof:
            packed = self._inflate.unconsumed_tail
            if not packed:
                packed = self._file.read(min(2**16, self._left))
                self._left -= len(packed)
            found.append(self._inflate.decompress(packed, lacking))
            lacking -= len(found[-1])
            if not packed and not found[-1]:
                break
        return b"".join(found)


class Stream:
    """The elements of a matrix, read in order."""

    def __init__(self, file: Any, order: Order) -> None:
        self.file, self.order = file, order

    def take(self, size: int) -> bytes:
        """Return the next bytes; ValueError if there are fewer."""
        found: bytes = self.file.read(size)
        if len(found) < size:
            raise ValueError("it ends within a variable")
        return found

    def tag(self) -> tuple[int, int, bytes | None]:
        """Return the type of the next element, its bytes, and its data if these are in the tag."""
        tag = self.take(8)
        first, second = struct.unpack(f"{self.order}II", tag)
        return (first & 0xFFFF, first >> 16, tag[4:]) if first >> 16 else (first, second, None)

    def data(self) -> tuple[int, bytes]:
        """Return the type and the data of the next element."""
        kind, size, short = self.tag()
        if short is not None:
            return kind, short[:size]
        data = self.take(size)
        self.take(-size % 8)
        return kind, data

    def values(self, as_bytes: bool = False) -> NDArray[Any]:
        """Return the numbers of the next element, or its bytes."""
        kind, data = self.data()
        return np.frombuffer(data, np.uint8 if as_bytes else self.dtype(kind))

    def vector(self, path: Path, as_bytes: bool = False) -> FileVector:
        """Pass over the next element of a file, and return the place of its numbers, or of its bytes."""
        kind, size, short = self.tag()
        dtype = np.dtype(np.uint8) if as_bytes else self.dtype(kind)
        offset = self.file.tell() - (4 if short is not None else 0)
        if short is None:
            self.file.seek(size + -size % 8, 1)
        return FileVector(path, offset, size // dtype.itemsize, dtype)

    def finish(self) -> None:
        """Read to the end of a compressed matrix, whose checksum is there; ValueError if there are more numbers."""
        if self.file.read(1) or not self.file.ended:
            raise ValueError("a compressed variable does not end where its head says")

    def dtype(self, kind: int) -> np.dtype[Any]:
        """Return the dtype of a type of elements."""
        if kind not in TYPES:
            raise ValueError(f"it has numbers of the unknown type {kind}")
        return np.dtype(TYPES[kind]).newbyteorder(self.order)


def at_data(file: Any, variable: Variable) -> Any:
    """Return a file at the data of the element of a variable."""
    file.seek(variable.start + 8)
    return file


def packed_stream(file: Any, variable: Variable) -> Stream:
    """Return the decompressed elements of a variable, behind the tag of the matrix."""
    stream = Stream(Inflated(at_data(file, variable), variable.size), variable.order)
    stream.tag()
    return stream


def read_head(stream: Stream) -> tuple[str, int, tuple[int, ...], int]:
    """Read the head of a matrix: its name, class and flags, shape, and the number of sparse entries it has room for."""
    flags, room = struct.unpack(f"{stream.order}II", stream.data()[1][:8])
    if flags & 0xFF > max(NUMBERS):  # others have no shape
        return "", flags, (), 0
    shape = tuple(int(size) for size in stream.values())
    name = stream.data()[1].decode("utf-8", errors="replace")
    return name, flags, shape, room


def variables(path: Path) -> Iterator[Variable]:
    """Yield the variables of a file of version 5."""
    length = path.stat().st_size
    with open(path, "rb") as file:
        order, start = _order(file.read(HEADER_BYTES)), HEADER_BYTES
        while start < length:
            file.seek(start)
            kind, size, _ = Stream(file, order).tag()
            if kind not in (MATRIX, PACKED):
                raise ValueError(f"byte {start} does not begin a variable")
            if start + 8 + size > length:
                raise ValueError(f"it has {length} bytes, and a variable ends at byte {start + 8 + size}")
            head = Variable("", 0, 0, (), 0, start, size, kind == PACKED, order)
            stream = packed_stream(file, head) if head.packed else Stream(file, order)
            name, flags, shape, room = read_head(stream)
            entries = room if flags & 0xFF == SPARSE else math.prod(shape)
            yield head._replace(name=name, kind=flags & 0xFF, flags=flags, shape=shape, entries=entries)
            start += 8 + size


def _order(head: bytes) -> Order:
    """Return the byte order in the header of a file of version 5; ValueError for other versions."""
    marks: dict[bytes, Order] = {b"IM": "<", b"MI": ">"}
    order = marks.get(head[126:128])
    if order is None and 0 in head[:4]:
        raise ValueError("it is of version 4; load it and save it with -v7")
    if order is None:
        raise ValueError("it does not begin with the header of a MATLAB file")
    return order


def parts_of(variable: Variable) -> list[bool]:
    """Return, for each element with the numbers of a variable, whether they are bytes in spite of its type.

    A sparse variable has three: rows, starts, and entries, which are bytes if they are logical.
    """
    return [False, False, bool(variable.flags & LOGICAL)] if variable.kind == SPARSE else [False]
