"""Repeat reads that fail, and turn failures into sentences; data that cannot be read are not taken for damaged."""

import errno
import functools
import os
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Concatenate, NamedTuple, ParamSpec, Self, TypeVar

from dnmf.errors import DiskError, DnmfError
from dnmf.storage.urls import object_errors, redacted

Found = TypeVar("Found")
Given = ParamSpec("Given")
Method = Callable[Concatenate[Any, Given], Found]
# Seconds before each further try; `wait` sleeps.
DELAYS = (0.05, 0.2, 0.8)
wait = time.sleep
# Errors that are the result of a read, and not its failure.
FOUND = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)
# Words of an object store that has no room left.
FULL = re.compile(r"(?i)quota|insufficient.?storage|storage.?full|\b507\b(?!\.\d)")


class Failure(NamedTuple):
    """The failure of a disk or an object store: its number, if it has one, and a reason without secrets."""

    number: int | None
    reason: str
    full: bool

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Describe an error."""
        number = getattr(error, "errno", None)
        full = number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or bool(FULL.search(str(error)))
        return cls(number, redacted(error) if number is None else os.strerror(number), full)

    def sentence(self, what: str, act: str) -> str:
        """Return a sentence: what could not be written, opened or read, why, and what to do."""
        place = "place" if self.number is None else "disk"
        advice = "Free some room there" if self.full else f"Check that {place} and its permissions"
        if self.number == errno.ENAMETOOLONG:
            advice = "Give a shorter name"
        whole = "; what was there before is whole" if act == "written" else ""
        return f"{what} could not be {act} ({self.reason}){whole}. {advice}, and try again."


class LocationError(DiskError):
    """A read or write of a place failed; `explained` adds its purpose if that is known."""

    failure: Failure

    @classmethod
    def of(cls, what: str, act: str, error: BaseException) -> Self:
        """Return the error for a failed act."""
        failure = Failure.of(error)
        made = cls(failure.sentence(what, act))
        made.failure = failure
        return made


def patiently(act: Callable[[], Found], what: str) -> Found:
    """Return the result of a read, which is repeated if it fails.

    Raises
    ------
    LocationError
        If it still fails after the last delay.
    """
    for delay in (*DELAYS, None):
        try:
            return act()
        except (*FOUND, DnmfError):
            raise
        except object_errors() as error:
            if delay is None:
                raise LocationError.of(what, "read", error) from None
            wait(delay)
    raise AssertionError


def repeated(read: Method[Given, Found]) -> Method[Given, Found]:
    """Decorate a method of a place that reads: repeat it if it fails."""

    @functools.wraps(read)
    def reading(place: Any, /, *given: Given.args, **options: Given.kwargs) -> Found:
        return patiently(partial(read, place, *given, **options), _label(place, given))

    return reading


def repeated_if_listed(read: Method[Given, Found]) -> Method[Given, Found]:
    """Decorate a method of a place that reads a file: repeat it if it fails, or does not find a file that is listed.

    Object stores have been seen to answer so.
    """
    patient = repeated(read)

    @functools.wraps(read)
    def reading(place: Any, /, *given: Given.args, **options: Given.kwargs) -> Found:
        for delay in (*DELAYS, None):
            try:
                return patient(place, *given, **options)
            except FileNotFoundError as error:
                if not _is_listed(place, str(given[0])):
                    raise
                if delay is None:
                    raise LocationError.of(_label(place, given), "read", error) from None
                wait(delay)
        raise AssertionError

    return reading


def reported(write: Method[Given, Found]) -> Method[Given, Found]:
    """Decorate a method of a place that writes: a failure becomes a LocationError."""

    @functools.wraps(write)
    def writing(place: Any, /, *given: Given.args, **options: Given.kwargs) -> Found:
        try:
            return write(place, *given, **options)
        except (FileExistsError, DnmfError):
            raise
        except object_errors() as error:
            number = getattr(error, "errno", None)
            raise LocationError.of(_label(place, given), "written", error) from (error if number else None)

    return writing


def _label(place: object, given: tuple[object, ...]) -> str:
    """Return the path of the name that a method was given first."""
    return f"{place}/{given[0]}" if given and given[0] else str(place)


def _is_listed(place: Any, name: str) -> bool:
    folder, _, base = name.rpartition("/")
    try:
        return base in place.names(folder)
    except NotADirectoryError:
        return False
