"""From the pieces of a survey to what it says."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dnmf.checkpoint.header import SURVEY, find_header
from dnmf.errors import StoreError
from dnmf.run.result import Result
from dnmf.settings import Settings
from dnmf.storage.durable import explained
from dnmf.storage.objects import WRITABLE
from dnmf.storage.open_location import place_at
from dnmf.storage.urls import is_url
from dnmf.survey.columns import hashed_sample
from dnmf.survey.request import Asked
from dnmf.survey.store import Cabinet
from dnmf.survey.table import RankSurvey, SurveyModel


def read_survey(
    cabinet: Cabinet,
    asked: Asked,
    location: str | None,
    transposed: bool,
    best: Mapping[int, Result | str | None],
) -> RankSurvey:
    """Return the survey that is in a cabinet.

    Raises
    ------
    StoreError
        If it is not finished.
    """
    models, held = [], []
    for rank in asked.ranks:
        for seed in asked.seeds:
            piece = cabinet.get(f"model-{rank}-{seed}")
            if piece is None or best.get(rank) is None:
                raise unfinished(cabinet, f"rank {rank}")
            if piece["labels"].shape != asked.places.shape:
                raise StoreError(f"The survey in {cabinet.place} has labels of another sample; do not trust it.")
            numbers = {name: float(piece[name]) for name in ("loss", "relative_error", "optimality")}
            thin = (float(piece["sparsity"][0]), float(piece["sparsity"][1]))
            models.append(SurveyModel(rank, seed, piece["W"], labels=piece["labels"], sparsity=thin, **numbers))
        held.append(list[float]())
        for fold in range(asked.folds):
            piece = cabinet.get(f"held-{rank}-{fold}")
            if piece is None:
                raise unfinished(cabinet, f"fold {fold} of rank {rank}")
            held[-1].append(float(piece["error"]))
    spent = cabinet.spent()
    return RankSurvey(
        ranks=asked.ranks,
        models=tuple(models),
        held_out=np.array(held),
        holdout=asked.scheme,
        places=asked.places,
        passes=spent.passes,
        seconds=spent.seconds,
        settings=asked.settings,
        store=None if cabinet.place is None else str(cabinet.place),
        location=location,
        _transposed=transposed,
        _best={rank: result for rank, result in best.items() if result is not None},
        _spent=spent,
    )


def unfinished(cabinet: Cabinet, what: str) -> StoreError:
    """Return the error for a survey of which something is missing."""
    return StoreError(
        f"The survey in {cabinet.place} is not finished: {what} is missing. Make it again with the same store and what "
        "it was begun with; it goes on from what is there."
    )


def is_survey(path: str | Path) -> bool:
    """Say whether there is a survey at a path or URL, finished or not."""
    if is_url(path) and not str(path).startswith(WRITABLE):
        return False
    with explained(f"The store {path}", "opened"):
        return find_header(place_at(path), SURVEY) is not None


def stored_survey(path: str | Path) -> RankSurvey:
    """Return the survey in a store; V is not needed.

    Raises
    ------
    StoreError
        If there is none, if it is not finished, or if no dnmf can have written it.
    """
    cabinet = Cabinet.open(path)
    header = cabinet.header
    settings, transposed = Settings.from_options(header["settings"]), header["transposed"]
    asked = Asked(
        tuple(header["ranks"]),
        tuple(range(settings.seed, settings.seed + header["n_runs"])),
        header["cv"],
        header["holdout"],
        settings,
        hashed_sample(header["fingerprint"]["shape"][0 if transposed else 1], header["sample"], settings.seed),
    )
    best = {rank: cabinet.path(f"best/rank-{rank:03d}.zarr") for rank in asked.ranks}
    found = {rank: path if cabinet.get(f"finished-{rank}") is not None else None for rank, path in best.items()}
    return read_survey(cabinet, asked, header["location"], transposed, found)
