"""Messages and signals of the commands, and what the options for a terminal or a cluster choose."""

import json
import math
import shlex
import signal
import statistics
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dnmf.cli.streams import notify, notify_from_handler
from dnmf.errors import Interrupted, SettingsError, StoreError

if TYPE_CHECKING:
    from dnmf.run.result import Result

# The key of the arguments of a command, as they were typed, in `click.Context.meta`.
ARGUMENTS = "dnmf.arguments"
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


def stopping(number: int, saves: bool) -> str:
    """Return the first message after a signal: what happens now, and how to avoid it.

    >>> print(stopping(signal.SIGINT, saves=True))
    Saving the results so far, then stopping. Press Ctrl-C again to stop at once, without saving.
    >>> print(stopping(signal.SIGTERM, saves=False))
    Received SIGTERM. Stopping.
    """
    now = "Saving the results so far, then stopping." if saves else "Stopping."
    if number == signal.SIGINT:
        return f"{now} Press Ctrl-C again to stop at once{', without saving' if saves else ''}."
    return f"Received {signal.Signals(number).name}. {now}"


class StopRequest(threading.Event):
    """A request to stop a command; before its run has begun, there is nothing to save."""

    begun = False

    def begin(self) -> None:
        """Note that the run has begun."""
        self.begun = True


