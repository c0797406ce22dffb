"""Watchers that show progress on a terminal, as a live bar or as plain lines."""

import math
import threading
import time
from typing import Any

from rich.console import Console
from rich.errors import LiveError
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from dnmf.engine.memory import amount
from dnmf.engine.plan import Plan
from dnmf.errors import seen
from dnmf.run.watcher import Watcher
from dnmf.settings import Settings
from dnmf.solvers.history import Record, Verdict

# Passes whose optimality predicts the number of passes.
WINDOW = 5
# Terminals at least as wide show the workers, the speed of reading and the change of the loss.
WIDE = 120


class Horizon:
    """Predicts the number of passes of a run from the decrease of the optimality."""

    def __init__(self) -> None:
        self.tol = 0.0
        self.largest = 1
        self._records: list[Record] = []

    def add(self, record: Record) -> None:
        """Take the record of a pass."""
        self._records = [*self._records, record][-WINDOW:]

    @property
    def passes(self) -> int:
        """The number of passes after which the optimality reaches `tol` if it goes on falling; at most the maximum.

        >>> horizon = Horizon()
        >>> horizon.tol, horizon.largest = 1e-4, 100
        >>> for passes, optimality in ((1, 1e-1), (2, 1e-2)):
        ...     horizon.add(Record(passes, 1.0, None, optimality, 0.1, 0, "hals"))
        >>> horizon.passes
        4
        """
        if len(self._records) < 2 or self.tol <= 0:
            return self.largest
        first, last = self._records[0], self._records[-1]
        if not 0 < last.optimality < first.optimality < math.inf:
            return self.largest
        rate = math.log(first.optimality / last.optimality) / (last.passes - first.passes)
        more = math.ceil(max(math.log(last.optimality / self.tol), 0) / rate)
        return min(last.passes + max(more, 1), self.largest)


class ProgressWatcher(Watcher):
    """Counts the passes, models and bytes of a run, and describes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read = self._read_in_pass = self.passes = 0
        self._loss: float | None = None
        self.models: tuple[int, int] | None = None
        self.horizon = Horizon()
        self._laps = [(time.perf_counter(), 0)] * 2
        self.pass_bytes = 1

    def opened(self, settings: Settings) -> None:
        """Take the tolerance."""
        self.horizon.tol = settings.tol

    def started(self, plan: Plan, passes: int, max_passes: int) -> None:
        """Take the size of a pass."""
        self.pass_bytes, self.passes, self.horizon.largest = max(plan.bytes_per_pass, 1), passes, max_passes
        self._laps = [(time.perf_counter(), 0)] * 2

    def block_read(self, count: int) -> None:
        """Add to the bytes read."""
        with self._lock:
            self._read += count
            self._read_in_pass += count
        self.models = None

    def passed(self, record: Record) -> None:
        """Take the record of a pass."""
        self.horizon.add(record)
        with self._lock:
            self.passes, self._read_in_pass = record.passes, 0
        self._laps = [self._laps[-1], (time.perf_counter(), self._read)]

    def modelled(self, done: int, total: int) -> None:
        """Take the number of models that are fitted on a sketch."""
        self.models = (done, total)

    @property
    def total(self) -> int:
        """Bytes of the predicted number of passes."""
        return self.horizon.passes * self.pass_bytes

    @property
    def done(self) -> int:
        """Bytes of the passes that were made and of the one under way, which counts once if it reads V twice.

        Before the first record, there may be a pass that makes the factors to start from.
        """
        under_way = 1 if self.passes else 2
        return self.passes * self.pass_bytes + min(self._read_in_pass, under_way * self.pass_bytes)

    def speed(self) -> str:
        """Return the rate at which V was read in this pass and the one before."""
        start, before = self._laps[0]
        return f"{amount((self._read - before) / max(time.perf_counter() - start, 1e-9))}/s"

    def describe(self, record: Record, with_change: bool = True) -> str:
        """Return the error or loss after a pass, with its relative change, and the optimality next to `tol`."""
        change = f" ({(record.loss - self._loss) / self._loss:+.1e})" if self._loss and with_change else ""
        self._loss = record.loss
        error = f"loss {record.loss:.4e}" if record.relative_error is None else f"error {record.relative_error:.5f}"
        goal = f", tol {self.horizon.tol:.0e}" if self.horizon.tol > 0 else ""
        return f"{error}{change}  optimality {record.optimality:.1e}{goal}"


class ConsoleWatcher(ProgressWatcher):
    """Print the plan, the workers, checkpoints and the verdict of a run; subclasses show the passes."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self.link = self.worker_count = ""

    def started(self, plan: Plan, passes: int, max_passes: int) -> None:
        """Print the plan."""
        super().started(plan, passes, max_passes)
        self.text(str(plan))
        if passes:
            self.line(f"The run resumes after pass {passes}.")

    def workers(self, count: int, link: str) -> None:
        """Print the number of workers, and the link to the dashboard once."""
        if not self.link:
            self.link = link
            self.line(f"The dashboard of the cluster is at {link}")
        self.worker_count = "1 worker" if count == 1 else f"{count} workers"
        self.line(f"{self.worker_count}{'' if count else '; waiting for workers'}.")

    def line(self, text: str) -> None:
        """Print a line without wrapping."""
        self.console.print(seen(text), highlight=False, markup=False, soft_wrap=True)

    def text(self, text: str) -> None:
        """Print text, wrapped at word boundaries on a narrow terminal."""
        self.console.print(seen(text), highlight=False, markup=False, soft_wrap=not self.console.is_terminal)

    def passed(self, record: Record) -> None:
        """Explain a first pass that is not the first read."""
        if self.passes == 0 and record.passes > 1:
            reads = "The first pass" if record.passes == 2 else f"The first {record.passes - 1} passes"
            self.line(f"{reads} made the factors to start from.")
        super().passed(record)

    def saved(self, passes: int, store: str) -> None:
        """Print the path of a checkpoint."""
        text = seen(f"  checkpoint after pass {passes} in {store}")
        self.console.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)

    def modelled(self, done: int, total: int) -> None:
        """Print the number of fitted models, after every tenth of them."""
        super().modelled(done, total)
        if done == total or done * 10 // total > (done - 1) * 10 // total:
            self.line(f"{done} of {total} models are fitted on the sketch.")

    def stopped(self, verdict: Verdict) -> None:
        """Print the verdict."""
        self.text(verdict.sentence)


