"""W and the reconstruction error of a fit, found by the engine that has made its passes."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dnmf.engine import single_threaded_products
from dnmf.engine.factor import Factor
from dnmf.estimator.parameters import for_rows
from dnmf.estimator.persistence import stepped
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.quadratic.row_steps import change
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.registry import altered, make_rule
from dnmf.kernels.rule import Model, Rule
from dnmf.run.result import Result
from dnmf.run.run import Run
from dnmf.run.solving import Solve
from dnmf.settings import Settings
from dnmf.solvers.iteration import Update
from dnmf.sources.weighted import is_weighted


def reconstruction_loss(run: Run) -> float:
    """Return the loss without penalties of X and the best W for the H of a run, in one read.

    Blocks are columns of X. XHᵀ and HHᵀ give the best W for the Frobenius loss; for other losses, W is that of the run.
    """
    state, rule = run.state, run.rule
    assert state is not None
    with single_threaded_products():
        stats = _measured(run)
        if not isinstance(rule, Quadratic):
            return max(stats.fit, 0.0)
        alone = dataclasses.replace(rule, penalty_H=rule.penalty_W)
        W = alone.best(np.ascontiguousarray(stats.cross.T), stats.gram).T
        return max(stats.fit + change(state.W, W, stats.cross, stats.gram), 0.0)


class Solved(NamedTuple):
    """A result, the W that `transform` finds for X and its H, if it was kept, and their loss without penalties."""

    result: Result
    W: Float | None
    loss: float


def solved_rows(run: Run, choices: Sequence[Result], settings: Settings, *, kept: bool) -> Solved:
    """Return the result whose H and W have the lowest objective, or the first whose is no higher than in the last pass.

    The blocks of the run are rows of X, and a read for each result solves for W. The settings are those of `transform`.
    """
    layout, state, objectives = run.source.layout, run.state, list[float]()
    assert state is not None
    rule = make_rule(settings, transposed=True, weighted=is_weighted(run.source))
    factor: Factor | None = None
    for result in choices:
        model = Model.of(np.ascontiguousarray(np.asarray(result.H).T, layout.work_dtype))
        new = run.home.new_factor(result.rank) if kept else None
        with single_threaded_products():
            stats = run.engine.one_pass(Solve(rule, model, kept, measured=True, norms=state.norms), output=new)
        objectives.append(_objective(rule, model.W, stats))
        better = len(objectives) == 1 or objectives[-1] < objectives[0]
        if (left := factor if better else new) is not None:
            left.drop()
        if better:
            best, factor, loss = result, new, max(stats.fit, 0.0)
        if objectives[-1] <= state.loss:
            break
    if factor is None:
        return Solved(best, None, loss)
    W = np.empty((layout.shape[1], best.rank), layout.work_dtype)
    for block in range(layout.blocks):
        W[layout.columns(block)] = factor.read(block).T
    return Solved(best, W, loss)


def _objective(rule: Rule, W: Float, stats: Stats) -> float:
    """Return the objective of W (m, r) and the H that was found for it."""
    penalty = rule.penalty_H.value(stats.row_sums, stats.squares) + rule.penalty_W.value_at(W.T)
    return max(stats.fit, 0.0) + penalty


def proposed(run: Run, result: Result) -> list[Result]:
    """Return the result with the components that the next pass starts from, where only it can evaluate the last step.

    The blocks of the run are rows of X. Unless the run has converged, the last step of the components would be lost.
    """
    state = run.state
    assert state is not None
    proposal = None if state.carry.W_pending is None else state.carry.proposal
    if proposal is None or result.converged or run.coupled is not None or state.mixings:
        return []
    return [stepped(result, proposal)]


def fitted_W(model: Any, run: Run, result: Result, lazy: bool) -> Solved:
    """Return the result of a fit, the W of its H, or None if `transform` solves for W again, row by row, and its loss.

    With a graph between the samples, their W cannot be solved for one by one.
    """
    if model.graph_W is not None:
        return Solved(result, result.W if lazy else np.asarray(result.W), fitted_loss(run))
    if not run.source.layout.transposed:
        return Solved(result, None, reconstruction_loss(run))
    return solved_rows(run, [*proposed(run, result), result], for_rows(run.settings), kept=not lazy)


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
