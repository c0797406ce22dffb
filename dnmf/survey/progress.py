"""The progress of a survey: its costs are counted and stored, and watchers are notified."""

import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from dnmf.errors import Interrupted
from dnmf.run.run import Run
from dnmf.solvers.bundle import best_of
from dnmf.solvers.history import Record, Verdict
from dnmf.solvers.state import State
from dnmf.survey.costs import Cost
from dnmf.survey.store import SurveyStore


class SurveyProgress:
    """The costs of a survey, as its store records them, and its watchers."""

    def __init__(self, run: Run, store: SurveyStore, cancel: threading.Event | None) -> None:
        self.run, self.store, self.cancel = run, store, cancel
        self.costs = store.costs()
        self._before = self.costs.seconds
        self._start = self._lap = time.perf_counter()

    def announce(self, most: int) -> None:
        """Announce the number of passes, including those already made, and start the clock."""
        self.run.announce(self.costs.passes, most)
        self._start = time.perf_counter()

    def begin(self) -> None:
        """Start the clock of a step."""
        self._lap = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds of the survey so far."""
        return self._before + time.perf_counter() - self._start

    def count(self, step: str, passes: int, models: Sequence[int]) -> None:
        """Set the passes of a step for models of these ranks, and add the seconds since its clock was last read."""
        before, self._lap = self._lap, time.perf_counter()
        known = self.costs.steps.get(step)
        self.costs.steps[step] = Cost.of(passes, (known.seconds if known else 0.0) + self._lap - before, models)

    def fitted(self, seconds: Mapping[int, float], models: int) -> None:
        """Set the seconds in which `models` models of each rank were fitted on a sketch."""
        self.costs.steps |= {f"fits-{rank}": Cost.of(0, seconds[rank], [rank] * models) for rank in seconds}
        self.save()

    def save(self) -> None:
        """Store the costs."""
        self.costs.seconds = self.seconds
        self.store.save_costs(self.costs)

    @contextmanager
    def counted(self, models: Sequence[int]) -> Iterator[None]:
        """Count the pass made in this context for models of these ranks, before its results are stored."""
        self.begin()
        yield
        self.count(f"pass-{self.costs.passes + 1}", 1, models)
        self.save()

    def ready(self, done: int, total: int) -> None:
        """Notify watchers that `done` of `total` models are ready, and stop the survey if requested."""
        self.run.watchers.modelled(done, total)
        self._stop_if_asked()

    def passed(self, models: Sequence[State]) -> None:
        """Notify watchers of a pass, by the best of its models, and stop the survey if requested."""
        if models:
            self.run.watchers.passed(self.record(dataclasses.replace(best_of(models), passes=self.costs.passes)))
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self.cancel is not None and self.cancel.is_set():
            raise Interrupted("The survey was asked to stop.")

    def finish(self) -> None:
        """Store the costs, and notify watchers that the survey is finished."""
        self.save()
        self.run.watchers.stopped(Verdict(f"The survey read V {self.costs.passes} times.", True))

    def record(self, state: State) -> Record:
        """Return the record of a model after a pass."""
        return Record(
            passes=state.passes,
            loss=state.loss,
            relative_error=state.relative_error,
            optimality=state.optimality,
            seconds=self.seconds,
            bytes_read=state.passes * self.run.source.layout.stored_bytes,
            solver=state.method or self.run.recipe.solver,
        )