class Lines(ConsoleWatcher):
    """Print one plain line per pass."""

    def passed(self, record: Record) -> None:
        """Print the loss, optimality and speed."""
        super().passed(record)
        loss = "" if record.relative_error is None else f"loss {record.loss:.4e}  "
        self.line(f"pass {record.passes:4d}  {loss}{self.describe(record)}  {self.speed()}")


class Bar(ConsoleWatcher):
    """Show a live bar that fills as blocks are read, up to the predicted number of passes.

    Parameters
    ----------
    console
        Where to show it.
    quiet
        Whether to show the bar alone, and nothing after the run.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        super().__init__(console)
        self.quiet = quiet
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def started(self, plan: Plan, passes: int, max_passes: int) -> None:
        """Print the plan and show the bar."""
        super().started(plan, passes, max_passes)
        self._progress = Progress(
            TextColumn("{task.fields[text]}"),
            BarColumn(bar_width=16 if self.wide else 10),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            *([TextColumn("left")] if self.wide else []),
            console=self.console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, text="", figures="")
        self._show(total=self.total, completed=self.done)
        try:
            self._progress.start()
        except LiveError:  # the caller has a live display of his own
            self._progress = None

    def line(self, text: str) -> None:
        """Print a line, unless quiet."""
        if not self.quiet:
            super().line(text)

    def text(self, text: str) -> None:
        """Print text, unless quiet."""
        if not self.quiet:
            super().text(text)

    def workers(self, count: int, link: str) -> None:
        """Print and show the number of workers."""
        super().workers(count, link)
        self._show()

    def block_read(self, count: int) -> None:
        """Advance the bar, which shows passes again after models."""
        super().block_read(count)
        self._show(completed=self.done, total=self.total)

    def passed(self, record: Record) -> None:
        """Show the passes and the loss."""
        super().passed(record)
        self._show(self.describe(record, self.wide), completed=self.done, total=self.total)

    def modelled(self, done: int, total: int) -> None:
        """Show the number of fitted models: no pass is under way."""
        ProgressWatcher.modelled(self, done, total)
        self._show()

    def _show(self, figures: str | None = None, **changes: Any) -> None:
        """Update the bar."""
        if self._progress is None:
            return
        if figures is not None:
            changes["figures"] = figures
        text = f"pass {self.passes} of ≤{self.horizon.largest}"
        wide = [self.worker_count, self.speed()] if self.wide else []
        if self.models is not None:
            text, wide = f"{self.models[0]} of {self.models[1]} models on the sketch", []
            changes |= {"figures": "", "completed": self.models[0], "total": self.models[1]}
        self._progress.update(self._task, text="  ".join(filter(None, [text, *wide])), **changes)

    @property
    def wide(self) -> bool:
        """Whether the terminal has room for every figure."""
        return self.console.width >= WIDE

    def saved(self, passes: int, store: str) -> None:
        """Print the path of a checkpoint, unless quiet."""
        if not self.quiet:
            super().saved(passes, store)

    def stopped(self, verdict: Verdict) -> None:
        """Remove the bar and print the verdict."""
        self.close()
        super().stopped(verdict)

    def close(self) -> None:
        """Remove the bar."""
        if self._progress:
            self._progress.stop()
            self._progress = None
