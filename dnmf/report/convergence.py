"""The sections on how a run went: what was run, loss and optimality, time and bytes, checkpoints."""

from typing import Any

import numpy as np

from dnmf.engine.plan import amount
from dnmf.inspection.html import Markup, join, tag
from dnmf.inspection.numbers import duration, number, shortened, times
from dnmf.report.charts import Mark, Series, line_chart
from dnmf.report.facts import Account
from dnmf.report.page import Section, facts, figure, more, note, paragraphs, table
from dnmf.settings import Settings

# A table of passes has no more lines than this: the first, the last, and some between.
LINES = 40


def what_was_run(account: Account) -> Section:
    """Say what was run, on what."""
    result, settings = account.result, account.result.settings
    header: Any = {} if account.store is None else account.store.header
    known = header.get("fingerprint", {})
    blocks = len(result.bounds) - 1
    streamed = "rows" if result.rows_streamed else "columns"
    named = {axis: getattr(result.names, axis) for axis in ("rows", "columns")}
    rows: dict[str, Any] = {
        "matrix": shortened(location(account) or "given in memory", 500),
        "shape": times(result.shape) + (f", {dtype_name(known['dtype'])}" if "dtype" in known else ""),
        "read in": f"{blocks:,} block{'s' * (blocks > 1)} of {streamed}",
        "names of": " and ".join(axis for axis, names in named.items() if names is not None) or "neither axis",
        "model": f"V ≈ WH with W {times((result.shape[0], account.rank))}, H {times((account.rank, result.shape[1]))}",
        "loss": f"{settings.loss}{penalties(settings)}",
        "solver": solvers(account),
        "start": "given factors, or fixed columns of W"
        if header.get("given")
        else f"{settings.init}, seed {settings.seed}",
    }
    if result.steps:
        rows["prepared by"] = ", ".join(shortened(step.name) for step in result.steps)
    if header.get("weights"):
        rows["weights"] = shortened(header["weights"].get("location") or "given in memory", 500)
    if settings.missing != "none":
        rows["missing"] = "NaN" if settings.missing == "nan" else "what is not stored"
    if result.runs:
        losses = ", ".join(number(loss) for loss in result.runs[:20])
        rows["random starts"] = f"{len(result.runs)}, the best kept; losses {losses}"
    if account.store is not None:
        rows["store"] = str(account.store)
    options = {name.replace("_", " "): str(value) for name, value in settings.to_options().items()}
    body = join([facts("The run", rows), more("All settings", facts("As they were asked for", options))])
    return Section("run", "What was run", body)


def convergence(account: Account) -> Section:
    """Show loss, error and optimality by pass."""
    history, settings = account.result.history, account.result.settings
    if not history:
        return Section("convergence", "Convergence", note("No pass was recorded: the run has just begun."))
    passes = [record.passes for record in history]
    charts = []
    if all(record.relative_error is not None for record in history):
        errors = [float(record.relative_error or 0) for record in history]
        chart = line_chart([Series("error", passes, errors)], "Relative error by pass", "pass", "‖V − WH‖ / ‖V‖")
        explained = 100 * (1 - errors[-1] ** 2)
        words = join(
            [tag("b", number(errors[-1])), f" in the end: WH has {number(explained, 3)} % of V's sum of squares."]
        )
        charts.append(figure("relative-error", chart, words, "Relative error"))
    losses = [record.loss for record in history]
    chart = line_chart([Series("loss", passes, losses)], "Loss by pass", "pass", "objective", log=spans(losses))
    charts.append(figure("loss", chart, "What is minimised, penalties included.", "Loss"))
    optimal = [record.optimality for record in history]
    marks = [Mark(settings.tol, f"tol = {settings.tol:g}")] if settings.tol > 0 else []
    chart = line_chart(
        [Series("optimality", passes, optimal)],
        "Relative optimality by pass",
        "pass",
        "violation",
        log=any(value > 0 for value in optimal),
        marks=marks,
    )
    told = "How far the factors are from meeting the optimality conditions; below the dashed line, converged."
    charts.append(figure("optimality", chart, told, "Optimality"))
    seconds = [record.seconds for record in history]
    chart = line_chart(
        [Series("loss", seconds, losses)], "Loss by time", "seconds", "objective", log=spans(losses), whole=False
    )
    charts.append(figure("loss-by-time", chart, "The same, over the time that it took.", "Loss over time"))
    return Section(
        "convergence", "Loss and optimality by pass", join([tag("div", *charts, class_="grid"), by_pass(account)])
    )


