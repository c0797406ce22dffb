"""The machine that this process runs on: cores, memory, temporary files, and threads of BLAS."""

import contextlib
import functools
import math
import os
import shutil
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import dask.system
from threadpoolctl import ThreadpoolController

from dnmf.errors import DiskError
from dnmf.kernels.blocks.tiles import MapFunction

# Products that take as long as it takes to start a thread and to pass parts of the work to it.
THREAD_WORK = 4_000_000


class ProductLimit:
    """Keeps BLAS on one thread as long as anyone in this process holds the limit.

    The number of threads of BLAS belongs to the process. So it is restored when the last holder has left, and not when
    the one that found it has. Only OpenBLAS with OpenMP has a number for every thread, which its holder restores.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # the garbage collector may close a generator that is a holder
        self._holders = set[tuple[int, object]]()
        self._before: dict[Any, int] = {}

    def hold(self, holder: tuple[int, object], own: dict[Any, int]) -> None:
        """Set the limit for a holder, given with the number of its thread; add the counts of this thread to `own`."""
        with self._lock:
            self._holders.add(holder)
            for pool in _products():
                if (count := pool.get_num_threads()) != 1:
                    (own if _is_of_thread(pool) else self._before).setdefault(pool, count)
                    _let_any_thread_set(pool)
                    pool.set_num_threads(1)

    def release(self, holder: tuple[int, object], own: dict[Any, int]) -> None:
        """Restore the threads of BLAS of this thread, and those of the process unless it has other holders."""
        for pool, count in own.items():
            pool.set_num_threads(count)
        with self._lock:
            self._holders.discard(holder)
            if not self._holders:
                self._restore()

    def forget(self) -> None:
        """Discard the holders in other threads, in a child made by `fork`, which has none of these threads."""
        self._lock = threading.RLock()
        self._holders = {holder for holder in self._holders if holder[0] == threading.get_ident()}
        if not self._holders:
            self._restore()

    def _restore(self) -> None:
        while self._before:
            pool, count = self._before.popitem()
            _let_any_thread_set(pool)
            pool.set_num_threads(count)
            _let_any_thread_set(pool)  # not only the last one of these


def _let_any_thread_set(pool: Any) -> None:
    """Let any thread set the threads of BLAS: threadpoolctl, from 3.8 on, ignores all but the first that did."""
    clear = getattr(pool, "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)


def _is_of_thread(pool: Any) -> bool:
    """Return whether every thread has its own number of threads of BLAS, as threadpoolctl sets it from 3.8 on."""
    return hasattr(pool, "clear_controlling_thread") and pool.threading_layer == "openmp"


def new_threads(count: int) -> ThreadPoolExecutor:
    """Return threads for products, which are limited to one thread of BLAS each where that is set for every thread."""
    return ThreadPoolExecutor(count, initializer=_limit_this_thread)


# Threads that wait for more work, and how many they are.
WAITING = deque[tuple[int, ThreadPoolExecutor]](maxlen=4)


@contextmanager
def threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Yield threads, which are kept for the next work: to start them takes as long as a pass over a small matrix.

    After an exception they end, as soon as what they do is done.
    """
    pool = _waiting_threads(count) or new_threads(count)
    try:
        yield pool
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    WAITING.append((count, pool))


def _waiting_threads(count: int) -> ThreadPoolExecutor | None:
    """Return the threads that wait, if there are as many together."""
    for _ in range(len(WAITING)):
        with contextlib.suppress(IndexError):  # other threads take some, too
            size, pool = WAITING.popleft()
            if size == count:
                return pool
            WAITING.append((size, pool))
    return None


def _limit_this_thread() -> None:
    for pool in _products():
        if _is_of_thread(pool):
            pool.set_num_threads(1)


ONE_THREAD = ProductLimit()


@contextmanager
def single_threaded_products() -> Iterator[None]:
    """Limit BLAS to one thread: the tasks run in parallel instead, and products always give the same bits.

    It may be entered again, and from several threads at once. It is also a decorator.
    """
    holder, own = (threading.get_ident(), object()), dict[Any, int]()
    try:
        ONE_THREAD.hold(holder, own)
        yield
    finally:
        ONE_THREAD.release(holder, own)


