"""Output that cannot fail: a closed pipe, a full disk or a narrow encoding ends no run."""

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class Unfailing(io.RawIOBase):
    """The bytes of a stream, which becomes silent with the first error; None is a stream that was closed before."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream
        buffer: Any = getattr(stream, "buffer", None)
        self._beneath: Any = getattr(buffer, "raw", buffer)
        self.error: OSError | ValueError | None = None

    def writable(self) -> bool:
        """Say that it can be written."""
        return True

    def isatty(self) -> bool:
        """Say whether a person reads it."""
        return self._stream is not None and self.error is None and self._stream.isatty()

    def fileno(self) -> int:
        """Return the number of the file."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def write(self, data: Any) -> int:
        """Write what can be written now, or nothing any more."""
        if self.error is None:
            try:
                if self._beneath is None:
                    raise OSError(errno.EBADF, os.strerror(errno.EBADF))
                while (written := self._beneath.write(data)) is None:  # its reader is slow, and it does not wait
                    select.select([], [self._beneath], [])
                return int(written)
            except (OSError, ValueError) as error:
                self.error = error
        return len(data)


@contextlib.contextmanager
def unfailing() -> Iterator[None]:
    """Let nothing that is written to stdout and stderr fail; exit with 1 where what was for stdout has been lost.

    A sentence on stderr says why, but for a reader that has had enough.
    """
    before = sys.stdout, sys.stderr
    out, err = Unfailing(sys.stdout), Unfailing(sys.stderr)
    sys.stdout, sys.stderr = _text(out, before[0]), _text(err, before[1])
    try:
        yield
    except SystemExit as ended:
        sys.stdout.flush()
        if ended.code or out.error is None:
            raise
        if not isinstance(out.error, BrokenPipeError):
            reason = getattr(out.error, "strerror", None) or out.error
            sys.stderr.write(f"dnmf: stdout could not be written ({reason}); what was to be there is lost.\n")
        raise SystemExit(1) from None
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _text(raw: Unfailing, stream: TextIO | None) -> TextIO:
    """Return a text stream over bytes, in the encoding of another, with what that cannot hold written out."""
    if stream is not None:
        if not hasattr(stream, "buffer"):
            return stream
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=True)
