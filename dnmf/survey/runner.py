"""Run a survey, continuing from stored results."""

import dataclasses
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dnmf.checkpoint import Store
from dnmf.checkpoint.state import save_state
from dnmf.engine import single_threaded_products
from dnmf.engine.plan import Load, Plan
from dnmf.errors import keep_before
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.run.open import matrix_header
from dnmf.run.result import Result
from dnmf.run.run import Run
from dnmf.settings import ADJUSTABLE
from dnmf.solvers.bundle import best_of, bundle, bundled, comparable
from dnmf.solvers.history import Record, Verdict
from dnmf.solvers.iteration import after_plain
from dnmf.solvers.state import State
from dnmf.sources import Source
from dnmf.survey.given import check_observed
from dnmf.survey.on_data import advance_all
from dnmf.survey.on_sketch import fit_all, measure, sketch_all, sketches, to_measure
from dnmf.survey.progress import SurveyProgress
from dnmf.survey.reading import read_survey
from dnmf.survey.request import SWEEPS, SurveyRequest, fitting, flat, in_batches, survey_load
from dnmf.survey.store import SurveyStore
from dnmf.survey.table import RankSurvey


def header_of(source: Source, request: SurveyRequest) -> dict[str, Any]:
    """Return the header of the store of a survey."""
    options = request.settings.to_options()
    return {
        **matrix_header(source),
        "ranks": list(request.ranks),
        "n_runs": len(request.seeds),
        "cv": request.folds,
        "holdout": request.scheme,
        "sample": len(request.places),
        **({} if request.held is None else {"held": request.held.digest}),
        "settings": {name: value for name, value in options.items() if name not in ADJUSTABLE or name == "max_passes"},
    }


def name_of(ranks: Sequence[int]) -> str:
    """Return the name of models of some ranks that advance together."""
    return f"models-{ranks[0]}-{ranks[-1]}"


