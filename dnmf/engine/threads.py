"""One pass on Dask's threads, in this process."""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from operator import itemgetter
from typing import Any, cast

import dask.threaded
import numpy as np
from dask._task_spec import Task, TaskRef
from numpy.typing import NDArray

from dnmf.engine.factor import Factor, WritableFactor
from dnmf.engine.machine import parallel_map
from dnmf.engine.memory import readers_of
from dnmf.engine.passes import WHOLE, S, Scope, Work, add_in_turn, visit_block
from dnmf.engine.plan import group_bounds
from dnmf.errors import Interrupted
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import BadEntry, Block
from dnmf.kernels.blocks.sums import absorbed
from dnmf.kernels.floats import own_errors
from dnmf.sources.base import Source
from dnmf.sources.blocks import read_block


class ThreadEngine:
    """The engine of one process.

    Parameters
    ----------
    source
        The matrix to read.
    groups, threads
        Number of tasks of a pass, and how many run at once.
    on_block
        Called with the bytes of every block that was visited, from any thread.
    cancelled
        Once this is set, a pass ends with `Interrupted` before the next block.
    shared
        Whether the threads work on one task together, in passes over V, and not on one each.
    """

    def __init__(
        self,
        source: Source,
        groups: int,
        threads: int,
        on_block: Callable[[int], None] = lambda count: None,
        cancelled: threading.Event | None = None,
        shared: bool = False,
    ) -> None:
        self.source, self.threads, self.on_block, self.shared = source, threads, on_block, shared
        self.groups = group_bounds(source.layout.blocks, groups)
        self.cancelled = cancelled or threading.Event()
        self._local = threading.local()

    def place(self, factor: Factor) -> Factor:
        """Return the factor, which is in this process."""
        return factor

    def here(self) -> "ThreadEngine":
        """Return the engine."""
        return self

    def fetch(self, block: int, columns: NDArray[np.int64] | None = None) -> Block:
        """Return a block, or copies of some of its columns."""
        self._check()
        V = read_block(self.source, block, Scratch())
        self.on_block(self.source.layout.block_bytes(block))
        return V if columns is None else V[:, columns]

    def _check(self) -> None:
        """Raise Interrupted if the run was cancelled."""
        if self.cancelled.is_set():
            raise Interrupted("The run was asked to stop.")

    def one_pass(self, work: Work[S], H: Factor | None = None, output: Factor | None = None, scope: Scope = WHOLE) -> S:
        """Visit every block once and return the sums; see `Engine`."""
        failure = PassFailure(scope.known)
        source = self.source if scope.reading else None
        groups = self.groups if scope.part is None else [self.groups[index] for index in scope.part]
        common = (work, H, cast(WritableFactor | None, output), failure)
        if source is not None and self.shared:
            total = own_errors(add_in_turn)(self._visit_together(groups, work, H, common[2], scope.known))
        elif len(groups) == 1:  # starting a thread would take as long as a small pass
            total = self._visit_group(source, groups[0], *common)
        else:
            total = self._visit_groups(source, groups, common)
        if failure.bad:
            raise self.source.layout.place(*min(failure.bad, key=itemgetter(0)))
        return total

    def _visit_groups(self, source: Source | None, groups: Sequence[range], common: tuple[Any, ...]) -> Any:
        """Visit groups of blocks on Dask's threads and add up their sums."""
        level = [
            Task(f"visit-{number:06d}", self._visit_group, source, group, *common)
            for number, group in enumerate(groups)
        ]
        graph = {task.key: task for task in level}
        while len(level) > 1:
            pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
            level = [_sum_of(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
            graph |= {task.key: task for task in level}
        try:
            return dask.threaded.get(graph, level[0].key, num_workers=self.threads)
        except BaseException:
            # Dask does not wait for running tasks: let them end before their next block.
            common[-1].failed = True
            raise

    @own_errors
    def _visit_together(
        self,
        groups: Sequence[range],
        work: Work[S],
        H: Factor | None,
        output: WritableFactor | None,
        known: Mapping[int, Block],
    ) -> Iterator[S]:
        """Visit one group after another, with all threads on each panel, and yield their sums."""
        layout = self.source.layout
        unread = [block for group in groups for block in group if block not in known]
        with (
            parallel_map(self.threads) as each,
            ReadAhead(self.source, unread, readers_of(layout, self.threads)) as ahead,
        ):
            scratch = Scratch(each)
            for group in groups:
                sums = work.zero()
                for block in group:
                    self._check()
                    try:
                        V = known[block] if block in known else ahead.take()
                        new = work.visit(block, V, None if H is None else H.read(block), sums, scratch)
                    except BadEntry as error:
                        raise layout.place(block, error) from None
                    if output is not None and new is not None:
                        output.write(block, new)
                    if block not in known:
                        self.on_block(layout.block_bytes(block))
                yield sums

    @own_errors
    def _visit_group(
        self,
        source: Source | None,
        group: range,
        work: Work[S],
        H: Factor | None,
        output: WritableFactor | None,
        failure: "PassFailure",
    ) -> S:
        scratch: Scratch = self._local.__dict__.setdefault("scratch", Scratch())
        sums = work.zero()
        for block in group:
            self._check()
            if failure.failed:
                raise Interrupted("The run was asked to stop.")
            if any(first < block for first, _ in failure.bad):
                break
            h = H.read(block) if H is not None else None
            try:
                if source is not None and block in failure.known:
                    new = work.visit(block, failure.known[block], h, sums, scratch)
                else:
                    new = visit_block(source, work, block, block == group[-1], h, sums, scratch)
            except BadEntry as error:
                failure.bad.append((block, error))
                break
            if output is not None and new is not None:
                output.write(block, new)
            if source is not None and block not in failure.known:
                self.on_block(source.layout.block_bytes(block))
        return sums


class ReadAhead:
    """Reads blocks in their order, some of them while the one before is worked on.

    Parameters
    ----------
    source, blocks
        The matrix, and the blocks to read.
    readers
        Number of blocks that are read at once; with 0, each is read when it is taken.
    """

    def __init__(self, source: Source, blocks: Sequence[int], readers: int) -> None:
        self._source, self._blocks = source, iter(blocks)
        self._pool = ThreadPoolExecutor(readers) if readers else None
        self._scratches = itertools.cycle([Scratch() for _ in range(readers + 1)])
        self._coming = deque(itertools.islice(self._begun(), readers))

    def __enter__(self) -> "ReadAhead":
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def take(self) -> Block:
        """Return the next block, valid until the one after it is taken."""
        if self._pool is None:
            return read_block(self._source, next(self._blocks), next(self._scratches))
        V = self._coming.popleft().result()
        self._coming.extend(itertools.islice(self._begun(), 1))
        return V

    def _begun(self) -> "Iterator[Future[Block]]":
        """Begin to read block after block."""
        for block, scratch in zip(self._blocks, self._scratches, strict=False):
            assert self._pool is not None
            yield self._pool.submit(read_block, self._source, block, scratch)


class PassFailure:
    """Failure state shared by the tasks of a pass.

    A bad entry ends the tasks on later blocks. Those on earlier blocks continue, so that the error names the first one.
    """

    def __init__(self, known: Mapping[int, Block]) -> None:
        self.known, self.failed = known, False
        self.bad: list[tuple[int, BadEntry]] = []


def _sum_of(first: Task, second: Task) -> Task:
    """Return the task that adds the sums of two others."""
    return Task(f"{first.key}+", _add, TaskRef(first.key), TaskRef(second.key))


@own_errors
def _add(first: S, second: S) -> S:
    total: S = absorbed(first, second)
    return total
