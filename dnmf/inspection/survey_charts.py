"""The charts of a survey: its curves over the rank, the silhouettes of components, the consensus."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dnmf.choices import Axis
from dnmf.errors import DataError
from dnmf.inspection.charts import HeatMap, LineChart, Mark, Series, SilhouetteChart

Curve = tuple[str, str, str]
FIT = "Error of the fit"
# Each chart of a survey: its title, its vertical axis, and for each curve the column of the table, the column of its
# error bars if there is one, and its name.
SURVEY: tuple[tuple[str, str, tuple[Curve, ...]], ...] = (
    ("Held-out error", "error of entries left out", (("held_out", "held_out_se", "mean ± one standard error"),)),
    (
        FIT,
        "relative error ‖V − WH‖ / ‖V‖",
        (("relative_error", "", "best run"), ("relative_error_median", "", "median run")),
    ),
    (
        "Stability of the components",
        "silhouette (−1 to 1)",
        (("stability", "", "worst cluster"), ("stability_mean", "", "mean")),
    ),
    (
        "Consensus of the runs",
        "agreement of the runs (≤ 1)",
        (("cophenetic", "", "cophenetic correlation"), ("dispersion", "", "dispersion")),
    ),
)


# Takes the place of the error of the fit for a loss that has none.
LOSS = ("Loss of the fit", "loss", (("loss", "", "best run"),))


def survey_charts(table: Mapping[str, Any], suggested: int | None = None) -> list[LineChart]:
    """Return the charts of a survey over the rank: held-out error, error of the fit, stability, consensus.

    Parameters
    ----------
    table
        Columns by their names, as `RankSurvey.table` returns them. A missing number is None or NaN, and every column
        but `rank` may be left out; a chart without numbers has no series.
    suggested
        Rank marked in every chart.

    Raises
    ------
    DataError
        If there is no column `rank`, or if a column has another length.

    Examples
    --------
    >>> charts = survey_charts({"rank": [3, 2], "held_out": [0.3, 0.5], "held_out_se": [0.02, None]}, suggested=3)
    >>> charts[0].title, charts[0].series[0].x, charts[1].series
    ('Held-out error', [2.0, 3.0], [])
    """
    if "rank" not in table or len(table["rank"]) == 0:
        raise DataError("The table has no column 'rank'; give the ranks, and a number for each in every other column.")
    ranks = np.array(table["rank"], np.float64)
    names = {name for _, _, curves in (*SURVEY, LOSS) for curve in curves for name in curve[:2]} & table.keys()
    columns = {name: np.array(table[name], np.float64) for name in sorted(names)}
    for name, column in columns.items():
        if column.shape != ranks.shape:
            raise DataError(f"The column {name!r} has shape {column.shape}, and there are {len(ranks)} ranks.")
    marks = [] if suggested is None else [Mark(suggested, f"suggested rank {suggested}", vertical=True)]
    charts = []
    for panel in SURVEY:
        by_loss = panel[0] == FIT and not _drawn(panel[2], columns) and _drawn(LOSS[2], columns)
        title, label, curves = LOSS if by_loss else panel
        drawn = _drawn(curves, columns)
        series = [_by_rank(name, ranks, columns[y], columns.get(errors)) for y, errors, name in drawn]
        caption = " and ".join(one.name for one in series).capitalize() + "." if series else ""
        charts.append(LineChart(title, f"{title} by rank", "rank", label, series, marks, caption=caption))
    return charts


def _drawn(curves: Sequence[Curve], columns: Mapping[str, Any]) -> list[Curve]:
    """Return the curves of which a number is known."""
    return [curve for curve in curves if np.isfinite(columns.get(curve[0], np.nan)).any()]


def _by_rank(name: str, ranks: Any, values: Any, errors: Any) -> Series:
    """Return a curve at the ranks where it is known, in rising order."""
    order = np.argsort(ranks)
    order = order[np.isfinite(values[order])]
    sizes = None if errors is None else np.nan_to_num(errors[order]).tolist()
    return Series(name, ranks[order].tolist(), values[order].tolist(), sizes)


def silhouette_chart(values: ArrayLike, labels: ArrayLike, title: str) -> SilhouetteChart:
    """Return a chart of silhouettes by cluster, without those that have a label below 0.

    Raises
    ------
    DataError
        If there is not one label for each silhouette.

    Examples
    --------
    >>> silhouette_chart([0.8, 0.9, 0.4], [0, 0, 1], "Silhouettes").clusters[0].tolist()
    [0.9, 0.8]
    """
    heights, clusters = np.ravel(np.asarray(values, np.float64)), np.ravel(np.asarray(labels))
    if heights.shape != clusters.shape:
        raise DataError(f"{len(heights)} silhouettes have {len(clusters)} labels; give one label for each.")
    names = np.unique(clusters[clusters >= 0]).tolist()
    return SilhouetteChart(
        title,
        "Silhouettes of the components of all runs, by cluster",
        "silhouette (−1 to 1)",
        "cluster",
        clusters=[np.sort(heights[clusters == name])[::-1] for name in names],
        names=[str(name + 1) for name in names],
        mean=float(heights[clusters >= 0].mean()) if names else None,
        caption="A bar for each component of each run, cluster by cluster.",
    )


def consensus_map(C: ArrayLike, order: ArrayLike | None, title: str, axis: Axis = "columns") -> HeatMap:
    """Return a heat map of a consensus matrix C (s, s) of columns or rows, in an order (s,) that groups clusters.

    >>> consensus_map([[1.0, 0.25], [0.25, 0.5]], [1, 0], "Consensus").values.tolist()
    [[0.5, 0.25], [0.25, 1.0]]
    """
    matrix = np.asarray(C)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise DataError(f"C has shape {matrix.shape}; give a square matrix of how often two {axis} are together.")
    label: str = axis
    if order is not None:
        places, label = np.asarray(order, np.intp), f"{axis}, ordered by clusters"
        matrix = matrix[np.ix_(places, places)]
    alt = f"Heat map of the consensus of {len(matrix)} {axis}"
    scale = f"share of the runs that put two {axis} together"
    return HeatMap(title, alt, label, label, matrix, scale, ("never", "always"))
