"""Text files of tables, in blocks of whole lines: UTF-8 or UTF-16, compressed or not, with any separator of fields."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dnmf.errors import DataError
from dnmf.sources.formats.entry_list import Text

# Lines that a sample holds at least, however long they are.
SAMPLE_LINES = 3
BLANKS = " "
# Separators of two signs, and runs of blanks, are replaced by one sign, which is then the separator.
UNIT = "\x1f"
RUN = re.compile(rb'"[^"\n]*"|[ \t]+')
EDGE = re.compile(rb"(?m)^[ \t]+|[ \t]+$")


class Block(NamedTuple):
    """Whole lines in UTF-8 that end with a line feed, the number of the first one, and the share of the file so far."""

    data: bytes
    line: int
    share: float


class TextLines:
    """The lines of a text file.

    Parameters
    ----------
    path
        A file in UTF-8, or in UTF-16 with a byte order mark; compressed by gzip if its name ends with `.gz`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def sample(self, size: int) -> list[str]:
        """Return the first whole lines: about `size` bytes, and at least `SAMPLE_LINES`."""
        lines, read = list[str](), 0
        for block in self.blocks(size):
            lines += block.data.decode().split("\n")[:-1]
            read += len(block.data)
            if len(lines) >= SAMPLE_LINES and 2 * read >= size:
                break
        return lines

    def blocks(self, size: int, skip: int = 0) -> Iterator[Block]:
        """Yield blocks of about `size` bytes, without the first `skip` lines.

        Raises
        ------
        DataError
            If a line is not valid UTF-8, or the file holds zero bytes, so that it is not a text.
        """
        line, waiting = 1, list[bytes]()
        with Text(self.path) as text:
            for piece in _pieces(text, size, self.path):
                whole, end, rest = piece.rpartition(b"\n")
                if not end:
                    waiting.append(rest)
                    continue
                data = b"".join([*waiting, whole, end])
                yield from self._block(data, line, text.share, skip)
                line, waiting = line + data.count(b"\n"), [rest]
            last = b"".join(waiting)
            if last:
                yield from self._block(last + b"\n", line, 1.0, skip)

    def _block(self, data: bytes, line: int, share: float, skip: int) -> Iterator[Block]:
        while line <= skip and data:
            data = data.partition(b"\n")[2]
            line += 1
        if not data:
            return
        try:
            if not data.isascii():
                data.decode()
        except UnicodeDecodeError as error:
            bad = line + data.count(b"\n", 0, error.start)
            raise DataError(
                f"{self.path}, line {bad}, is not valid UTF-8; write the file in UTF-8, as by iconv -f latin1 -t utf-8."
            ) from None
        yield Block(data, line, share)


def _pieces(text: Text, size: int, path: Path) -> Iterator[bytes]:
    """Yield pieces of a file in UTF-8, whose lines end with a line feed."""
    head = text.file.read(size)
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    decoder = codecs.getincrementaldecoder("utf-16" if wide else "utf-8-sig")()
    kept, piece = b"", head if wide else head.removeprefix(codecs.BOM_UTF8)
    while piece:
        if wide:
            piece = decoder.decode(piece).encode()
        if b"\0" in piece:
            raise DataError(
                f"{path} holds zero bytes: it is not a text in UTF-8, or in UTF-16 with a byte order mark; give raw "
                f"numbers with their type and shape, as {path.name}::float32,2000x1000."
            )
        piece = kept + piece
        kept = b"\r" if piece.endswith(b"\r") else b""
        piece = piece.removesuffix(b"\r") if kept else piece
        yield piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in piece else piece
        piece = text.file.read(size)
    if wide:
        decoder.decode(b"", final=True)
    if kept:
        yield b"\n"


def mark_of(separator: str) -> str:
    """Return the single sign that separates fields after `unified`."""
    return {"::": UNIT, BLANKS: "\t"}.get(separator, separator)


def unified(data: bytes, separator: str) -> bytes:
    r"""Return lines whose fields are separated by `mark_of(separator)`.

    >>> unified(b'1::2::3\n', "::"), unified(b'  1  "a b"\t3 \n', " ")
    (b'1\x1f2\x1f3\n', b'1\t"a b"\t3\n')
    """
    if separator == "::":
        if UNIT.encode() in data:
            raise ValueError("it holds the control character 0x1F")
        return data.replace(b"::", UNIT.encode())
    if separator == BLANKS:
        return RUN.sub(lambda found: found[0] if found[0].startswith(b'"') else b"\t", EDGE.sub(b"", data))
    return data
