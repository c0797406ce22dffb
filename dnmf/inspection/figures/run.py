"""Figures of a run: its history, and its components as images, as curves, or by their strongest features."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dnmf.inspection.charts import history_charts
from dnmf.inspection.components import Component
from dnmf.inspection.figures.canvas import INK, PALETTE, draw_lines, new_figure, style
from dnmf.inspection.summary import POINTS, ComponentView
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
    ['‖V − WH‖ / ‖V‖', 'share of the loss']
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
        largest = float(np.max(image))
        axes.imshow(image / (largest if largest > 0 else 1.0), cmap=None if np.ndim(image) == 3 else "magma")
        axes.set_title(_safe(text), fontsize=8, color=INK)
    return figure


def plot_components(view: ComponentView) -> Any:
    """Draw components, one panel for each.

    Returns
    -------
    matplotlib.figure.Figure
    """
    titles = [f"{view.components[k].name}, {100 * view.components[k].share:.1f} %" for k in view.shown]
    if view.look == "images":
        return plot_images([view.values(k) for k in view.shown], titles)
    across = min(3, len(titles))
    down = -(-len(titles) // across)
    tops = max(len(view.components[k].top) for k in view.shown)
    figure = new_figure(3.0 * across, (1.5 if view.look == "curves" else 0.7 + 0.18 * tops) * down)
    places = figure.subplots(down, across, squeeze=False).ravel()
    for axes in places[len(titles) :]:
        axes.set_axis_off()
    for axes, k, title in zip(places, view.shown, titles, strict=False):
        colour = PALETTE[k % len(PALETTE)]
        if view.look == "names":
            style(axes, title, "% of the component", "")
            _draw_features(axes, view.components[k], colour)
            continue
        values, size = view.values(k), view.profile.size
        style(axes, title, view.axis if size <= POINTS else f"{view.axis}, in runs", "")
        x = np.linspace(0, size, len(values), endpoint=False)
        axes.fill_between(x, values, color=colour, alpha=0.7, linewidth=0)
        axes.set_yticks([])
    return figure


def _draw_features(axes: Any, component: Component, colour: str) -> None:
    """Draw the strongest features of a component as bars."""
    rows = np.arange(len(component.top))
    axes.barh(rows, [100 * weight for _, weight in component.top], color=colour, alpha=0.8)
    axes.set_yticks(rows, [_safe(str(name)) for name, _ in component.top])
    axes.grid(False, axis="y")
    axes.invert_yaxis()


def _safe(name: str) -> str:
    """Return a name shortened, with control characters and the dollar sign of TeX escaped."""
    escaped = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in name)
    return (escaped if len(escaped) <= LONGEST else f"{escaped[: LONGEST - 1]}…").replace("$", r"\$")
