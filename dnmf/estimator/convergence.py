"""How a fit goes on: the lines that `verbose` prints, and when there is no more progress from batch to batch."""

import dataclasses

import numpy as np

from dnmf.run.watcher import Watcher
from dnmf.solvers.history import Record, Verdict
from dnmf.solvers.online import Online


class Told(Watcher):
    """Prints a line after every iteration, for `verbose`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def passed(self, record: Record) -> None:
        """Print the figures."""
        print(f"{self.name}: pass {record.passes}, loss {record.loss:.6g}, optimality {record.optimality:.2e}")

    def stopped(self, verdict: Verdict) -> None:
        """Print why it ended."""
        print(f"{self.name}: {verdict.sentence}")


@dataclasses.dataclass
class Progress:
    """When `fit` ends: H has hardly moved, or the smoothed cost has not improved for so many batches.

    It never does before every row was seen once: until then batches bring what is new, and their costs only make the
    mean from which the smoothed cost goes on.

    Attributes
    ----------
    tol, patience, rows, verbose
        The share that H is to move by, the batches allowed without improvement, the rows of X, whether to print.
    steps, over
        The steps made, and whether there is no more progress.
    """

    tol: float
    patience: int | None
    rows: int
    verbose: int = 0
    steps: int = 0
    over: bool = False
    _cost: float | None = None
    _least: float = np.inf
    _idle: int = 0

    def ends(self, before: Online | None, online: Online, cost: float) -> bool:
        """Take in a step with its cost for a row, and say whether it was the last; the first one never is."""
        self.steps += 1
        if before is None:
            return False
        width, seen_all = online.rows - before.rows, online.rows >= self.rows
        if np.isfinite(cost):
            share = min(width / min(before.rows, self.rows + 1), 1.0)
            self._cost = cost if self._cost is None else (1 - share) * self._cost + share * cost
        if seen_all and self._cost is not None:
            self._idle = 0 if self._cost < self._least else self._idle + 1
            self._least = min(self._least, self._cost)
        if self.verbose:
            smoothed = np.nan if self._cost is None else self._cost
            print(f"MiniBatchNMF: step {self.steps}, cost {cost:.6g}, smoothed {smoothed:.6g}")
        moved, length = float(np.linalg.norm(online.Ht - before.Ht)), float(np.linalg.norm(online.Ht))
        still = self.tol > 0 and moved <= self.tol * length
        self.over = seen_all and (still or (self.patience is not None and self._idle >= self.patience))
        return self.over
