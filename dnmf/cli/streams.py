"""Messages, and output that cannot fail: a closed pipe, a full disk or a limited encoding does not end a run."""

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from dnmf.errors import seen

SHOW_CURSOR = "\x1b[?25h"


def notify(text: str) -> None:
    """Print a message on stderr."""
    print(seen(text), file=sys.stderr, flush=True)


def notify_from_handler(text: str) -> None:
    """Print a message from a signal handler, which may have interrupted a write to stderr, and show the cursor again.

    A live bar hides the cursor, and a second signal may end the process before the bar is removed.
    """
    try:
        notify(text)
    except RuntimeError:  # the interrupted write holds the buffer
        _write_at_once(f"\n{seen(text)}\n")
    if sys.stderr.isatty():
        _write_at_once(SHOW_CURSOR)


def _write_at_once(text: str) -> None:
    """Write to the descriptor of stderr, past its buffers."""
    with contextlib.suppress(OSError, ValueError):
        os.write(sys.stderr.fileno(), text.encode())


class Unfailing(io.RawIOBase):
    """A binary stream that discards its input after the first error; None is a stream that is closed."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream
        buffer: Any = getattr(stream, "buffer", None)
        self._beneath: Any = getattr(buffer, "raw", buffer)
        self.error: OSError | ValueError | None = None

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether the stream is a terminal that works."""
        return self._stream is not None and self.error is None and self._stream.isatty()

    def fileno(self) -> int:
        """Return the file descriptor."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def write(self, data: Any) -> int:
        """Write data, or discard it after an error; return the number of bytes."""
        if self.error is None:
            try:
                if self._beneath is None:
                    raise OSError(errno.EBADF, os.strerror(errno.EBADF))
                while (written := self._beneath.write(data)) is None:  # non-blocking, and its reader is slow
                    select.select([], [self._beneath], [])
                return int(written)
            except (OSError, ValueError) as error:
                self.error = error
        return len(data)


@contextlib.contextmanager
def unfailing() -> Iterator[None]:
    """Prevent writes to stdout and stderr from failing; exit with 1 if output for stdout was lost.

    A message on stderr gives the reason, except for a closed pipe.
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
            sys.stderr.write(f"dnmf: stdout could not be written ({reason}); its output is lost.\n")
        raise SystemExit(1) from None
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _text(raw: Unfailing, stream: TextIO | None) -> TextIO:
    """Return a text stream over `raw` in the encoding of another stream; other characters are escaped."""
    if stream is not None:
        if not hasattr(stream, "buffer"):
            return stream
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=True)
