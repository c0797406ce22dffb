"""Compile functions, and keep their machine code wherever this process may write."""

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numba
from numba import config
from numba.core.caching import FunctionCache


class KernelCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache, where a folder that is full, read-only or damaged costs the time to compile, and no more."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the machine code for a signature, or None where it cannot be read."""
        with suppress(Exception):  # of a damaged file, pickle raises nearly anything
            return super().load_overload(sig, target_context)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the machine code for a signature, if possible."""
        with suppress(Exception):  # it reads the index before, which may be damaged
            super().save_overload(sig, data)


def compiled(function: Callable[..., Any], fastmath: set[str]) -> Callable[..., Any]:
    """Compile a function that releases the interpreter lock, with a cache on disk where a folder can be found."""
    dispatcher: Any = numba.njit(nogil=True, error_model="numpy", fastmath=fastmath)(function)
    cache = cache_of(function)
    if cache is not None:
        dispatcher._cache = cache
    return dispatcher  # type: ignore[no-any-return]


def cache_of(function: Callable[..., Any]) -> KernelCache | None:
    """Return a cache where Numba keeps its own: `NUMBA_CACHE_DIR`, by the source, or at home; else a temporary one."""
    # Without a home, Numba would make a folder of the name "~".
    if config.CACHE_DIR or os.path.isabs(os.path.expanduser("~")):
        with suppress(OSError, RuntimeError):  # the latter where none of its folders can be written
            return KernelCache(function)
    with suppress(OSError, RuntimeError), _cached_in(temporary_folder()):
        return KernelCache(function)
    return None


def temporary_folder() -> Path:
    """Return a folder for machine code below the one for temporary files; nobody else can write to it.

    Raises
    ------
    OSError
        If there is none, or somebody else has made it: what is read from it is run.
    """
    if not hasattr(os, "getuid"):
        raise OSError("Only systems with user numbers tell whose a folder is.")
    path = Path(tempfile.gettempdir()) / f"dnmf-kernels-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise OSError(f"{path} can be written by others.")
    return path


@contextmanager
def _cached_in(folder: Path) -> Iterator[None]:
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = before
