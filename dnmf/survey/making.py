"""Makes a survey, from what is there already on."""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dnmf.bundle import bundle, bundled
from dnmf.checkpoint import Store, is_store
from dnmf.errors import Interrupted
from dnmf.kernels.quadratic import Quadratic
from dnmf.kernels.rules import solver_of
from dnmf.plan import Load, Plan
from dnmf.result import Result
from dnmf.run import Run
from dnmf.saving import save_state
from dnmf.settings import ADJUSTABLE
from dnmf.sketch import stride_of
from dnmf.solve import after_plain
from dnmf.sources import Source
from dnmf.sources.layout import fingerprint
from dnmf.sources.weighted import is_weighted, steps_of
from dnmf.start import location_of_weights
from dnmf.state import State
from dnmf.stopping import Verdict
from dnmf.survey.asked import SWEEPS, Asked, fitting, flat, in_batches, survey_load
from dnmf.survey.cabinet import Cabinet
from dnmf.survey.on_sketch import fit_all, piece_of, sketch_all, verify_all
from dnmf.survey.reading import read_survey
from dnmf.survey.side_by_side import advance_all
from dnmf.survey.table import RankSurvey
from dnmf.watch import Record, Watcher


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


class Maker:
    """Makes a survey, from what its cabinet holds already on."""

    def __init__(
        self,
        run: Run,
        asked: Asked,
        cabinet: Cabinet,
        plan: Callable[[Load], Plan],
        watchers: Sequence[Watcher],
        cancel: threading.Event | None,
    ) -> None:
        self.run, self.asked, self.cabinet, self.plan, self.watchers = run, asked, cabinet, plan, watchers
        self.cancel = cancel
        self.layout = run.source.layout
        self.start = time.perf_counter()

    def make(self) -> RankSurvey:
        """Do all that is missing, and return the survey."""
        self.passes, self.before = self.cabinet.spent()
        rule = self.run.rule
        if isinstance(rule, Quadratic) and self.asked.scheme == "bicross":
            made = self._on_sketch(dataclasses.replace(rule, sweeps=SWEEPS))
        else:
            made = self._side_by_side()
        results = {rank: made.get(rank) or self.stored(rank) for rank in self.asked.ranks}
        self.note()
        for watcher in self.watchers:
            watcher.stopped(Verdict(f"The survey read V {self.passes} times.", True))
        return read_survey(self.cabinet, self.asked, self.layout.location, self.layout.transposed, results)

    def note(self) -> None:
        """Remember the passes and the seconds of the survey."""
        self.cabinet.note(self.passes, self.before + time.perf_counter() - self.start)

    def told(self, done: int, total: int) -> None:
        """Tell the watchers how many models are ready."""
        for watcher in self.watchers:
            watcher.modelled(done, total)
        if self.cancel is not None and self.cancel.is_set():
            raise Interrupted("The survey was asked to stop.")

    def _on_sketch(self, rule: Quadratic) -> dict[int, Result]:
        asked, bench = self.asked, dataclasses.replace(self.run.bench(), rule=rule)
        self.passes += sketch_all(bench, asked, self.cabinet)
        self.note()
        fit_all(rule, asked, self.cabinet, stride_of(self.layout), self.run.plan.threads, self.told)
        self.passes += verify_all(bench, asked, self.cabinet, self.plan)
        self.note()
        results: dict[int, Result] = {}
        batches = in_batches(
            asked.ranks, lambda batch: fitting(self.plan, survey_load(asked, self.layout, rule, batch, (), kept=True))
        )
        for batch in batches:
            if all(self.stored(rank) is not None for rank in batch):
                continue
            norms = tuple(piece_of(self.cabinet, "sketch")["norms"].tolist())
            pieces = [piece_of(self.cabinet, f"model-{rank}-{self.best_seed(rank)}") for rank in batch]
            parts = [
                State(self.passes, piece["W"], flat(rank, self.layout), norms)
                for rank, piece in zip(batch, pieces, strict=True)
            ]
            state = bundled(after_plain)(bench, bundle(parts))
            self.passes += 1
            results |= {rank: self.finished(rank, part) for rank, part in zip(batch, state.parts, strict=True)}
        return results

    def _side_by_side(self) -> dict[int, Result]:
        results: dict[int, Result] = {}
        batches = in_batches(
            self.asked.ranks,
            lambda batch: fitting(
                self.plan,
                survey_load(
                    self.asked, self.layout, self.run.rule, len(self.asked.seeds) * list(batch), batch, kept=True
                ),
            ),
        )
        for batch in batches:
            asked = dataclasses.replace(self.asked, ranks=tuple(batch))
            if self.complete(batch):
                continue
            with self.checkpoints(batch) as store:
                state, beyond = advance_all(self.run.bench(), asked, self.cabinet, store, self.passed)
                self.passes += state.passes + beyond
                models = [(rank, seed) for rank in batch for seed in asked.seeds]
                parts = dict(zip(models, state.parts, strict=False))
                for rank in batch:
                    results[rank] = self.finished(rank, parts[rank, self.best_seed(rank)])
            self.note()
        return results

    @contextmanager
    def checkpoints(self, ranks: Sequence[int]) -> Iterator[Store | None]:
        """Give the store of the checkpoints of some models, where the survey has one."""
        path = self.cabinet.path(f"models-{ranks[0]}-{ranks[-1]}.zarr")
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

    def passed(self, state: State) -> Record:
        """Tell the watchers of a pass of models that advance side by side, and return its record: of the best."""
        record = self.record(state)
        for watcher in self.watchers:
            watcher.passed(record)
        return record

    def record(self, state: State) -> Record:
        """Return the record of a pass."""
        return Record(
            passes=state.passes,
            loss=state.loss,
            relative_error=state.relative_error,
            optimality=state.optimality,
            seconds=self.before + time.perf_counter() - self.start,
            bytes_read=state.passes * self.layout.stored_bytes,
            solver=state.method or solver_of(self.asked.settings),
        )

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
        record, long = self.record(state), self.run.brought_here(state.H, rank)
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
