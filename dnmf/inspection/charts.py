"""Charts as data: what they show, and not how it is drawn.

`inspection.figures` draws them with matplotlib for notebooks, and `report.svg` as SVG for pages.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnmf.inspection.numbers import number
from dnmf.solvers.history import Record

# The points of a curve with at most this many are marked.
MARKED = 40


class Series(NamedTuple):
    """A curve: its name, its points, and the half lengths of its error bars if it has any."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    errors: Sequence[float] | None = None


class Mark(NamedTuple):
    """A labelled line across a chart, at a value of y, or of x if `vertical`."""

    at: float
    label: str
    vertical: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Chart:
    """The texts of a chart: its title, a description for readers who cannot see it, its axes, and a caption."""

    title: str
    alt: str
    xlabel: str
    ylabel: str
    caption: str = dataclasses.field(default="", kw_only=True)


@dataclasses.dataclass(frozen=True, slots=True)
class LineChart(Chart):
    """Curves over one horizontal axis.

    Attributes
    ----------
    series, marks
        Curves, and lines across the chart.
    log
        Whether the vertical axis is logarithmic; points that are not above 0 are left out.
    whole
        Whether ticks of the horizontal axis are whole numbers.
    filled
        Whether the area below the curves is filled.
    """

    series: Sequence[Series]
    marks: Sequence[Mark] = ()
    log: bool = False
    whole: bool = True
    filled: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class BarChart(Chart):
    """Horizontal bars from 0 up to `most`, with a name before and a text behind each."""

    names: Sequence[str]
    values: Sequence[float]
    texts: Sequence[str]
    most: float


@dataclasses.dataclass(frozen=True, slots=True)
class Histogram(Chart):
    """Counts between consecutive edges."""

    edges: Sequence[float]
    counts: Sequence[int]
    marks: Sequence[Mark] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class SilhouetteChart(Chart):
    """Silhouettes in falling order, cluster by cluster, with the names of the clusters and the mean of all."""

    clusters: Sequence[NDArray[np.float64]]
    names: Sequence[str]
    mean: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class HeatMap(Chart):
    """A matrix (h, w) with entries from 0 to 1, the meaning of an entry, and the names of 0 and 1."""

    values: NDArray[np.floating]
    scale: str = ""
    ends: tuple[str, str] = ("0", "most")


def history_charts(history: Sequence[Record], tol: float | None = None) -> dict[str, LineChart]:
    """Return charts of a run by their names: the relative error where it is known, loss, optimality, loss over time.

    >>> list(history_charts([Record(1, 9.0, None, 0.1, 0.2, 800, "hals")]))
    ['loss', 'optimality', 'loss-by-time']
    """
    passes, seconds = [record.passes for record in history], [record.seconds for record in history]
    losses, optimality = [record.loss for record in history], [record.optimality for record in history]
    errors = [record.relative_error for record in history if record.relative_error is not None]
    charts, log = {}, spans(losses)
    if history and len(errors) == len(history):
        part = number(100 * (1 - errors[-1] ** 2), 3)
        charts["relative-error"] = LineChart(
            "Relative error",
            "Relative error by pass",
            "pass",
            "‖V − WH‖ / ‖V‖",
            [Series("", passes, errors)],
            caption=f"{number(errors[-1])} at the end: WH has {part} % of the sum of squares of V.",
        )
    caption = "The objective, penalties included."
    curve = [Series("", passes, losses)]
    charts["loss"] = LineChart("Loss", "Loss by pass", "pass", "objective", curve, log=log, caption=caption)
    charts["optimality"] = LineChart(
        "Optimality",
        "Optimality by pass",
        "pass",
        "share of the loss",
        [Series("", passes, optimality)],
        marks=[Mark(tol, f"tol = {tol:g}")] if tol else [],
        log=any(value > 0 for value in optimality),
        caption="Share of the loss that one more step of every entry promises; below the dashed line, converged.",
    )
    caption = "The same loss over the time of the run."
    curve = [Series("", seconds, losses)]
    charts["loss-by-time"] = LineChart(
        "Loss over time", "Loss by time", "seconds", "objective", curve, log=log, whole=False, caption=caption
    )
    return charts


def spans(values: Sequence[float]) -> bool:
    """Return whether a logarithmic axis suits positive numbers.

    >>> spans([1.0, 50.0]), spans([3.0, 2.0])
    (True, False)
    """
    return len(values) > 0 and min(values) > 0 and max(values) > 20 * min(values)
