"""Where the passes over a matrix are made: on the threads of this process, or on the workers of a cluster."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from dnmf.engine.cluster.client import connected
from dnmf.engine.factor import DiskFactor, Factor, MemoryFactor
from dnmf.engine.machine import SpillFolder, cores, usable_memory
from dnmf.engine.passes import Engine
from dnmf.engine.plan import Load, Plan, make_plan
from dnmf.engine.threads import ThreadEngine
from dnmf.settings import Settings
from dnmf.sources.base import Layout, Source

# The share of the usable memory that a run takes without a memory_limit.
MEMORY_SHARE = 0.6


class Session(Protocol):
    """Makes plans, engines and factors for the passes over one matrix; `remote` if workers of a cluster make them."""

    source: Source
    remote: bool

    def plan(self, settings: Settings, load: Load) -> Plan:
        """Plan a run within the memory and the threads that the settings, or the machines, allow.

        Raises
        ------
        BudgetError
            If not even one thread fits.
        """

    def engine(self, plan: Plan, on_block: Callable[[int], None] = lambda count: None) -> Engine:
        """Return the engine of a plan; `on_block` is called with the bytes of every block that was visited."""

    def new_factor(self, plan: Plan, engine: Engine) -> Factor:
        """Return a factor for a pass of the engine to fill."""

    def all_see(self, predicate: Callable[[], bool]) -> bool:
        """Return whether a predicate holds in every process that makes passes."""

    def sees_folder(self, path: Path) -> bool:
        """Return whether every process that makes passes sees a folder of this one."""


@contextmanager
def open_session(
    client: Any,
    source: Source,
    on_workers: Callable[[int, str], None] = lambda count, link: None,
    cancel: threading.Event | None = None,
) -> Iterator[Session]:
    """Open the session of a matrix: on the cluster of `client`, or here where there is none.

    Parameters
    ----------
    client
        As `dnmf.factorize` takes it.
    source
        The matrix, which the workers must see as this process does.
    on_workers
        Called with the number of workers and the address of the dashboard whenever the number changes.
    cancel
        Once this is set, passes end with `Interrupted`.
    """
    with connected(client, cancel) as found:
        if found is None:
            yield LocalSession(source, cancel)
        else:
            from dnmf.engine.cluster.worker_group import WorkerGroup  # it loads distributed

            yield WorkerGroup.of(found, source, on_workers, cancel)


class LocalSession:
    """The session of the threads of this process."""

    remote = False

    def __init__(self, source: Source, cancel: threading.Event | None = None) -> None:
        self.source, self._cancel = source, cancel

    def plan(self, settings: Settings, load: Load) -> Plan:
        """Plan a run in this process."""
        return plan_here(self.source.layout, settings, load)

    def engine(self, plan: Plan, on_block: Callable[[int], None] = lambda count: None) -> Engine:
        """Return an engine of threads."""
        return ThreadEngine(self.source, plan.groups, plan.threads, on_block, self._cancel, plan.shared)

    def new_factor(self, plan: Plan, engine: Engine) -> Factor:
        """Return a factor in memory, or in a temporary folder that is deleted with it."""
        layout = self.source.layout
        if plan.factor_in_memory:
            return MemoryFactor(layout.blocks)
        folder = SpillFolder()
        return DiskFactor(folder.path, plan.rank, layout.work_dtype, owner=folder)

    def all_see(self, predicate: Callable[[], bool]) -> bool:
        """Return whether a predicate holds here."""
        return predicate()

    def sees_folder(self, path: Path) -> bool:
        """Return True: the folder is one of this process."""
        return True


def plan_here(layout: Layout, settings: Settings, load: Load) -> Plan:
    """Plan a run in this process, within the memory and the threads that the settings or the machine allow."""
    threads = settings.threads or cores() + layout.on_disk
    return make_plan(layout, settings.width, memory_of(settings), threads, 0, load)


def memory_of(settings: Settings) -> int:
    """Return the bytes that the settings, or the machine, allow."""
    return settings.memory_limit or int(MEMORY_SHARE * usable_memory())
