"""Draw charts with matplotlib."""

import functools
import io
from typing import Any

import numpy as np

from dnmf.errors import needed
from dnmf.inspection.charts import MARKED, HeatMap, LineChart, SilhouetteChart

# The colours of Okabe & Ito, which readers with colour blindness can tell apart.
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
INK, FAINT, MARK = "#333333", "#e3e3e3", "#d55e00"


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of a size in inches that a notebook shows, unknown to pyplot.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    figure: Any = needed("matplotlib.figure", "A figure").Figure(
        figsize=(width, height), layout="constrained", facecolor="white"
    )
    figure._repr_png_ = functools.partial(_as_png, figure)  # IPython calls it; pyplot would register the figure
    return figure


def _as_png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def style(axes: Any, title: str, xlabel: str, ylabel: str) -> None:
    """Set the title and the labels of axes, with a faint grid and without a box."""
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
    axes.set_xlabel(xlabel, fontsize=9, color=INK)
    axes.set_ylabel(ylabel, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, colors=INK)
    axes.grid(True, color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def draw_lines(axes: Any, chart: LineChart) -> None:
    """Draw curves, with their error bars and with marks across the chart."""
    style(axes, chart.title, chart.xlabel, chart.ylabel)
    if not chart.series:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color="#888888")
        return
    for place, (series, colour) in enumerate(zip(chart.series, PALETTE, strict=False)):
        marker = "os^Dvp"[place] if len(series.x) <= MARKED else ""
        look = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.6, "label": series.name or None}
        if series.errors is None:
            axes.plot(series.x, series.y, **look)
        else:
            axes.errorbar(series.x, series.y, yerr=series.errors, capsize=3, elinewidth=1.2, **look)
    if chart.log:
        axes.set_yscale("log")
    places = np.unique(np.concatenate([series.x for series in chart.series]))
    if chart.whole and 0 < len(places) <= 10:
        axes.set_xticks(places, [f"{place:g}" for place in places])
    elif chart.whole:
        axes.xaxis.get_major_locator().set_params(integer=True)
    for mark in chart.marks:
        line = axes.axvline if mark.vertical else axes.axhline
        line(mark.at, color=MARK, linewidth=1.2, linestyle="--", zorder=1, label=mark.label)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=8)


def draw_silhouettes(axes: Any, chart: SilhouetteChart) -> None:
    """Draw silhouettes as bars, cluster by cluster, with the mean of each cluster and of all."""
    style(axes, chart.title, chart.xlabel, chart.ylabel)
    total = sum(map(len, chart.clusters))
    gap = max(1, round(0.1 * total / max(len(chart.clusters), 1)))
    start, middles = 0, []
    for place, values in enumerate(chart.clusters):
        rows = np.arange(start, start + len(values))
        axes.barh(rows, values, height=1.0, color=PALETTE[place % len(PALETTE)], alpha=0.75, linewidth=0)
        axes.plot([values.mean()] * 2, [rows[0] - 0.5, rows[-1] + 0.5], color=INK, linewidth=1.4)
        middles.append(rows.mean())
        start += len(values) + gap
    axes.set_yticks(middles, chart.names)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.axvline(0, color=INK, linewidth=0.8)
    if chart.mean is not None:
        axes.set_xlim(min(0.0, *(1.05 * float(values[-1]) for values in chart.clusters)), 1)
        axes.axvline(chart.mean, color=MARK, linewidth=1.2, linestyle="--", label=f"mean {chart.mean:.2f}")
        axes.plot([], [], color=INK, linewidth=1.4, label="mean of a cluster")
        axes.figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)


def draw_heat_map(axes: Any, chart: HeatMap) -> None:
    """Draw a matrix as a heat map with a colour bar."""
    image = axes.imshow(chart.values, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    style(axes, chart.title, chart.xlabel, chart.ylabel)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.85, pad=0.03)
    bar.set_label(chart.scale, fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.outline.set_visible(False)
