"""Progress of a fit: the lines printed for `verbose`, and the stopping rule of `MiniBatchNMF`."""

import dataclasses

import numpy as np

from dnmf.run.watcher import Watcher
from dnmf.solvers.history import Record, Verdict
from dnmf.solvers.online import Online


class VerbosePrinter(Watcher):
    """Print a line after every iteration, for `verbose`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def passed(self, record: Record) -> None:
        """Print the loss and the optimality."""
        print(f"{self.name}: pass {record.passes}, loss {record.loss:.6g}, optimality {record.optimality:.2e}")

    def stopped(self, verdict: Verdict) -> None:
        """Print the reason for the end."""
        print(f"{self.name}: {verdict.sentence}")


@dataclasses.dataclass
class Progress:
    """Stopping rule of `MiniBatchNMF`: H hardly changes, or the smoothed cost has not improved for several batches.

    It does not apply before every row was seen once; until then, the costs only form the initial mean of the smoothed
    cost.

    Attributes
    ----------
    tol, patience
        Relative change of H, and number of batches without improvement, at which the fit ends.
    rows, verbose
        Number of rows of X; whether to print a line per batch.
    steps, over
        Number of steps made; whether the fit has ended.
    """

    tol: float
    patience: int | None
    rows: int
    verbose: int = 0
    steps: int = 0
    over: bool = False
    _cost: float | None = None
    _lowest: float = np.inf
    _idle: int = 0

    def ends(self, before: Online | None, online: Online, cost: float) -> bool:
        """Count a step with its cost per row, and return whether it was the last one; the first step never is."""
        self.steps += 1
        if before is None:
            return False
        width, seen_all = online.rows - before.rows, online.rows >= self.rows
        if np.isfinite(cost):
            share = min(width / min(before.rows, self.rows + 1), 1.0)
            self._cost = cost if self._cost is None else (1 - share) * self._cost + share * cost
        if seen_all and self._cost is not None:
            self._idle = 0 if self._cost < self._lowest else self._idle + 1
            self._lowest = min(self._lowest, self._cost)
        if self.verbose:
            smoothed = np.nan if self._cost is None else self._cost
            print(f"MiniBatchNMF: step {self.steps}, cost {cost:.6g}, smoothed {smoothed:.6g}")
        moved, length = float(np.linalg.norm(online.Ht - before.Ht)), float(np.linalg.norm(online.Ht))
        still = self.tol > 0 and moved <= self.tol * length
        self.over = seen_all and (still or (self.patience is not None and self._idle >= self.patience))
        return self.over
