"""The tasks of one pass on a cluster, a bounded number of them under way, and the tree of their sums."""

import contextlib
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from distributed import Future, KilledWorker

from dnmf.engine.cluster import tasks
from dnmf.engine.cluster.workers import POLL_S, lost
from dnmf.engine.passes import BadBlock

if TYPE_CHECKING:
    from dnmf.engine.cluster.engine import ClusterEngine

# Sums that are added up in one task: a power of two, so that the tree is the one of neighbours in pairs.
FAN_IN = 8
# Tasks in flight for every thread of the cluster; when half of them have ended, new ones go out together, so that a
# worker has its next one when it ends one.
AHEAD = 4


class TaskQueue:
    """The tasks of one pass, a bounded number of them under way."""

    def __init__(
        self,
        engine: "ClusterEngine",
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
            several = self.indices[place : place + most - len(self._running)]
            self._submit(several)
            place += len(several)
        while any(index < self._first_bad for index in self._running):
            self._wait()
        if self._bad is not None:
            raise self.engine.source.layout.place(self._bad.block, self._bad.entry)
        self._running[-1] = total = self._close()
        total.add_done_callback(partial(self._report, -1))
        self._wait()
        return self.engine.workers.bring([total], self.engine.workers.check)[0]

    def _limit(self) -> int:
        """Return how many tasks may be under way."""
        return max(1, AHEAD * self.engine.workers.slots(self.engine.threads))

    def _submit(self, indices: Sequence[int]) -> None:
        """Start the tasks of some groups, which one message to the scheduler does in half the time of one for each."""
        for index, sums in zip(indices, self.submit(indices), strict=True):
            sums.add_done_callback(partial(self._report, index))
            self._running[index] = sums
            self._add(sums, 0)

    def _report(self, index: int, future: Future) -> None:
        self._done.put((index, future))

    def _wait(self) -> None:
        """Wait until a task has ended, and see how."""
        since = time.monotonic()
        while True:
            self.engine.workers.check()
            self.engine.workers.slots()
            try:
                index, future = self._done.get(timeout=POLL_S)
                break
            except queue.Empty:
                since = self.engine.workers.nudge(since)
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
        elif index >= 0:  # it may have been lost again, with its worker: then the scheduler has it made again
            layout, group = self.engine.source.layout, self.engine.groups[index]
            if read := sum(layout.block_bytes(block) for block in group if self.read(block)):
                self.engine.on_block(read)

    def _also_killed(self) -> Iterator[int]:
        """Yield the groups that Dask blames together with another one: those that waited on the same workers."""
        with contextlib.suppress(queue.Empty):
            while True:
                index, future = self._done.get(timeout=POLL_S)
                if future.status == "error" and isinstance(future.exception(), KilledWorker):
                    yield index

    def _add(self, sums: Future, level: int) -> None:
        """Put sums in their place in the tree, and add up those that are whole."""
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(sums)
        if len(self._levels[level]) == FAN_IN:
            self._add(self._sum(level), level + 1)

    def _sum(self, level: int) -> Future:
        together = self.engine.client.submit(tasks.add_sums, *self._levels[level], pure=False)
        self._levels[level] = []
        return together

    def _close(self) -> Future:
        """Return the sum of all."""
        for level in range(len(self._levels) - 1):
            if self._levels[level]:
                self._add(self._sum(level) if len(self._levels[level]) > 1 else self._levels[level].pop(), level + 1)
        last = self._levels[-1]
        return self._sum(len(self._levels) - 1) if len(last) > 1 else last[0]
