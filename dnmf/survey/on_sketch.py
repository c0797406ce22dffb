"""A survey whose models are made on a sketch of V: three reads for any number of them."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from dnmf.engine import Scope, single_threaded_products
from dnmf.engine.factor import StackedFactor
from dnmf.engine.plan import Load
from dnmf.errors import StoreError
from dnmf.inspection.components import sparsity
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.rule import Rule
from dnmf.solvers.bundle import Together
from dnmf.solvers.iteration import Bench
from dnmf.solvers.sketch import Sketch, SketchSums, Surrogate, basis_of, left_over, lifted, pilot, stride_of
from dnmf.solvers.state import State
from dnmf.sources.base import Layout
from dnmf.survey.bicross import PredictBlock, SketchOfRest
from dnmf.survey.holdout import Halves
from dnmf.survey.passes import Beside, Verify
from dnmf.survey.request import (
    FOLD_STARTS,
    ROUNDS,
    WIDTH,
    Asked,
    Reading,
    Told,
    fitting,
    flat,
    in_batches,
    model_piece,
    survey_load,
)
from dnmf.survey.store import Cabinet


def sketches(asked: Asked) -> list[str]:
    """Return the names of the sketches, of V and of the rest that each fold leaves."""
    return ["sketch", *(f"sketch-fold{fold}" for fold in range(asked.folds))]


def sketch_all(bench: Bench, asked: Asked, cabinet: Cabinet, reading: Reading) -> None:
    """Make the first pass: a sketch of V, and of the rest that each fold leaves."""
    layout = bench.engine.source.layout
    generator = np.random.default_rng(asked.settings.seed)
    width, stride = WIDTH * asked.settings.rank, stride_of(layout)
    M, _, known = pilot(bench.engine, width, generator)
    Q = basis_of(M, width, generator)
    works: list[Any] = [Sketch(np.ascontiguousarray(Q, layout.work_dtype), layout.bounds, stride)]
    bases = [Q]
    for fold in range(asked.folds):
        halves = Halves(asked.settings.seed, fold)
        left = np.flatnonzero(~halves.rows(layout.shape[0]))
        bases.append(basis_of(M[left, :], min(width, len(left)), generator))
        inner = Sketch(np.ascontiguousarray(bases[-1], layout.work_dtype), layout.bounds, 1)
        works.append(SketchOfRest(inner, halves, layout.shape[0], stride))
    with reading(asked.ranks * (len(asked.seeds) + asked.folds)):
        sums = bench.engine.one_pass(Beside(tuple(works)), scope=Scope(known=known)).parts
    for name, basis, part in zip(sketches(asked), bases, sums, strict=True):
        cabinet.put(name, **surrogate_piece(basis, part, layout))


def surrogate_piece(Q: Float, sums: SketchSums, layout: Layout) -> dict[str, Any]:
    """Return L, a sample of S, and the squares of V and of what is not in it, of the surrogate of a sketch."""
    left = Q + lifted(Q, sums.product, sums.gram, layout.work_dtype)
    empty = np.zeros((Q.shape[1], 0), layout.work_dtype)
    sample = np.concatenate([empty, *sums.sample], axis=1)
    beyond = left_over(sum(sums.norms), left, sums.gram)
    return {"left": left.astype(layout.work_dtype), "sample": sample, "norms": np.array(sums.norms), "beyond": beyond}


def fit_all(rule: Quadratic, asked: Asked, cabinet: Cabinet, stride: int, threads: int, told: Told) -> dict[int, float]:
    """Fit every model on its sketch, in this process, and keep each as it is ready; return the seconds of each rank.

    A fit is timed by itself, and as many run at once as there are threads: its share of the seconds is one of so many.
    """
    taken = dict.fromkeys(asked.ranks, 0.0)
    wanted: list[tuple[str, str, int, int]] = []
    for rank in asked.ranks:
        wanted += [("sketch", f"fit-{rank}-{seed}", rank, seed) for seed in asked.seeds]
        wanted += [(f"sketch-fold{fold}", f"fit-{rank}-fold{fold}", rank, fold) for fold in range(asked.folds)]

    beside = min(threads, len(wanted))

    def fit(model: tuple[str, str, int, int]) -> tuple[int, float]:
        sketch, name, rank, seed = model
        if (known := cabinet.get(name)) is not None:
            return rank, float(known.get("seconds", 0.0))
        start = time.perf_counter()
        piece = piece_of(cabinet, sketch)
        surrogate = Surrogate(piece["left"], rule, float(piece["norms"].sum()), float(piece["beyond"]))
        starts = 1 if sketch == "sketch" else FOLD_STARTS
        with single_threaded_products():
            W, loss = surrogate.fitted(piece["sample"], rank, seed, stride, starts, ROUNDS)
        seconds = (time.perf_counter() - start) / beside
        cabinet.put(name, W=W.astype(piece["left"].dtype), loss=loss, seconds=seconds)
        return rank, seconds

    pool = ThreadPoolExecutor(threads)
    try:
        for done, (rank, seconds) in enumerate(pool.map(fit, wanted), start=1):
            taken[rank] += seconds
            told(done, len(wanted))
    finally:
        pool.shutdown(cancel_futures=True)
    return taken


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What a pass measures: models by rank and seed, and what folds predict."""

    models: Sequence[tuple[int, int]]
    folds: Sequence[int]


