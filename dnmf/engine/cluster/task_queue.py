"""The tasks of one pass on a cluster, of which a bounded number is in flight, and the tree of their sums."""

import contextlib
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from distributed import Client, Future, KilledWorker

from dnmf.engine.cluster import tasks
from dnmf.engine.cluster.reach import POLL_S
from dnmf.engine.cluster.workers import Workers, lost
from dnmf.engine.passes import BadBlock
from dnmf.errors import ClusterError
from dnmf.sources.base import Source

# Sums that one task adds: a power of two, so that the tree is that of pairs of neighbours.
FAN_IN = 8
# Tasks in flight for every thread of the cluster. When half of them are done, new ones are submitted together; so a
# worker always has a next task.
AHEAD = 4


class PassEngine(Protocol):
    """The members of a cluster's engine that a queue needs."""

    source: Source
    workers: Workers
    client: Client
    groups: list[range]
    tasks: int
    on_block: Callable[[int], None]

    def explain(self, index: int, error: KilledWorker) -> ClusterError:
        """Return the error for a group that has killed one worker after another."""


class TaskQueue:
    """Runs the tasks of one pass, with a bounded number in flight.

    Parameters
    ----------
    engine
        The engine of the pass.
    indices
        Numbers of the groups to visit.
    submit
        Submits the tasks of some groups, and returns the futures of their sums.
    read
        Returns whether a block is read, and so counted.
    """

    def __init__(
        self,
        engine: PassEngine,
        indices: Sequence[int],
        submit: Callable[[Sequence[int]], list[Future]],
        read: Callable[[int], bool],
    ) -> None:
        self.engine, self.indices, self.submit, self.read = engine, indices, submit, read
        self._running: dict[int, Future] = {}
        self._done: queue.SimpleQueue[tuple[int, Future]] = queue.SimpleQueue()
        self._levels: list[list[Future]] = [[]]
        self._bad: BadBlock | None = None
        self._first_bad = len(engine.groups)

    def run(self) -> Any:
        """Run all tasks, and return the sum of their sums."""
        groups, place = len(self.indices), 0
        while place < groups and self._bad is None:
            most = self._limit()
            if len(self._running) > most // 2:
                self._wait()
                continue
            batch = self.indices[place : place + most - len(self._running)]
            self._submit(batch)
            place += len(batch)
        while any(index < self._first_bad for index in self._running):
            self._wait()
        if self._bad is not None:
            raise self.engine.source.layout.place(self._bad.block, self._bad.entry)
        self._running[-1] = total = self._close()
        total.add_done_callback(partial(self._report, -1))
        self._wait()
        return self.engine.workers.bring([total], self.engine.workers.check)[0]

    def _limit(self) -> int:
        """Return how many tasks may be in flight."""
        return max(1, AHEAD * self.engine.workers.slots(self.engine.tasks))

    def _submit(self, indices: Sequence[int]) -> None:
        """Submit the tasks of some groups by one message to the scheduler, in half the time of a message for each."""
        for index, sums in zip(indices, self.submit(indices), strict=True):
            sums.add_done_callback(partial(self._report, index))
            self._running[index] = sums
            self._add(sums, 0)

    def _report(self, index: int, future: Future) -> None:
        self._done.put((index, future))

    def _wait(self) -> None:
        """Wait until a task has ended, and handle its outcome."""
        since = time.monotonic()
        while True:
            self.engine.workers.check()
            self.engine.workers.slots()
            try:
                index, future = self._done.get(timeout=POLL_S)
                break
            except queue.Empty:
                since = self.engine.workers.wake(since)
        del self._running[index]
        if future.status == "cancelled":
            raise lost()
        if future.status == "error":
            error = future.exception()
            if isinstance(error, KilledWorker):
                raise self.engine.explain(min([index, *self._also_killed()]), error)
            if not isinstance(error, BadBlock):
                raise error
            if index < self._first_bad:
                self._bad, self._first_bad = error, index
        elif index >= 0:  # if its worker was lost since, the scheduler runs the task again
            layout, group = self.engine.source.layout, self.engine.groups[index]
            if read := sum(layout.block_bytes(block) for block in group if self.read(block)):
                self.engine.on_block(read)

    def _also_killed(self) -> Iterator[int]:
        """Yield the other groups that Dask blames for the lost workers, because they waited there."""
        with contextlib.suppress(queue.Empty):
            while True:
                index, future = self._done.get(timeout=POLL_S)
                if future.status == "error" and isinstance(future.exception(), KilledWorker):
                    yield index

    def _add(self, sums: Future, level: int) -> None:
        """Add sums to a level of the tree, and submit the addition of a level that is full."""
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(sums)
        if len(self._levels[level]) == FAN_IN:
            self._add(self._sum(level), level + 1)

    def _sum(self, level: int) -> Future:
        total = self.engine.client.submit(tasks.add_sums, *self._levels[level], pure=False)
        self._levels[level] = []
        return total

    def _close(self) -> Future:
        """Return the future of the total."""
        for level in range(len(self._levels) - 1):
            if self._levels[level]:
                self._add(self._sum(level) if len(self._levels[level]) > 1 else self._levels[level].pop(), level + 1)
        last = self._levels[-1]
        return self._sum(len(self._levels) - 1) if len(last) > 1 else last[0]
