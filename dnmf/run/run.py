"""A run: loop, stop, save."""

import dataclasses
import shutil
import sys
import threading
import time
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnmf.checkpoint import Commit, Store, StoredFactor, write_long
from dnmf.checkpoint.header import has_header
from dnmf.checkpoint.state import save_state, saved_state
from dnmf.engine import AuditEngine, Engine, SpillFolder, cores, single_threaded_products, usable_memory
from dnmf.engine.factor import DiskFactor, Factor, MemoryFactor, Room
from dnmf.engine.plan import Plan
from dnmf.engine.session import Session
from dnmf.errors import keep_before, warn_of_unseen
from dnmf.kernels.registry import warm_up
from dnmf.run.result import Result
from dnmf.run.watcher import Watcher, Watchers
from dnmf.solvers.bundle import alone, best_of
from dnmf.solvers.history import Record, Verdict
from dnmf.solvers.initialise import hold_fixed, initial_state
from dnmf.solvers.iteration import Bench, iterate
from dnmf.solvers.selection import Recipe
from dnmf.solvers.state import State
from dnmf.solvers.stopping import Allowed, Stopping, check_range

if TYPE_CHECKING:  # it loads distributed, which runs in this process do without
    from dnmf.engine.cluster.engine import ClusterEngine

# The share of this process's memory that a factor from a cluster may take before it is kept on the disk.
HERE_SHARE = 0.3


