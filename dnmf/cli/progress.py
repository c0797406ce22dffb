"""Watchers for people and for pipes: a live bar, plain lines, JSON lines."""

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


class Narrator(Watcher):
    """Keeps what every way of telling needs: the plan, the loss before, and how fast V is read."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._lock = threading.Lock()
        self._read = 0
        self._loss: float | None = None
        self.link = self.crew = ""
        self._start = time.perf_counter()

    def started(self, plan: Plan, passes: int, max_passes: int) -> None:
        """Say what is going to happen."""
        self._start = time.perf_counter()
        self.tell(str(plan))
        if passes:
            self.console.print(f"The run goes on after pass {passes}.", highlight=False)

    def workers(self, count: int, link: str) -> None:
        """Say how many there are, and once where they can be watched."""
        if not self.link:
            self.link = link
            self.say(f"The cluster can be watched at {link}")
        self.crew = "1 worker" if count == 1 else f"{count} workers"
        self.say(f"{self.crew}{'' if count else '; the run waits for some'}.")

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(seen(text), highlight=False, markup=False, soft_wrap=True)

    def tell(self, text: str) -> None:
        """Print what nobody copies, broken between words where a terminal is too narrow for it."""
        self.console.print(seen(text), highlight=False, markup=False, soft_wrap=not self.console.is_terminal)

    def block_read(self, count: int) -> None:
        """Count."""
        with self._lock:
            self._read += count

    def speed(self) -> str:
        """Return the rate at which V has been read since the start."""
        return f"{self._read / max(time.perf_counter() - self._start, 1e-9) / 1e9:.2f} GB/s"

    def describe(self, record: Record) -> str:
        """Return the loss after a pass, and its relative change."""
        change = "" if not self._loss else f" ({(record.loss - self._loss) / self._loss:+.1e})"
        self._loss = record.loss
        return f"loss {record.loss:.4e}{change}"

    def saved(self, passes: int, store: str) -> None:
        """Say where."""
        text = seen(f"  checkpoint after pass {passes} in {store}")
        self.console.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)

    def modelled(self, done: int, total: int) -> None:
        """Say when a tenth of the models is ready, and when all are."""
        if done == total or done * 10 // total > (done - 1) * 10 // total:
            self.say(f"{done} of {total} models are fitted on the sketch.")

    def stopped(self, verdict: Verdict) -> None:
        """Say why."""
        self.tell(verdict.sentence)


class Lines(Narrator):
    """One plain line a pass."""

    def passed(self, record: Record) -> None:
        """Write the line."""
        error = "" if record.relative_error is None else f"  error {record.relative_error:.6f}"
        figures = f"{self.describe(record)}{error}  optimality {record.optimality:.1e}"
        line = f"pass {record.passes:4d}  {figures}  {self.speed()}"
        self.say(line)


class Bar(Narrator):
    """A live bar that fills as blocks are read, over all passes that are allowed."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def started(self, plan: Plan, passes: int, max_passes: int) -> None:
        """Show the bar."""
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
            crew=f"  {self.crew}" if self.crew else "",
        )
        self._progress.start()

    def workers(self, count: int, link: str) -> None:
        """Show how many there are."""
        super().workers(count, link)
        if self._progress:
            self._progress.update(self._task, crew=f"  {self.crew}")

    def block_read(self, count: int) -> None:
        """Fill the bar."""
        super().block_read(count)
        if self._progress:
            self._progress.update(self._task, advance=count, speed=self.speed())

    def passed(self, record: Record) -> None:
        """Show the figures."""
        if self._progress:
            done = record.passes * self._pass_bytes
            self._progress.update(self._task, completed=done, passes=record.passes, figures=self.describe(record))

    def modelled(self, done: int, total: int) -> None:
        """Show how many are ready, and how many passes are over: none is under way."""
        if self._progress:
            passes = int(self._progress.tasks[self._task].completed // max(self._pass_bytes, 1))
            figures = f"{done} of {total} models on the sketch"
            self._progress.update(self._task, completed=passes * self._pass_bytes, passes=passes, figures=figures)

    def stopped(self, verdict: Verdict) -> None:
        """Take the bar away and say why."""
        self.close()
        super().stopped(verdict)

    def close(self) -> None:
        """Take the bar away, however the run ended."""
        if self._progress:
            self._progress.stop()
            self._progress = None


class JsonLines(Watcher):
    """One JSON object a pass, with the field names of the history."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def passed(self, record: Record) -> None:
        """Write the object."""
        self._stream.write(json.dumps(record.to_dict(), allow_nan=False) + "\n")
        self._stream.flush()


def summary(path: str, rows: dict[str, str]) -> str:
    """Lay out what is known of a thing.

    >>> print(summary("V.zarr", {"rank": "3"}))
    V.zarr
      rank          3
    """
    return seen("\n".join([path, *(f"  {name:<12}  {value}" for name, value in rows.items())]))
