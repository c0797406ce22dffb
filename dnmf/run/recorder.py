"""The history of a run: one record for every pass, with its time and the bytes read."""

import threading
import time
from collections.abc import Sequence

from dnmf.run.watcher import Watcher, Watchers
from dnmf.solvers.history import Record
from dnmf.solvers.state import State


class Recorder:
    """Records the passes of a run, and forwards the bytes read to its watchers.

    Parameters
    ----------
    watchers
        Called as the run goes.
    """

    def __init__(self, watchers: Sequence[Watcher] = ()) -> None:
        self.watchers = Watchers.of(watchers)
        self._lock = threading.Lock()
        self.start()

    def start(self, history: Sequence[Record] = ()) -> None:
        """Start the clock, after the passes in a history."""
        self.history = list(history)
        self._bytes = history[-1].bytes_read if history else 0
        self._start = time.perf_counter() - (history[-1].seconds if history else 0.0)

    def block_read(self, count: int) -> None:
        """Count the bytes of a block that was visited, from any thread."""
        with self._lock:
            self._bytes += count
        self.watchers.block_read(count)

    def add(self, state: State, solver: str) -> None:
        """Append the record of the pass that led to a state."""
        record = Record(
            passes=state.passes,
            loss=state.loss,
            relative_error=state.relative_error,
            optimality=state.optimality,
            seconds=time.perf_counter() - self._start,
            bytes_read=self._bytes,
            solver=solver,
        )
        self.history.append(record)
