"""The tasks of one pass on a cluster, a bounded number of them under way, and the tree of their sums."""

import contextlib
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from distributed import Future, KilledWorker

from dnmf.engine.cluster import tasks
from dnmf.engine.cluster.workers import GLANCE, lost
from dnmf.engine.passes import BadBlock

if TYPE_CHECKING:
    from dnmf.engine.cluster.engine import ClusterEngine

# Sums that are added up in one task: a power of two, so that the tree is the one of neighbours in pairs.
FAN_IN = 8
# Tasks in flight for every thread of the cluster; when half of them have ended, new ones go out together, so that a
# worker has its next one when it ends one.
AHEAD = 4


class Flight:
    """The tasks of one pass, a bounded number of them under way."""

    def __init__(
        self,
        engine: "ClusterEngine",
        indices: Sequence[int],
        submit: Callable[[Sequence[int]], list[Future]],
        read: Callable[[int], bool],
    ) -> None:
        self.engine, self.indices, self.submit, self.read = engine, indices, submit, read
        self.under_way: dict[int, Future] = {}
        self.arrived: queue.SimpleQueue[tuple[int, Future]] = queue.SimpleQueue()
        self.levels: list[list[Future]] = [[]]
        self.bad: BadBlock | None = None
        self._first_bad = len(engine.groups)

    def land(self) -> Any:
        """Run all tasks, and return the sum of their sums."""
        groups, place = len(self.indices), 0
        while place < groups and self.bad is None:
            most = self._most()
            if len(self.under_way) > most // 2:
                self._wait()
                continue
            several = self.indices[place : place + most - len(self.under_way)]
            self._take_off(several)
            place += len(several)
        while any(index < self._first_bad for index in self.under_way):
            self._wait()
        if self.bad is not None:
            raise self.engine.source.layout.place(self.bad.block, self.bad.entry)
        self.under_way[-1] = total = self._close()
        total.add_done_callback(partial(self._arrive, -1))
        self._wait()
        return self.engine.workers.bring([total], self.engine.workers.check)[0]

    def _most(self) -> int:
        """Return how many tasks may be under way."""
        return max(1, AHEAD * self.engine.workers.slots(self.engine.threads))

    def _take_off(self, indices: Sequence[int]) -> None:
        """Start the tasks of some groups, which one message to the scheduler does in half the time of one for each."""
        for index, sums in zip(indices, self.submit(indices), strict=True):
            sums.add_done_callback(partial(self._arrive, index))
            self.under_way[index] = sums
            self._add(sums, 0)

    def _arrive(self, index: int, future: Future) -> None:
        self.arrived.put((index, future))

    def _wait(self) -> None:
        """Wait until a task has ended, and see how."""
        since = time.monotonic()
        while True:
            self.engine.workers.check()
            self.engine.workers.slots()
            try:
                index, future = self.arrived.get(timeout=GLANCE)
                break
            except queue.Empty:
                since = self.engine.workers.nudge(since)
        del self.under_way[index]
        if future.status == "cancelled":
            raise lost()
        if future.status == "error":
            error = future.exception()
            if isinstance(error, KilledWorker):
                raise self.engine.explain(min([index, *self._also_killed()]), error)
            if not isinstance(error, BadBlock):
                raise error
            if index < self._first_bad:
                self.bad, self._first_bad = error, index
        elif index >= 0:  # it may have been lost again, with its worker: then the scheduler has it made again
            layout, group = self.engine.source.layout, self.engine.groups[index]
            if read := sum(layout.block_bytes(block) for block in group if self.read(block)):
                self.engine.on_block(read)

    def _also_killed(self) -> Iterator[int]:
        """Yield the groups that Dask blames together with another one: those that waited on the same workers."""
        with contextlib.suppress(queue.Empty):
            while True:
                index, future = self.arrived.get(timeout=GLANCE)
                if future.status == "error" and isinstance(future.exception(), KilledWorker):
                    yield index

    def _add(self, sums: Future, level: int) -> None:
        """Put sums in their place in the tree, and add up those that are whole."""
        if level == len(self.levels):
            self.levels.append([])
        self.levels[level].append(sums)
        if len(self.levels[level]) == FAN_IN:
            self._add(self._sum(level), level + 1)

    def _sum(self, level: int) -> Future:
        together = self.engine.client.submit(tasks.add_sums, *self.levels[level], pure=False)
        self.levels[level] = []
        return together

    def _close(self) -> Future:
        """Return the sum of all."""
        for level in range(len(self.levels) - 1):
            if self.levels[level]:
                self._add(self._sum(level) if len(self.levels[level]) > 1 else self.levels[level].pop(), level + 1)
        last = self.levels[-1]
        return self._sum(len(self.levels) - 1) if len(last) > 1 else last[0]
