"""One pass on the workers of a Dask cluster.

```
job: W and the work on a block, pickled ─┐ one submit a pass
H of a group, where it was computed ─────┼─► visit_group ─► H of the group, stays there
V of the group, read by the worker ──────┘             └──► sums ─► add_sums, eight at a time ─► the driver
```

Every task can be run again from data of the driver and the scheduler, so a worker may be lost at any moment.
"""

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import dask
import numpy as np
from dask._task_spec import Task, TaskRef, parse_input
from distributed import Future, KilledWorker
from numpy.typing import NDArray

from dnmf.engine.cluster import tasks
from dnmf.engine.cluster.distributed_factor import SENDING, DistributedFactor, stacked_factors, task_input
from dnmf.engine.cluster.task_queue import TaskQueue
from dnmf.engine.cluster.workers import Workers
from dnmf.engine.factor import Factor
from dnmf.engine.machine import cores
from dnmf.engine.passes import WHOLE, S, Scope, Work
from dnmf.engine.plan import amount, enough, group_bounds
from dnmf.engine.threads import ThreadEngine
from dnmf.errors import ClusterError, ClusterWarning, warn
from dnmf.kernels.blocks.panels import Block
from dnmf.sources.base import Source
from dnmf.sources.blocks import part_for

# Bytes that may go through the scheduler without a warning.
SENT_BYTES = 500 * 10**6