class Run:
    """Everything one run is made of; iterate over it to make its passes.

    Parameters
    ----------
    session
        The matrix, and where its passes are made.
    recipe, plan
        How it is factorised, and within which bounds.
    store
        Where checkpoints go, locked; None keeps none.
    watchers
        Called as the run goes.
    """

    def __init__(
        self,
        session: Session,
        recipe: Recipe,
        plan: Plan,
        store: Store | None = None,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self.source, self.recipe, self.plan, self.store = session.source, recipe, plan, store
        self.settings, self.rule = recipe.settings, recipe.rule
        self.watchers = Watchers(watchers)
        engine: Any = session.engine(plan, self._block_read)
        self.cluster: ClusterEngine | None = engine if plan.workers else None
        self.engine: Engine = AuditEngine(engine, self.rule.entries)
        self.history: list[Record] = []
        self.state: State | None = None
        self.verdict: Verdict | None = None
        self._folder: SpillFolder | None = None
        self._beside: Path | None = None
        self.names = self.source.layout.names
        self._told, self.allowed = False, Allowed(self.settings.max_passes)
        if self.cluster is not None:
            self.cluster.shared = (
                session.sees_folder(self.spill())
                if store is None
                else session.all_see(partial(has_header, str(store), dict(store.header)))
            )

    def begin(self, given: Any, fixed: Any = None) -> None:
        """Start anew, from given factors of the user's matrix or from an initialisation, with fixed columns of W."""
        layout = self.source.layout
        if given is not None and layout.transposed:
            given = (given[1].T, given[0].T)
        self.set_out(0)
        settings = self.settings.swapped() if layout.transposed else self.settings
        self.state = initial_state(self.bench(), settings, given, self.recipe.init)
        if fixed is not None:
            self.state = hold_fixed(self.state, fixed, layout)
        if given is not None or fixed is not None:
            self.save()

    def go_on(self, commit: Commit) -> None:
        """Take up the run where a commit left it."""
        assert self.store is not None
        self.set_out(commit.passes)
        self.store.retain(self.settings.keep)
        layout = self.source.layout
        self.history = [Record(**record) for record in commit.history]
        self.state = saved_state(self.store, commit, layout)
        self._clock()

    @property
    def passes_of_start(self) -> int:
        """The reads of V that the initialisation took."""
        return (self.state.passes if self.state else 0) - len(self.history)

    def __iter__(self) -> Generator[State]:
        """Make passes until the stop rule, or the caller, has had enough; save on the way and at the end."""
        assert self.state is not None
        stopping = Stopping(self.settings, self.allowed)
        verdict = stopping.verdict(self.state) if self.history else None
        if self.store is not None and verdict is None:
            self.store.withdraw()
        states = iterate(self.bench(), self.state, self.recipe.method_for(self.state))
        try:
            if verdict is not None:
                self._end(stopping, verdict)
                self.save()
            while self.verdict is None:
                self.state = next(states)
                check_range(self.state)
                self._remember()
                verdict = stopping.verdict(self.state)
                if verdict is not None:
                    self._end(stopping, verdict)
                self.watchers.passed(self.history[-1])
                if self.verdict or self.state.passes % self.settings.checkpoint_every == 0:
                    self.save()
                    self._settle()
                yield self.state
        except BaseException as error:
            # Not where the last pass left the range of floats, or where Python ends.
            made = self.history[-1].passes if self.history else None
            if made == self.state.passes and not sys.is_finalizing():
                if self.cluster is not None:
                    self.cluster.workers.ending = True
                keep_before(error, self.save, f"The checkpoint after pass {made}")
            raise
        if self.store is not None:
            self.store.publish()
        self.watchers.stopped(self.verdict)

    def _end(self, stopping: Stopping, verdict: Verdict) -> None:
        """Keep the best of several models alone, and then give the verdict: a run that is stopped here has none yet."""
        assert self.state is not None
        if self.state.parts:
            with single_threaded_products():
                bundled, self.state = self.state, alone(self.bench(), self.state)
            bundled.H.drop()
        self.verdict = stopping.verdict(self.state) or verdict

    def save(self) -> None:
        """Write a checkpoint of the state, if there is a store and something that could not be made again."""
        state, layout = self.state, self.source.layout
        if self.store is None or state is None or (not self.history and state.passes + bool(state.norms) > 0):
            return
        if state.H.fresh:
            return
        new = save_state(self.store, state, self.history, self.verdict, layout, self.settings.keep)
        if new and isinstance(state.H, StoredFactor):  # a pass that was refused has left H as it was
            state.H.follow(self._stored())
        if new:
            self.watchers.saved(state.passes, str(self.store))

    def _settle(self) -> None:
        """Let a cluster forget how H was made, now that it is saved: else what it remembers would grow for ever."""
        if self.cluster is None or self.verdict is not None:
            return
        assert self.state is not None
        stored: StoredFactor | None = None
        if self.cluster.shared:
            stored = self._left_beside() if self.store is None else self._stored()
        self.cluster.settle(self.state.H, stored)

    def _left_beside(self) -> StoredFactor:
        """Let the workers write H where there is no store, and return it from there."""
        state, layout = self.state, self.source.layout
        assert state is not None
        path = self.spill() / f"pass-{state.passes}"
        write_long(path, state.H, layout.bounds, self.settings.rank, layout.work_dtype, layout.transposed)
        if self._beside is not None:
            shutil.rmtree(self._beside, ignore_errors=True)
        self._beside = path
        return StoredFactor.at(path, layout.bounds, layout.transposed)

    def _stored(self) -> StoredFactor:
        """Return the long factor of the checkpoint that this run wrote last."""
        assert self.store is not None
        assert self.store.commit is not None
        layout = self.source.layout
        W, H = self.store.arrays(self.store.commit)
        return StoredFactor(W if layout.transposed else H, layout.bounds, layout.transposed)

    def result(self) -> Result:
        """Return the factors as they stand."""
        assert self.state is not None
        state = best_of(self.state.parts or (self.state,))
        long: Factor = state.H
        if self.store is not None and self.verdict is not None and self.store.commit is not None:
            long = self._stored()
        elif self.cluster is not None and self.verdict is not None:
            long = self.brought_here(state.H, self.settings.rank)
        verdict = self.verdict or Verdict(f"Running: {state.passes} passes were made.", False)
        store = str(self.store) if self.store else None
        made = Result.of(self.source, self.settings, dataclasses.replace(state, H=long), self.history, verdict, store)
        return dataclasses.replace(made, names=self.names)

    def brought_here(self, H: Factor, rank: int) -> Factor:
        """Return a long factor in this process: the workers, and what they hold, may go away."""
        layout, dtype = self.source.layout, self.source.layout.work_dtype
        here: Room = MemoryFactor(layout.blocks)
        if rank * layout.shape[1] * dtype.itemsize > HERE_SHARE * usable_memory():
            here = DiskFactor(self.spill(), rank, dtype, owner=self._folder)
        for block in range(layout.blocks):
            here.write(block, H.read(block))
        return here

    def close(self) -> None:
        """Give up the store, and what was kept beside it and on the workers."""
        if self.cluster is not None:
            self.cluster.close(self.state.H if self.state else None)
        if self._beside is not None:
            shutil.rmtree(self._beside, ignore_errors=True)
        self._folder = None
        if self.store is not None:
            self.store.discard_scratch()
            self.store.close()

    def set_out(self, passes: int, most: int | None = None) -> None:
        """Tell the watchers, have everything compiled that a pass will call, and start the clock; `most` are passes."""
        self.watchers.started(self.plan, passes, most or self.settings.max_passes)
        layout = self.source.layout
        warm_up(self.rule, layout.work_dtype, layout.dtype, layout.sparse)
        self._clock()

    def _clock(self) -> None:
        spent = self.history[-1].seconds if self.history else 0.0
        self._start = time.perf_counter() - spent
        self._counted = self.history[-1].bytes_read if self.history else 0
        self._lock = threading.Lock()

    def _block_read(self, count: int) -> None:
        with self._lock:
            self._counted += count
        self.watchers.block_read(count)

    def _remember(self) -> None:
        state = self.state
        assert state is not None
        record = Record(
            passes=state.passes,
            loss=state.loss,
            relative_error=state.relative_error,
            optimality=state.optimality,
            seconds=time.perf_counter() - self._start,
            bytes_read=self._counted,
            solver=state.method or self.recipe.plain_name,
        )
        if not self._told:
            self._told = True
            warn_of_unseen(state.unseen, self.source.layout.transposed)
        self.history.append(record)

    def bench(self) -> Bench:
        """Return what passes are made with."""
        return Bench(self.engine, self.rule, self._room, threads=self.settings.threads or cores())

    def _room(self, rows: int) -> Factor:
        layout = self.source.layout
        if self.cluster is not None:
            return self.cluster.room()
        if self.plan.factor_in_memory:
            return MemoryFactor(layout.blocks)
        dtype = layout.work_dtype
        if self.store is not None and (folder := self.store.scratch()) is not None:
            return DiskFactor(folder, rows, dtype)
        return DiskFactor(self.spill(), rows, dtype, owner=self._folder)

    def spill(self) -> Path:
        """Return a folder for what need not outlast this run and its factors."""
        self._folder = self._folder or SpillFolder()
        return self._folder.path
