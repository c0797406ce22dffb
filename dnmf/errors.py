"""Errors and warnings: what was given, what is allowed and what to do."""

import difflib
import importlib
import re
import reprlib
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any

# Characters that a browser does not show or that move the cursor of a terminal: controls, and signs that change the
# direction of the text around them.
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# Packages whose code users cannot change: a warning points at the line that called them.
PASSED_OVER = {"dnmf", "sklearn", "joblib", "contextlib"}
# The extra of dnmf that installs an optional package.
EXTRAS = {
    "anndata": "anndata",
    "asyncssh": "ssh",
    "dask_cloudprovider": "aws",
    "dask_jobqueue": "jobqueue",
    "dask_kubernetes": "kubernetes",
    "h5netcdf": "xarray",
    "h5py": "hdf5",
    "hdf5plugin": "filters",
    "imagecodecs": "tiff",
    "matplotlib": "plot",
    "pandas": "frames",
    "PIL": "plot",
    "pyarrow": "tables",
    "spectral": "envi",
    "tifffile": "tiff",
    "xarray": "xarray",
}

# Changes the message of a warning to the words of the interface in use.
IN_WORDS: ContextVar[Callable[[str], str]] = ContextVar("IN_WORDS", default=str)


class DnmfError(Exception):
    """Base class of all errors of dnmf."""

    def __str__(self) -> str:
        """Return the message with control characters escaped: it may contain names and paths."""
        return seen(super().__str__())


class SettingsError(DnmfError, ValueError):
    """An option has an unknown name or an invalid value."""


class DataError(DnmfError, ValueError):
    """The matrix or a given factor is not valid."""


class BudgetError(DnmfError, MemoryError):
    """The memory limit is too small for the requested work."""


class ReadError(DnmfError, OSError):
    """A block of the matrix could not be read."""


class StoreError(DnmfError, OSError):
    """A store cannot be created, opened, written or resumed."""


class DiskError(StoreError):
    """A store cannot be written because the disk is full or fails."""


class ClusterError(DnmfError, RuntimeError):
    """A cluster cannot be reached, is not suitable, or was lost."""


class MissingExtraError(DnmfError, ImportError):
    """An optional package is not installed."""


class Interrupted(DnmfError):
    """A run was stopped on request, between two blocks; its state is complete."""


class StoreWarning(UserWarning):
    """A store is damaged, and an older checkpoint is used."""


class DataWarning(UserWarning):
    """Part of the matrix cannot be used or represented, or a penalty or an option has no effect."""


class ClusterWarning(UserWarning):
    """The cluster setup is slower than necessary or not bit-reproducible."""


def needed(module: str, what: str, extra: str | None = None) -> Any:
    """Import a module of an optional package, or raise MissingExtraError with the feature that needs it.

    >>> needed("math", "counting").floor(1.5)
    1
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing_extra(module.partition(".")[0], what, extra) from error


def missing_extra(package: str, what: str, extra: str | None = None) -> MissingExtraError:
    """Return the error for an optional package that is not installed."""
    return MissingExtraError(
        f"{what} needs the package {package.replace('_', '-')}; install it with: "
        f"pip install 'dnmf[{extra or EXTRAS[package]}]'"
    )


def keep_before(error: BaseException, keep: Callable[[], object], what: str) -> None:
    """Save the state of a run that an error ends, before the error is raised again.

    If saving fails too, the error gets a note. If the run was stopped on request, the failure is raised instead, except
    for a lost cluster: the caller relies on the checkpoint.
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
    """Return advice about an error caused by a lack of memory or threads, or None for any other error."""
    if isinstance(error, MemoryError):
        reason = f" ({error})" if str(error) else ""
        return (
            f"The system is out of memory{reason}; lower the memory limit and the number of threads (--memory-limit "
            "and --threads), or raise the limit of this process, as by `ulimit -v`."
        )
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return (
            "The system allows this process no more threads; give fewer with --threads, or raise the limit, as by "
            "`ulimit -u`. Reading a matrix in Zarr needs one thread."
        )
    return None


def warn(message: str, kind: type[Warning]) -> None:
    """Issue a warning at the line that called dnmf, directly or through scikit-learn.

    The number of frames is counted, since scikit-learn wraps some methods more often than others.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] in PASSED_OVER:
        frame, level = frame.f_back, level + 1
    warnings.warn(seen(IN_WORDS.get()(message)), kind, stacklevel=level)


def warn_of_unseen(unseen: tuple[int, int], transposed: bool, zeros: bool = False) -> None:
    """Warn if rows or columns of V, as streamed, have no observed entry; or are 0, and their factors must sum to 1."""
    rows, columns = unseen[::-1] if transposed else unseen
    if not (rows or columns):
        return
    fault = "have no observed entry; their factors are 0, or any that sum to 1 if they must"
    if zeros:
        fault = "are 0 wherever the components are not, and their factors must sum to 1: these shares mean nothing"
    warn(f"{rows} rows and {columns} columns of V {fault}. Drop them to avoid this warning.", DataWarning)


def unknown(
    what: str,
    given: object,
    allowed: Iterable[str],
    also: str = "",
    known_as: Mapping[str, str | tuple[str, ...]] | None = None,
) -> SettingsError:
    """Return the error for an unknown name, with the nearest known one.

    `also` describes what is also allowed, and `known_as` maps names used by other packages to known ones.

    >>> print(unknown("solver", "hasl", ["auto", "mu", "hals", "als"]))
    solver='hasl' is not known; allowed are 'auto', 'mu', 'hals' and 'als'. Did you mean 'hals'?
    """
    names = list(allowed)
    words = [*map(repr, names), *filter(None, [also])]
    listed = " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
    hint = did_you_mean(given, names, known_as)
    return SettingsError(f"{what}={given!r} is not known; allowed are {listed}.{hint}")


def no_effect(name: str, value: object, users: str, got: str = "none") -> SettingsError:
    """Return the error for an option that nothing uses, with what uses it and what was given instead.

    >>> print(no_effect("keep_checkpoints", 5, "a store"))
    keep_checkpoints=5 has no effect: it is for a store; got none. Leave keep_checkpoints out, or give what it is for.
    """
    given = f"{name}={reprlib.repr(value)}"
    return SettingsError(
        f"{given} has no effect: it is for {users}; got {got}. Leave {name} out, or give what it is for."
    )


def did_you_mean(given: object, names: list[str], known_as: Mapping[str, str | tuple[str, ...]] | None = None) -> str:
    """Return a hint at the known name that is meant by a given one, or an empty text.

    `known_as` maps names used by other packages, in lower case, to a known one, or to several of which the first known
    one is taken; otherwise the most similar name is.

    >>> did_you_mean("slover", ["loss", "solver"]), did_you_mean("n_jobs", ["n_runs", "threads"], {"n_jobs": "threads"})
    (" Did you mean 'solver'?", " Did you mean 'threads'?")
    """
    meant = (known_as or {}).get(str(given).lower(), ())
    near = [name for name in ((meant,) if isinstance(meant, str) else meant) if name in names]
    near = near or difflib.get_close_matches(str(given), names, n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def seen(given: str) -> str:
    r"""Return a text with invisible characters escaped: names and paths in a store may have any origin.

    >>> print(seen("a \x1b[2J b"))
    a \x1b[2J b
    """
    return UNSEEN.sub(lambda sign: ascii(sign[0])[1:-1], given)
