"""Progress of a fit: the lines printed for `verbose`, and the stopping rule of `MiniBatchNMF`."""

import dataclasses
from collections import deque

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


class Moves:
    """The relative changes of H by the last batches, and their mean.

    >>> moves = Moves()
    >>> for move in ((10, 3.0, 0.5), (10, 0.0, 0.0), (10, 1.0, 0.25)):
    ...     moves.append(*move)
    >>> moves.mean(rows=30), moves.mean(rows=20)
    (0.4375, 0.25)
    """

    def __init__(self) -> None:
        self._batches: deque[tuple[int, float, float]] = deque()
        self._rows, self._squares, self._moves = 0, 0.0, 0.0

    def append(self, rows: int, squares: float, move: float) -> None:
        """Add the change by a batch with this number of rows and the sum of their squares."""
        self._batches.append((rows, squares, squares * move))
        self._count(1, *self._batches[-1])

    def mean(self, rows: int) -> float:
        """Return the mean change by the batches of the last rows, weighted by their squares: one of zeros moves none.

        Batches before the last `rows` rows are dropped.
        """
        while self._rows - self._batches[0][0] >= rows:
            self._count(-1, *self._batches.popleft())
        return self._moves / self._squares if self._squares > 0 else 0.0

    def _count(self, sign: int, rows: int, squares: float, moves: float) -> None:
        """Add a batch to the sums, or subtract it."""
        self._rows += sign * rows
        self._squares += sign * squares
        self._moves += sign * moves


@dataclasses.dataclass
class Progress:
    """Stopping rule of `MiniBatchNMF`: H hardly changes, or the smoothed cost has not improved for several batches.

    It does not apply before every row was seen once. The smoothed cost is the mean of the last costs of all batches: a
    step replaces that of its own batch, so that batches whose rows are larger than those of others do not look like a
    rise. The change of H is the mean over an epoch, since a batch with little data moves H little.

    Attributes
    ----------
    tol, patience
        Mean relative change of H by a batch, and number of batches without improvement, at which the fit ends.
    rows, batches, verbose
        Number of rows of X, and of batches of an epoch; whether to print a line per batch.
    steps, over
        Number of steps made; whether the fit has ended.
    """

    tol: float
    patience: int | None
    rows: int
    batches: int
    verbose: int = 0
    steps: int = 0
    over: bool = False
    _lowest: float = np.inf
    _idle: int = 0
    _moves: "Moves" = dataclasses.field(default_factory=lambda: Moves())

    def __post_init__(self) -> None:
        self._widths, self._costs = np.zeros(self.batches), np.zeros(self.batches)

    def ends(self, batch: int, before: Online | None, online: Online, cost: float) -> bool:
        """Count a step with its cost per row, and return whether it was the last one; the first step never is."""
        self.steps += 1
        width = online.rows - (0 if before is None else before.rows)
        if np.isfinite(cost):
            self._widths[batch], self._costs[batch] = width, cost
        if before is None:
            return False
        seen_all, smoothed = online.rows >= self.rows, self._smoothed
        if seen_all and np.isfinite(smoothed):
            self._idle = 0 if smoothed < self._lowest else self._idle + 1
            self._lowest = min(self._lowest, smoothed)
        if self.verbose:
            print(f"MiniBatchNMF: step {self.steps}, cost {cost:.6g}, smoothed {smoothed:.6g}")
        moved, length = float(np.linalg.norm(online.Ht - before.Ht)), float(np.linalg.norm(online.Ht))
        self._moves.append(width, online.squares - before.squares, moved / length if length > 0 else 0.0)
        still = self.tol > 0 and self._moves.mean(self.rows) <= self.tol
        self.over = seen_all and (still or (self.patience is not None and self._idle >= self.patience))
        return self.over

    @property
    def _smoothed(self) -> float:
        """Mean of the last costs of all batches; NaN without any."""
        rows = self._widths.sum()
        return float(self._widths @ self._costs / rows) if rows > 0 else np.nan
