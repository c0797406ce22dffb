"""Messages, tables and signals of the commands."""

import json
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich import box
from rich.columns import Columns
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dnmf.checkpoint import Store
from dnmf.cli.lines import JsonLines
from dnmf.cli.options import ARGUMENTS
from dnmf.engine.plan import Plan
from dnmf.errors import Interrupted, SettingsError, StoreError, seen
from dnmf.inspection.components import Component
from dnmf.inspection.numbers import percent, shortened
from dnmf.run.progress import Bar, Lines
from dnmf.run.result import Result
from dnmf.run.watcher import Watcher
from dnmf.survey import RankSurvey
from dnmf.survey.criteria import HEADS, figure

# Columns of a survey that a narrow terminal omits, in this order.
OPTIONAL = ("dispersion", "sparsity_W", "sparsity_H", "loss", "passes", "seconds", "cophenetic", "mae", "held_out_se")
# Signals that stop a command; not every system has SIGHUP.
STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def handling(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Handle Ctrl-C, SIGTERM and SIGHUP.

    Signals that are ignored, by `nohup` or because a shell ignores them for a background process, stay ignored.
    """
    heeded = [number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


def disarm(number: int) -> None:
    """Let a second Ctrl-C end the process at once, and ignore other signals: batch systems send SIGTERM repeatedly."""
    signal.signal(number, signal.SIG_DFL if number == signal.SIGINT else signal.SIG_IGN)


@contextmanager
def stoppable(store: str | Path | None, survey: bool = False) -> Iterator[threading.Event]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into a request to stop, and exit with 130, 143 or 129 once all is saved."""
    cancel, received = threading.Event(), []

    def stop(number: int, frame: Any) -> None:
        received.append(number)
        cancel.set()
        disarm(number)

    with handling(stop):
        try:
            yield cancel
        except Interrupted:
            if store is not None and survey:
                notify("Stopped. The results so far are saved; repeat the command to resume.")
            elif store is not None and has_checkpoint(store):
                notify(f"Stopped. The factors so far are saved; resume with: dnmf resume {store}")
            elif store is not None:
                notify(f"Stopped in the first pass, with nothing to save yet; start again with: dnmf resume {store}")
            else:
                command = command_with("--store", "survey.zarr" if survey else "run.zarr")
                notify(f"Stopped. Nothing is saved; to save checkpoints, repeat: {command}")
            sys.exit(128 + received[0])


class Terminated(BaseException):
    """A signal that ends a command; its unfinished files are deleted on the way out."""


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP end a command with 130, 143 or 129, and delete its unfinished files."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> None:
        disarm(number)
        raise Terminated(number)

    with handling(end):
        try:
            yield
        except Terminated as ended:
            notify("Stopped.")
            sys.exit(128 + ended.args[0])


def has_checkpoint(store: str | Path) -> bool:
    """Return whether a store has a checkpoint to resume from."""
    try:
        return Store.open(store).begun()
    except StoreError:
        return False


@contextmanager
def watching(as_json: bool, unsaved: bool = False) -> Iterator[list[Watcher]]:
    """Yield watchers that suit the output: JSON lines, a live bar on a terminal, or plain lines.

    If results are `unsaved`, the first of them says so.
    """
    console = Console(stderr=True)
    notices: list[Watcher] = [UnsavedNotice()] if unsaved else []
    if as_json:
        yield [*notices, JsonLines(sys.stdout)]
    elif console.is_terminal:
        bar = Bar(console)
        try:
            yield [*notices, bar]
        finally:
            bar.close()
    else:
        yield [*notices, Lines(console)]


class UnsavedNotice(Watcher):
    """Print that a run has no store, once its options and its matrix are checked."""

    def started(self, plan: Plan, passes: int, max_passes: int) -> None:
        """Print the notice."""
        notify("Results will not be saved; add --store PATH.")


def command_with(*words: str) -> str:
    """Return the current command as it was typed, with further words."""
    context = click.get_current_context()
    return shlex.join(["dnmf", context.info_name or "", *context.meta[ARGUMENTS], *words])


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
    """Yield the client of the cluster that the options choose, or None without such options."""
    new = (workers, threads_per_worker, worker_memory)
    starts = any(value is not None for value in new)
    chosen = [scheduler is not None, scheduler_file is not None, cluster is not None, starts]
    if sum(chosen) > 1:
        raise SettingsError(
            "--scheduler, --scheduler-file, --cluster and --workers each choose a cluster; give only one of them."
        )
    if scheduler is None and any((tls_ca_file, tls_cert, tls_key)):
        raise SettingsError("--tls-ca-file, --tls-cert and --tls-key need a scheduler; give --scheduler tls://….")
    if not any(chosen):
        yield None
        return
    from dnmf.engine.cluster import launch  # loads distributed, which most runs do not need

    with ExitStack() as stack:
        if scheduler is not None:
            yield stack.enter_context(launch.at_address(scheduler, tls_ca_file, tls_cert, tls_key))
        elif scheduler_file is not None:
            yield stack.enter_context(launch.in_scheduler_file(scheduler_file))
        elif cluster is not None:
            yield stack.enter_context(launch.from_file(cluster))
        else:
            yield stack.enter_context(launch.local(*new))


def print_result(result: Result, as_json: bool = False) -> None:
    """Print the loss and the store of a result, and the spread of the losses if it is the best of several runs."""
    if result.runs:
        spread = spread_of(result)
        if as_json:
            print(json.dumps(spread, allow_nan=False), flush=True)
        where = " on the sketch" if spread["on_sketch"] else ""
        losses = "from {least:.6e} to {largest:.6e}, {median:.6e} in the median".format(**spread)
        notify(f"The best of {len(result.runs)} runs, whose losses{where} are {losses}.")
    error = "" if result.relative_error is None else f", relative error {result.relative_error:.6f}"
    notify(f"{result.passes} passes, loss {result.loss:.6e}{error}, {result.history[-1].seconds:.1f} s.")
    if result.store:
        notify(f"W and H are in {result.store}.")


def spread_of(result: Result) -> dict[str, Any]:
    """Return the losses of all runs, in the order of their seeds, and their spread."""
    least, median, largest = (float(value) for value in np.quantile(result.runs, [0, 0.5, 1]))
    spread = {"least": least, "median": median, "largest": largest}
    # With the Frobenius loss, a history that starts after the first pass means that the runs were made on a sketch.
    on_sketch = result.settings.beta == 2 and result.history[0].passes > 1
    return {"runs": list(result.runs), **spread, "on_sketch": on_sketch}


def show_components(components: Sequence[Component]) -> None:
    """Print the strongest features of components on stdout: a table on a terminal, else a line for each."""
    console = Console()
    if not console.is_terminal:
        for component in components:
            line = ", ".join(f"{name} {weight}" for name, weight in features_of(component))
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
            for name, weight in features_of(component)
        ]
        table.add_row(component.name, percent(component.share), Columns(features or ["none above 0"], padding=(0, 2)))
    console.print(table)


