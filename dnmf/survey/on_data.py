"""Surveys whose models make their passes over V together, from a sketch of the scaled V or from random factors."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse

from dnmf.checkpoint import Store
from dnmf.engine import H_ALONE, Scope
from dnmf.engine.factor import MappedFactor, Rows
from dnmf.inspection.components import sparsity
from dnmf.kernels.divergence.rule import Divergence
from dnmf.solvers.bundle import bundle, bundled
from dnmf.solvers.history import Record
from dnmf.solvers.initialise import random_state
from dnmf.solvers.iteration import PassContext
from dnmf.solvers.selection import follow_of, init_of, rule_of
from dnmf.solvers.shared_scale import sharing
from dnmf.solvers.sketch import ScaledBasis, ScaledSketch, pilot
from dnmf.solvers.state import State
from dnmf.survey.advance import advance, saved_bundle
from dnmf.survey.fold_errors import relative_errors
from dnmf.survey.holdout import FLOOR, Fold, Hidden, Predict, blanked
from dnmf.survey.passes import CombinedPass, SketchOfShown, SumFactor
from dnmf.survey.request import ROUNDS, WIDTH, SurveyRequest, flat, model_piece
from dnmf.survey.store import SurveyStore


def advance_all(
    context: PassContext,
    request: SurveyRequest,
    store: SurveyStore,
    checkpoints: Store | None,
    advanced: Callable[[State, list[Record]], None],
) -> State:
    """Advance all models together, measure the folds in one more pass, store the results, and return the states."""
    layout, settings = context.layout, request.settings
    models = [(rank, index) for rank in request.ranks for index in range(len(request.seeds))]
    folds = [(rank, fold) for fold in range(request.folds) for rank in request.ranks]
    hidden = [request.fold(fold) for _, fold in folds]
    weighted = rule_of(settings, layout, weighted=True) if folds else context.rule
    rules = [context.rule] * len(models) + [weighted] * len(folds)
    view = Hidden((*[None] * len(models), *hidden), layout.bounds) if folds else None

    def follow(context: PassContext, state: State, stats: Any, H: Any) -> State:
        return follow_of(settings, context.rule)(context, state, stats, H)

    begun = saved_bundle(checkpoints, layout, len(models))
    if begun is None:
        states = first_states(context, request, [*models, *folds], [*[None] * len(models), *hidden])
        begun = bundle(states), []
    state = advance(context, begun, bundled(follow, rules, view), settings, checkpoints, advanced)
    keep_advanced(context, request, store, state, models, folds)
    return state


def first_states(
    context: PassContext, request: SurveyRequest, models: Sequence[Any], hidden: Sequence[Fold | None]
) -> list[State]:
    """Return the initial states of models: from a sketch of the scaled V if one fits, else at random.

    The sketches of folds are of the entries that they do not hold out.
    """
    layout, settings = context.layout, request.settings
    if not isinstance(context.rule, Divergence) or init_of(settings, context.rule, layout) != "sketch":
        each = (settings.replace({"rank": rank, "seed": settings.seed + index}) for rank, index in models)
        return sharing(context, *(random_state(one, layout) for one in each))
    generator = np.random.default_rng(settings.seed)
    width = WIDTH * settings.rank
    M, places, known, _ = pilot(context.engine, width, generator)
    views = list(dict.fromkeys(hidden))
    bases = [ScaledBasis.of(M if view is None else shown(M, places, view), width, generator) for view in views]
    works = [
        basis.work(layout) if view is None else SketchOfShown(basis.work(layout), view)
        for basis, view in zip(bases, views, strict=True)
    ]
    sums = context.engine.one_pass(CombinedPass(tuple(works)), scope=Scope(known=known)).parts
    known.clear()
    sketches = {
        view: ScaledSketch.of(basis, part, layout) for view, basis, part in zip(views, bases, sums, strict=True)
    }
    states = []
    for (rank, index), view in zip(models, hidden, strict=True):
        W = sketches[view].W(rank, settings.seed + index, ROUNDS)
        states.append(State(1, W, flat(rank, layout), None if view else sketches[view].norms))
    return sharing(context, *states)


def shown(M: Any, places: Any, fold: Fold) -> Any:
    """Return columns of V at rising places, with zeros for the entries that a fold holds out."""
    edges = [0, *(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]  # edges of runs without a gap
    runs = [slice(*edge) for edge in itertools.pairwise(edges)]
    parts = [blanked(fold, M[:, run], int(places[run.start])) for run in runs]
    return scipy.sparse.hstack(parts, "csc") if scipy.sparse.issparse(M) else np.hstack(parts)


def keep_advanced(
    context: PassContext, request: SurveyRequest, store: SurveyStore, state: State, models: list[Any], folds: list[Any]
) -> None:
    """Store the results of models after their last pass, and make one more pass for the predictions of folds."""
    engine, layout = context.engine, context.layout
    work = SumFactor(state.W.shape[1], request.places, layout.bounds)
    totals = engine.one_pass(work, state.H, scope=H_ALONE)
    samples = np.concatenate(totals.sample, axis=1)
    edges = np.cumsum([0, *(part.W.shape[1] for part in state.parts)]).tolist()
    rows = [slice(*pair) for pair in itertools.pairwise(edges)]
    for (rank, index), part, own in zip(models, state.parts, rows, strict=False):
        sparsity_H = sparsity(totals.mass[own].sum(), totals.squares[own].sum(), rank * layout.shape[1])
        store.put(f"model-{rank}-{request.seeds[index]}", **model_piece(part, samples[own], float(sparsity_H)))
    if all(store.get("held-{}-{}".format(*fold)) is not None for fold in folds):
        return
    parts = state.parts[len(models) :]
    H = MappedFactor(state.H, Rows(edges[len(models)], edges[-1]))
    entries = dataclasses.replace(context.rule.entries, dense=True)
    hidden = tuple(request.fold(fold) for _, fold in folds)
    assert state.norms is not None
    least = FLOOR * float(np.sqrt(sum(state.norms) / (layout.shape[0] * layout.shape[1])))
    predict = Predict(tuple(part.W for part in parts), hidden, request.settings.beta, least, entries, layout.bounds)
    sums = engine.one_pass(predict, H).sums
    found = zip(folds, relative_errors(sums[:, 0], sums[:, 1]), relative_errors(sums[:, 3:], sums[:, 2:3]), strict=True)
    for (rank, fold), error, (square, absolute) in found:
        store.put(f"held-{rank}-{fold}", error=error, rmse=np.sqrt(square), mae=absolute)
