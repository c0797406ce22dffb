"""Figures of a run: its history, and its components as images, as curves, or by their strongest features."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dnmf.inspection.charts import history_charts
from dnmf.inspection.figures.canvas import INK, PALETTE, draw_lines, new_figure, style
from dnmf.inspection.summary import POINTS, ComponentView, Panel
from dnmf.solvers.history import Record

# Longer names are shortened.
LONGEST = 24


def plot_history(history: Sequence[Record], tol: float | None = None) -> Any:
    """Draw the loss, or the relative error where it is known, and the optimality over the passes.

    Parameters
    ----------
    history
        One record for each pass.
    tol
        The optimality at which the run has converged, marked in the figure.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> first, second = Record(1, 9.0, 0.3, 0.1, 0.2, 800, "hals"), Record(2, 4.0, 0.2, 0.01, 0.4, 1600, "hals")
    >>> [axes.get_ylabel() for axes in plot_history([first, second]).axes]
    ['‖V − WH‖ / ‖V‖', 'relative optimality']
    """
    charts = history_charts(history, tol)
    figure = new_figure(8.4, 3.2)
    left, right = figure.subplots(1, 2)
    draw_lines(left, charts.get("relative-error", charts["loss"]))
    draw_lines(right, charts["optimality"])
    return figure


def plot_images(images: Sequence[Any], titles: Sequence[str] = (), title: str = "") -> Any:
    """Draw images (h, w), or (h, w, 3) for colours, each to its own scale.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> len(plot_images([np.eye(3), np.ones((3, 3, 3))], ["one", "two"]).axes)
    2
    """
    across = min(len(images), int(np.ceil(np.sqrt(2 * len(images)))))
    down = -(-len(images) // across)
    figure = new_figure(1.1 * across, (1.3 if titles else 1.1) * down + 0.5 * bool(title))
    if title:
        figure.suptitle(title, fontsize=10)
    places = figure.subplots(down, across, squeeze=False).ravel()
    for axes in places:
        axes.set_axis_off()
    for axes, image, text in zip(places, images, titles or [""] * len(images), strict=False):
        axes.imshow(image / max(float(np.max(image)), 1e-30), cmap=None if np.ndim(image) == 3 else "magma")
        axes.set_title(_safe(text), fontsize=8, color=INK)
    return figure


def plot_components(view: ComponentView) -> Any:
    """Draw components, one panel for each.

    Returns
    -------
    matplotlib.figure.Figure
    """
    panels = view.panels
    if view.look == "images":
        return plot_images([panel.values for panel in panels], [panel.title for panel in panels])
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    tops = max(len(panel.top) for panel in panels)
    figure = new_figure(3.0 * across, (1.5 if view.look == "curves" else 0.7 + 0.18 * tops) * down)
    places = figure.subplots(down, across, squeeze=False).ravel()
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(places, panels, strict=False):
        if panel.values is None:
            _draw_features(axes, panel)
        else:
            label = view.axis if view.profile.size <= POINTS else f"{view.axis}, in runs"
            _draw_curve(axes, panel, view.profile.size, label)
    return figure


def _draw_curve(axes: Any, panel: Panel, size: int, label: str) -> None:
    """Draw a component over an axis of V of length `size`."""
    assert panel.values is not None
    style(axes, panel.title, label, "")
    x = np.linspace(0, size, len(panel.values), endpoint=False)
    axes.fill_between(x, panel.values, color=PALETTE[panel.index % len(PALETTE)], alpha=0.7, linewidth=0)
    axes.set_yticks([])


def _draw_features(axes: Any, panel: Panel) -> None:
    """Draw the strongest features of a component as bars."""
    style(axes, panel.title, "% of the component", "")
    rows = np.arange(len(panel.top))
    widths = [100 * weight for _, weight in panel.top]
    axes.barh(rows, widths, color=PALETTE[panel.index % len(PALETTE)], alpha=0.8)
    axes.set_yticks(rows, [_safe(name) for name, _ in panel.top])
    axes.grid(False, axis="y")
    axes.invert_yaxis()


def _safe(name: str) -> str:
    """Return a name shortened, with control characters and the dollar sign of TeX escaped."""
    escaped = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in name)
    return (escaped if len(escaped) <= LONGEST else f"{escaped[: LONGEST - 1]}…").replace("$", r"\$")
