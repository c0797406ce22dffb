"""One pass on Dask's threads, in this process."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, cast

import dask.threaded

from dnmf.engine.groups import S, Work, visit_block
from dnmf.errors import Interrupted
from dnmf.factor import Factor, Room
from dnmf.kernels.panels import BadEntry
from dnmf.kernels.scratch import Scratch
from dnmf.plan import group_bounds
from dnmf.sources.layout import Source


class ThreadEngine:
    """The engine of one process.

    Parameters
    ----------
    source
        What is read.
    groups, threads
        Number of tasks of a pass, and how many of them run at once.
    on_block
        Called with the bytes of every block that was visited, from the thread that did.
    cancelled
        Once this is set, a pass ends with `Interrupted` before the next block.
    """

    def __init__(
        self,
        source: Source,
        groups: int,
        threads: int,
        on_block: Callable[[int], None] = lambda count: None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self.source, self.threads, self.on_block = source, threads, on_block
        self.groups = group_bounds(source.layout.blocks, groups)
        self.cancelled = cancelled or threading.Event()
        self._local = threading.local()

    def cancel(self) -> None:
        """End the pass that is under way before its next block, and every later one at once."""
        self.cancelled.set()

    def one_pass(self, work: Work[S], H: Factor | None = None, room: Factor | None = None) -> S:
        """Visit every block once and return the sums; `Engine` says more."""
        trouble = Trouble()
        room = cast(Room | None, room)
        visits = [partial(self._visit_group, group, work, H, room, trouble) for group in self.groups]
        graph, last = tree(visits)
        try:
            total: S = dask.threaded.get(graph, last, num_workers=self.threads)
        except BaseException:
            # Dask does not wait for the tasks that are under way: they end before their next block.
            trouble.failed = True
            raise
        if trouble.bad:
            raise self.source.layout.place(*min(trouble.bad, key=itemgetter(0)))
        return total

    def _visit_group(self, group: range, work: Work[S], H: Factor | None, room: Room | None, trouble: "Trouble") -> S:
        scratch: Scratch = self._local.__dict__.setdefault("scratch", Scratch())
        sums = work.zero()
        for block in group:
            if self.cancelled.is_set() or trouble.failed:
                raise Interrupted("The run was asked to stop.")
            if any(first < block for first, _ in trouble.bad):
                break
            h = H.read(block) if H is not None else None
            try:
                new = visit_block(self.source, work, block, block == group[-1], h, sums, scratch)
            except BadEntry as error:
                trouble.bad.append((block, error))
                break
            if room is not None and new is not None:
                room.write(block, new)
            self.on_block(self.source.layout.block_bytes(block))
        return sums


class Trouble:
    """What has gone wrong in a pass so far, for all of its tasks to know.

    A bad entry ends the tasks beyond its block. Those before it go on, since the first one is to be named.
    """

    def __init__(self) -> None:
        self.failed = False
        self.bad: list[tuple[int, BadEntry]] = []


def tree(tasks: Sequence[Callable[[], S]]) -> tuple[dict[Any, Any], Any]:
    """Return Dask's graph of the tasks and of the tree that adds up what they return, and the key of the last sum.

    `dask.delayed` would look for collections in all that a task is given, and takes longer than a pass over little.
    """
    level: list[Any] = [("visit", number) for number in range(len(tasks))]
    graph: dict[Any, Any] = {key: (task,) for key, task in zip(level, tasks, strict=True)}
    height = 0
    while len(level) > 1:
        pairs = {("add", height, i): (_add, *level[i : i + 2]) for i in range(0, len(level) - 1, 2)}
        graph |= pairs
        level = [*pairs, *level[len(level) - len(level) % 2 :]]
        height += 1
    return graph, level[0]


def _add(first: S, second: S) -> S:
    return first.add(second)
