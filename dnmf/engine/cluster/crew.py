"""Join a cluster: see that its workers have dnmf, the memory, V and the store, before the first pass."""

import dataclasses
import threading
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnmf.checkpoint import Store
from dnmf.checkpoint.header import find_header
from dnmf.engine.plan import Load, Plan, make_plan
from dnmf.errors import ClusterWarning, DataError, DnmfError, warn
from dnmf.run.watcher import Watcher
from dnmf.settings import Settings
from dnmf.solvers.selection import load_of
from dnmf.sources import Source, open_matrix
from dnmf.sources.base import fingerprint
from dnmf.sources.weighted import is_weighted, parts_of
from dnmf.storage.open_location import place_at
from dnmf.storage.urls import object_errors

if TYPE_CHECKING:  # these load distributed, which runs in this process do without
    from dnmf.engine.cluster.engine import ClusterEngine
    from dnmf.engine.cluster.workers import Workers

# What a run takes of a worker's memory, if it is not told: Dask pauses a worker that holds this share of its limit.
WORKER_SHARE = 0.8


@dataclasses.dataclass
class Crew:
    """The workers of a run, which have dnmf and see V."""

    workers: "Workers"
    memory: int
    threads: int

    @classmethod
    def of(cls, client: Any, source: Source, watchers: Sequence[Watcher], cancel: threading.Event | None) -> "Crew":
        """Wait for a worker, and see that all that are there can do the work.

        Raises
        ------
        ClusterError
            If a worker has no dnmf, or another version of it.
        DataError
            If a worker does not see V where this process does.
        """
        from dnmf.engine.cluster.workers import Workers

        def changed(count: int, link: str) -> None:
            for watcher in watchers:
                watcher.workers(count, link)

        workers = Workers(client, changed, cancel)
        places = {
            name: (part.layout.location, fingerprint(part))
            for name, part in parts_of(source).items()
            if part.layout.location is not None
        }
        seen = workers.prepare(partial(all_missing, places) if places else None)
        for worker, found in seen.items():
            for name, fault in (found.sight or {}).items():
                raise DataError(
                    f"The worker {worker} does not see {name} at {places[name][0]}: {fault} Give a path that is the "
                    "same on all workers, as on a shared file system, or the URL of an object store."
                )
        kinds = sorted({found.multiplier for found in seen.values()})
        if len(kinds) > 1:
            warn(
                f"The workers multiply matrices in {len(kinds)} ways, by {' or by '.join(kinds)}, which round "
                "differently: the last digits depend on who works on what. Where that matters, set OPENBLAS_CORETYPE "
                "on all of them to the name of the oldest of their processors.",
                ClusterWarning,
            )
        memory = min(found.memory for found in seen.values())
        return cls(workers, memory, max(found.threads for found in seen.values()))

    def plan(self, source: Source, settings: Settings, load: Load | None = None) -> Plan:
        """Plan a run, or other work, with the memory and threads that the settings, or the smallest worker, allow."""
        limit = int(WORKER_SHARE * self.memory)
        if settings.memory_limit is not None:
            limit = min(limit, settings.memory_limit)
        threads = min(settings.threads or self.threads, self.threads)
        load = load or load_of(settings, source.layout, is_weighted(source))
        return make_plan(source.layout, settings.rank, limit, threads, self.workers.count, load)

    def engine(self, source: Source, plan: Plan) -> "ClusterEngine":
        """Return the engine of a run."""
        from dnmf.engine.cluster.engine import ClusterEngine

        need = make_plan(source.layout, plan.rank, 2**62, 1, plan.workers).peak_bytes
        return ClusterEngine(source, plan.groups, plan.threads, need, self.workers)

    def sees_folder(self, path: Path) -> bool:
        """Say whether all workers see a folder of this process."""
        mark = path / uuid.uuid4().hex
        mark.touch()
        seen = self.workers.look(partial(is_folder, str(path), mark.name))
        mark.unlink()
        return all(found is True for found in seen.values())

    def sees(self, store: Store) -> bool:
        """Say whether all workers see a store."""
        seen = self.workers.look(partial(is_there, str(store), dict(store.header)))
        return all(found is True for found in seen.values())


def is_folder(path: str, name: str) -> bool:
    """Say, on a worker, whether there is a file of this name in a folder."""
    return (Path(path) / name).is_file()


def all_missing(places: Mapping[str, tuple[str, dict[str, Any]]]) -> dict[str, str]:
    """Say, on a worker, what is not as expected of each of some matrices, where there is something."""
    faults = {name: missing(location, expected) for name, (location, expected) in places.items()}
    return {name: fault for name, fault in faults.items() if fault is not None}


def missing(location: str, expected: dict[str, Any]) -> str | None:
    """Say, on a worker, what is not as expected of the matrix at a location."""
    try:
        found = fingerprint(open_matrix(location, expected["streamed"]))
    except Exception as error:
        return str(error)
    wrong = " and ".join(name for name in found if found[name] != expected[name])
    return f"what is there has another {wrong}." if wrong else None


def is_there(place: str, header: dict[str, Any]) -> bool:
    """Say, on a worker, whether the store of this run is at a path or URL."""
    try:
        return find_header(place_at(place)) == header
    except object_errors(DnmfError):
        return False
