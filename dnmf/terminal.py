"""How the command line speaks with the person before it, and is stopped by them."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from dnmf.errors import Interrupted
from dnmf.progress import Bar, JsonLines, Lines
from dnmf.result import Result
from dnmf.watch import Watcher


@contextmanager
def stoppable(store: Path | None) -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into a request to stop, and end with 130 or 143 once the checkpoint is written."""
    cancel, received = threading.Event(), []

    def stop(number: int, frame: Any) -> None:
        received.append(number)
        cancel.set()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield cancel
    except Interrupted:
        saved = store is not None and (store / "commits").is_dir() and any((store / "commits").glob("[0-9]*.json"))
        if saved:
            say(f"Stopped. The factors so far are saved; go on with: dnmf resume {store}")
        elif store is not None:
            say(f"Stopped in the first pass, before there was anything to save; start again with: dnmf resume {store}")
        else:
            say("Stopped. Nothing was kept: give --store to keep checkpoints.")
        sys.exit(128 + received[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def watching(as_json: bool) -> Iterator[list[Watcher]]:
    """Give the watchers that fit where the output goes."""
    console = Console(stderr=True)
    if as_json:
        yield [JsonLines(sys.stdout)]
    elif console.is_terminal:
        bar = Bar(console)
        try:
            yield [bar]
        finally:
            bar.close()
    else:
        yield [Lines(console)]


def conclude(result: Result) -> None:
    """Say what came out, and where it is."""
    error = "" if result.relative_error is None else f", relative error {result.relative_error:.6f}"
    say(f"{result.passes} passes, loss {result.loss:.6e}{error}, {result.history[-1].seconds:.1f} s.")
    if result.store:
        say(f"W and H are in {result.store}.")


def say(text: str) -> None:
    """Tell a person something."""
    Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)
