"""Figures of a survey: its curves, a consensus matrix, silhouettes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dnmf.choices import Axis
from dnmf.errors import DataError
from dnmf.inspection.figures.canvas import draw_heat_map, draw_lines, draw_silhouettes, new_figure
from dnmf.inspection.survey_charts import consensus_map, silhouette_chart, survey_charts


def plot_survey(table: Mapping[str, Any], axes: Sequence[Any] | None = None, suggested: int | None = None) -> Any:
    """Draw the curves of a survey over the rank: held-out error, error of the fit, stability, consensus.

    Parameters
    ----------
    table, suggested
        As for `survey_charts`.
    axes
        Four axes to draw in, in place of a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    DataError
        If there is no column `rank`, or if a column has another length.

    Examples
    --------
    >>> figure = plot_survey({"rank": [2, 3, 4], "held_out": [0.5, 0.3, 0.31], "held_out_se": [0.02] * 3}, suggested=3)
    >>> [axes.get_title(loc="left") for axes in figure.axes][:2]
    ['Held-out error', 'Error of the fit']
    """
    charts = survey_charts(table, suggested)
    if axes is None:
        axes = new_figure(8.4, 6.0).subplots(2, 2)
    places = list(np.ravel(np.asarray(axes, dtype=object)))
    if len(places) != len(charts):
        raise DataError(f"axes holds {len(places)} axes, and a survey has {len(charts)} panels; give one for each.")
    for place, chart in zip(places, charts, strict=True):
        draw_lines(place, chart)
    return places[0].figure


def plot_consensus(
    C: ArrayLike, order: ArrayLike | None = None, title: str = "Consensus", axis: Axis = "columns"
) -> Any:
    """Draw a consensus matrix C (s, s) of columns or rows as a heat map, in an order (s,) that puts clusters together.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> len(plot_consensus([[1.0, 0.25], [0.25, 1.0]], [1, 0]).axes)
    2
    """
    chart = consensus_map(C, order, title, axis)
    figure = new_figure(6.2, 5.4)
    draw_heat_map(figure.subplots(), chart)
    return figure


def plot_silhouettes(values: ArrayLike, labels: ArrayLike, title: str = "Silhouettes of the components") -> Any:
    """Draw the silhouette of every component of every run, cluster by cluster, with the mean of each cluster.

    Parameters
    ----------
    values, labels
        Silhouettes, −1 … 1, and clusters, of one shape; components with a label below 0 are left out.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> plot_silhouettes([0.9, 0.8, 0.4], [0, 0, 1]).axes[0].get_xlabel()
    'silhouette (−1 to 1)'
    """
    chart = silhouette_chart(values, labels, title)
    figure = new_figure(6.2, min(max(2.8, 0.9 + 0.5 * len(chart.clusters)), 16))
    draw_silhouettes(figure.subplots(), chart)
    return figure
