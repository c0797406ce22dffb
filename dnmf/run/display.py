"""The display of progress that suits the output: a bar on a terminal or in a notebook, or plain lines."""

import html
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress

from dnmf.kernels.blocks.compiling import LOGGER
from dnmf.run.progress import Bar, ConsoleWatcher, Lines, ProgressWatcher
from dnmf.run.watcher import Watcher, Watchers
from dnmf.solvers.history import Record, Verdict

# Seconds between two updates of a notebook.
NOTEBOOK_S = 0.5


@contextmanager
def showing(watchers: Any, progress: bool | None) -> Iterator[Watchers]:
    """Yield watchers with one that shows the progress.

    Parameters
    ----------
    watchers
        As for `Watchers.of`.
    progress
        True shows a bar on a terminal and in a notebook, and prints lines elsewhere; None shows a bar on a terminal
        alone, and removes it at the end; False shows nothing.
    """
    found = Watchers.of(watchers)
    bar = display_for(progress)
    if bar is not None:
        found.append(bar)
    with displayed(bar):
        yield found


@contextmanager
def displayed(watcher: Watcher | None) -> Iterator[Watcher | None]:
    """Yield the watcher that shows progress; it also prints that functions are compiled, and a bar is removed."""
    handler, level = Printing(watcher), LOGGER.level
    if isinstance(watcher, ConsoleWatcher):
        LOGGER.addHandler(handler)
        LOGGER.setLevel(logging.INFO)
    try:
        yield watcher
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        if isinstance(watcher, Bar):
            watcher.close()


class Printing(logging.Handler):
    """Print the records of a logger as text of a watcher."""

    def __init__(self, watcher: Any) -> None:
        super().__init__()
        self._watcher = watcher

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        self._watcher.text(record.getMessage())


def display_for(progress: bool | None) -> Watcher | None:
    """Return the watcher that shows progress, or None."""
    if progress is False:
        return None
    console = Console(stderr=True)
    if progress is None:
        return Bar(console, quiet=True) if console.is_terminal and not console.is_jupyter else None
    display = notebook_display()
    if display is not None:
        return NotebookBar(display)
    return Bar(console) if console.is_terminal else Lines(console)


@contextmanager
def share_done(progress: bool | Callable[[int, int], None] | None, label: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that is called with the bytes done and the bytes in total, and shows them.

    Parameters
    ----------
    progress
        That function itself, or as for `showing`.
    label
        A word before the bar.
    """
    if callable(progress):
        yield progress
        return
    console = Console(stderr=True)
    quiet = progress is None and not (console.is_terminal and not console.is_jupyter)
    with Progress(console=console, transient=progress is None, disable=quiet or progress is False) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def notebook_display() -> Any:
    """Return the function `display` of a notebook, or None elsewhere."""
    shell = sys.modules.get("IPython")
    if shell is None or getattr(shell.get_ipython(), "kernel", None) is None:
        return None
    return shell.display.display


class NotebookBar(ProgressWatcher):
    """Show progress as an element of a notebook, which is updated in place."""

    def __init__(self, display: Any) -> None:
        super().__init__()
        self._display, self._handle, self._figures, self._shown = display, None, "", 0.0

    def block_read(self, count: int) -> None:
        """Advance the bar."""
        super().block_read(count)
        self._show()

    def passed(self, record: Record) -> None:
        """Show the passes and the loss."""
        super().passed(record)
        self._figures = self.describe(record)
        self._show()

    def modelled(self, done: int, total: int) -> None:
        """Show the number of fitted models."""
        super().modelled(done, total)
        self._show()

    def stopped(self, verdict: Verdict) -> None:
        """Show the verdict."""
        self._figures = f"{self._figures}. {verdict.sentence}"
        self._show(last=True)

    def _show(self, last: bool = False) -> None:
        """Update the element, at most twice a second."""
        with self._lock:
            now = time.perf_counter()
            if not last and now - self._shown < NOTEBOOK_S:
                return
            self._shown = now
            total = self.total
            done = total if last else min(self.done, total)
            text = f"pass {self.passes} of up to {self.horizon.largest}"
            if self.models is not None:
                done, total = self.models
                text = f"{done} of {total} models on the sketch"
            about = html.escape(f"{text}  {self._figures}")
            data = {"text/html": f'<progress value="{done}" max="{total}"></progress> {about}', "text/plain": about}
            if self._handle is None:
                self._handle = self._display(data, raw=True, display_id=True)
            else:
                self._handle.update(data, raw=True)
