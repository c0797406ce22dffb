"""The functions that run on the workers of a cluster."""

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import cloudpickle
import numpy as np
from distributed import Worker, WorkerPlugin
from numpy.typing import NDArray

import dnmf.kernels.registry  # noqa: F401 - loads all libraries whose threads are limited
from dnmf.engine.factor import Factor
from dnmf.engine.machine import multiplier, parallel_map, single_threaded_products, usable_memory
from dnmf.engine.passes import BadBlock, Work, add_up, visit_block
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import columns_of
from dnmf.kernels.blocks.panels import BadEntry
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.floats import own_errors
from dnmf.sources.blocks import CheckedPart, read_block

VERSION = version("dnmf")
# Seconds in which the messages of the scheduler arrive.
ARRIVAL_S = 0.05

_local = threading.local()
_gates: dict[int, threading.Semaphore] = {}
_gates_lock = threading.Lock()


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """The input that all tasks of a pass share.

    Attributes
    ----------
    work
        The work on a block.
    H
        For each of the stacked factors: the factor, if every worker can read it, and a function that computes a block
        of it from the one that the task is given, or None.
    tasks, threads
        Number of tasks that a worker has memory for at once, and of the threads that work on each.
    reading
        Whether V is read.
    """

    work: Work[Any]
    H: Sequence[tuple[Factor | None, Callable[[int, Float], Float] | None]]
    tasks: int
    threads: int
    reading: bool

    def block(self, block: int, given: Sequence[Float | None]) -> Float | None:
        """Return a block of H, given the blocks of the factors that the task was sent."""
        rows = []
        for (shared, make), part in zip(self.H, given, strict=True):
            if shared is not None:
                rows.append(shared.read(block))
            elif part is not None:
                whole = np.array(part, order="C")
                rows.append(whole if make is None else make(block, whole))
        return np.concatenate(rows) if len(rows) > 1 else rows[0] if rows else None


def pack(thing: Any) -> bytes:
    """Pickle an object in one piece, so that its arrays are unpickled aligned and writable.

    Arrays sent as separate buffers may be unaligned, for which BLAS rounds differently, and read-only, for which the
    kernels would be compiled again.
    """
    packed: bytes = cloudpickle.dumps(thing, protocol=4)
    return packed


def unpack(packed: bytes) -> Any:
    """Return the object that `pack` pickled."""
    return cloudpickle.loads(packed)


@own_errors
def visit_group(
    packed: bytes,
    part: CheckedPart,
    values: Sequence[Any],
    group: range,
    given: Sequence[Sequence[Float] | None],
    known: bytes,
) -> tuple[list[Float | None], Any]:
    """Visit the blocks of a group; return their blocks of the output, and the sums.

    Raises
    ------
    BadBlock
        For the first entry of the group that is negative or not finite.
    """
    job: Job = unpack(packed)
    matrix = (part.given(values) if values else part) if job.reading else None
    here = unpack(known)
    scratch: Scratch = _local.__dict__.setdefault("scratch", Scratch())
    sums = job.work.zero()
    kept: list[Float | None] = []
    with gate(job.tasks), single_threaded_products(), parallel_map(job.threads) as scratch.each:
        for index, block in enumerate(group):
            h = job.block(block, [None if blocks is None else blocks[index] for blocks in given])
            try:
                if block in here:
                    kept.append(job.work.visit(block, here[block], h, sums, scratch))
                else:
                    kept.append(visit_block(matrix, job.work, block, block == group[-1], h, sums, scratch))
            except BadEntry as error:
                raise BadBlock(block, error) from None
    return kept, sums


def fetch_block(part: CheckedPart, values: Sequence[Any], block: int, columns: NDArray[np.int64] | None) -> bytes:
    """Read a block, or some of its columns, and pickle it."""
    with single_threaded_products():
        V = read_block(part.given(values) if values else part, block, Scratch())
    return pack(V if columns is None else columns_of(V, columns))


@own_errors
def act_on_chunks(
    packed: bytes, starts: range, width: int, offset: int, groups: Sequence[Sequence[Float]]
) -> list[Any]:
    """Return `act(start, chunk)` for the chunks of H that begin at `starts`, given groups from column `offset` on."""
    act = unpack(packed)
    columns = np.concatenate([block for blocks in groups for block in blocks], axis=1)
    return [act(start, columns[:, start - offset : start - offset + width]) for start in starts]


def first(pair: tuple[Any, Any]) -> Any:
    """Return the first item of a pair."""
    return pair[0]


def second(pair: tuple[Any, Any]) -> Any:
    """Return the second item of a pair."""
    return pair[1]


def hold(thing: Any) -> Any:
    """Return the argument: as the result of a task, it is on a worker, and can be restored if that worker is lost."""
    return thing


@own_errors
def add_sums(*level: Any) -> Any:
    """Add neighbouring sums."""
    return add_up(level)


async def wait_for_end(keys: Sequence[str], dask_worker: Worker) -> None:
    """Wait until none of some cancelled tasks is on this worker: one that has begun stays until it ends.

    The scheduler cancels tasks by messages of its own, which may arrive later than this one.
    """
    await asyncio.sleep(ARRIVAL_S)
    while any(key in dask_worker.state.tasks for key in keys):
        await asyncio.sleep(ARRIVAL_S)


def gate(threads: int) -> threading.Semaphore:
    """Return the semaphore that limits the tasks of this worker to a number."""
    with _gates_lock:
        return _gates.setdefault(threads, threading.Semaphore(threads))


class OneThreadedProducts(WorkerPlugin):  # type: ignore[misc]
    """Limits BLAS to one thread on every worker, also on future ones, for as long as it lives.

    So blocks that other tasks compute have the bits of any worker, too.
    """

    name = "dnmf-one-threaded-products"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Set the limit."""
        self._limit = single_threaded_products()
        self._limit.__enter__()

    def teardown(self, worker: Worker) -> None:
        """Lift the limit: a worker that is a thread leaves the process as it was."""
        self._limit.__exit__(None, None, None)


def describe_worker(packed: bytes, dask_worker: Worker) -> tuple[str, int, int, str, Any]:
    """Return a worker's version of dnmf, usable bytes, threads, BLAS, and the result of a packed probe."""
    memory = min(filter(None, [dask_worker.memory_manager.memory_limit, usable_memory()]))
    probe = unpack(packed)
    return VERSION, memory, dask_worker.state.nthreads, multiplier(), None if probe is None else probe()
