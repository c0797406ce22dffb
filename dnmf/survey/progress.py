"""Counts what a survey takes, and tells those who watch it how it goes."""

import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from dnmf.errors import Interrupted
from dnmf.kernels.registry import solver_of
from dnmf.run.run import Run
from dnmf.solvers.bundle import best_of
from dnmf.solvers.history import Record, Verdict
from dnmf.solvers.state import State
from dnmf.survey.costs import Work
from dnmf.survey.store import Cabinet


class Tally:
    """What a survey has spent, as its cabinet remembers it, and its watchers."""

    def __init__(self, run: Run, cabinet: Cabinet, cancel: threading.Event | None) -> None:
        self.run, self.cabinet, self.cancel = run, cabinet, cancel
        self.spent = cabinet.spent()
        self._before = self.spent.seconds
        self._start = self._lap = time.perf_counter()

    def set_out(self, most: int) -> None:
        """Tell how many passes there will be, with those that were made already, and start the clock."""
        self.run.set_out(self.spent.passes, most)
        self._start = time.perf_counter()

    def begin(self) -> None:
        """Start the clock of a work."""
        self._lap = time.perf_counter()

    @property
    def seconds(self) -> float:
        """The seconds that the survey has taken."""
        return self._before + time.perf_counter() - self._start

    def spend(self, name: str, passes: int, models: Sequence[int]) -> None:
        """Set the passes of a work for models of these ranks, and add the seconds since it began or was counted."""
        before, self._lap = self._lap, time.perf_counter()
        known = self.spent.works.get(name)
        self.spent.works[name] = Work.of(passes, (known.seconds if known else 0.0) + self._lap - before, models)

    def fitted(self, taken: Mapping[int, float], models: int) -> None:
        """Set the seconds that so many models of each rank took on a sketch."""
        self.spent.works |= {f"fits-{rank}": Work.of(0, taken[rank], [rank] * models) for rank in taken}
        self.note()

    def note(self) -> None:
        """Remember what was spent."""
        self.spent.seconds = self.seconds
        self.cabinet.note(self.spent)

    @contextmanager
    def reading(self, models: Sequence[int]) -> Iterator[None]:
        """Count the pass that is made within it for models of these ranks, before what it led to is kept."""
        self.begin()
        yield
        self.spend(f"pass-{self.spent.passes + 1}", 1, models)
        self.note()

    def modelled(self, done: int, total: int) -> None:
        """Tell how many models are ready, and end the survey where that is wished."""
        for watcher in self.run.watchers:
            watcher.modelled(done, total)
        if self.cancel is not None and self.cancel.is_set():
            raise Interrupted("The survey was asked to stop.")

    def passed(self, models: Sequence[State]) -> None:
        """Tell of a pass, by the best of its models."""
        if not models:
            return
        record = self.record(dataclasses.replace(best_of(models), passes=self.spent.passes))
        for watcher in self.run.watchers:
            watcher.passed(record)

    def stopped(self) -> None:
        """Tell that the survey is made."""
        self.note()
        for watcher in self.run.watchers:
            watcher.stopped(Verdict(f"The survey read V {self.spent.passes} times.", True))

    def record(self, state: State) -> Record:
        """Return the record of a pass."""
        return Record(
            passes=state.passes,
            loss=state.loss,
            relative_error=state.relative_error,
            optimality=state.optimality,
            seconds=self.seconds,
            bytes_read=state.passes * self.run.source.layout.stored_bytes,
            solver=state.method or solver_of(self.run.settings),
        )
