"""Pictures of a survey: its curves, a consensus matrix, silhouettes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dnmf.errors import DataError
from dnmf.inspection.figures.canvas import BLUE, INK, ORANGE, PALETTE, VERMILION, new_figure, plain

# Each panel of a survey: its title, what the vertical axis shows, and the columns of the table that it draws, each with
# the column of its error bars, if it has one, and with its words.
PANELS: tuple[tuple[str, str, tuple[tuple[str, str | None, str], ...]], ...] = (
    ("Held-out error", "error of entries left out", (("held_out", "held_out_se", "mean ± one standard error"),)),
    (
        "Error of the fit",
        "relative error ‖V − WH‖ / ‖V‖",
        (("relative_error", None, "best run"), ("relative_error_median", None, "median run")),
    ),
    (
        "Stability of the components",
        "silhouette, −1 to 1",
        (("stability", None, "worst cluster"), ("stability_mean", None, "mean")),
    ),
    (
        "Consensus of the columns",
        "agreement of the runs, at most 1",
        (("cophenetic", None, "cophenetic correlation"), ("dispersion", None, "dispersion")),
    ),
)


def plot_survey(table: Mapping[str, Any], axes: Sequence[Any] | None = None, suggested: int | None = None) -> Any:
    """Draw the curves of a survey over the rank: held-out error, error of the fit, stability, consensus.

    Parameters
    ----------
    table
        Columns by their names, with a figure for each rank, or None and NaN where there is none: `rank`; `held_out`
        and `held_out_se`; `relative_error` (of the best run) and `relative_error_median`; `stability` (of the worst
        cluster) and `stability_mean`; `cophenetic` and `dispersion`. All but `rank` may be left out.
    axes
        Four axes to draw in, in place of a new figure.
    suggested
        The rank that is marked in every panel.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    DataError
        If there is no `rank`, or if a column is not as long.

    Examples
    --------
    >>> figure = plot_survey({"rank": [2, 3, 4], "held_out": [0.5, 0.3, 0.31], "held_out_se": [0.02] * 3}, suggested=3)
    >>> [axes.get_title(loc="left") for axes in figure.axes][:2]
    ['Held-out error', 'Error of the fit']
    """
    ranks, columns = _columns(table)
    if axes is None:
        figure = new_figure(8.4, 6.0)
        axes = figure.subplots(2, 2).ravel()
    places = list(np.ravel(np.asarray(axes, dtype=object)))
    if len(places) != len(PANELS):
        raise DataError(f"axes holds {len(places)} axes, and a survey has {len(PANELS)} panels; give one for each.")
    for axis, (title, label, curves) in zip(places, PANELS, strict=True):
        plain(axis, title, "rank", label)
        known = [curve for curve in curves if np.isfinite(columns.get(curve[0], np.nan)).any()]
        for (name, bars, words), colour, mark in zip(known, (BLUE, ORANGE), "os", strict=False):
            _curve(axis, ranks, columns[name], columns.get(bars or ""), (words, colour, mark))
        _finish(axis, ranks, suggested, bool(known))
    return places[0].figure


def plot_consensus(C: ArrayLike, order: ArrayLike | None = None, title: str = "Consensus of the columns") -> Any:
    """Draw a consensus matrix C (s, s) as a heat map, its columns in an order in which clusters stand together.

    Parameters
    ----------
    C
        How often two columns were together, 0 … 1.
    order
        The columns (s,) as they are to follow on each other.
    title
        Above the picture.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = plot_consensus([[1.0, 0.25], [0.25, 1.0]], [1, 0])
    >>> len(figure.axes)
    2
    """
    matrix = np.asarray(C)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise DataError(f"C has shape {matrix.shape}; give a square matrix of how often two columns are together.")
    if order is not None:
        places = np.asarray(order, np.intp)
        matrix = matrix[np.ix_(places, places)]
    figure = new_figure(6.2, 5.4)
    axis = figure.subplots()
    image = axis.imshow(matrix, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    words = "columns, ordered by clusters" if order is not None else "columns"
    plain(axis, title, words, words)
    axis.grid(False)
    axis.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axis, shrink=0.85, pad=0.03)
    bar.set_label("share of the runs that put two columns together", fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.outline.set_visible(False)
    return figure


def plot_silhouettes(values: ArrayLike, labels: ArrayLike, title: str = "Silhouettes of the components") -> Any:
    """Draw the silhouette of every component of every run, cluster by cluster, with the mean of each cluster.

    Parameters
    ----------
    values
        Silhouettes, −1 … 1, of any shape.
    labels
        Clusters, of the same shape; components with a label below 0 are left out.
    title
        Above the picture.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = plot_silhouettes([0.9, 0.8, 0.4], [0, 0, 1])
    >>> figure.axes[0].get_xlabel()
    'silhouette, −1 to 1'
    """
    heights, clusters = np.ravel(np.asarray(values, np.float64)), np.ravel(np.asarray(labels))
    if heights.shape != clusters.shape:
        raise DataError(f"{len(heights)} silhouettes have {len(clusters)} labels; give one label for each.")
    names = np.unique(clusters[clusters >= 0])
    figure = new_figure(6.2, min(max(2.8, 0.9 + 0.5 * len(names)), 16))
    axis = figure.subplots()
    plain(axis, title, "silhouette, −1 to 1", "cluster")
    gap = max(1, round(0.1 * len(heights) / max(len(names), 1)))
    base, middles = 0, []
    for place, name in enumerate(names):
        own = np.sort(heights[clusters == name])
        rows = np.arange(base, base + len(own))
        axis.barh(rows, own, height=1.0, color=PALETTE[place % len(PALETTE)], alpha=0.75, linewidth=0)
        axis.plot([own.mean()] * 2, [rows[0] - 0.5, rows[-1] + 0.5], color=INK, linewidth=1.4)
        middles.append(rows.mean())
        base += len(own) + gap
    axis.set_yticks(middles, [str(name + 1) for name in names])
    axis.grid(False, axis="y")
    axis.tick_params(axis="y", length=0)
    axis.margins(y=0.02)
    axis.invert_yaxis()
    axis.axvline(0, color=INK, linewidth=0.8)
    inside = heights[clusters >= 0]
    if len(inside):
        axis.set_xlim(min(0.0, float(inside.min()) * 1.05), 1)
        axis.axvline(inside.mean(), color=VERMILION, linewidth=1.2, linestyle="--", label=f"mean {inside.mean():.2f}")
        axis.plot([], [], color=INK, linewidth=1.4, label="mean of a cluster")
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _columns(table: Mapping[str, Any]) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Return the ranks and the columns of figures, sorted by rank."""
    if "rank" not in table or len(table["rank"]) == 0:
        raise DataError("The table has no column 'rank'; give the ranks, and a figure of each in every other column.")
    ranks = np.array(table["rank"], np.float64)
    order = np.argsort(ranks)
    names = {name for _, _, curves in PANELS for curve in curves for name in curve[:2] if name} & table.keys()
    columns = {name: np.array(table[name], np.float64) for name in sorted(names)}
    for name, column in columns.items():
        if column.shape != ranks.shape:
            raise DataError(f"The column {name!r} has shape {column.shape}, and there are {len(ranks)} ranks.")
    return ranks[order], {name: column[order] for name, column in columns.items()}


