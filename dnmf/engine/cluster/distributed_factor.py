"""The long factor H on the workers of a cluster."""

import bisect
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import dask
import numpy as np
from distributed import Future

from dnmf.engine.cluster import tasks
from dnmf.engine.cluster.workers import Workers
from dnmf.engine.factor import Factor, MappedFactor, StackedFactor
from dnmf.kernels.blocks.tiles import Float

# Dask warns that large data should be scattered. But scattered blocks are lost with their worker; these are sent
# through the scheduler, which can send them again.
SENDING = {"distributed.admin.large-graph-warning-threshold": "1TiB"}


class DistributedFactor(Factor):
    """A factor whose blocks are results of tasks, with one future for each group of blocks.

    If a worker is lost, the scheduler runs the tasks of its blocks again. Their lineage grows with every pass until
    `settle` cuts it.
    """

    def __init__(self, workers: Workers, groups: Sequence[range], sees_store: bool = False) -> None:
        self.groups, self._sees_store = groups, sees_store
        self.futures: list[Future | None] = [None] * len(groups)
        self.settled: Factor | None = None
        self.workers = workers
        self._starts = [group.start for group in groups]
        self._last: tuple[int, Sequence[Float]] | None = None

    @property
    def sees_store(self) -> bool:
        """Whether the workers hold the blocks and see the store of the run."""
        return self._sees_store and self.settled is None

    @classmethod
    def of(cls, workers: Workers, groups: Sequence[range], origin: Factor) -> "DistributedFactor":
        """Send the blocks of a factor that only this process can read, by tasks that the scheduler can run again."""
        factor = cls(workers, groups)
        for index in range(len(groups)):
            factor._send(index, origin)
        return factor

    def read(self, block: int) -> Float:
        """Return a copy of a block; the blocks of its group are fetched together and cached."""
        if self.settled is not None:
            return self.settled.read(block)
        index = bisect.bisect_right(self._starts, block) - 1
        if self._last is None or self._last[0] != index:
            future = self.futures[index]
            assert future is not None
            with self.workers.explained():
                self._last = index, self.workers.gather([future])[0]
        return np.array(self._last[1][block - self._starts[index]], order="C")

    def settle(self, stored: Factor | None) -> int:
        """Cut the lineage: read from storage that all workers see, or send the blocks again; return the bytes sent."""
        sent = 0
        if stored is not None:
            self.settled, self.futures = stored, []
        elif self.settled is None:
            sent = sum(self._send(index, self) for index in range(len(self.groups)))
        self._last = None
        return sent

    def each_chunk(self, bounds: Sequence[int], width: int, act: Callable[[int, Float], str]) -> list[str]:
        """Run `act` on the workers for every chunk of `width` columns, each where the group of its first column is.

        After an error, no `act` is running any more: the caller may delete what they wrote.
        """
        client, packed = self.workers.client, tasks.pack(act)
        edges = [bounds[start] for start in self._starts] + [bounds[-1]]
        futures = []
        for index, (first, stop) in enumerate(itertools.pairwise(edges)):
            starts = range(-(-first // width) * width, stop, width)
            if starts:
                end = min(starts[-1] + width, bounds[-1])
                last = bisect.bisect_left(edges, end)
                groups = self.futures[index:last]
                futures.append(client.submit(tasks.act_on_chunks, packed, starts, width, first, groups, pure=False))
        with self.workers.explained(), self.workers.ended_with(futures):
            return [digest for digests in self.workers.gather(futures) for digest in digests]

    def drop(self) -> None:
        """Free the blocks on the workers."""
        self.futures, self._last = [], None

    def _send(self, index: int, origin: Factor) -> int:
        packed = tasks.pack([origin.read(block) for block in self.groups[index]])
        with dask.config.set(SENDING):
            self.futures[index] = self.workers.client.submit(tasks.unpack, packed, pure=False)
        return len(packed)


class TaskInput(NamedTuple):
    """How the tasks of a pass get a factor.

    Attributes
    ----------
    H
        The factor, if the workers read it themselves.
    make
        Computes a block of it from the one that the task is given, or None.
    given
        The future of the blocks of every group, or None.
    """

    H: Factor | None
    make: Callable[[int, Float], Float] | None
    given: list[Any]


def stacked_factors(H: Factor | None) -> Sequence[Factor]:
    """Return the factors that are stacked in one; none for None."""
    if H is None:
        return ()
    return H.parts if isinstance(H, StackedFactor) else (H,)


def where_settled(H: Factor) -> Factor:
    """Return a factor that reads a settled one from storage, also below functions of its blocks."""
    if isinstance(H, MappedFactor):
        return MappedFactor(where_settled(H.origin), H.make)
    return H.settled if isinstance(H, DistributedFactor) and H.settled is not None else H


def task_input(workers: Workers, groups: Sequence[range], H: Factor) -> TaskInput:
    """Return how the tasks of a pass get H."""
    nothing: list[Any] = [None] * len(groups)
    H = where_settled(H)
    if H.shared:
        return TaskInput(H, None, nothing)
    make, origin = (H.make, H.origin) if isinstance(H, MappedFactor) else (None, H)
    if not isinstance(origin, DistributedFactor):
        origin = DistributedFactor.of(workers, groups, origin)
    return TaskInput(None, make, list(origin.futures))