def by_pass(account: Account) -> Markup:
    """Return the history as a table that can be opened."""
    history = account.result.history
    count = min(len(history), LINES)
    kept = sorted({round(i * (len(history) - 1) / max(count - 1, 1)) for i in range(count)})
    rows = [
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
    words = "Passes" if len(rows) == len(history) else f"{len(rows)} of {len(history):,} passes"
    heads = ("pass", "loss", "relative error", "optimality", "time", "read", "solver")
    return more(f"{words} as a table", figure("passes", table(words, heads, rows)))


def time_and_bytes(account: Account) -> Section:
    """Show what the run took."""
    history = account.result.history
    if not history:
        return Section("time", "Time and bytes", note("No pass was recorded."))
    passes = [0, *(record.passes for record in history)]
    unit, name = byte_unit(history[-1].bytes_read)
    spent = [0.0, *(record.seconds for record in history)]
    read = [0.0, *(record.bytes_read / unit for record in history)]
    charts = [
        figure(
            word, line_chart([Series(title, passes, values)], f"{title} by pass", "pass", up, area=True), title=title
        )
        for word, title, values, up in (("seconds", "Time", spent, "seconds"), ("bytes", "Bytes of V read", read, name))
    ]
    last = history[-1]
    speed = f", {amount(last.bytes_read / last.seconds)} a second" if last.seconds > 0 else ""
    first = paragraphs(
        f"{last.passes:,} reads of V took {duration(last.seconds)} and {amount(last.bytes_read)}{speed}, over every "
        "interruption."
    )
    return Section("time", "Time and bytes", join([first, tag("div", *charts, class_="grid")]))


def checkpoints(account: Account) -> Section:
    """List the checkpoints."""
    if account.store is None:
        words = "The run kept no store, so that there are no checkpoints; with store= it can be resumed after any end."
        return Section("checkpoints", "Checkpoints", note(words))
    commits = account.commits
    size = sum(account.result.shape) * account.rank * account.result.short.dtype.itemsize
    rows = [
        (
            f"after pass {commit.passes:,}",
            number(commit.state.get("loss")),
            number(commit.state.get("optimality")),
            "the end" if commit.verdict else "on the way",
            commit.group,
        )
        for commit in commits[:LINES]
    ]
    words = f"{len(commits)} kept of those made every {account.result.settings.checkpoint_every} passes and at the end"
    listed = table(words, ("checkpoint", "loss", "optimality", "made", "where in the store"), rows)
    first = paragraphs(
        f"Each holds W and H, {amount(size)}, with a digest of every chunk; the newest whole one counts."
    )
    return Section("checkpoints", "Checkpoints", join([first, listed]))


def location(account: Account) -> str | None:
    """Return where the matrix of a run lies, if that is known."""
    found = None if account.store is None else account.store.header["location"]
    return None if found is None else str(found)


def penalties(settings: Settings) -> str:
    """Return the penalties of a run, where it has some.

    >>> penalties(Settings(rank=3, l1_H=0.5))
    ', with l1_H = 0.5'
    """
    names = [name for name in ("l1_W", "l2_W", "l1_H", "l2_H") if getattr(settings, name)]
    return f", with {', '.join(f'{name} = {getattr(settings, name):g}' for name in names)}" if names else ""


def solvers(account: Account) -> str:
    """Return the solver that was asked for, and what made the passes where that has another name."""
    asked = account.result.settings.solver
    made = [shortened(name) for name in dict.fromkeys(record.solver for record in account.result.history)]
    return asked if made in ([], [asked]) else f"{asked}, with passes of {', '.join(made[:6])}"


def dtype_name(given: Any) -> str:
    """Return a dtype as people call it.

    >>> dtype_name("<f4")
    'float32'
    """
    try:
        return str(np.dtype(given).name)
    except TypeError:
        return shortened(given)


def spans(values: list[float]) -> bool:
    """Say whether numbers are told better by their logarithms.

    >>> spans([1.0, 50.0]), spans([3.0, 2.0])
    (True, False)
    """
    return min(values) > 0 and max(values) > 20 * min(values)


def byte_unit(count: float) -> tuple[float, str]:
    """Return the unit in which a number of bytes is a short one.

    >>> byte_unit(3e9)
    (1000000000.0, 'GB')
    """
    names = ("B", "kB", "MB", "GB", "TB")
    step = next((place for place in range(len(names)) if count < 1000 ** (place + 1)), len(names) - 1)
    return float(1000**step), names[step]
