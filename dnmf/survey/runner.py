"""Makes a survey, from what is there already on."""

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from dnmf.checkpoint import Store, is_store
from dnmf.checkpoint.state import save_state
from dnmf.engine.plan import Load, Plan
from dnmf.errors import keep_before
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.run.open import location_of_weights
from dnmf.run.result import Result
from dnmf.run.run import Run
from dnmf.settings import ADJUSTABLE
from dnmf.solvers.bundle import best_of, bundle, bundled
from dnmf.solvers.history import Record, Verdict
from dnmf.solvers.iteration import after_plain
from dnmf.solvers.sketch import stride_of
from dnmf.solvers.state import State
from dnmf.sources import Source
from dnmf.sources.identity import fingerprint
from dnmf.sources.weighted import is_weighted, steps_of
from dnmf.survey.on_data import advance_all
from dnmf.survey.on_sketch import fit_all, measure, piece_of, sketch_all, sketches, to_measure
from dnmf.survey.progress import Tally
from dnmf.survey.reading import read_survey
from dnmf.survey.request import SWEEPS, Asked, fitting, flat, in_batches, survey_load
from dnmf.survey.store import Cabinet
from dnmf.survey.table import RankSurvey


def header_of(source: Source, asked: Asked) -> dict[str, Any]:
    """Return what a survey's store says of it."""
    layout = source.layout
    options = asked.settings.to_options()
    weights = location_of_weights(source) if is_weighted(source) else None
    return {
        "fingerprint": fingerprint(source),
        "ranks": list(asked.ranks),
        "n_runs": len(asked.seeds),
        "cv": asked.folds,
        "holdout": asked.scheme,
        "sample": len(asked.places),
        "settings": {name: value for name, value in options.items() if name not in ADJUSTABLE or name == "max_passes"},
        "location": layout.location,
        "weights": {"location": weights} if is_weighted(source) else None,
        "transposed": layout.transposed,
        "bounds": list(layout.bounds),
        "prepared": [step.to_json() for step in steps_of(source)],
    }


def name_of(ranks: Sequence[int]) -> str:
    """Return what models of some ranks are called that advance together."""
    return f"models-{ranks[0]}-{ranks[-1]}"


