"""The machine that this process runs on, and how many threads its products take."""

import functools
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import dask.system
from threadpoolctl import ThreadpoolController

from dnmf.errors import DiskError

# Calls a function for each of some things and gives what it returned in their order, as `map` does.
Each = Callable[..., Iterable[Any]]


@contextmanager
def single_threaded_products() -> Iterator[None]:
    """Keep BLAS to one thread for as long as this lasts: the tasks are the threads, and the bits stay the same."""
    with _thread_pools().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _thread_pools() -> ThreadpoolController:
    """Return the thread pools of the libraries that are loaded; looking for them takes longer than a small pass."""
    return ThreadpoolController()


def multiplier() -> str:
    """Return the library that multiplies matrices here, and the processor that it takes this one for."""
    libraries = (pool for pool in _thread_pools().info() if pool["user_api"] == "blas")
    told = {" ".join(filter(None, [pool["internal_api"], pool.get("architecture")])) for pool in libraries}
    return " and ".join(sorted(told))


@contextmanager
def at_once(threads: int) -> Iterator[Each]:
    """Yield what does the work of `map` with so many threads, one call after another where that is one."""
    if threads == 1:
        yield map
        return
    with ThreadPoolExecutor(threads) as pool:
        yield pool.map


def cores() -> int:
    """Return the number of cores this process may use, by affinity and control group."""
    return int(dask.system.CPU_COUNT)


def usable_memory() -> int:
    """Return the bytes of memory this process may use: the machine's, its control groups' and its own limits."""
    from distributed.system import (
        memory_limit,  # asked once; its import takes a moment that most calls can save
    )

    return int(min([memory_limit(), *_group_limits()]))


def _group_limits() -> Iterator[int]:
    """Yield the memory limits of the control groups (version 2) that hold this process."""
    root = Path("/sys/fs/cgroup")
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        folder = root / line.rpartition(":")[2].lstrip("/")
        for place in (folder, *folder.parents):
            try:
                yield int((place / "memory.max").read_text())
            except (OSError, ValueError):
                continue


def scratch_folder() -> Path | None:
    """Return Dask's own folder for temporary files, if one is configured."""
    folder: Any = dask.config.get("temporary-directory", None)
    return Path(folder) if folder else None


class SpillFolder:
    """A folder below Dask's temporary directory that is deleted with the last run or factor that holds it."""

    def __init__(self) -> None:
        try:
            self.path = Path(tempfile.mkdtemp(prefix="dnmf-", dir=scratch_folder()))
        except OSError as error:
            raise DiskError(
                f"A folder for temporary files could not be made ({error}); set TMPDIR, or temporary-directory in "
                "Dask's configuration, to a folder with room that can be written."
            ) from error
        weakref.finalize(self, _delete, self.path, os.getpid())


def _delete(folder: Path, owner: int) -> None:
    """Delete a folder, but not as the child of the process that it belongs to."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