def to_measure(
    asked: Asked, cabinet: Cabinet, layout: Layout, rule: Rule, plan: Callable[[Load], Any]
) -> list[Measured]:
    """Return what is still to be measured on V, pass by pass: as many models at a time as fit the memory."""
    models = [(rank, seed) for rank in asked.ranks for seed in asked.seeds]
    folds = range(asked.folds)
    held = [fold for fold in folds if any(cabinet.get(f"held-{rank}-{fold}") is None for rank in asked.ranks)]
    batches = in_batches(
        models,
        lambda batch: fitting(
            plan, survey_load(asked, layout, rule, [rank for rank, _ in batch], asked.ranks, kept=False)
        ),
    )
    # With one model that is missing, those that were beside it are measured again: alone it would be rounded otherwise.
    missing = [batch for batch in batches if any(cabinet.get("model-{}-{}".format(*one)) is None for one in batch)]
    first, *others = missing or [()]
    return [Measured(first, held), *(Measured(batch, ()) for batch in others)] if missing or held else []


def measure(bench: Bench, asked: Asked, cabinet: Cabinet, wanted: Measured, reading: Reading) -> list[State]:
    """Measure models on V, and what folds predict; return the states of the models."""
    layout = bench.engine.source.layout
    norms = piece_of(cabinet, "sketch")["norms"].tolist()
    parts = [
        State(0, piece_of(cabinet, "fit-{}-{}".format(*m))["W"], flat(m[0], layout), tuple(norms))
        for m in wanted.models
    ]
    works: list[Any] = []
    if parts:
        together = Together.of(bench, [bench.rule] * len(parts), parts, None)
        works.append(Verify(together, asked.places, layout.bounds))
    predictions = [predict_block(bench.rule, asked, cabinet, layout, fold) for fold in wanted.folds]
    H = StackedFactor(*(part.H for part in parts)) if parts else None
    with reading([*(rank for rank, _ in wanted.models), *asked.ranks * len(predictions)]):
        sums = bench.engine.one_pass(Beside((*works, *predictions)), H).parts
    for prediction, part in zip(predictions, sums[len(works) :], strict=True):
        for rank, error in zip(asked.ranks, prediction.errors(part), strict=True):
            cabinet.put(f"held-{rank}-{prediction.halves.fold}", error=error)
    return keep_models(bench, wanted.models, parts, sums[0], cabinet) if parts else []


def piece_of(cabinet: Cabinet, name: str) -> dict[str, Any]:
    """Return a piece that was kept."""
    piece = cabinet.get(name)
    if piece is None:
        raise StoreError(
            f"The piece {name} of the survey in {cabinet.place} was there, and is not any more; make the survey again "
            "with the same store to go on from all that is whole."
        )
    return piece


def predict_block(rule: Rule, asked: Asked, cabinet: Cabinet, layout: Layout, fold: int) -> PredictBlock:
    """Return the work that tells what the models of a fold predict."""
    assert isinstance(rule, Quadratic)
    W = np.hstack([piece_of(cabinet, f"fit-{rank}-fold{fold}")["W"] for rank in asked.ranks])
    return PredictBlock(rule, Halves(asked.settings.seed, fold), W, asked.ranks, layout.shape[0], layout.bounds)


def keep_models(
    bench: Bench, models: Sequence[tuple[int, int]], parts: Sequence[State], sums: Any, cabinet: Cabinet
) -> list[State]:
    """Take the next W of every model from its sums, and keep what there is to tell of it; return their states."""
    sample = np.concatenate(sums.sample, axis=1)
    start, states = 0, []
    for (rank, seed), state, stats in zip(models, parts, sums.bundle.parts, strict=True):
        step = bench.rule.finish(state.W, stats)
        thin = sparsity(stats.mass.sum(), np.trace(stats.gram), rank * bench.engine.source.layout.shape[1])
        H = sample[start : start + rank]
        start += rank
        cabinet.put(f"model-{rank}-{seed}", **model_piece(step, H, float(thin)))
        states.append(state.after(step, state.H, tuple(stats.norms)))
    return states