def _curve(axis: Any, ranks: Any, values: Any, bars: Any, look: tuple[str, str, str]) -> None:
    """Draw a curve where it is known, with its error bars if it has some."""
    words, colour, mark = look
    known = np.isfinite(values)
    style = {"color": colour, "marker": mark, "markersize": 4.5, "linewidth": 1.6, "label": words}
    if bars is None:
        axis.plot(ranks[known], values[known], **style)
    else:
        size = np.nan_to_num(bars[known])
        axis.errorbar(ranks[known], values[known], yerr=size, capsize=3, elinewidth=1.2, **style)


def _finish(axis: Any, ranks: Any, suggested: int | None, known: bool) -> None:
    """Set the ticks of a panel, mark the suggested rank, and say where nothing was measured."""
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(ranks) <= 10:
        axis.set_xticks(ranks, [f"{rank:g}" for rank in ranks])
    if not known:
        axis.set_yticks([])
        axis.set_xlim(ranks[0] - 0.5, ranks[-1] + 0.5)
        axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", va="center", color="#888888")
        return
    if suggested is not None:
        words = f"suggested rank {suggested}"
        axis.axvline(suggested, color=VERMILION, linewidth=1.2, linestyle="--", zorder=0, label=words)
    axis.legend(frameon=False, fontsize=8)