@contextmanager
def stoppable(store: str | Path | None, *, replaces: bool = False, survey: bool = False) -> Iterator[StopRequest]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into a request to stop, and exit with 130, 143 or 129 once all is saved.

    Parameters
    ----------
    store
        Path or URL of the results, or None if they are not saved.
    replaces
        Whether results of another run may be in the store until the run starts.
    survey
        Whether they are those of a survey.
    """
    cancel, received = StopRequest(), []

    def stop(number: int, frame: Any) -> None:
        received.append(number)
        cancel.set()
        disarm(number)
        notify_from_handler(stopping(number, store is not None and cancel.begun))

    with handling(stop):
        try:
            yield cancel
        except Interrupted:
            if store is not None and replaces and not cancel.begun:
                notify(left_alone(store))
            elif store is not None and survey:
                again = "the command without --overwrite" if replaces else "the command"
                notify(f"Stopped. The results so far are saved; repeat {again} to resume.")
            elif store is not None:
                notify(saved_so_far(store))
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


def saved_so_far(store: str | Path) -> str:
    """Return the message after a run with a store was stopped: what is saved, and how to continue."""
    from dnmf.checkpoint import Store

    try:
        begun = Store.open(store).begun()
    except StoreError:
        return f"Stopped before the first pass; to start again, repeat: {command_with()}"
    if begun:
        return f"Stopped. The factors so far are saved; resume with: dnmf resume {store}"
    return f"Stopped in the first pass, with nothing to save yet; start again with: dnmf resume {store}"


def left_alone(store: str | Path) -> str:
    """Return the message after a run was stopped before it could replace results in its store."""
    from dnmf.checkpoint.header import results_at
    from dnmf.storage.open_location import location_at

    left = ""
    with suppress(StoreError):
        left = f", and {store} is as it was" if results_at(location_at(store)) else ""
    return f"Stopped before the first pass{left}; to start again, repeat: {command_with()}"


@contextmanager
def watching(as_json: bool, cancel: StopRequest | None = None, unsaved: bool = False) -> Iterator[list[Any]]:
    """Yield watchers that suit the output: JSON lines, a live bar on a terminal, or plain lines.

    The first of them notes the start of a run that can be stopped, and prints it if its results are `unsaved`.
    """
    from rich.console import Console

    from dnmf.cli.lines import JsonLines, StartNotice
    from dnmf.run.display import displayed
    from dnmf.run.progress import Bar, Lines

    console = Console(stderr=True)
    notices = [] if cancel is None else [StartNotice(cancel.begin, unsaved)]
    if as_json:
        yield [*notices, JsonLines(sys.stdout)]
    else:
        with displayed(Bar(console) if console.is_terminal else Lines(console)) as watcher:
            yield [*notices, watcher]


def command_with(*words: str) -> str:
    """Return the current command as it was typed, with further words."""
    context = click.get_current_context()
    return shlex.join(["dnmf", context.info_name or "", *context.meta[ARGUMENTS], *words])


@contextmanager
def chosen_cluster(
    cancel: threading.Event | None = None,
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
    if starts and workers is None:
        raise SettingsError("--threads-per-worker and --worker-memory are those of new workers; give --workers too.")
    if not any(chosen):
        yield None
        return
    from dnmf.engine.cluster import launch  # loads distributed, which most runs do not need

    with ExitStack() as stack:
        if scheduler is not None:
            notify(f"Connecting to the scheduler at {scheduler}.")
            yield stack.enter_context(launch.at_address(scheduler, tls_ca_file, tls_cert, tls_key, cancel))
        elif scheduler_file is not None:
            yield stack.enter_context(launch.in_scheduler_file(scheduler_file, cancel))
        elif cluster is not None:
            notify(f"Starting the cluster that {cluster} describes.")
            yield stack.enter_context(launch.from_file(cluster))
        else:
            notify("Starting workers on this machine.")
            yield stack.enter_context(launch.local(*new))


def print_result(result: "Result", as_json: bool = False) -> None:
    """Print the loss and the store of a result, the spread of the losses of several runs, and where the run started."""
    if result.runs:
        spread = spread_of(result)
        if as_json:
            print(json.dumps(as_known(spread), allow_nan=False), flush=True)
        where = " on the sketch" if spread["on_sketch"] else ""
        losses = "from {least:.6e} to {largest:.6e}, {median:.6e} in the median".format(**spread)
        passes = ", each after its own last pass" if halved(result) else ""
        notify(f"The best of {len(result.runs)} runs, whose losses{where} are {losses}{passes}.")
    if result.anchors:
        if as_json:
            print(json.dumps({"anchors": result.anchors, "names": result.anchor_names}), flush=True)
        notify(f"Started from the {result.anchor_axis} {named_anchors(result)}.")
    error = "" if result.relative_error is None else f", relative error {result.relative_error:.6f}"
    notify(f"{result.passes} passes, loss {result.loss:.6e}{error}, {result.history[-1].seconds:.1f} s.")
    if result.layers:
        of = "losses" if result.relative_error is None else "relative errors"
        each = [layer.loss if layer.relative_error is None else layer.relative_error for layer in result.layers]
        notify(f"The {of} of the layers are {', '.join(f'{figure:.6g}' for figure in each)}.")
    if result.store:
        notify(f"W and H are in {result.store}.")
    else:
        notify(f"Nothing is saved; to save W and H, repeat: {command_with('--store', 'run.zarr')}")


def named_anchors(result: "Result") -> str:
    """Return the columns or rows that a run started from as a text, by their names if they have some."""
    from dnmf.cli.tables import printable  # loads rich

    names = result.anchor_names
    return ", ".join(f"#{place}" for place in result.anchors) if names is None else ", ".join(map(printable, names))


def halved(result: "Result") -> bool:
    """Return whether the worse half of several runs was dropped before the last pass."""
    from dnmf.solvers.several_runs import FIRST_HALVING  # loads the solvers

    from_sketch = result.history[0].passes > 1
    return result.settings.beta != 2 and from_sketch and result.passes > FIRST_HALVING


def spread_of(result: "Result") -> dict[str, Any]:
    """Return the losses of all runs, in the order of `Result.runs`, and their spread."""
    least, median, largest = min(result.runs), statistics.median(result.runs), max(result.runs)
    spread = {"least": least, "median": median, "largest": largest}
    # With the Frobenius loss, a history that starts after the first pass means that the runs were made on a sketch.
    on_sketch = result.settings.beta == 2 and result.history[0].passes > 1
    return {"runs": list(result.runs), **spread, "on_sketch": on_sketch}


def as_known(spread: dict[str, Any]) -> dict[str, Any]:
    """Return the spread of losses with None for those of runs that left the range of floats.

    >>> as_known({"runs": [1.0, float("inf")], "largest": float("inf"), "on_sketch": False})
    {'runs': [1.0, None], 'largest': None, 'on_sketch': False}
    """
    runs = [loss if math.isfinite(loss) else None for loss in spread["runs"]]
    known = {name: value if math.isfinite(value) else None for name, value in spread.items() if name != "runs"}
    return {"runs": runs, **known}