def features_of(component: Component) -> list[tuple[str, str]]:
    """Return names and weights of the features of a component, with control characters escaped."""
    return [
        (f"#{name}" if isinstance(name, int) else printable(name), percent(weight)) for name, weight in component.top
    ]


def printable(name: str) -> str:
    r"""Return a name with control characters escaped.

    >>> print(printable("CD3\x1b[2J é"))
    CD3\x1b[2J é
    """
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in name)


def notify(text: str) -> None:
    """Print a message on stderr."""
    Console(stderr=True).print(seen(text), highlight=False, markup=False, soft_wrap=True)


def fitting(cells: Mapping[str, Sequence[str]], width: int) -> list[str]:
    """Return the names of the columns of a survey that fit into the width of a terminal.

    >>> fitting({"rank": ["2"], "relative_error": ["0.25"], "loss": ["17.5"], "dispersion": ["1"]}, 20)
    ['rank', 'relative_error', 'loss']
    """
    shown = {name: max(len(HEADS[name]), *map(len, column)) + 2 for name, column in cells.items()}
    for name in OPTIONAL:
        if sum(shown.values()) > width and (name != "loss" or "relative_error" in shown):
            shown.pop(name, None)
    return list(shown)


def show_survey(survey: RankSurvey) -> None:
    """Print the figures of a survey for every rank, and the suggested rank."""
    console = Console()
    if not console.is_terminal:
        print(survey)
        return
    figures, found = survey.table(), survey.suggest()
    known = [name for name in HEADS if any(value is not None for value in figures[name])]
    cells = {name: [figure(value) for value in figures[name]] for name in known}
    shown = fitting(cells, console.width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in shown:
        table.add_column(HEADS[name], justify="right", no_wrap=True)
    for index, rank in enumerate(survey.ranks):
        style = "bold green" if rank == found.rank else ""
        table.add_row(*(cells[name][index] for name in shown), style=style)
    console.print(table)
    if omitted := [HEADS[name] for name in known if name not in shown]:
        text = f"A wider terminal also shows {', '.join(omitted)}; --json shows everything."
        console.print(Text(text, style="dim"))
    console.print(Text(str(found)))
    console.print(Text(f"{survey.passes} passes, {survey.seconds:.1f} s.", style="dim"))
