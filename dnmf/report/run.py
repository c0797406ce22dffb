"""The page of a run."""

from typing import Any, get_args

from dnmf.engine.plan import amount
from dnmf.inspection.charts import history_charts
from dnmf.inspection.numbers import duration, number, shortened, times
from dnmf.report import components, convergence, reproduce
from dnmf.report.facts import RunFacts
from dnmf.report.page import Cell, Tile, render
from dnmf.run.result import Result
from dnmf.sources.base import Axis


def run_page(run: RunFacts, title: str) -> str:
    """Return the page of a run."""
    result, history = run.result, run.result.history
    return render(
        "run.html",
        title=title,
        kind="Non-negative matrix factorization",
        verdict=shortened(result.verdict, 1000),
        good=result.converged,
        tiles=_tiles(result),
        run=run,
        last=history[-1] if history else None,
        described=convergence.described(run),
        options=convergence.options(result.settings),
        history=history_charts(history, result.settings.tol),
        passes=convergence.pass_table(history),
        costs=convergence.cost_charts(history) if history else {},
        activity=components.activity_map(run),
        layer_views=run.layers,
        layer_rows=_layer_rows(result),
        hierarchy=result.hierarchy(),
        shares=components.share_charts(run),
        needed=components.number_for_most(run),
        sparsity=components.sparsity_charts(run),
        component_rows=components.component_rows(run),
        residuals_by_axis=_residuals(run),
        checkpoints=convergence.checkpoint_table(run),
        checkpoint_bytes=convergence.checkpoint_bytes(run),
        commands=reproduce.commands(run),
        missing=reproduce.missing(run),
    )


def _tiles(result: Result) -> list[Tile]:
    rows, columns = result.shape
    tiles = [Tile("matrix", times((rows, columns)), f"{rows * columns:,} entries, rank {result.settings.rank:,}")]
    if result.relative_error is None:
        tiles.append(Tile("loss", number(result.loss), str(result.settings.loss)))
    else:
        part = number(100 * (1 - result.relative_error**2), 3)
        tiles.append(Tile("relative error", number(result.relative_error), f"{part} % of the sum of squares"))
    if result.history:
        last = result.history[-1]
        tiles += [
            Tile("optimality", number(last.optimality, 3), f"requested: {number(result.settings.tol)}"),
            Tile("reads of V", f"{last.passes:,}", amount(last.bytes_read)),
            Tile("time", duration(last.seconds)),
        ]
    return tiles


def _layer_rows(result: Result) -> list[tuple[Cell, ...]]:
    """Return number, components, and relative error or loss of each layer."""
    found = list[tuple[Cell, ...]]()
    for index, layer in enumerate(result.layers or (result,), start=1):
        figure = layer.loss if layer.relative_error is None else layer.relative_error
        found.append((str(index), (f"{layer.rank:,}", layer.rank), (number(figure), figure)))
    return found


def _residuals(run: RunFacts) -> list[tuple[Any, ...]]:
    """Return for each axis its residuals, their charts, and the rows and columns with the largest ones."""
    residuals = run.residuals
    if isinstance(residuals, str):
        return []
    return [
        (
            axis,
            found,
            components.residual_charts(axis, found),
            components.residual_rows(run, axis, found.worst, residuals),
            components.residual_rows(run, axis, found.heaviest, residuals),
        )
        for axis, found in zip(get_args(Axis), (residuals.rows, residuals.columns), strict=True)
    ]