@functools.cache
def _thread_pools() -> ThreadpoolController:
    """Return the thread pools of the loaded libraries; finding them takes longer than a small pass."""
    return ThreadpoolController()


@functools.cache
def _products() -> list[Any]:
    """Return the thread pools of BLAS; to ask one for its threads takes less than a tenth of a limit on all pools."""
    return list(_thread_pools().select(user_api="blas").lib_controllers)


def multiplier() -> str:
    """Return the name of the BLAS library, with the processor it detects."""
    libraries = (pool for pool in _thread_pools().info() if pool["user_api"] == "blas")
    names = {" ".join(filter(None, [pool["internal_api"], pool.get("architecture")])) for pool in libraries}
    return " and ".join(sorted(names))


@contextmanager
def parallel_map(count: int, work: float = math.inf) -> Iterator[MapFunction]:
    """Yield a function that works as `map` does, with a number of threads; a single item is left to this one.

    There are no more threads than some work, a number of products, is worth, and none before there are two items, since
    to set them up takes as long as a pass over a tiny matrix.
    """
    count = int(min(count, 1 + work / THREAD_WORK))
    if count == 1:
        yield map
        return
    pools = list[ThreadPoolExecutor]()
    with contextlib.ExitStack() as stack:

        def each(function: Callable[..., Any], *items: Iterable[Any]) -> Iterable[Any]:
            calls = list(zip(*items, strict=True))
            if len(calls) == 1:
                return [function(*calls[0])]
            if not pools:
                pools.append(stack.enter_context(threads(count)))
            return pools[0].map(lambda call: function(*call), calls)

        yield each


def cores() -> int:
    """Return the number of cores that this process may use, by affinity and control group."""
    return int(dask.system.CPU_COUNT)


def usable_memory() -> int:
    """Return the bytes that this process may use: the least of the machine's, its control groups' and its own limit."""
    return int(min([_memory_of_machine(), *_group_limits()]))


@functools.cache
def _memory_of_machine() -> int:
    """Return the memory of the machine or the limit of the process, in bytes, as Dask finds it."""
    from distributed.system import memory_limit  # imported here, since most calls do not need it

    return int(memory_limit())


def _group_limits() -> Iterator[int]:
    """Yield the memory limits of the control groups (version 2) that hold this process."""
    for place in _limit_files():
        with contextlib.suppress(OSError, ValueError):
            yield int(place.read_text())


@functools.cache
def _limit_files() -> list[Path]:
    """Return the files with the memory limits of the control groups that hold this process, which is moved to no other.

    The group at the root has no such file.
    """
    try:
        groups = Path("/proc/self/cgroup").read_text()
    except OSError:
        return []
    root = Path("/sys/fs/cgroup")
    folders = [root / line.removeprefix("0::/") for line in groups.splitlines() if line.startswith("0::/")]
    places = [place for folder in folders for place in (folder, *folder.parents) if place.is_relative_to(root)]
    return [place / "memory.max" for place in places if (place / "memory.max").exists()]


def scratch_folder() -> Path | None:
    """Return the folder for temporary files in Dask's configuration, if any."""
    folder: Any = dask.config.get("temporary-directory", None)
    return Path(folder) if folder else None


class SpillFolder:
    """A temporary folder that is deleted with the last run or factor that holds it."""

    def __init__(self) -> None:
        try:
            self.path = Path(tempfile.mkdtemp(prefix="dnmf-", dir=scratch_folder()))
        except OSError as error:
            raise DiskError(
                f"A temporary folder could not be created ({error}); set TMPDIR, or temporary-directory in Dask's "
                "configuration, to a writable folder with free space."
            ) from error
        weakref.finalize(self, _delete, self.path, os.getpid())


def _delete(folder: Path, owner: int) -> None:
    """Delete a folder, unless this is a child of the process that owns it."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
