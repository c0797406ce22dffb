"""Pictures of a run: how it went, and its components as images, as curves, or by their strongest features."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dnmf.inspection.components import Component
from dnmf.inspection.figures.canvas import BLUE, INK, PALETTE, VERMILION, new_figure, plain
from dnmf.solvers.history import Record

# Names longer than this are drawn by their beginning.
LONGEST = 24


def plot_history(history: Sequence[Record], tol: float | None = None) -> Any:
    """Draw the loss, or the relative error where it is known, and the optimality over the passes.

    Parameters
    ----------
    history
        One record a pass.
    tol
        The optimality at which the run has converged, marked.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> first, second = Record(1, 9.0, 0.3, 0.1, 0.2, 800, "hals"), Record(2, 4.0, 0.2, 0.01, 0.4, 1600, "hals")
    >>> [axes.get_ylabel() for axes in plot_history([first, second]).axes]
    ['‖V − WH‖ / ‖V‖', 'relative optimality']
    """
    figure = new_figure(8.4, 3.2)
    left, right = figure.subplots(1, 2)
    passes = [record.passes for record in history]
    known = bool(history) and all(record.relative_error is not None for record in history)
    plain(left, "Relative error" if known else "Loss", "pass", "‖V − WH‖ / ‖V‖" if known else "objective")
    left.plot(passes, [record.relative_error if known else record.loss for record in history], color=BLUE, marker=".")
    plain(right, "Optimality", "pass", "relative optimality")
    right.plot(passes, [record.optimality for record in history], color=BLUE, marker=".")
    if any(record.optimality > 0 for record in history):
        right.set_yscale("log")
    if tol:
        right.axhline(tol, color=VERMILION, linewidth=1.2, linestyle="--", label=f"tol = {tol:g}")
        right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def plot_images(images: Sequence[Any], titles: Sequence[str] = (), title: str = "") -> Any:
    """Draw images (rows, columns), or with 3 colours, each to its own scale.

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
    places = np.atleast_1d(figure.subplots(down, across)).ravel()
    for axes in places:
        axes.set_axis_off()
    for axes, image, words in zip(places, images, titles or [""] * len(images), strict=False):
        axes.imshow(image / max(float(np.max(image)), 1e-30), cmap=None if np.ndim(image) == 3 else "magma")
        axes.set_title(_safe(words), fontsize=8, color=INK)
    return figure


def plot_components(
    components: Sequence[Component], curves: Any = None, size: int | None = None, label: str = "place"
) -> Any:
    """Draw components as curves (r, p) over an axis of a size, or by their strongest features, a panel to each.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = plot_components([Component("NMF_1", 1.0, [("red", 0.7), ("blue", 0.3)])])
    >>> [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    ['red', 'blue']
    """
    across = min(3, len(components))
    down = -(-len(components) // across)
    tops = max((len(component.top) for component in components), default=1)
    figure = new_figure(3.0 * across, (1.5 if curves is not None else 0.7 + 0.18 * tops) * down)
    places = np.atleast_1d(figure.subplots(down, across)).ravel()
    for place, axes in enumerate(places):
        if place >= len(components):
            axes.set_axis_off()
            continue
        component, colour = components[place], PALETTE[place % len(PALETTE)]
        plain(axes, f"{component.name}, {100 * component.share:.1f} %", label if curves is not None else "", "")
        if curves is not None:
            x = np.linspace(0, size or curves.shape[1], curves.shape[1], endpoint=False)
            axes.fill_between(x, curves[place], color=colour, alpha=0.7, linewidth=0)
            axes.set_yticks([])
            continue
        rows = np.arange(len(component.top))
        axes.barh(rows, [100 * weight for _, weight in component.top], color=colour, alpha=0.8)
        axes.set_yticks(rows, [_safe(str(name)) for name, _ in component.top])
        axes.grid(False, axis="y")
        axes.invert_yaxis()
        axes.set_xlabel("% of the component", fontsize=8, color=INK)
    return figure


def _safe(name: str) -> str:
    """Return the beginning of a name, in which a dollar is no mathematics and what cannot be seen is written out."""
    seen = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in name)
    return (seen if len(seen) <= LONGEST else f"{seen[: LONGEST - 1]}…").replace("$", r"\$")
