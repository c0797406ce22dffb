"""One pass over V on Dask's threads: every block is read once, by one of a fixed set of tasks."""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import dask
import dask.system
from threadpoolctl import ThreadpoolController

from dnmf.errors import Interrupted
from dnmf.kernels.panels import BadEntry, Block
from dnmf.kernels.scratch import Scratch
from dnmf.plan import group_bounds
from dnmf.sources.layout import Source


class Sums(Protocol):
    """What the visits of a pass add up."""

    def add(self, other: Self) -> Self:
        """Return these sums followed by the others."""


S = TypeVar("S", bound=Sums)
Visit = Callable[[int, Block, S, Scratch], None]


class Engine:
    """Runs passes over one source.

    The blocks are cut into groups that depend on the matrix alone. A task works through its group and adds up one
    partial sum; the partial sums are added in a fixed tree. So no number of threads changes a bit of the result.

    Parameters
    ----------
    source
        What is read.
    groups, threads
        Number of tasks of a pass, and how many of them run at once.
    on_block
        Called with the bytes of every block that was visited, from the thread that did.
    cancel
        Once this is set, a pass ends with `Interrupted` before the next block.
    """

    def __init__(
        self,
        source: Source,
        groups: int,
        threads: int,
        on_block: Callable[[int], None] = lambda count: None,
        cancel: threading.Event | None = None,
    ) -> None:
        self.source, self.threads, self.on_block = source, threads, on_block
        self.groups = group_bounds(source.layout.blocks, groups)
        self.cancel = cancel or threading.Event()
        self._local = threading.local()

    def one_pass(self, visit: Visit[S], zero: Callable[[], S]) -> S:
        """Visit every block once and return the sums.

        Raises
        ------
        DataError
            With the place of the first entry, block by block, that is negative or not finite.
        Interrupted
            If the pass was cancelled.
        """
        trouble = Trouble()
        level = [dask.delayed(self._work, pure=False)(group, visit, zero, trouble) for group in self.groups]
        add = dask.delayed(_add, pure=False)
        while len(level) > 1:
            pairs = [add(*level[i : i + 2]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
            level = pairs
        try:
            total: S = level[0].compute(scheduler="threads", num_workers=self.threads, optimize_graph=False)
        except BaseException:
            # Dask does not wait for the tasks that are under way: they end before their next block.
            trouble.failed = True
            raise
        if trouble.bad:
            raise self.source.layout.place(*min(trouble.bad, key=itemgetter(0)))
        return total

    def _work(self, group: range, visit: Visit[S], zero: Callable[[], S], trouble: "Trouble") -> S:
        scratch: Scratch = self._local.__dict__.setdefault("scratch", Scratch())
        layout = self.source.layout
        sums = zero()
        for block in group:
            if self.cancel.is_set() or trouble.failed:
                raise Interrupted("The run was asked to stop.")
            if any(first < block for first, _ in trouble.bad):
                break
            try:
                V = self.source.read(block, scratch)
                if block + 1 in group:
                    self.source.expect(block + 1)
                visit(block, V, sums, scratch)
            except BadEntry as error:
                trouble.bad.append((block, error))
                break
            self.on_block(layout.block_bytes(block))
        return sums


class Trouble:
    """What has gone wrong in a pass so far, for all of its tasks to know.

    A bad entry ends the tasks beyond its block. Those before it go on, since the first one is to be named.
    """

    def __init__(self) -> None:
        self.failed = False
        self.bad: list[tuple[int, BadEntry]] = []


def _add(first: S, second: S) -> S:
    return first.add(second)


@contextmanager
def single_threaded_products() -> Iterator[None]:
    """Keep BLAS to one thread for as long as this lasts: the tasks are the threads, and the bits stay the same."""
    with _thread_pools().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _thread_pools() -> ThreadpoolController:
    """Return the thread pools of the libraries that are loaded; looking for them takes longer than a small pass."""
    return ThreadpoolController()


def cores() -> int:
    """Return the number of cores this process may use, by affinity and control group."""
    return int(dask.system.CPU_COUNT)


def usable_memory() -> int:
    """Return the bytes of memory this process may use: the machine's, its control groups' and its own limits."""
    from distributed.system import (
        memory_limit,  # asked once; its import takes a moment that most calls can save
    )

    return min([memory_limit(), *_group_limits()])


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
