"""A run: loop, stop, save."""

import dataclasses
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dnmf.checkpoint import Commit, Store, StoredFactor
from dnmf.checkpoint.state import save_state, saved_state
from dnmf.engine import AuditEngine, Engine, cores, single_threaded_products
from dnmf.engine.factor import Factor
from dnmf.engine.plan import Plan
from dnmf.engine.session import Session
from dnmf.errors import DataError, DataWarning, SettingsError, keep_before, warn, warn_of_unseen
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.registry import warm_up
from dnmf.run.home import home_of, stored_factor
from dnmf.run.recorder import Recorder
from dnmf.run.result import Result
from dnmf.run.watcher import Watcher
from dnmf.solvers.bundle import best_of
from dnmf.solvers.coupling import Coupled
from dnmf.solvers.history import Record, Verdict
from dnmf.solvers.initialise import NOT_FIXED, Fixed, hold_fixed, initial_state
from dnmf.solvers.iteration import PassContext, iterate
from dnmf.solvers.layers import layered_start
from dnmf.solvers.selection import Recipe
from dnmf.solvers.several_runs import alone, runs_of
from dnmf.solvers.state import State
from dnmf.solvers.stopping import Allowed, Stopping, check_range


class Run:
    """A run that is ready to start; iterate over it to make its passes.

    Parameters
    ----------
    session
        The matrix, and where its passes are made.
    recipe, plan
        How it is factorised, and within which bounds.
    store
        Where checkpoints are written, locked by this process; None writes none.
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
        self.recorder = Recorder(watchers)
        self.watchers = self.recorder.watchers
        engine = session.engine(plan, self.recorder.block_read)
        self.home = home_of(session, plan, store, engine)
        self.engine: Engine = AuditEngine(engine, self.rule.entries)
        coupling = recipe.coupling
        self.coupled = None if coupling is None else Coupled(coupling, self.engine, self.home)
        self.state: State | None = None
        self.verdict: Verdict | None = None
        self.names = self.source.layout.names
        self.allowed = Allowed(self.settings.max_passes)
        self._warned = False
        # Whether this run has read all of V, and so validated it, before the first pass of its algorithm.
        self._validated = False

    def initialise(self, given: Any, fixed: Fixed = NOT_FIXED) -> None:
        """Set the first state: given factors of the user's matrix, or an initialisation, with fixed components."""
        layout = self.source.layout
        if given is not None and layout.transposed:
            given = (given[1].T, given[0].T)
        self.announce(0)
        settings = self.settings.swapped() if layout.transposed else self.settings
        joint = self.recipe.joint
        if joint is not None:
            with single_threaded_products():
                self.state = layered_start(self.context(), settings, joint, self.recipe.init)
        else:
            self.state = initial_state(self.context(), settings.of_layer(0), given, self.recipe.init)
        # A start under a divergence does not know which entries it allows.
        self._validated = given is None and self.state.norms is not None and isinstance(self.rule, Quadratic)
        if fixed:
            self.state = hold_fixed(self.state, fixed, layout)
        if given is not None or fixed:
            self.save()

    def resume_from(self, commit: Commit) -> None:
        """Set the state of a checkpoint."""
        assert self.store is not None
        self.announce(commit.passes)
        self.store.retain(self.settings.keep_checkpoints)
        self.state = saved_state(self.store, commit, self.source.layout)
        self.recorder.start([Record(**record) for record in commit.history])

    @property
    def passes_of_start(self) -> int:
        """Reads of V by the initialisation."""
        return (self.state.passes if self.state else 0) - len(self.recorder.history)

    def __iter__(self) -> Generator[State]:
        """Make passes until the stopping rule fires or the caller stops iterating; save on the way and at the end."""
        assert self.state is not None
        history = self.recorder.history
        stopping = Stopping(self.settings, self.allowed, history, batches=self.recipe.batches)
        measured = history.pop() if self.settings.greedy and self.state.mixings else None
        verdict = stopping.verdict(self.state) if history else None
        if measured is not None and verdict is not None:
            history.append(measured)
        elif measured is not None:
            self.state = self.state.parts[0]
        if self.store is not None and verdict is None:
            self.store.withdraw()
        states = iterate(self.context(), self.state, self.recipe.method_for(self.state))
        try:
            if verdict is not None:
                self._end(stopping, verdict)
                self.save()
            while self.verdict is None:
                self.state = next(states)
                check_range(self.state)
                self._record()
                verdict = stopping.verdict(self.state)
                if verdict is not None:
                    states.close()  # frees the factors of the pass before, and those of a trial point
                    self._end(stopping, verdict)
                self.watchers.passed(history[-1])
                if self.verdict or self.state.passes % self.settings.checkpoint_every == 0:
                    self.save()
                    if self.verdict is None:
                        self.home.settle(self.state)
                yield self.state
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                error.add_note(self._how_to_continue())
            # Save the last pass, unless its numbers left the range of floats or the interpreter is shutting down.
            made = history[-1].passes if history else None
            if made == self.state.passes and not sys.is_finalizing():
                self.home.shorten_waits()
                keep_before(error, self.save, f"The checkpoint after pass {made}")
            raise
        if self.store is not None:
            self.store.publish()
        self.watchers.stopped(self.verdict)

    def _how_to_continue(self) -> str:
        """Return what to do after an interruption from the keyboard."""
        if self.store is None:
            return "Nothing is saved: give a store=, and an interrupted run can be resumed."
        return f"The factors so far are saved; continue with dnmf.resume({str(self.store)!r})."

    def _record(self) -> None:
        """Record the pass that led to the state, and warn once of rows and columns without entries."""
        assert self.state is not None
        self.recorder.add(self.state, self.state.method or self.recipe.plain_name)
        if not self._warned and any(unseen := self._unseen()):
            self._warned = True
            warn_of_unseen(unseen, self.source.layout.transposed, zeros=self.rule.entries.all)

    def _unseen(self) -> tuple[int, int]:
        """Return the rows and columns without entries, along the axes where no neighbours or targets replace them."""
        assert self.state is not None
        rows, columns = self.state.unseen
        coupling = self.recipe.coupling
        if coupling is None:
            return rows, columns
        return rows * (not coupling.pulls_W), columns * (not coupling.pulls_H)

    def _end(self, stopping: Stopping, verdict: Verdict) -> None:
        """Keep the best of several models, and set the verdict; a run that is interrupted before has none."""
        assert self.state is not None
        if self.state.parts and not self.state.mixings:
            bundled, self.state = self.state, alone(self.context(), self.state)
            bundled.H.drop()
            verdict = stopping.verdict(self.state) or verdict
        elif self.settings.greedy and not self.state.mixings:
            self.watchers.passed(self.recorder.history[-1])
            with single_threaded_products():
                self.state = self.recipe.deepen(self.context(), self.state)
            self.recorder.add(self.state, self.state.method)
        self.verdict = verdict

    def save(self) -> None:
        """Write a checkpoint of the state, unless there is no store or the state can be computed again for free."""
        state, layout, history = self.state, self.source.layout, self.recorder.history
        if self.store is None or state is None or (not history and state.passes + bool(state.norms) > 0):
            return
        if state.H.unscaled:
            return
        new = save_state(self.store, state, history, self.verdict, layout.bounds, self.settings.keep_checkpoints)
        if new and isinstance(state.H, StoredFactor):  # a rejected pass has left H as it was
            state.H.follow(stored_factor(self.store, layout))
        if new:
            self.watchers.saved(state.passes, str(self.store))

    def result(self) -> Result:
        """Return the current factors."""
        assert self.state is not None
        state = self.state if self.state.mixings else best_of(self.state.parts or (self.state,))
        long: Factor = state.H
        if self.verdict is not None and self.store is not None and self.store.commit is not None:
            long = stored_factor(self.store, self.source.layout)
        elif self.verdict is not None:
            long = self.home.release(long)
        if self.verdict is not None and sum(state.norms or ()) > 0 and not state.W.any():
            warn(
                "All components are 0: lower the penalties, or start from other factors (another seed or init).",
                DataWarning,
            )
        verdict = self.verdict or Verdict(f"Running: {state.passes} passes were made.", False)
        store = str(self.store) if self.store else None
        state = dataclasses.replace(state, H=long, runs=runs_of(self.state))
        return Result.of(self.source, self.settings, state, self.recorder.history, verdict, store, self.names)

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Close a new run at the end, and delete its store if what was given is refused before a pass is made."""
        try:
            yield
        except (DataError, SettingsError):
            if self.store is not None and not self.recorder.history:
                self.store.remove()
            raise
        finally:
            self.close()

    def close(self) -> None:
        """Give up the store, its temporary files, and the factors on the workers."""
        self.home.close(self.state.H if self.state else None)
        if self.store is not None:
            self.store.discard_scratch()
            self.store.close()

    def announce(self, passes: int, max_passes: int | None = None) -> None:
        """Report the start to the watchers, compile all that a pass calls, and start the clock.

        Parameters
        ----------
        passes
            Passes that were made before.
        max_passes
            Passes allowed; None is the setting.
        """
        self.watchers.started(self.plan, passes, max_passes or self.settings.max_passes)
        layout = self.source.layout
        warm_up(self.rule, layout.work_dtype, layout.dtype, layout.sparse, self.coupled is not None)
        self.recorder.start()

    def context(self) -> PassContext:
        """Return the means to make a pass."""
        threads = self.settings.threads or cores()
        return PassContext(
            self.engine,
            self.rule,
            self.home.new_factor,
            check=not self._validated,
            threads=threads,
            settings=self.settings,
            coupled=self.coupled,
            eager=self.store is not None or self.home.remote,
        )
