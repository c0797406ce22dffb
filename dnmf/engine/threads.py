"""One pass on the threads of this process."""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from operator import itemgetter
from typing import Any, Generic, cast

import numpy as np
from numpy.typing import NDArray

from dnmf.engine.factor import Factor, WritableFactor
from dnmf.engine.machine import new_threads, parallel_map, single_threaded_products, threads
from dnmf.engine.memory import readers_of
from dnmf.engine.passes import WHOLE, S, Scope, Work, visit_block
from dnmf.engine.plan import group_bounds
from dnmf.errors import Interrupted
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import columns_of
from dnmf.kernels.blocks.panels import BadEntry, Block
from dnmf.kernels.blocks.sums import absorbed
from dnmf.kernels.floats import numpy_errors, own_errors
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
        with single_threaded_products():  # the block may be computed, and is to be the one that a pass reads
            V = read_block(self.source, block, Scratch())
        self.on_block(self.source.layout.block_bytes(block))
        return V if columns is None else columns_of(V, columns)

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
        total: S
        with single_threaded_products():
            if source is not None and self.shared:
                total = self._visit_together(groups, work, H, common[2], scope.known)
            else:
                total = self._visit_groups(source, groups, common)
        if failure.bad:
            raise self.source.layout.place(*min(failure.bad, key=itemgetter(0)))
        return total

    def _visit_groups(self, source: Source | None, groups: Sequence[range], common: tuple[Any, ...]) -> Any:
        """Visit groups of blocks on the threads of the engine, and add up their sums."""
        tree: SumTree[Any] = SumTree(len(groups))
        failure, left, lock = common[-1], iter(enumerate(groups)), threading.Lock()

        def work() -> None:
            """Visit one group after another until none is left."""
            with numpy_errors():
                while not failure.failed:
                    with lock:
                        number, group = next(left, (0, None))
                    if group is None:
                        break
                    tree.put(number, self._visit_group(source, group, *common))

        count = min(self.threads, len(groups))
        if count == 1:  # to wait for another thread would take as long as a small pass
            work()
        else:
            with threads(count) as pool, failure:
                for done in as_completed([pool.submit(work) for _ in range(count)]):
                    done.result()
        return tree.total

    @own_errors
    def _visit_together(
        self,
        groups: Sequence[range],
        work: Work[S],
        H: Factor | None,
        output: WritableFactor | None,
        known: Mapping[int, Block],
    ) -> S:
        """Visit one group after another, with all threads on each panel, and add up their sums."""
        layout, tree = self.source.layout, SumTree[S](len(groups))
        unread = [block for group in groups for block in group if block not in known]
        with (
            parallel_map(self.threads) as each,
            ReadAhead(self.source, unread, readers_of(layout, self.threads)) as ahead,
        ):
            scratch = Scratch(each)
            for number, group in enumerate(groups):
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
                tree.put(number, sums)
        return tree.total

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
                break
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
        self._pool = new_threads(readers) if readers else None
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

    def __enter__(self) -> None:
        """Begin the tasks."""

    def __exit__(self, kind: object, *error: object) -> None:
        """After an exception, let every task end before its next block: it reads V, which the caller may close next."""
        self.failed = self.failed or kind is not None


class SumTree(Generic[S]):
    """Adds up sums, given in any order, in the tree of `add_up`: each pair as soon as both are known.

    >>> class Word(str):
    ...     def add(self, other):
    ...         return Word(f"({self}{other})")
    >>> tree = SumTree(3)
    >>> for number, text in [(2, "c"), (1, "b"), (0, "a")]:
    ...     tree.put(number, Word(text))
    >>> tree.total
    '((ab)c)'
    """

    def __init__(self, count: int) -> None:
        self.count, self.total = count, cast(S, None)
        self._waiting: dict[tuple[int, int], S] = {}
        self._lock = threading.Lock()

    def put(self, number: int, sums: S) -> None:
        """Add the sums of a group to those of its neighbours, if they are known."""
        count = self.count
        while count > 1:
            if number ^ 1 < count:
                with self._lock:
                    other = self._waiting.pop((count, number ^ 1), None)
                    if other is None:
                        self._waiting[count, number] = sums
                        return
                sums = absorbed(other, sums) if number % 2 else absorbed(sums, other)
            count, number = -(-count // 2), number // 2
        self.total = sums
