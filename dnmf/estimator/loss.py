"""W and the reconstruction error of a fit, found by the engine that has made its passes."""

import dataclasses
from typing import Any

import numpy as np

from dnmf.engine import single_threaded_products
from dnmf.estimator.parameters import for_rows
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.quadratic.row_steps import change
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.registry import altered, make_rule
from dnmf.kernels.rule import Model
from dnmf.run.result import Result
from dnmf.run.run import Run
from dnmf.run.solving import Solve
from dnmf.settings import Settings
from dnmf.solvers.iteration import Update
from dnmf.sources.weighted import is_weighted


def reconstruction_loss(run: Run, components: Float) -> float:
    """Return the loss without penalties of X and the best W for `components` (r, n_features), in one read.

    If blocks are parts of rows, XHᵀ and HHᵀ give the best W for the Frobenius loss; for other losses, W is that of the
    run.
    """
    state, layout, rule = run.state, run.source.layout, run.rule
    assert state is not None
    if layout.transposed:
        return solved_rows(run, components, for_rows(run.settings), kept=False)[1]
    with single_threaded_products():
        stats = _measured(run)
        if not isinstance(rule, Quadratic):
            return max(stats.fit, 0.0)
        alone = dataclasses.replace(rule, penalty_H=rule.penalty_W)
        W = alone.best(np.ascontiguousarray(stats.cross.T), stats.gram).T
        return max(stats.fit + change(state.W, W, stats.cross, stats.gram), 0.0)


def solved_rows(run: Run, components: Float, settings: Settings, *, kept: bool) -> tuple[Float | None, float]:
    """Return the W that `transform` finds for X, if it is `kept`, and its loss without penalties, in one read by rows.

    The blocks of the run are rows of X, `components` (r, n_features) its H, and the settings those of `transform`.
    """
    layout = run.source.layout
    best = make_rule(settings, transposed=True, weighted=is_weighted(run.source))
    model = Model.of(np.ascontiguousarray(components.T, layout.work_dtype))
    factor = run.home.new_factor(len(components)) if kept else None
    with single_threaded_products():
        norms = None if run.state is None else run.state.norms
        stats = run.engine.one_pass(Solve(best, model, kept, measured=True, norms=norms), output=factor)
    if factor is None:
        return None, max(stats.fit, 0.0)
    W = np.empty((layout.shape[1], len(components)), layout.work_dtype)
    for block in range(layout.blocks):
        W[layout.columns(block)] = factor.read(block).T
    return W, max(stats.fit, 0.0)


def fitted_W(model: Any, run: Run, result: Result, lazy: bool) -> tuple[Any, float]:
    """Return the W of a fit and its loss; None for a W that `transform` solves for again, row by row.

    With a graph between the samples, their W cannot be solved for one by one.
    """
    if model.graph_W is None and not lazy and run.source.layout.transposed:
        return solved_rows(run, model.components_, model._settings, kept=True)
    if model.graph_W is None:
        return None, reconstruction_loss(run, model.components_)
    return result.W if lazy else np.asarray(result.W), fitted_loss(run)


def fitted_loss(run: Run) -> float:
    """Return the loss without penalties of X and the factors of a run, in one read."""
    with single_threaded_products():
        return max(_measured(run).fit, 0.0)


def _measured(run: Run) -> Stats:
    """Return the statistics of the factors of a run as they are."""
    state, layout = run.state, run.source.layout
    assert state is not None
    update = Update(altered(run.rule, sweeps=0), Model.of(state.W), False, state.norms, False, layout)
    return run.engine.one_pass(update, state.H)
