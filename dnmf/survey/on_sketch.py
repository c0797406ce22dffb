"""Surveys on a sketch of V: three reads for any number of models."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dnmf.engine import Scope, new_threads
from dnmf.engine.factor import StackedFactor
from dnmf.engine.plan import Load
from dnmf.errors import DataWarning, warn
from dnmf.inspection.components import sparsity
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.rule import Rule
from dnmf.solvers.bundle import FusedUpdate
from dnmf.solvers.iteration import PassContext
from dnmf.solvers.sketch import Surrogate, basis_of, left_over, lifted, pilot, represents, squares, stride_of
from dnmf.solvers.state import State
from dnmf.sources.base import Layout
from dnmf.survey.bicross import PredictBlock, SampledSketch, SketchOfRest
from dnmf.survey.holdout import Halves
from dnmf.survey.passes import CombinedPass, Verify
from dnmf.survey.request import (
    FOLD_STARTS,
    ROUNDS,
    WIDTH,
    Counted,
    Ready,
    SurveyRequest,
    fitting,
    flat,
    in_batches,
    model_piece,
    survey_load,
)
from dnmf.survey.store import SurveyStore


def sketches(request: SurveyRequest) -> list[str]:
    """Return the names of the sketches of V and of the entries that each fold leaves."""
    return ["sketch", *(f"sketch-fold{fold}" for fold in range(request.folds))]


def sketch_all(context: PassContext, request: SurveyRequest, store: SurveyStore, counted: Counted) -> None:
    """Make the first pass: sketches of V and of the entries that each fold leaves."""
    layout = context.layout
    generator = np.random.default_rng(request.settings.seed)
    width, stride = WIDTH * request.settings.rank, stride_of(layout)
    M, _, known, _ = pilot(context.engine, width, generator)
    Q = basis_of(M, width, generator)
    bases, folds = [Q], halves_of(request, layout)
    for halves in folds:
        left = np.flatnonzero(~halves.rows(layout.shape[0]))
        bases.append(basis_of(M[left, :], min(width, len(left)), generator))
    works = [
        SketchOfRest(np.ascontiguousarray(basis, layout.work_dtype), halves, layout.shape, layout.bounds, stride)
        for basis, halves in zip(bases, [None, *folds], strict=True)
    ]
    with counted(request.ranks * (len(request.seeds) + request.folds)):
        sums = context.engine.one_pass(CombinedPass(tuple(works)), scope=Scope(known=known)).parts
    for name, basis, part in zip(sketches(request), bases, sums, strict=True):
        store.put(name, **surrogate_piece(basis, part, layout))


def halves_of(request: SurveyRequest, layout: Layout) -> list[Halves]:
    """Return the rows and columns that each fold holds out."""
    return [Halves(request.settings.seed, fold, layout.shape[1]) for fold in range(request.folds)]


def surrogate_piece(Q: Float, sampled: SampledSketch, layout: Layout) -> dict[str, Any]:
    """Return the surrogate of a sketch: L, a sample of S, and the squares of V and of its part outside of S."""
    sums = sampled.sketch
    left = Q + lifted(Q, sums.product, sums.gram, layout.work_dtype)
    sample, weights, even = sampled.drawn.weighted(stride_of(layout))
    beyond = left_over(sum(sums.norms), left, sums.gram)
    return {
        "left": left.astype(layout.work_dtype),
        "sample": sample,
        "weights": weights,
        "even": even.astype(np.uint8),
        "norms": np.array(sums.norms),
        "beyond": beyond,
    }


def fit_one(
    rule: Quadratic, piece: dict[str, Any], rank: int, seed: int, stride: int, starts: int
) -> tuple[Float, float]:
    """Return W (m, r) fitted on a sketch from the best random start, and its loss.

    Where the penalties allow, each column of the sample is scaled so that it stands for as many as its weight says.
    """
    left, S, beyond = piece["left"], piece["sample"], float(piece["beyond"])
    if stride > 1 and "weights" in piece and scales_columns(rule):
        S = (S * np.sqrt(piece["weights"])).astype(S.dtype)
        return Surrogate(left, rule, squares(left, S) + beyond, beyond).fitted(S, rank, seed, 1, starts, ROUNDS)
    S = np.ascontiguousarray(S[:, piece["even"] > 0]) if "even" in piece else S
    return Surrogate(left, rule, float(piece["norms"].sum()), beyond).fitted(S, rank, seed, stride, starts, ROUNDS)


def scales_columns(rule: Quadratic) -> bool:
    """Return whether a column of V times √w, with one of H, has w times their part of the objective."""
    return rule.penalty_H.within.free and not np.any(rule.penalty_H.l1)


def warn_of_sample(rule: Quadratic, piece: dict[str, Any], rank: int, stride: int, transposed: bool) -> None:
    """Warn if models are fitted on columns at random places alone, and these do not stand for all."""
    if stride == 1 or "even" not in piece or scales_columns(rule):
        return
    left, S, beyond = piece["left"], piece["sample"][:, piece["even"] > 0], float(piece["beyond"])
    inside = float(piece["norms"].sum()) - beyond
    if represents(left, S, (1.0, 1 / stride), squares(left, S), inside, rank):
        return
    axis, factor = ("rows", "W") if transposed else ("columns", "H")
    warn(
        f"A few {axis} of V have most of its squares, and with an l1 penalty or a constraint on {factor} the models "
        f"of a survey are fitted on {axis} at random places, which miss them: the errors mean little. Give "
        "solver='hals', by which all models make passes over V.",
        DataWarning,
    )


def fit_all(
    rule: Quadratic, request: SurveyRequest, store: SurveyStore, layout: Layout, threads: int, ready: Ready
) -> dict[int, float]:
    """Fit every model on its sketch in this process, and store each when it is ready; return the seconds of each rank.

    Every fit is timed. As many run at once as there are threads, and the time of each is divided by their number.
    """
    seconds, stride = dict.fromkeys(request.ranks, 0.0), stride_of(layout)
    models: list[tuple[str, str, int, int]] = []
    for rank in request.ranks:
        models += [("sketch", f"fit-{rank}-{seed}", rank, seed) for seed in request.seeds]
        models += [(f"sketch-fold{fold}", f"fit-{rank}-fold{fold}", rank, fold) for fold in range(request.folds)]
    at_once = min(threads, len(models))
    if any(store.get(name) is None for _, name, _, _ in models):
        warn_of_sample(rule, store.require("sketch"), request.settings.rank, stride, layout.transposed)

    def fit(model: tuple[str, str, int, int]) -> tuple[int, float]:
        sketch, name, rank, seed = model
        if (known := store.get(name)) is not None:
            return rank, float(known.get("seconds", 0.0))
        start = time.perf_counter()
        piece = store.require(sketch)
        W, loss = fit_one(rule, piece, rank, seed, stride, 1 if sketch == "sketch" else FOLD_STARTS)
        taken = (time.perf_counter() - start) / at_once
        store.put(name, W=W.astype(piece["left"].dtype), loss=loss, seconds=taken)
        return rank, taken

    pool = new_threads(threads)
    try:
        for done, (rank, taken) in enumerate(pool.map(fit, models), start=1):
            seconds[rank] += taken
            ready(done, len(models))
    finally:
        pool.shutdown(cancel_futures=True)
    return seconds


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """The models (rank, seed) and the folds that a pass measures."""

    models: Sequence[tuple[int, int]]
    folds: Sequence[int]


def to_measure(
    request: SurveyRequest, store: SurveyStore, layout: Layout, rule: Rule, plan: Callable[[Load], Any]
) -> list[Measured]:
    """Return the models and folds that are not measured yet, pass by pass: as many models as fit into memory."""
    models = [(rank, seed) for rank in request.ranks for seed in request.seeds]
    folds = range(request.folds)
    held = [fold for fold in folds if any(store.get(f"held-{rank}-{fold}") is None for rank in request.ranks)]
    batches = in_batches(
        models,
        lambda batch: fitting(
            plan, survey_load(request, layout, rule, [rank for rank, _ in batch], request.ranks, kept=False)
        ),
    )
    # If one model is missing, all of its batch are measured again: alone it would be rounded differently.
    missing = [batch for batch in batches if any(store.get("model-{}-{}".format(*one)) is None for one in batch)]
    first, *others = missing or [()]
    return [Measured(first, held), *(Measured(batch, ()) for batch in others)] if missing or held else []


def measure(
    context: PassContext, request: SurveyRequest, store: SurveyStore, wanted: Measured, counted: Counted
) -> list[State]:
    """Measure models and the predictions of folds on V; return the states of the models."""
    layout = context.layout
    norms = store.require("sketch")["norms"].tolist()
    parts = [
        State(0, store.require("fit-{}-{}".format(*m))["W"], flat(m[0], layout), tuple(norms)) for m in wanted.models
    ]
    works: list[Any] = []
    if parts:
        fused = FusedUpdate.of(context, [context.rule] * len(parts), parts, None)
        works.append(Verify(fused, request.places, layout.bounds))
    predictions = [predict_block(context.rule, request, store, layout, fold) for fold in wanted.folds]
    H = StackedFactor(*(part.H for part in parts)) if parts else None
    with counted([*(rank for rank, _ in wanted.models), *request.ranks * len(predictions)]):
        sums = context.engine.one_pass(CombinedPass((*works, *predictions)), H).parts
    for prediction, part in zip(predictions, sums[len(works) :], strict=True):
        for rank, error in zip(request.ranks, prediction.errors(part), strict=True):
            store.put(f"held-{rank}-{prediction.halves.fold}", error=error)
    return keep_models(context, wanted.models, parts, sums[0], store) if parts else []


def predict_block(rule: Rule, request: SurveyRequest, store: SurveyStore, layout: Layout, fold: int) -> PredictBlock:
    """Return the computation that measures the predictions of a fold."""
    assert isinstance(rule, Quadratic)
    W = np.hstack([store.require(f"fit-{rank}-fold{fold}")["W"] for rank in request.ranks])
    return PredictBlock(rule, halves_of(request, layout)[fold], W, request.ranks, layout.shape[0], layout.bounds)


def keep_models(
    context: PassContext, models: Sequence[tuple[int, int]], parts: Sequence[State], sums: Any, store: SurveyStore
) -> list[State]:
    """Compute the next W of every model from its sums, and store its results; return the states of the models."""
    sample = np.concatenate(sums.sample, axis=1)
    start, states = 0, []
    for (rank, seed), state, stats in zip(models, parts, sums.bundle.parts, strict=True):
        step = context.finish(state.W, stats)
        sparsity_H = sparsity(stats.row_sums.sum(), np.trace(stats.gram), rank * context.layout.shape[1])
        H = sample[start : start + rank]
        start += rank
        store.put(f"model-{rank}-{seed}", **model_piece(step, H, float(sparsity_H)))
        states.append(state.after(step, state.H, tuple(stats.norms)))
    return states