class ClusterEngine:
    """The engine of a cluster.

    Parameters
    ----------
    source
        The matrix to read.
    groups, threads
        Number of tasks of a pass, and the threads of a worker that run one each.
    need
        Memory in bytes that a worker needs for one task, for the error if it has too little.
    workers
        Workers that run the tasks. Once they are `cancelled`, a pass ends with `Interrupted`.
    on_block
        Called with the bytes of every group that was visited.
    shared
        Whether the threads work on one task together instead.
    """

    def __init__(
        self,
        source: Source,
        groups: int,
        threads: int,
        need: int,
        workers: Workers,
        on_block: Callable[[int], None] = lambda count: None,
        shared: bool = False,
    ) -> None:
        self.source, self.workers, self.client = source, workers, workers.client
        self.tasks, self.need = 1 if shared else threads, need
        self._within = threads if shared else 1
        self.on_block, self.groups = on_block, group_bounds(source.layout.blocks, groups)
        self._parts: list[tuple[Future, Sequence[Any]]] = []

    def fetch(self, block: int, columns: NDArray[np.int64] | None = None) -> Block:
        """Return a block, or some of its columns, read by a worker."""
        index = next(index for index, group in enumerate(self.groups) if block in group)
        with self.workers.explained():
            self.workers.check()
            self._send_matrix()
            part, needs = self._parts[index]
            try:
                read = self.client.submit(tasks.fetch_block, part, list(needs), block, columns, pure=False)
                packed = self.workers.gather([read])[0]
            except KilledWorker as error:
                raise self.explain(index, error) from None
        self.on_block(self.source.layout.block_bytes(block))
        return tasks.unpack(packed)

    def new_factor(self, sees_store: bool = False) -> DistributedFactor:
        """Return a factor for a pass to fill; `sees_store` if the workers see the store of the run."""
        return DistributedFactor(self.workers, self.groups, sees_store)

    def place(self, factor: Factor) -> Factor:
        """Send a factor to the workers, once for all passes."""
        return DistributedFactor.of(self.workers, self.groups, factor)

    def here(self) -> ThreadEngine:
        """Return an engine of threads with the same groups, and so the same sums."""
        return ThreadEngine(self.source, len(self.groups), cores(), cancelled=self.workers.cancelled)

    def settle(self, H: Factor, stored: Factor | None) -> None:
        """Cut the lineage of H: the workers read it from storage, or else this process sends it to them."""
        if isinstance(H, DistributedFactor):
            with self.workers.explained():
                sent = H.settle(stored)
            if sent > SENT_BYTES:
                warn(
                    f"The workers see no folder that H could be kept in: {amount(sent)} of it go through this process "
                    "and the scheduler at every checkpoint. Give store= at a path or URL that all workers see.",
                    ClusterWarning,
                )

    def close(self, H: Factor | None) -> None:
        """Free V and H on the workers."""
        self._parts = []
        if H is not None:
            H.drop()

    def one_pass(self, work: Work[S], H: Factor | None = None, output: Factor | None = None, scope: Scope = WHOLE) -> S:
        """Visit every block once and return the sums; see `Engine`.

        Raises
        ------
        ClusterError
            If the scheduler is lost, or a group has killed one worker after another.
        """
        assert output is None or isinstance(output, DistributedFactor)
        with self.workers.explained():
            self.workers.check()
            self._send_matrix()
            parts = [task_input(self.workers, self.groups, part) for part in stacked_factors(H)]
            packed = tasks.pack(
                tasks.Job(work, [(part.H, part.make) for part in parts], self.tasks, self._within, scope.reading)
            )
            with dask.config.set(SENDING):
                job = self.client.submit(tasks.hold, packed, pure=False)

            def submit(indices: Sequence[int]) -> list[Future]:
                graph: dict[str, Task] = {}
                sums, kept = [], []
                for index in indices:
                    matrix, needs = self._parts[index]
                    given = [part.given[index] for part in parts]
                    group = self.groups[index]
                    here = {block: scope.known[block] for block in group if block in scope.known}
                    values = list(needs) if scope.reading and len(here) < len(group) else []
                    arguments = job, matrix, values, group, given, tasks.pack(here)
                    pair = _enter(graph, index, tasks.visit_group, *arguments)
                    sums.append(_enter(graph, index, tasks.second, TaskRef(pair)))
                    if output is not None:
                        kept.append(_enter(graph, index, tasks.first, TaskRef(pair)))
                with dask.config.set(SENDING):
                    futures = self.client.get(graph, [sums, kept], sync=False, fifo_timeout=0)
                for index, blocks in zip(indices, futures[1], strict=False):
                    output.futures[index] = blocks  # type: ignore[union-attr]
                return list(futures[0])

            indices = range(len(self.groups)) if scope.part is None else scope.part
            total: S = TaskQueue(self, indices, submit, lambda block: scope.reading and block not in scope.known).run()
            return total

    def explain(self, index: int, error: KilledWorker) -> ClusterError:
        """Return the error for a group that has killed one worker after another."""
        limit = getattr(error.last_worker, "memory_limit", 0)
        group = self.groups[index]
        names = self.source.layout.name(group[0])
        if len(group) > 1:
            names += f" to {self.source.layout.name(group[-1])}"
        return ClusterError(
            f"{names} of V ended {error.allowed_failures + 1} workers one after another. A worker needs "
            f"{enough(self.need)} for it and has {amount(limit) if limit else 'no limit'}; give the workers more "
            "memory or fewer threads, or cut the matrix into smaller blocks with `dnmf convert`. See also their logs."
        )

    def _send_matrix(self) -> None:
        """Send the location of V to the workers, or its blocks if it is in memory, once in a run."""
        if self._parts:
            return
        sent = 0
        for part in (part_for(self.source, group) for group in self.groups):
            packed = tasks.pack(part)
            sent += len(packed)
            with dask.config.set(SENDING):
                future = self.client.submit(tasks.unpack, packed, pure=False)
            if part.small:
                self._parts = [(future, ())] * len(self.groups)
                break
            self._parts.append((future, part.needs))
        if sent > SENT_BYTES:
            warn(
                f"V is in the memory of this process: {amount(sent)} of it go to the workers once, by way of the "
                "scheduler, which keeps them. Write V as a Zarr array where the workers can read it.",
                ClusterWarning,
            )


def _enter(graph: dict[str, Task], index: int, act: Callable[..., Any], *given: Any) -> str:
    """Add a task for a group to a graph, and return its key; the scheduler runs groups in the order of their keys."""
    key = f"{act.__name__}-{index:06d}-{uuid.uuid4()}"
    graph[key] = Task(key, act, *map(parse_input, given))
    return key
