"""The sections on the components of a run: where they are active, how much each carries, how sparse they are."""

from collections.abc import Sequence
from typing import get_args

import numpy as np

from dnmf.inspection.charts import BarChart, Chart, HeatMap, Histogram, LineChart, Mark, Series
from dnmf.inspection.numbers import number, percent
from dnmf.inspection.summary import other
from dnmf.report.facts import RunFacts
from dnmf.report.page import Cell
from dnmf.run.residuals import AxisResiduals, Residuals, TopK, relative
from dnmf.sources.base import Axis

# More components than this are drawn as a curve and not as bars.
BARS = 24


def activity_map(run: RunFacts) -> HeatMap:
    """Return a heat map of the components along the axis that has no features."""
    axis, shown = other(run.view.axis), run.view.shown
    found = run.profiles[axis]
    means = found.means[shown]
    tops = means.max(axis=1, keepdims=True)
    runs = f" in runs of up to {found.longest:,}, by the mean" if found.longest > 1 else ""
    first, last = (run.view.components[shown[k]].name for k in (0, -1))
    alt = f"Heat map: {len(shown)} components from top to bottom, {axis} from left to right"
    caption = (
        f"From left to right the {found.size:,} {axis}{runs}; from top to bottom {first} to {last}, each from 0 to its "
        "own largest value."
    )
    values = means / np.where(tops > 0, tops, 1)
    return HeatMap(f"Activity along the {axis}", alt, axis, "component", values, caption=caption)


def share_charts(run: RunFacts) -> dict[str, Chart]:
    """Return charts of the share of each component, and of the largest together."""
    order, shares = largest_first(run)
    counts = list(range(1, run.rank + 1))
    names, texts = [run.view.components[k].name for k in order], list(map(percent, shares))
    bars = BarChart(
        "Share", "Share of WH by component", "part of the sum of WH", "", names, shares, texts, most=shares[0]
    )
    title, alt = "The largest together", "Share of the largest components together"
    series, marks = [Series("", counts, np.cumsum(shares).tolist())], [Mark(0.9, "90 %")]
    together = LineChart(title, alt, "components", "share", series, marks)
    return {"contribution": _bars_or_curve(bars, counts, "from the largest on"), "cumulated-share": together}


def largest_first(run: RunFacts) -> tuple[list[int], list[float]]:
    """Return the components by falling share of WH, and those shares."""
    shares = [component.share for component in run.view.components]
    order = np.argsort(-np.array(shares), kind="stable").tolist()
    return order, [shares[k] for k in order]


def number_for_most(run: RunFacts) -> int:
    """Return how many of the largest components carry 90 % of WH."""
    return min(int(np.searchsorted(np.cumsum(largest_first(run)[1]), 0.9 - 1e-12)) + 1, run.rank)


def sparsity_charts(run: RunFacts) -> dict[str, Chart]:
    """Return charts of the sparsity of each component in W and in H."""
    charts, names = {}, [run.view.components[k].name for k in run.view.shown]
    for factor, axis in zip("WH", get_args(Axis), strict=True):
        values = run.profiles[axis].sparsity[run.view.shown].tolist()
        title, alt = f"{factor}, along the {axis}", f"Sparsity of {factor} by component"
        texts = [number(value, digits=3) for value in values]
        bars = BarChart(title, alt, "Hoyer's sparsity", "", names, values, texts, most=1.0)
        charts[f"sparsity-{factor}"] = _bars_or_curve(bars, [k + 1 for k in run.view.shown], "component")
    return charts


def _bars_or_curve(bars: BarChart, places: Sequence[int], xlabel: str) -> Chart:
    """Return the bars of a few components as they are, and a curve in place of many."""
    if len(bars.names) <= BARS:
        return bars
    series = [Series("", places, bars.values)]
    return LineChart(bars.title, bars.alt, xlabel, bars.xlabel, series, filled=True)


def component_rows(run: RunFacts) -> list[Sequence[Cell]]:
    """Return name, share, and sparsity and part of zeros in W and in H of each component that is shown."""
    rows: list[Sequence[Cell]] = []
    for k in run.view.shown:
        component = run.view.components[k]
        cells: list[Cell] = [component.name, (percent(component.share), component.share)]
        for found in (run.profiles["rows"], run.profiles["columns"]):
            sparsity, zeros = float(found.sparsity[k]), float(1 - found.nonzero[k] / found.size)
            cells += [(number(sparsity), sparsity), (percent(zeros), zeros)]
        rows.append(cells)
    return rows


def residual_charts(axis: Axis, found: AxisResiduals) -> dict[str, Chart]:
    """Return charts of the relative residuals along an axis, and of their distribution."""
    places = [round((k + 0.5) * found.runs.size / found.runs.count - 0.5) for k in range(found.runs.count)]
    median, (edges, counts), label = found.quantile(0.5), found.histogram(), "relative residual"
    marks = [Mark(median, "median", vertical=True)] if np.isfinite(median) else []
    series, alt = [Series("", places, found.by_run.tolist())], f"Relative residual along the {axis}"
    spread = f"Distribution of the relative residual of the {axis}"
    return {
        f"residuals-{axis}": LineChart(f"Along the {axis}", alt, axis[:-1], label, series),
        f"residuals-{axis}-spread": Histogram("Distribution", spread, label, "number", edges, counts, marks),
    }


def residual_rows(run: RunFacts, axis: Axis, tops: TopK, residuals: Residuals) -> list[Sequence[Cell]]:
    """Return name, relative residual and part of the loss of some rows or columns."""
    loss = float(residuals.total[0]) or 1.0
    sizes = relative(tops.residuals, residuals.rows.beta).tolist()
    parts = (tops.residuals[0] / loss).tolist()
    return [
        (run.name(axis, place), (number(size), size), (percent(part), part))
        for place, size, part in zip(tops.places.tolist(), sizes, parts, strict=True)
    ]
