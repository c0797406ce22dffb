"""Read bytes of a file into existing memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import ReadError


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a file for reading and yield its descriptor; an error of the system meanwhile becomes a ReadError."""
    try:
        with open(path, "rb", buffering=0) as file:
            yield file.fileno()
    except OSError as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"{path} could not be read ({error.strerror}); check the disk it lies on.") from error


def fill(descriptor: int, path: Path, offset: int, target: NDArray[np.uint8]) -> None:
    """Fill `target`, flat bytes, from an open file; a file that ends too early is a ReadError."""
    view = memoryview(target.data)
    done = 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done : done + 2**30]], offset + done)
        if count == 0:
            raise ReadError(
                f"{path} is truncated: it ends at byte {offset + done}, and {offset + len(view)} were "
                "expected. Write it again from its origin."
            )
        done += count


def read_into(path: Path, offset: int, target: NDArray[np.uint8]) -> None:
    """Fill `target`, flat bytes, from a file.

    Raises
    ------
    ReadError
        If the file ends too early or cannot be read.
    """
    with opened(path) as descriptor:
        fill(descriptor, path, offset, target)


def expect_file(path: Path, offset: int, size: int) -> None:
    """Ask the system to read a part of a file ahead, if it supports that."""
    if not hasattr(os, "posix_fadvise"):
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.posix_fadvise(descriptor, offset, size, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(descriptor)