class Maker:
    """Makes a survey, from what its cabinet holds already on."""

    def __init__(
        self,
        run: Run,
        asked: Asked,
        cabinet: Cabinet,
        plan: Callable[[Load], Plan],
        cancel: threading.Event | None,
    ) -> None:
        self.run, self.asked, self.cabinet, self.plan = run, asked, cabinet, plan
        self.tally = Tally(run, cabinet, cancel)
        self.layout = run.source.layout

    def make(self) -> RankSurvey:
        """Do all that is missing, and return the survey."""
        rule = self.run.rule
        try:
            if isinstance(rule, Quadratic) and self.asked.scheme == "bicross":
                made = self._on_sketch(dataclasses.replace(rule, sweeps=SWEEPS))
            else:
                made = self._side_by_side()
        except BaseException as error:
            keep_before(error, self.tally.note, "What the survey has taken")
            raise
        results = {rank: made.get(rank) or self.stored(rank) for rank in self.asked.ranks}
        self.tally.stopped()
        return read_survey(self.cabinet, self.asked, self.layout.location, self.layout.transposed, results)

    def _on_sketch(self, rule: Quadratic) -> dict[int, Result]:
        asked, bench, cabinet = self.asked, dataclasses.replace(self.run.bench(), rule=rule), self.cabinet
        sketched = all(cabinet.get(name) is not None for name in sketches(asked))
        measured = to_measure(asked, cabinet, self.layout, rule, self.plan)
        kept = in_batches(
            asked.ranks, lambda batch: fitting(self.plan, survey_load(asked, self.layout, rule, batch, (), kept=True))
        )
        batches = [batch for batch in kept if not all(map(self.stored, batch))]
        self.tally.set_out(self.tally.spent.passes + (not sketched) + len(measured) + len(batches))
        if not sketched:
            sketch_all(bench, asked, cabinet, self.tally.reading)
        taken = fit_all(rule, asked, cabinet, stride_of(self.layout), self.run.plan.threads, self.tally.modelled)
        self.tally.fitted(taken, len(asked.seeds) + asked.folds)
        for wanted in measured:
            self.tally.passed(measure(bench, asked, cabinet, wanted, self.tally.reading))
        results: dict[int, Result] = {}
        for batch in batches:
            norms = tuple(piece_of(self.cabinet, "sketch")["norms"].tolist())
            pieces = [piece_of(self.cabinet, f"model-{rank}-{self.best_seed(rank)}") for rank in batch]
            parts = [
                State(self.tally.spent.passes, piece["W"], flat(rank, self.layout), norms)
                for rank, piece in zip(batch, pieces, strict=True)
            ]
            with self.tally.reading(batch):
                state = bundled(after_plain)(bench, bundle(parts))
            self.tally.passed(state.parts)
            results |= {rank: self.finished(rank, part) for rank, part in zip(batch, state.parts, strict=True)}
        return results

    def _side_by_side(self) -> dict[int, Result]:
        results: dict[int, Result] = {}
        made = in_batches(
            self.asked.ranks,
            lambda batch: fitting(
                self.plan,
                survey_load(
                    self.asked, self.layout, self.run.rule, len(self.asked.seeds) * list(batch), batch, kept=True
                ),
            ),
        )
        batches = [batch for batch in made if not self.complete(batch)]
        spent, each = self.tally.spent, self.asked.settings.max_passes + bool(self.asked.folds)
        begun = sum(spent.works[name].passes for name in map(name_of, batches) if name in spent.works)
        self.tally.set_out(spent.passes - begun + len(batches) * each)
        for batch in batches:
            asked = dataclasses.replace(self.asked, ranks=tuple(batch))
            self.tally.begin()
            with self.checkpoints(batch) as store:
                state = advance_all(self.run.bench(), asked, self.cabinet, store, partial(self.advanced, batch))
                self.tally.spend(name_of(batch), state.passes + bool(asked.folds), self.beside(batch))
                self.tally.note()
                models = [(rank, seed) for rank in batch for seed in asked.seeds]
                parts = dict(zip(models, state.parts, strict=False))
                for rank in batch:
                    results[rank] = self.finished(rank, parts[rank, self.best_seed(rank)])
        return results

    @contextmanager
    def checkpoints(self, ranks: Sequence[int]) -> Iterator[Store | None]:
        """Give the store of the checkpoints of some models, where the survey has one."""
        path = self.cabinet.path(f"{name_of(ranks)}.zarr")
        if path is None:
            yield None
            return
        store = Store.open(path, write=True) if is_store(path) else Store.create(path, self.header(ranks[-1]))
        try:
            yield store
        finally:
            store.close()

    def header(self, rank: int) -> dict[str, Any]:
        """Return the header of a store in the survey's, at a rank."""
        options = self.asked.settings.replace({"rank": rank, "n_runs": 1}).to_options()
        header = header_of(self.run.source, self.asked)
        names = ("fingerprint", "location", "transposed", "bounds", "weights", "prepared")
        return {**{name: header[name] for name in names}, "settings": options, "given": True}

    def advanced(self, ranks: Sequence[int], state: State, history: list[Record]) -> None:
        """Count a pass of models that advance side by side, put it into their history, and tell it."""
        self.tally.spend(name_of(ranks), state.passes, self.beside(ranks))
        if state.passes % self.asked.settings.checkpoint_every == 0:
            self.tally.note()
        models = state.parts[: len(ranks) * len(self.asked.seeds)]
        history.append(self.tally.record(dataclasses.replace(best_of(models), optimality=state.optimality)))
        self.tally.passed(models)

    def beside(self, ranks: Sequence[int]) -> list[int]:
        """Return the ranks of all models of some ranks, those of folds included."""
        return list(ranks) * (len(self.asked.seeds) + self.asked.folds)

    def complete(self, ranks: Sequence[int]) -> bool:
        """Say whether all that there is to tell of some ranks is kept, whole."""
        asked = self.asked
        pieces = [f"model-{rank}-{seed}" for rank in ranks for seed in asked.seeds]
        pieces += [f"held-{rank}-{fold}" for rank in ranks for fold in range(asked.folds)]
        return all(map(self.stored, ranks)) and all(self.cabinet.get(piece) is not None for piece in pieces)

    def best_seed(self, rank: int) -> int:
        """Return the seed of the run of a rank whose loss is the least."""
        losses = [float(piece_of(self.cabinet, f"model-{rank}-{seed}")["loss"]) for seed in self.asked.seeds]
        return self.asked.seeds[losses.index(min(losses))]

    def stored(self, rank: int) -> str | None:
        """Return the path of the finished best run of a rank, if there is one."""
        path = self.cabinet.path(f"best/rank-{rank:03d}.zarr")
        return path if path is not None and self.cabinet.get(f"finished-{rank}") is not None else None

    def finished(self, rank: int, state: State) -> Result:
        """Return the best run of a rank as a result, and keep it in a store of its own where there is one."""
        seed = self.best_seed(rank)
        settings = self.asked.settings.replace({"rank": rank, "seed": seed, "n_runs": 1})
        record, long = self.tally.record(state), self.run.brought_here(state.H, rank)
        verdict = Verdict(f"The best of {len(self.asked.seeds)} runs at rank {rank} in a survey.", False)
        path = self.cabinet.path(f"best/rank-{rank:03d}.zarr")
        if path is not None:
            store = Store.create(
                path, {**self.header(rank), "settings": settings.to_options()}, True, self.run.source.layout.names
            )
            try:
                save_state(store, dataclasses.replace(state, H=long), [record], verdict, self.layout, 1)
                store.publish()
            finally:
                store.close()
            self.cabinet.put(f"finished-{rank}", seed=seed)
        return Result(
            history=(record,),
            settings=settings,
            converged=False,
            store=path,
            names=self.run.source.layout.names,
            steps=steps_of(self.run.source),
            _verdict=verdict.sentence,
            _short=state.W,
            _long=long,
            _bounds=self.layout.bounds,
            _transposed=self.layout.transposed,
        )
