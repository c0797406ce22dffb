"""Compile functions, and cache their machine code in a folder that this process may write."""

import functools
import hashlib
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numba
from numba import config
from numba.core.caching import FunctionCache, IndexDataCacheFile

LOGGER = logging.getLogger("dnmf.kernels")
KERNELS = Path(__file__).parent.parent


class KernelCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache; where its folder is full, read-only or damaged, functions are compiled again.

    The machine code of a function has those that it calls inlined, so it is valid for one state of all modules with
    functions, where Numba compares the module of the function alone.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp(), digest_of(KERNELS)
        self._cache_file = IndexDataCacheFile(self._cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the machine code for a signature, or None where it cannot be read."""
        found = None
        with suppress(Exception):  # of a damaged file, pickle raises nearly anything
            found = super().load_overload(sig, target_context)
        if found is None:
            announce()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the machine code for a signature, if possible."""
        with suppress(Exception):  # it reads the index before, which may be damaged
            super().save_overload(sig, data)


@functools.cache
def digest_of(folder: Path) -> bytes:
    """Return a digest of all modules in a folder and those below it."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


@functools.cache
def announce() -> None:
    """Log, once in a process, that functions are compiled: the first run of a kind takes much longer than the next."""
    LOGGER.info("Functions are compiled, which takes up to a minute; their machine code is kept for later runs.")


def compiled(function: Callable[..., Any], fastmath: set[str]) -> Callable[..., Any]:
    """Compile a function that releases the interpreter lock, with a cache on disk if a folder can be found.

    Compiled functions that it calls are always inlined. Else a process that has just compiled both may take another
    copy of the called one than a process that loads them from the cache, and the copies may round differently.
    """
    dispatcher: Any = numba.njit(nogil=True, error_model="numpy", fastmath=fastmath, forceinline=True)(function)
    cache = cache_of(function)
    if cache is not None:
        dispatcher._cache = cache
    return dispatcher  # type: ignore[no-any-return]


def cache_of(function: Callable[..., Any]) -> KernelCache | None:
    """Return a cache in a folder of Numba's choice, by `NUMBA_CACHE_DIR`, the source or home, else a temporary one."""
    # Without a home, Numba would make a folder of the name "~".
    if config.CACHE_DIR or os.path.isabs(os.path.expanduser("~")):
        with suppress(OSError, RuntimeError):  # the latter where none of its folders can be written
            return KernelCache(function)
    with suppress(OSError, RuntimeError), _cached_in(temporary_folder()):
        return KernelCache(function)
    return None


def temporary_folder() -> Path:
    """Return a temporary folder for machine code that only this user can write.

    Raises
    ------
    OSError
        If there is none, or another user can write it: the code in it is executed.
    """
    if not hasattr(os, "getuid"):
        raise OSError("The owner of a folder is only known on systems with user numbers.")
    path = Path(tempfile.gettempdir()) / f"dnmf-kernels-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise OSError(f"{path} can be written by other users.")
    return path


@contextmanager
def _cached_in(folder: Path) -> Iterator[None]:
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = before
