"""The sections on the course of a run: what was run, loss and optimality, time and bytes, checkpoints."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dnmf.engine.plan import amount
from dnmf.inspection.charts import LineChart, Series
from dnmf.inspection.numbers import duration, number, shortened, times
from dnmf.report.facts import RunFacts
from dnmf.report.page import Cell
from dnmf.settings import Settings
from dnmf.solvers.history import Record
from dnmf.sources.collection import shown_location

# The most rows of a table: the first, the last, and some between.
ROWS = 40


class Table(NamedTuple):
    """The caption and the rows of a table."""

    caption: str
    rows: list[Sequence[Cell]]


def described(run: RunFacts) -> dict[str, str]:
    """Return what was run, on which matrix."""
    result, settings, header = run.result, run.result.settings, run.header
    known = header.get("fingerprint", {})
    blocks = len(result.bounds) - 1
    named = [axis for axis in ("rows", "columns") if getattr(result.names, axis) is not None]
    rows = {
        "matrix": shortened(shown_location(run.location) or "given in memory", 500),
        "shape": times(result.shape) + (f", {dtype_name(known['dtype'])}" if "dtype" in known else ""),
        "read in": f"{blocks:,} block{'s' * (blocks > 1)} of {'rows' if result.rows_streamed else 'columns'}",
        "names of": " and ".join(named) or "neither axis",
        "model": f"V ≈ WH with W {times((result.shape[0], run.rank))}, H {times((run.rank, result.shape[1]))}",
        "loss": f"{settings.loss}{penalties(settings)}",
        "solver": solvers(settings, result.history),
        "start": f"{settings.init}, seed {settings.seed}",
    }
    if result.anchors:
        found = ", ".join(map(str, (result.anchor_names or result.anchors)[:20]))
        rows["start"] = f"{settings.init}: the {result.anchor_axis} {shortened(found, 500)}"
    if result.unfolding is not None:
        rows["array"] = str(result.unfolding)
    if header.get("given"):
        rows["start"] = "given factors, or fixed components"
    if result.steps:
        rows["prepared by"] = ", ".join(shortened(step.name) for step in result.steps)
    if header.get("weights"):
        rows["weights"] = shortened(run.weights or "given in memory", 500)
    if header.get("coupled"):
        rows["other data"] = ", ".join(
            shortened(name if origin["location"] is None else f"{name} {origin['location']}", 500)
            for name, origin in header["coupled"].items()
        )
    if settings.missing != "none":
        rows["missing"] = "NaN" if settings.missing == "nan" else "entries that are not stored"
    if result.runs:
        losses = ", ".join(number(loss) for loss in result.runs[:20])
        rows["random starts"] = f"{len(result.runs)}, the best kept; losses {losses}"
    if run.store is not None:
        rows["store"] = str(run.store)
    return rows


def options(settings: Settings) -> dict[str, str]:
    """Return all settings by their names."""
    return {name.replace("_", " "): str(value) for name, value in settings.to_options().items()}


def pass_table(history: Sequence[Record]) -> Table:
    """Return the history as a table."""
    count = min(len(history), ROWS)
    kept = sorted({round(i * (len(history) - 1) / max(count - 1, 1)) for i in range(count)})
    rows: list[Sequence[Cell]] = [
        (
            (f"{record.passes:,}", record.passes),
            (number(record.loss), record.loss),
            (number(record.relative_error), record.relative_error),
            (number(record.optimality), record.optimality),
            (duration(record.seconds), record.seconds),
            (amount(record.bytes_read), record.bytes_read),
            shortened(record.solver),
        )
        for record in (history[i] for i in kept)
    ]
    return Table("Passes" if len(rows) == len(history) else f"{len(rows)} of {len(history):,} passes", rows)


def cost_charts(history: Sequence[Record]) -> dict[str, LineChart]:
    """Return charts of the time and the bytes that the passes took."""
    passes = [0, *(record.passes for record in history)]
    unit, name = byte_unit(history[-1].bytes_read)
    seconds = [0.0, *(record.seconds for record in history)]
    read = [0.0, *(record.bytes_read / unit for record in history)]
    curves = (("seconds", "Time", seconds, "seconds"), ("bytes", "Bytes of V read", read, name))
    return {
        key: LineChart(title, f"{title} by pass", "pass", label, [Series("", passes, values)], filled=True)
        for key, title, values, label in curves
    }


def checkpoint_table(run: RunFacts) -> Table:
    """Return the checkpoints, the newest first."""
    commits = [] if run.store is None else list(run.store.commits())
    rows: list[Sequence[Cell]] = [
        (
            f"after pass {commit.passes:,}",
            number(commit.state.get("loss")),
            number(commit.state.get("optimality")),
            "at the end" if commit.verdict else "on the way",
            commit.group,
        )
        for commit in commits[:ROWS]
    ]
    every = run.result.settings.checkpoint_every
    return Table(f"{len(commits)} kept of those made every {every} passes and at the end", rows)


def checkpoint_bytes(run: RunFacts) -> int:
    """Return the bytes of W and H."""
    return sum(run.result.shape) * run.rank * run.result.short.dtype.itemsize


def penalties(settings: Settings) -> str:
    """Return the penalties of a run, if it has any.

    >>> penalties(Settings(rank=3, l1_H=0.5))
    ', with l1_H = 0.5'
    """
    names = [name for name in ("l1_W", "l2_W", "l1_H", "l2_H") if getattr(settings, name)]
    return f", with {', '.join(f'{name} = {one_or_all(getattr(settings, name))}' for name in names)}" if names else ""


def one_or_all(given: float | tuple[float, ...]) -> str:
    """Return a penalty as text: a number, or those of the components."""
    return f"{given:g}" if isinstance(given, float) else ", ".join(f"{one:g}" for one in given)


def solvers(settings: Settings, history: Sequence[Record]) -> str:
    """Return the solver that was requested, and those that made the passes if they have other names."""
    solver, made = settings.solver, [shortened(name) for name in dict.fromkeys(record.solver for record in history)]
    return solver if made in ([], [solver]) else f"{solver}, with passes of {', '.join(made[:6])}"


def dtype_name(given: Any) -> str:
    """Return the common name of a dtype.

    >>> dtype_name("<f4")
    'float32'
    """
    try:
        return str(np.dtype(given).name)
    except TypeError:
        return shortened(given)


def byte_unit(count: float) -> tuple[float, str]:
    """Return the unit in which a number of bytes is short.

    >>> byte_unit(3e9)
    (1000000000.0, 'GB')
    """
    names = ("B", "kB", "MB", "GB", "TB")
    step = next((place for place in range(len(names)) if count < 1000 ** (place + 1)), len(names) - 1)
    return float(1000**step), names[step]
