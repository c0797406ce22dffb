"""Read a survey from its pieces."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dnmf.checkpoint.description import describe_run
from dnmf.checkpoint.header import OTHERWISE, SURVEY, find_header
from dnmf.errors import StoreError
from dnmf.run.result import Result
from dnmf.settings import Settings
from dnmf.sources.opening import OF_WEIGHTS
from dnmf.storage.durable import explained
from dnmf.storage.objects import WRITABLE
from dnmf.storage.open_location import location_at
from dnmf.storage.urls import is_url
from dnmf.survey.columns import hashed_sample
from dnmf.survey.request import SurveyRequest
from dnmf.survey.store import WEIGHTS, SurveyStore
from dnmf.survey.table import RankSurvey, SurveyModel


class Unfinished(StoreError):
    """The survey in a store lacks a piece."""

    def __init__(self, store: SurveyStore, missing: str) -> None:
        super().__init__(
            f"The survey in {store.place} is not finished: {missing} is missing. Repeat the survey with the same "
            "options and store; it continues from the stored pieces."
        )


def read_survey(
    store: SurveyStore,
    request: SurveyRequest,
    location: str | None,
    transposed: bool,
    best: Mapping[int, Result | str | None],
) -> RankSurvey:
    """Return the survey in a store.

    Raises
    ------
    StoreError
        If it is not finished.
    """
    models, held, misses = [], [], []
    for rank in request.ranks:
        for seed in request.seeds:
            piece = store.get(f"model-{rank}-{seed}")
            if piece is None or best.get(rank) is None:
                raise Unfinished(store, f"rank {rank}")
            if piece["labels"].shape != request.places.shape:
                raise StoreError(f"The survey in {store.place} has labels of another sample; do not use it.")
            numbers = {name: float(piece[name]) for name in ("loss", "relative_error", "optimality")}
            sparsity = (float(piece["sparsity"][0]), float(piece["sparsity"][1]))
            models.append(SurveyModel(rank, seed, piece["W"], labels=piece["labels"], sparsity=sparsity, **numbers))
        held.append(list[float]())
        misses.append(list[tuple[float, float]]())
        for fold in range(request.folds):
            piece = store.get(f"held-{rank}-{fold}")
            if piece is None:
                raise Unfinished(store, f"fold {fold} of rank {rank}")
            held[-1].append(float(piece["error"]))
            misses[-1].append((float(piece.get("rmse", np.nan)), float(piece.get("mae", np.nan))))
    costs, errors = store.costs(), np.array(misses).reshape(len(request.ranks), request.folds, 2)
    return RankSurvey(
        ranks=request.ranks,
        models=tuple(models),
        held_out=np.array(held),
        holdout=request.scheme,
        places=request.places,
        passes=costs.passes,
        seconds=costs.seconds,
        settings=request.settings,
        store=None if store.place is None else str(store.place),
        location=location,
        _transposed=transposed,
        _best={rank: result for rank, result in best.items() if result is not None},
        _costs=costs,
        _header=store.header,
        rmse=errors[..., 0],
        mae=errors[..., 1],
    )


def is_survey(path: str | Path) -> bool:
    """Return whether there is a survey at a path or URL, finished or not."""
    if is_url(path) and not str(path).startswith(WRITABLE):
        return False
    with explained(f"The store {path}", "opened"):
        return find_header(location_at(path), SURVEY) is not None


def stored_survey(path: str | Path) -> RankSurvey:
    """Return the survey in a store; `dnmf.load_survey` describes it."""
    store = SurveyStore.open(path)
    header = store.header
    if WEIGHTS in header:
        raise StoreError(f"{store.place} is {OF_WEIGHTS}; {OTHERWISE[OF_WEIGHTS]}.")
    settings, transposed = Settings.from_options(header["settings"]), header["transposed"]
    request = SurveyRequest(
        tuple(header["ranks"]),
        tuple(range(settings.seed, settings.seed + header["n_runs"])),
        header["cv"],
        header["holdout"],
        settings,
        hashed_sample(header["fingerprint"]["shape"][0 if transposed else 1], header["sample"], settings.seed),
    )
    best = {rank: store.path(f"best/rank-{rank:03d}.zarr") for rank in request.ranks}
    found = {rank: path if store.get(f"finished-{rank}") is not None else None for rank, path in best.items()}
    return read_survey(store, request, header["location"], transposed, found)


def survey_facts(path: str | Path) -> dict[str, str]:
    """Return the facts of the survey in a store in a few lines; one that is not finished, or of graph weights, too."""
    store = SurveyStore.open(path)
    rows = describe_run(store.header, None)
    del rows["state"]  # that of a run
    if WEIGHTS in store.header:
        rows["weights"] = str(store.header[WEIGHTS])[1:-1]
        return rows | {"state": f"{OF_WEIGHTS}; {OTHERWISE[OF_WEIGHTS]}"}
    try:
        return stored_survey(path).facts()
    except Unfinished as error:
        return rows | {"rank": ", ".join(map(str, store.header["ranks"])), "state": str(error)}