class SurveyRunner:
    """Run a survey, continuing from the results in its store."""

    def __init__(
        self,
        run: Run,
        request: SurveyRequest,
        store: SurveyStore,
        plan: Callable[[Load], Plan],
        cancel: threading.Event | None,
    ) -> None:
        self.run, self.request, self.store, self.plan = run, request, store, plan
        self.progress = SurveyProgress(run, store, cancel)
        self.layout = run.source.layout

    @single_threaded_products()
    def run_missing(self) -> RankSurvey:
        """Compute the missing results, and return the survey."""
        rule = self.run.rule
        try:
            if isinstance(rule, Quadratic) and self.request.scheme == "bicross":
                made = self._on_sketch(dataclasses.replace(rule, sweeps=SWEEPS))
            else:
                made = self._on_data()
        except BaseException as error:
            keep_before(error, self.progress.save, "The costs of the survey")
            raise
        results = {rank: made.get(rank) or self.stored(rank) for rank in self.request.ranks}
        self.progress.finish()
        return read_survey(self.store, self.request, self.layout.location, self.layout.transposed, results)

    def _on_sketch(self, rule: Quadratic) -> dict[int, Result]:
        request, store, progress = self.request, self.store, self.progress
        context = dataclasses.replace(self.run.context(), rule=rule)
        sketched = all(store.get(name) is not None for name in sketches(request))
        measured = to_measure(request, store, self.layout, rule, self.plan)

        def fits(ranks: Sequence[int]) -> bool:
            return fitting(self.plan, survey_load(request, self.layout, rule, ranks, (), kept=True))

        batches = [batch for batch in in_batches(request.ranks, fits) if not all(map(self.stored, batch))]
        progress.announce(progress.costs.passes + (not sketched) + len(measured) + len(batches))
        if not sketched:
            sketch_all(context, request, store, progress.counted)
        seconds = fit_all(rule, request, store, self.layout, self.run.plan.threads, progress.ready)
        progress.fitted(seconds, len(request.seeds) + request.folds)
        for wanted in measured:
            progress.passed(measure(context, request, store, wanted, progress.counted))
        results: dict[int, Result] = {}
        for batch in batches:
            norms = tuple(store.require("sketch")["norms"].tolist())
            pieces = [store.require(f"model-{rank}-{self.best_seed(rank)}") for rank in batch]
            parts = [
                State(progress.costs.passes, piece["W"], flat(rank, self.layout), norms)
                for rank, piece in zip(batch, pieces, strict=True)
            ]
            with progress.counted(batch):
                state = bundled(after_plain)(context, bundle(parts))
            progress.passed(state.parts)
            results |= {rank: self.finished(rank, part) for rank, part in zip(batch, state.parts, strict=True)}
        return results

    def _on_data(self) -> dict[int, Result]:
        request, progress = self.request, self.progress

        def fits(ranks: Sequence[int]) -> bool:
            models = len(request.seeds) * list(ranks)
            return fitting(self.plan, survey_load(request, self.layout, self.run.rule, models, ranks, kept=True))

        batches = [batch for batch in in_batches(request.ranks, fits) if not self.complete(batch)]
        costs, passes = progress.costs, request.settings.max_passes + bool(request.folds)
        begun = sum(costs.steps[name].passes for name in map(name_of, batches) if name in costs.steps)
        progress.announce(costs.passes - begun + len(batches) * passes)
        results: dict[int, Result] = {}
        if batches and request.held is not None and not self.run.rule.entries.all:
            with progress.counted(self.all_models(request.ranks)):
                check_observed(self.run.engine, request.held, self.run.rule.entries, self.layout)
        for batch in batches:
            part = dataclasses.replace(request, ranks=tuple(batch))
            progress.begin()
            with self.store.checkpoints(name_of(batch), self.header(batch[-1])) as checkpoints:
                state = advance_all(self.run.context(), part, self.store, checkpoints, partial(self.advanced, batch))
                progress.count(name_of(batch), state.passes + bool(request.folds), self.all_models(batch))
                progress.save()
                models = [(rank, seed) for rank in batch for seed in request.seeds]
                states = dict(zip(models, state.parts, strict=False))
                for rank in batch:
                    results[rank] = self.finished(rank, states[rank, self.best_seed(rank)])
        return results

    def header(self, rank: int) -> dict[str, Any]:
        """Return the header of a store within that of the survey, at a rank."""
        options = self.request.settings.replace({"rank": rank, "n_runs": 1}).to_options()
        return {
            **matrix_header(self.run.source),
            "settings": options,
            "given": True,
            "named": self.store.header.get("named", []),
        }

    def advanced(self, ranks: Sequence[int], state: State, history: list[Record]) -> None:
        """Count a pass of models that advance together, add it to their history, and notify watchers."""
        self.progress.count(name_of(ranks), state.passes, self.all_models(ranks))
        if state.passes % self.request.settings.checkpoint_every == 0:
            self.progress.save()
        models = state.parts[: len(ranks) * len(self.request.seeds)]
        history.append(self.progress.record(dataclasses.replace(best_of(models), optimality=state.optimality)))
        self.progress.passed(models)

    def all_models(self, ranks: Sequence[int]) -> list[int]:
        """Return the rank of every model of some ranks, folds included."""
        return list(ranks) * (len(self.request.seeds) + self.request.folds)

    def complete(self, ranks: Sequence[int]) -> bool:
        """Return whether all results of some ranks are stored."""
        request = self.request
        pieces = [f"model-{rank}-{seed}" for rank in ranks for seed in request.seeds]
        pieces += [f"held-{rank}-{fold}" for rank in ranks for fold in range(request.folds)]
        return all(map(self.stored, ranks)) and all(self.store.get(piece) is not None for piece in pieces)

    def best_seed(self, rank: int) -> int:
        """Return the seed of the run with the least loss at a rank."""
        losses = [float(self.store.require(f"model-{rank}-{seed}")["loss"]) for seed in self.request.seeds]
        return min(zip(losses, self.request.seeds, strict=True), key=lambda one: comparable(one[0]))[1]

    def stored(self, rank: int) -> str | None:
        """Return the path of the best run of a rank if it is finished, or None."""
        path = self.store.path(f"best/rank-{rank:03d}.zarr")
        return path if path is not None and self.store.get(f"finished-{rank}") is not None else None

    def finished(self, rank: int, state: State) -> Result:
        """Return the best run of a rank as a result, saved in its own store if the survey has one."""
        seed = self.best_seed(rank)
        settings = self.request.settings.replace({"rank": rank, "seed": seed, "n_runs": 1})
        record, long = self.progress.record(state), self.run.home.copy(state.H, rank)
        verdict = Verdict(f"The best of {len(self.request.seeds)} runs at rank {rank} in a survey.", False)
        path = self.store.path(f"best/rank-{rank:03d}.zarr")
        if path is not None:
            header = {**self.header(rank), "settings": settings.to_options()}
            store = Store.create(path, header, True, self.run.names)
            try:
                save_state(store, dataclasses.replace(state, H=long), [record], verdict, self.layout.bounds, 1)
                store.publish()
            finally:
                store.close()
            self.store.put(f"finished-{rank}", seed=seed)
        result = Result.of(self.run.source, settings, dataclasses.replace(state, H=long), [record], verdict, path)
        return dataclasses.replace(result, names=self.run.names)
