"""Reads that fail: they are tried again, and end in a sentence. What failed to be read is not damaged."""

import errno
import os
import re
import time
from collections.abc import Callable
from typing import NamedTuple, Self, TypeVar

from dnmf.errors import DiskError, DnmfError
from dnmf.storage.urls import object_errors, told

Found = TypeVar("Found")
# Seconds before each further try; `wait` lets them pass.
DELAYS = (0.05, 0.2, 0.8)
wait = time.sleep
# What a read may find, and not how it may fail.
FOUND = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)
# What an object store says that has no room left.
FULL = re.compile(r"(?i)quota|insufficient.?storage|storage.?full|\b507\b")


class Failure(NamedTuple):
    """How an act on a disk or an object store failed: its number, where it has one, and words without secrets."""

    number: int | None
    reason: str
    full: bool

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Return what an error says."""
        number = getattr(error, "errno", None)
        full = number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or bool(FULL.search(str(error)))
        return cls(number, told(error) if number is None else os.strerror(number), full)

    def sentence(self, what: str, act: str) -> str:
        """Return what was not done, why, and what to do."""
        place = "place" if self.number is None else "disk"
        advice = "Free some room there" if self.full else f"Check that {place} and its permissions"
        if self.number == errno.ENAMETOOLONG:
            advice = "Give a shorter name"
        whole = "; what was there before is whole" if act == "written" else ""
        return f"{what} could not be {act} ({self.reason}){whole}. {advice}, and try again."


class PlaceError(DiskError):
    """An act on a place failed; `explained` says what it was for, where that is known."""

    failure: Failure

    @classmethod
    def of(cls, what: str, act: str, error: BaseException) -> Self:
        """Return the error that says of an act how it failed."""
        failure = Failure.of(error)
        made = cls(failure.sentence(what, act))
        made.failure = failure
        return made


def patiently(act: Callable[[], Found], what: str) -> Found:
    """Return what a read returns, tried again where it fails.

    Raises
    ------
    PlaceError
        If it goes on failing.
    """
    for delay in (*DELAYS, None):
        try:
            return act()
        except (*FOUND, DnmfError):
            raise
        except object_errors() as error:
            if delay is None:
                raise PlaceError.of(what, "read", error) from None
            wait(delay)
    raise AssertionError
