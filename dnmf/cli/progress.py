"""Watchers that print progress: a live bar, plain lines, JSON lines."""

import json
import threading
import time
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from dnmf.engine.plan import Plan
from dnmf.errors import seen
from dnmf.run.watcher import Watcher
from dnmf.solvers.history import Record, Verdict


class ConsoleWatcher(Watcher):
    """Print the plan, the workers, checkpoints and the verdict of a run; subclasses print the passes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._lock = threading.Lock()
        self._read = 0
        self._loss: float | None = None
        self.link = self.worker_count = ""
        self._start = time.perf_counter()

    def started(self, plan: Plan, passes: int, max_passes: int) -> None:
        """Print the plan."""
        self._start = time.perf_counter()
        self.text(str(plan))
        if passes:
            self.console.print(f"The run resumes after pass {passes}.", highlight=False)

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

    def block_read(self, count: int) -> None:
        """Add to the bytes read."""
        with self._lock:
            self._read += count

    def speed(self) -> str:
        """Return the rate at which V was read since the start."""
        return f"{self._read / max(time.perf_counter() - self._start, 1e-9) / 1e9:.2f} GB/s"

    def describe(self, record: Record) -> str:
        """Return the loss after a pass and its relative change."""
        change = "" if not self._loss else f" ({(record.loss - self._loss) / self._loss:+.1e})"
        self._loss = record.loss
        return f"loss {record.loss:.4e}{change}"

    def saved(self, passes: int, store: str) -> None:
        """Print the path of a checkpoint."""
        text = seen(f"  checkpoint after pass {passes} in {store}")
        self.console.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)

    def modelled(self, done: int, total: int) -> None:
        """Print the number of fitted models, after every tenth of them."""
        if done == total or done * 10 // total > (done - 1) * 10 // total:
            self.line(f"{done} of {total} models are fitted on the sketch.")

    def stopped(self, verdict: Verdict) -> None:
        """Print the verdict."""
        self.text(verdict.sentence)


class Lines(ConsoleWatcher):
    """Print one plain line per pass."""

    def passed(self, record: Record) -> None:
        """Print the loss, optimality and speed."""
        error = "" if record.relative_error is None else f"  error {record.relative_error:.6f}"
        figures = f"{self.describe(record)}{error}  optimality {record.optimality:.1e}"
        line = f"pass {record.passes:4d}  {figures}  {self.speed()}"
        self.line(line)


class Bar(ConsoleWatcher):
    """Show a live bar that fills as blocks are read, up to the maximum number of passes."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def started(self, plan: Plan, passes: int, max_passes: int) -> None:
        """Print the plan and show the bar."""
        super().started(plan, passes, max_passes)
        self._pass_bytes = plan.bytes_per_pass
        self._progress = Progress(
            TextColumn("pass {task.fields[passes]}/{task.fields[most]}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[figures]}  {task.fields[speed]}{task.fields[crew]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=self.console,
            transient=True,
        )
        self._task = self._progress.add_task(
            "",
            total=max_passes * plan.bytes_per_pass,
            completed=passes * plan.bytes_per_pass,
            passes=passes,
            most=max_passes,
            figures="",
            speed="",
            crew=f"  {self.worker_count}" if self.worker_count else "",
        )
        self._progress.start()

    def workers(self, count: int, link: str) -> None:
        """Print and show the number of workers."""
        super().workers(count, link)
        if self._progress:
            self._progress.update(self._task, crew=f"  {self.worker_count}")

    def block_read(self, count: int) -> None:
        """Advance the bar."""
        super().block_read(count)
        if self._progress:
            self._progress.update(self._task, advance=count, speed=self.speed())

    def passed(self, record: Record) -> None:
        """Show the passes and the loss."""
        if self._progress:
            done = record.passes * self._pass_bytes
            self._progress.update(self._task, completed=done, passes=record.passes, figures=self.describe(record))

    def modelled(self, done: int, total: int) -> None:
        """Show the number of fitted models, and the passes made so far: no pass is under way."""
        if self._progress:
            passes = int(self._progress.tasks[self._task].completed // max(self._pass_bytes, 1))
            figures = f"{done} of {total} models on the sketch"
            self._progress.update(self._task, completed=passes * self._pass_bytes, passes=passes, figures=figures)

    def stopped(self, verdict: Verdict) -> None:
        """Remove the bar and print the verdict."""
        self.close()
        super().stopped(verdict)

    def close(self) -> None:
        """Remove the bar."""
        if self._progress:
            self._progress.stop()
            self._progress = None


class JsonLines(Watcher):
    """Write one JSON object per pass, with the field names of the history."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def passed(self, record: Record) -> None:
        """Write the record of a pass."""
        self._stream.write(json.dumps(record.to_dict(), allow_nan=False) + "\n")
        self._stream.flush()


def summary(path: str, rows: dict[str, str]) -> str:
    """Return facts about a path as aligned lines.

    >>> print(summary("V.zarr", {"rank": "3"}))
    V.zarr
      rank          3
    """
    return seen("\n".join([path, *(f"  {name:<12}  {value}" for name, value in rows.items())]))
