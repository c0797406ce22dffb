"""How the command line speaks with the person before it, and is stopped by them."""

import json
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.columns import Columns
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dnmf.checkpoint import Store
from dnmf.cli.progress import Bar, JsonLines, Lines
from dnmf.errors import Interrupted, SettingsError, StoreError, seen
from dnmf.inspection.components import Component
from dnmf.inspection.numbers import percent, shortened
from dnmf.run.result import Result
from dnmf.run.watcher import Watcher
from dnmf.survey import RankSurvey
from dnmf.survey.table import HEADS, figure

# The columns of a survey that a narrow terminal does without, one after another.
SPARED = ("dispersion", "sparsity_W", "sparsity_H", "loss", "passes", "seconds", "cophenetic", "held_out_se")
# What asks a command to stop; of a terminal that is closed, only some systems tell.
STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def stoppable(store: str | Path | None, survey: bool = False) -> Iterator[threading.Event]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into a request to stop, and end with 130, 143 or 129 once all is saved.

    A signal that is ignored stays so: by `nohup`, or as a shell does for what runs in the background.
    """
    cancel, received = threading.Event(), []

    def stop(number: int, frame: Any) -> None:
        received.append(number)
        cancel.set()
        # A second Ctrl-C ends the process at once; batch systems send SIGTERM more than once.
        signal.signal(number, signal.SIG_DFL if number == signal.SIGINT else signal.SIG_IGN)

    heard = [number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield cancel
    except Interrupted:
        if store is not None and survey:
            say("Stopped. What was found so far is kept; go on with the same command.")
        elif store is not None and has_checkpoint(store):
            say(f"Stopped. The factors so far are saved; go on with: dnmf resume {store}")
        elif store is not None:
            say(f"Stopped in the first pass, before there was anything to save; start again with: dnmf resume {store}")
        else:
            say("Stopped. Nothing was kept: give --store to keep checkpoints.")
        sys.exit(128 + received[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Ended(BaseException):
    """A signal that ends a command; whatever it has begun to write is deleted on the way out."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP end a command that keeps nothing with 130, 143 or 129, and delete its drafts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGINT else signal.SIG_IGN)
        raise Ended(number)

    before = {number: signal.signal(number, end) for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN}
    try:
        yield
    except Ended as ended:
        say("Stopped.")
        sys.exit(128 + ended.args[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def has_checkpoint(store: str | Path) -> bool:
    """Say whether a store has something to go on from."""
    try:
        return Store.open(store).begun()
    except StoreError:
        return False


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


@contextmanager
def chosen_cluster(
    scheduler: str | None = None,
    tls_ca_file: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    scheduler_file: Path | None = None,
    cluster: Path | None = None,
    workers: int | None = None,
    threads_per_worker: int | None = None,
    worker_memory: str | None = None,
) -> Iterator[Any]:
    """Give what the options choose to work on, or None where they choose nothing."""
    new = (workers, threads_per_worker, worker_memory)
    starts = any(value is not None for value in new)
    chosen = [scheduler is not None, scheduler_file is not None, cluster is not None, starts]
    if sum(chosen) > 1:
        raise SettingsError(
            "Give one of --scheduler, --scheduler-file, --cluster and --workers: a run has one cluster."
        )
    if scheduler is None and any((tls_ca_file, tls_cert, tls_key)):
        raise SettingsError("--tls-ca-file, --tls-cert and --tls-key go with --scheduler tls://….")
    if not any(chosen):
        yield None
        return
    from dnmf.engine.cluster import launch  # it loads distributed, which most runs do without

    with ExitStack() as stack:
        if scheduler is not None:
            yield stack.enter_context(launch.at_address(scheduler, tls_ca_file, tls_cert, tls_key))
        elif scheduler_file is not None:
            yield stack.enter_context(launch.in_scheduler_file(scheduler_file))
        elif cluster is not None:
            yield stack.enter_context(launch.from_file(cluster))
        else:
            yield stack.enter_context(launch.local(*new))


def conclude(result: Result, as_json: bool = False) -> None:
    """Say what came out, and where it is; where it is the best of several runs, how their losses spread, to all."""
    if result.runs:
        spread = spread_of(result)
        if as_json:
            print(json.dumps(spread, allow_nan=False), flush=True)
        where = " on the sketch" if spread["on_sketch"] else ""
        losses = "from {least:.6e} to {largest:.6e}, {median:.6e} in the median".format(**spread)
        say(f"The best of {len(result.runs)} runs, whose losses{where} are {losses}.")
    error = "" if result.relative_error is None else f", relative error {result.relative_error:.6f}"
    say(f"{result.passes} passes, loss {result.loss:.6e}{error}, {result.history[-1].seconds:.1f} s.")
    if result.store:
        say(f"W and H are in {result.store}.")


def spread_of(result: Result) -> dict[str, Any]:
    """Return the losses of the runs that a result is the best of, in the order of their seeds, and their spread."""
    least, median, largest = (float(value) for value in np.quantile(result.runs, [0, 0.5, 1]))
    spread = {"least": least, "median": median, "largest": largest}
    # Under Frobenius, a run whose own passes come after one of its start begins on a sketch, and so did the others.
    on_sketch = result.settings.beta == 2 and result.history[0].passes > 1
    return {"runs": list(result.runs), **spread, "on_sketch": on_sketch}


def show_components(components: Sequence[Component]) -> None:
    """Show what components are made of on stdout: a table on a terminal, a plain line for each elsewhere."""
    console = Console()
    if not console.is_terminal:
        for component in components:
            line = ", ".join(f"{name} {weight}" for name, weight in told(component))
            text = Text(f"{component.name}  {percent(component.share)}  {line}")
            console.print(text, highlight=False, soft_wrap=True)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("component", style="bold", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("strongest features, each with its part of the component")
    for component in components:
        features = [
            Text.assemble(shortened(name, 40), (f" {weight}", "dim"), no_wrap=True, overflow="ellipsis")
            for name, weight in told(component)
        ]
        table.add_row(component.name, percent(component.share), Columns(features or ["none above 0"], padding=(0, 2)))
    console.print(table)


def told(component: Component) -> list[tuple[str, str]]:
    """Return the features of a component as a person reads them: what a name has in it moves no cursor."""
    return [
        (f"#{name}" if isinstance(name, int) else printable(name), percent(weight)) for name, weight in component.top
    ]


def printable(name: str) -> str:
    r"""Return a name with what is no letter, digit or sign in it written out.

    >>> print(printable("CD3\x1b[2J é"))
    CD3\x1b[2J é
    """
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in name)


def say(text: str) -> None:
    """Tell a person something."""
    Console(stderr=True).print(seen(text), highlight=False, markup=False, soft_wrap=True)


def with_room(cells: Mapping[str, Sequence[str]], width: int) -> list[str]:
    """Return the names of those columns of a survey that a terminal of some width has room for.

    >>> with_room({"rank": ["2"], "relative_error": ["0.25"], "loss": ["17.5"], "dispersion": ["1"]}, 20)
    ['rank', 'relative_error', 'loss']
    """
    shown = {name: max(len(HEADS[name]), *map(len, column)) + 2 for name, column in cells.items()}
    for name in SPARED:
        if sum(shown.values()) > width and (name != "loss" or "relative_error" in shown):
            shown.pop(name, None)
    return list(shown)


def show_survey(survey: RankSurvey) -> None:
    """Show what a survey says of every rank, and which one it speaks for."""
    console = Console()
    if not console.is_terminal:
        print(survey)
        return
    figures, found = survey.table(), survey.suggest()
    known = [name for name in HEADS if any(value is not None for value in figures[name])]
    cells = {name: [figure(value) for value in figures[name]] for name in known}
    shown = with_room(cells, console.width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in shown:
        table.add_column(HEADS[name], justify="right", no_wrap=True)
    for index, rank in enumerate(survey.ranks):
        style = "bold green" if rank == found.rank else ""
        table.add_row(*(cells[name][index] for name in shown), style=style)
    console.print(table)
    if spared := [HEADS[name] for name in known if name not in shown]:
        console.print(Text(f"A wider terminal shows {', '.join(spared)} too, and --json all there is.", style="dim"))
    console.print(Text(str(found)))
    console.print(Text(f"{survey.passes} passes, {survey.seconds:.1f} s.", style="dim"))
