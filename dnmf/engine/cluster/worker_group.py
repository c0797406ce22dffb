"""The session of a cluster: its workers have dnmf, the memory, and see V and the store, before the first pass."""

import threading
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from dnmf.engine.cluster.engine import ClusterEngine
from dnmf.engine.cluster.workers import Workers
from dnmf.engine.factor import Factor
from dnmf.engine.passes import Engine
from dnmf.engine.plan import Load, Plan, make_plan
from dnmf.errors import ClusterWarning, DataError, warn
from dnmf.settings import Settings
from dnmf.sources import Source, open_matrix
from dnmf.sources.identity import fingerprint
from dnmf.sources.weighted import parts_of

# The share of a worker's memory that a run takes without a memory_limit: above it, Dask pauses the worker.
WORKER_SHARE = 0.8
# Matrices of a join whose first block every worker reads before the first pass; of others, it reads the shape.
SAMPLED = 4


class WorkerGroup:
    """The workers of a session, which have dnmf and see V.

    Parameters
    ----------
    source
        The matrix.
    workers
        The workers behind the client.
    memory, threads
        Bytes that the smallest worker may use, and threads of the largest.
    """

    remote = True

    def __init__(self, source: Source, workers: Workers, memory: int, threads: int) -> None:
        self.source, self.workers, self.memory, self.threads = source, workers, memory, threads

    @classmethod
    def of(
        cls,
        client: Any,
        source: Source,
        on_workers: Callable[[int, str], None],
        cancel: threading.Event | None,
    ) -> "WorkerGroup":
        """Wait for a worker, and check that all workers can do the work.

        Raises
        ------
        ClusterError
            If a worker lacks dnmf, or has another version of it.
        DataError
            If a worker does not see V where this process does.
        """
        workers = Workers(client, on_workers, cancel)
        places = {
            name: (part.layout.location, fingerprint(part, sampled=place < SAMPLED))
            for place, (name, part) in enumerate(parts_of(source).items())
            if part.layout.location is not None
        }
        seen = workers.prepare(partial(all_missing, places) if places else None)
        for worker, found in seen.items():
            for name, fault in (found.probe or {}).items():
                raise DataError(
                    f"The worker {worker} does not see {name} at {places[name][0]}: {fault} Give a path that is the "
                    "same on all workers, as on a shared file system, or the URL of an object store."
                )
        kinds = sorted({found.multiplier for found in seen.values()})
        if len(kinds) > 1:
            warn(
                f"The workers multiply matrices in {len(kinds)} ways, by {' or by '.join(kinds)}, which round "
                "differently: the last digits depend on which worker gets which task. Where that matters, set "
                "OPENBLAS_CORETYPE on all of them to the name of the oldest of their processors.",
                ClusterWarning,
            )
        memory = min(found.memory for found in seen.values())
        return cls(source, workers, memory, max(found.threads for found in seen.values()))

    def plan(self, settings: Settings, load: Load) -> Plan:
        """Plan a run with the memory and threads that the settings, or the smallest worker, allow."""
        limit = int(WORKER_SHARE * self.memory)
        if settings.memory_limit is not None:
            limit = min(limit, settings.memory_limit)
        threads = min(settings.threads or self.threads, self.threads)
        return make_plan(self.source.layout, settings.width, limit, threads, self.workers.count, load)

    def engine(self, plan: Plan, on_block: Callable[[int], None] = lambda count: None) -> ClusterEngine:
        """Return an engine of the workers."""
        need = make_plan(self.source.layout, plan.rank, 2**62, 1, plan.workers).peak_bytes
        return ClusterEngine(self.source, plan.groups, plan.threads, need, self.workers, on_block, plan.shared)

    def new_factor(self, plan: Plan, engine: Engine) -> Factor:
        """Return a factor on the workers."""
        assert isinstance(engine, ClusterEngine)
        return engine.new_factor()

    def all_see(self, predicate: Callable[[], bool]) -> bool:
        """Return whether a predicate holds on all workers."""
        return all(found is True for found in self.workers.probe(predicate).values())

    def sees_folder(self, path: Path) -> bool:
        """Return whether all workers see a folder of this process."""
        mark = path / uuid.uuid4().hex
        mark.touch()
        try:
            return self.all_see(partial(is_file, str(mark)))
        finally:
            mark.unlink()


def is_file(path: str) -> bool:
    """Return, on a worker, whether a file exists."""
    return Path(path).is_file()


def all_missing(places: Mapping[str, tuple[str, dict[str, Any]]]) -> dict[str, str]:
    """Return, on a worker, how each of some matrices differs from the expected one, if it does."""
    faults = {name: missing(location, expected) for name, (location, expected) in places.items()}
    return {name: fault for name, fault in faults.items() if fault is not None}


def missing(location: str, expected: dict[str, Any]) -> str | None:
    """Return, on a worker, how the matrix at a location differs from the expected one, or None."""
    try:
        found = fingerprint(open_matrix(location, expected["streamed"]), sampled="sample" in expected)
    except Exception as error:
        return str(error)
    wrong = " and ".join(name for name in found if found[name] != expected[name])
    return f"the matrix there has another {wrong}." if wrong else None
