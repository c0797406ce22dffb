"""Where the long factors of a run are held: in this process, or on the workers of a cluster."""

import math
import shutil
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dnmf.checkpoint import Store, StoredFactor, write_long
from dnmf.checkpoint.header import has_header
from dnmf.engine import SpillFolder, usable_memory
from dnmf.engine.factor import DiskFactor, Factor, MemoryFactor, WritableFactor
from dnmf.engine.plan import Plan
from dnmf.engine.session import Session
from dnmf.kernels.blocks.tiles import Float
from dnmf.solvers.state import State
from dnmf.sources.base import Layout

if TYPE_CHECKING:  # it loads distributed, which runs in this process do without
    from dnmf.engine.cluster.engine import ClusterEngine

# The share of this process's memory that a factor from a cluster may take before it is kept on the disk.
LOCAL_SHARE = 0.3


def copy_here(H: Factor, layout: Layout, rows: int, spilled: Callable[[int], WritableFactor] | None = None) -> Factor:
    """Copy a factor of `rows` rows into this process: into memory, or if it is large into files.

    `spilled` makes a factor in files; by default they are in a temporary folder that is deleted with the factor.
    """
    here: WritableFactor = MemoryFactor(layout.blocks)
    if rows * layout.shape[1] * layout.work_dtype.itemsize > LOCAL_SHARE * usable_memory():
        folder = SpillFolder()
        here = spilled(rows) if spilled else DiskFactor(folder.path, rows, layout.work_dtype, owner=folder)
    for block in range(layout.blocks):
        here.write(block, H.read(block))
    return here


class LocalHome:
    """Holds the long factors of a run in memory, or in files of its store or of a temporary folder.

    Parameters
    ----------
    layout
        Of V.
    plan
        Says whether factors are held in memory.
    store
        The store of the run, or None.
    """

    remote = False

    def __init__(self, layout: Layout, plan: Plan, store: Store | None) -> None:
        self.layout, self.plan, self.store = layout, plan, store
        self._folder: SpillFolder | None = None

    def new_factor(self, rows: int) -> Factor:
        """Return a factor of `rows` rows for a pass to fill."""
        return self.new_factor_here(rows)

    def new_factor_here(self, rows: int) -> Factor:
        """Return a factor of `rows` rows for a pass of this process to fill."""
        if self._in_memory((rows, self.layout.shape[1]), self.layout.work_dtype):
            return MemoryFactor(self.layout.blocks)
        if self.store is not None and (folder := self.store.scratch()) is not None:
            return DiskFactor(folder, rows, self.layout.work_dtype)
        return self._spilled(rows)

    def new_array(self, shape: tuple[int, int], dtype: "np.dtype[Any]") -> Float:
        """Return an array of this process, in a file where the factors are kept on the disk."""
        if self._in_memory(shape, dtype):
            return np.empty(shape, dtype)
        name = self.spill() / f"array-{uuid.uuid4().hex[:12]}"
        return np.memmap(name, dtype, mode="w+", shape=shape)

    def settle(self, state: State) -> None:
        """Do nothing: here, a factor does not depend on those before it."""

    def release(self, H: Factor, rows: int | None = None) -> Factor:
        """Return a factor of `rows` rows, or of those of H, that outlasts the workers of a cluster."""
        return H

    def copy(self, H: Factor, rows: int) -> Factor:
        """Copy a factor of `rows` rows into this process."""
        return copy_here(H, self.layout, rows, self._spilled)

    def shorten_waits(self) -> None:
        """Do nothing: here, a factor needs no waiting for."""

    def close(self, H: Factor | None) -> None:
        """Give up the temporary folder; factors that are still in use keep it."""
        self._folder = None

    def spill(self) -> Path:
        """Return a temporary folder, which lasts as long as the run and the factors in it."""
        self._folder = self._folder or SpillFolder()
        return self._folder.path

    def _in_memory(self, shape: tuple[int, int], dtype: "np.dtype[Any]") -> bool:
        """Return whether an array of this process is held in memory; on a cluster the plan is that of a worker."""
        size = math.prod(shape) * dtype.itemsize
        return self.plan.factor_in_memory and not (self.remote and size > LOCAL_SHARE * usable_memory())

    def _spilled(self, rows: int) -> DiskFactor:
        return DiskFactor(self.spill(), rows, self.layout.work_dtype, owner=self._folder)


class ClusterHome(LocalHome):
    """Holds the long factors of a run on the workers of a cluster."""

    remote = True

    def __init__(self, session: Session, plan: Plan, store: Store | None, engine: "ClusterEngine") -> None:
        super().__init__(session.source.layout, plan, store)
        self.engine = engine
        self._saved: Path | None = None
        if store is None:
            self._sees_store = session.sees_folder(self.spill())
        else:
            self._sees_store = session.all_see(partial(has_header, str(store), dict(store.header)))

    def new_factor(self, rows: int) -> Factor:
        """Return a factor on the workers for a pass to fill."""
        return self.engine.new_factor(self._sees_store)

    def settle(self, state: State) -> None:
        """Let the workers read H from where it is saved, so that the tasks that made it can be forgotten.

        Their lineage would grow with every pass. Where the workers see no storage of the run, H is sent to them again.
        """
        stored: StoredFactor | None = None
        if self._sees_store:
            stored = self._saved_by_workers(state) if self.store is None else stored_factor(self.store, self.layout)
        self.engine.settle(state.H, stored)
        if state.carry.H_trial is not None:
            self.engine.settle(state.carry.H_trial, None)

    def release(self, H: Factor, rows: int | None = None) -> Factor:
        """Return a copy in this process, which outlasts the workers."""
        return self.copy(H, rows or self.plan.rank)

    def shorten_waits(self) -> None:
        """Wait only a few seconds for workers to come back: the run ends with an error."""
        self.engine.workers.ending = True

    def close(self, H: Factor | None) -> None:
        """Give up the factors on the workers, and the files that they wrote."""
        self.engine.close(H)
        self._delete_saved()
        super().close(H)

    def _saved_by_workers(self, state: State) -> StoredFactor:
        """Let the workers write H to the temporary folder, and return it from there."""
        layout = self.layout
        path = self.spill() / f"pass-{state.passes}"
        write_long(path, state.H, layout.bounds, state.W.shape[1], layout.work_dtype, layout.transposed)
        self._delete_saved()
        self._saved = path
        return StoredFactor.at(path, layout.bounds, layout.transposed)

    def _delete_saved(self) -> None:
        if self._saved is not None:
            shutil.rmtree(self._saved, ignore_errors=True)


def home_of(session: Session, plan: Plan, store: Store | None, engine: Any) -> LocalHome:
    """Return the home of the factors of a run whose passes are made by an engine of a session."""
    if session.remote:
        return ClusterHome(session, plan, store, engine)
    return LocalHome(session.source.layout, plan, store)


def stored_factor(store: Store, layout: Layout) -> StoredFactor:
    """Return the long factor of the checkpoint that a run wrote last."""
    assert store.commit is not None
    W, H = store.arrays(store.commit)
    return StoredFactor(W if layout.transposed else H, layout.bounds, layout.transposed)
