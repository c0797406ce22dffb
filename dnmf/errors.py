"""Every error and warning of the package: a sentence of what was given, what is allowed and what to do."""

import difflib
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping

# What no browser shows as it is, and what moves the cursor of a terminal: controls, and signs that turn the direction
# of the text around them.
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# The packages whose own lines nobody can mend: a warning points past them, at the line that called.
PASSED_OVER = {"dnmf", "sklearn", "joblib", "contextlib"}


class DnmfError(Exception):
    """What dnmf raises; catch it to catch all of them."""

    def __str__(self) -> str:
        """Return the sentence; what names and paths have in it that moves a cursor is written out."""
        return seen(super().__str__())


class SettingsError(DnmfError, ValueError):
    """An option has an unknown name, or a value that is not allowed."""


class DataError(DnmfError, ValueError):
    """The matrix, or a factor that was given, cannot be factorised as it is."""


class BudgetError(DnmfError, MemoryError):
    """The memory limit is too small for the work that was asked for."""


class ReadError(DnmfError, OSError):
    """A block of the matrix could not be read."""


class StoreError(DnmfError, OSError):
    """A store cannot be created, opened, written or resumed."""


class DiskError(StoreError):
    """A store could not be written: the disk is full, or will not."""


class ClusterError(DnmfError, RuntimeError):
    """A cluster cannot be reached, cannot do the work, or was lost."""


class MissingExtraError(DnmfError, ImportError):
    """An optional package is needed for what was asked."""


class Interrupted(DnmfError):
    """The run was asked to stop; raised between two blocks, so that nothing is left half done."""


class StoreWarning(UserWarning):
    """A store is damaged, and an older checkpoint of it was taken."""


class DataWarning(UserWarning):
    """Something in the matrix cannot be learned from or expressed, or a penalty has no effect."""


class ClusterWarning(UserWarning):
    """Something about a cluster costs more than it need, or bits."""


def keep_before(error: BaseException, keep: Callable[[], object], what: str) -> None:
    """Keep what an error would lose, before it is raised again.

    Where that fails too, the error gets a note. Who asks a run to stop relies on what is kept: there, the failure is
    raised, unless no worker is left that could send it.
    """
    try:
        keep()
    except ClusterError:
        pass
    except Exception as failure:
        if isinstance(error, Interrupted) or not isinstance(error, Exception):
            raise
        error.add_note(f"{what} could not be saved: {failure}")


def exhausted(error: BaseException) -> str | None:
    """Return what is to be done about an error by which the system refuses memory or threads, or None for another."""
    if isinstance(error, MemoryError):
        reason = f" ({error})" if str(error) else ""
        return (
            f"The system gave no more memory{reason}; lower the memory limit and the number of threads (--memory-limit "
            "and --threads), or allow this process more, as by `ulimit -v`."
        )
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return (
            "The system allows this process no more threads; give fewer with --threads, or allow more, as by "
            "`ulimit -u`. A matrix in Zarr needs one thread to be read."
        )
    return None


def warn(message: str, kind: type[Warning]) -> None:
    """Warn of something at the line from which dnmf was called, be it through scikit-learn.

    A fixed number of frames would not do: scikit-learn lays more of them around some methods than around others.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] in PASSED_OVER:
        frame, level = frame.f_back, level + 1
    warnings.warn(seen(message), kind, stacklevel=level)


def warn_of_unseen(unseen: tuple[int, int], transposed: bool) -> None:
    """Warn of rows and columns of V, as streamed, that have no observed entry, if there are any."""
    rows, columns = unseen[::-1] if transposed else unseen
    if rows or columns:
        warn(
            f"{rows} rows and {columns} columns of V have no observed entry; their factors are 0. Drop them to be rid "
            "of this warning.",
            DataWarning,
        )


def unknown(
    what: str,
    given: object,
    allowed: Iterable[str],
    beside: str = "",
    known_as: Mapping[str, str] | None = None,
) -> SettingsError:
    """Return the error for a name that is not one of those allowed, with the nearest one that is.

    `beside` is what else is allowed, in words, and `known_as` has names that others give to some.

    >>> print(unknown("solver", "hasl", ["auto", "mu", "hals", "als"]))
    solver='hasl' is not known; allowed are 'auto', 'mu', 'hals' and 'als'. Did you mean 'hals'?
    """
    names = list(allowed)
    words = [*map(repr, names), *filter(None, [beside])]
    listed = " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
    other = (known_as or {}).get(str(given).lower())
    near = [other] if other else difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return SettingsError(f"{what}={given!r} is not known; allowed are {listed}.{hint}")


def seen(given: str) -> str:
    r"""Return a text with what cannot be seen in it written out: names and paths of a store may be anybody's.

    >>> print(seen("a \x1b[2J b"))
    a \x1b[2J b
    """
    return UNSEEN.sub(lambda sign: ascii(sign[0])[1:-1], given)
