"""The long factor H on the workers of a cluster."""

import bisect
import itertools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import dask
import numpy as np
from distributed import Future

from dnmf.engine.cluster import tasks
from dnmf.engine.cluster.workers import Workers
from dnmf.engine.factor import Factor, MappedFactor, StackedFactor
from dnmf.kernels.blocks.tiles import Float

# Dask advises to scatter what is large. Scattered blocks are lost with their worker: these go by the scheduler.
SENDING = {"distributed.admin.large-graph-warning-threshold": "1TiB"}


class DistributedFactor:
    """A factor whose blocks are results of tasks, one future to a group of blocks.

    Where a worker is lost, the scheduler makes its blocks again from what they were made of. That lineage grows with
    every pass until `settle` cuts it.
    """

    unscaled: ClassVar[bool] = False
    shared: ClassVar[bool] = False

    def __init__(self, workers: Workers, groups: Sequence[range], sees_store: bool = False) -> None:
        self.groups, self._sees_store = groups, sees_store
        self.futures: list[Future | None] = [None] * len(groups)
        self.settled: Factor | None = None
        self.workers = workers
        self._starts = [group.start for group in groups]
        self._last: tuple[int, Sequence[Float]] | None = None

    @property
    def sees_store(self) -> bool:
        """Whether the workers hold the blocks, and see the store that they are to be saved in."""
        return self._sees_store and self.settled is None

    @classmethod
    def of(cls, workers: Workers, groups: Sequence[range], origin: Factor) -> "DistributedFactor":
        """Send the blocks of a factor that only this process can read, so that the scheduler can make them again."""
        factor = cls(workers, groups)
        for index in range(len(groups)):
            factor._send(index, origin)
        return factor

    def read(self, block: int) -> Float:
        """Return a copy of a block; those of its group come along, and wait to be asked for."""
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
        """Cut the lineage: read from a place that every worker sees, or send the blocks anew; return the bytes sent."""
        sent = 0
        if stored is not None:
            self.settled, self.futures = stored, []
        elif self.settled is None:
            sent = sum(self._send(index, self) for index in range(len(self.groups)))
        self._last = None
        return sent

    def each_chunk(self, bounds: Sequence[int], width: int, act: Callable[[int, Float], str]) -> list[str]:
        """Let the workers act on every chunk of `width` columns; a group's worker on those that begin there."""
        client, packed = self.workers.client, tasks.pack(act)
        edges = [bounds[start] for start in self._starts] + [bounds[-1]]
        acts = []
        for index, (first, stop) in enumerate(itertools.pairwise(edges)):
            starts = range(-(-first // width) * width, stop, width)
            if starts:
                end = min(starts[-1] + width, bounds[-1])
                last = bisect.bisect_left(edges, end)
                groups = self.futures[index:last]
                acts.append(client.submit(tasks.act_on_chunks, packed, starts, width, first, groups, pure=False))
        with self.workers.explained():
            return [digest for digests in self.workers.gather(acts) for digest in digests]

    def drop(self) -> None:
        """Let the workers forget the blocks."""
        self.futures, self._last = [], None

    def _send(self, index: int, origin: Factor) -> int:
        packed = tasks.pack([origin.read(block) for block in self.groups[index]])
        with dask.config.set(SENDING):
            self.futures[index] = self.workers.client.submit(tasks.unpack, packed, pure=False)
        return len(packed)


class Placed(NamedTuple):
    """Where the tasks of a pass find a factor.

    Attributes
    ----------
    H
        The factor, where the workers read it by themselves.
    make
        What makes a block of it from one that the tasks are given.
    given
        For every group, the future of its blocks, or None.
    """

    H: Factor | None
    make: Callable[[int, Float], Float] | None
    given: list[Any]


def parts_of(H: Factor | None) -> Sequence[Factor]:
    """Return the factors whose rows make up one, or none."""
    if H is None:
        return ()
    return H.parts if isinstance(H, StackedFactor) else (H,)


def placed(workers: Workers, groups: Sequence[range], H: Factor) -> Placed:
    """Return where the tasks of a pass find H."""
    nothing: list[Any] = [None] * len(groups)
    if isinstance(H, DistributedFactor) and H.settled is not None:
        H = H.settled
    if H.shared:
        return Placed(H, None, nothing)
    make, origin = (H.make, H.origin) if isinstance(H, MappedFactor) else (None, H)
    if not isinstance(origin, DistributedFactor):
        origin = DistributedFactor.of(workers, groups, origin)
    return Placed(None, make, list(origin.futures))
