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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """The texts of a chart.

    Attributes
    ----------
    title, caption
        Text above and below the chart.
    alt
        Description for readers who cannot see the chart.
    xlabel, ylabel
        Labels of the axes.
    """

    title: str
    alt: str
    caption: str = ""
    xlabel: str = ""
    ylabel: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BarChart(Chart):
    """Horizontal bars from 0 up to `most`, with a name before and a text behind each."""

    names: Sequence[str]
    values: Sequence[float]
    texts: Sequence[str]
    most: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Histogram(Chart):
    """Counts between consecutive edges."""

    edges: Sequence[float]
    counts: Sequence[int]
    marks: Sequence[Mark] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SilhouetteChart(Chart):
    """Silhouettes in falling order, cluster by cluster, with the names of the clusters and the mean of all."""

    clusters: Sequence[NDArray[np.float64]]
    names: Sequence[str]
    mean: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
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
    passes = [record.passes for record in history]
    losses = [record.loss for record in history]
    optimality = [record.optimality for record in history]
    errors = [record.relative_error for record in history if record.relative_error is not None]
    charts = {}
    if history and len(errors) == len(history):
        charts["relative-error"] = LineChart(
            title="Relative error",
            alt="Relative error by pass",
            caption=f"{number(errors[-1])} at the end: WH has {number(100 * (1 - errors[-1] ** 2), 3)} % of the sum of "
            "squares of V.",
            xlabel="pass",
            ylabel="‖V − WH‖ / ‖V‖",
            series=[Series("", passes, errors)],
        )
    charts["loss"] = LineChart(
        title="Loss",
        alt="Loss by pass",
        caption="The objective, penalties included.",
        xlabel="pass",
        ylabel="objective",
        series=[Series("", passes, losses)],
        log=spans(losses),
    )
    charts["optimality"] = LineChart(
        title="Optimality",
        alt="Relative optimality by pass",
        caption="Violation of the optimality conditions; the run has converged below the dashed line.",
        xlabel="pass",
        ylabel="relative optimality",
        series=[Series("", passes, optimality)],
        marks=[Mark(tol, f"tol = {tol:g}")] if tol else [],
        log=any(value > 0 for value in optimality),
    )
    charts["loss-by-time"] = LineChart(
        title="Loss over time",
        alt="Loss by time",
        caption="The same loss over the time of the run.",
        xlabel="seconds",
        ylabel="objective",
        series=[Series("", [record.seconds for record in history], losses)],
        log=spans(losses),
        whole=False,
    )
    return charts


def spans(values: Sequence[float]) -> bool:
    """Return whether a logarithmic axis suits positive numbers.

    >>> spans([1.0, 50.0]), spans([3.0, 2.0])
    (True, False)
    """
    return len(values) > 0 and min(values) > 0 and max(values) > 20 * min(values)
