"""The page of a survey of ranks: its suggestion, its curves, its consensus and its silhouettes."""

import shlex
from collections.abc import Sequence
from typing import Any

from dnmf.inspection.charts import HeatMap
from dnmf.inspection.numbers import duration, number
from dnmf.inspection.survey_charts import consensus_map, silhouette_chart, survey_charts
from dnmf.report.convergence import options
from dnmf.report.page import Cell, Tile, render
from dnmf.report.reproduce import AGAIN, flags
from dnmf.report.svg import CLUSTERS
from dnmf.sources.collection import shown_location
from dnmf.survey import RankSurvey
from dnmf.survey.columns import order, tree
from dnmf.survey.criteria import HEADS
from dnmf.survey.stability import Stability


def survey_page(survey: RankSurvey, title: str) -> str:
    """Return the page of a survey."""
    found, table = survey.suggest(), survey.table()
    rank = survey.ranks[-1] if found.rank is None else found.rank
    stability = survey.stability(rank)
    shown = [name for name in HEADS if any(value is not None for value in table[name])]
    return render(
        "survey.html",
        title=title,
        kind="Survey of ranks",
        verdict=found.reason,
        good=found.agree,
        tiles=_tiles(survey, rank),
        survey=survey,
        rank=rank,
        curves=survey_charts(table, found.rank),
        consensus_chart=_consensus(survey, rank),
        stability=stability,
        silhouettes=stability and silhouette_chart(stability.silhouettes, stability.labels, ""),
        means=[] if stability is None else _means(stability),
        heads=[HEADS[name] for name in shown],
        rows=[[_cell(name, table[name][place]) for name in shown] for place in range(len(survey.ranks))],
        described=_described(survey),
        options=options(survey.settings),
        commands=_commands(survey, rank),
    )


def _tiles(survey: RankSurvey, rank: int) -> list[Tile]:
    found = survey.suggest()
    error = survey.table()["held_out"][survey.ranks.index(rank)]
    held_out = "not measured" if error is None else f"at rank {rank}, {survey.holdout}"
    agreement = "the criteria agree" if found.agree else "see the reasons"
    return [
        Tile("suggested rank", "none" if found.rank is None else str(found.rank), agreement),
        Tile("ranks tried", f"{survey.ranks[0]} – {survey.ranks[-1]}", f"{len(survey.ranks)} of them"),
        Tile("models", f"{len(survey.models):,}", f"{len(survey.models_of(rank))} runs of every rank"),
        Tile("held-out error", number(error), held_out),
        Tile("reads of V", f"{survey.passes:,}", duration(survey.seconds)),
    ]


def _consensus(survey: RankSurvey, rank: int) -> HeatMap | None:
    """Return the chart of the consensus at a rank, or None with a single run or column."""
    if len(survey.models_of(rank)) < 2 or len(survey.places) < 2:
        return None
    C = survey.connectivity(rank)
    return consensus_map(C, order(C, tree(C)), "", survey.compared)


def _means(stability: Stability) -> list[Sequence[Cell]]:
    """Return the mean silhouettes of the clusters, as many as are drawn."""
    means = stability.clusters[:CLUSTERS].tolist()
    return [(f"cluster {k}", (number(mean, 3), mean)) for k, mean in enumerate(means, start=1)]


def _cell(name: str, value: Any) -> Cell:
    return str(value) if name == "rank" else (number(value), value)


def _described(survey: RankSurvey) -> dict[str, str]:
    settings = survey.settings
    return {
        "matrix": shown_location(survey.location) or "given in memory",
        "loss, solver": f"{settings.loss}, {settings.solver}",
        "runs of a rank": f"{len(survey.models_of(survey.ranks[0]))}, seeds from {settings.seed}",
        "held out": "given entries" if survey.holdout == "given" else f"{survey.holdout}, {_folds(survey)} folds",
        "compared on": f"{len(survey.places):,} {survey.compared}",
        "store": survey.store or "none",
    }


def _folds(survey: RankSurvey) -> int:
    return survey.held_out.shape[1] if survey.held_out.ndim == 2 else 0


def _commands(survey: RankSurvey, rank: int) -> dict[str, list[str]]:
    """Return the commands and calls that take a rank, and that repeat the survey, by their headings."""
    folds = _folds(survey)
    words = ["dnmf", "rank", survey.location or "V.zarr", "--ranks", ",".join(map(str, survey.ranks))]
    words += ["--n-runs", str(len(survey.models_of(rank)))]
    if survey.holdout == "given":
        words += ["--holdout", "held.npy"]
    else:
        words += ["--cv", str(folds), *(["--holdout", survey.holdout] if folds else [])]
    settings = survey.settings.replace({"n_runs": 1})  # it has a flag of its own
    repeat = {"Make it again": [shlex.join([*words, *flags(settings), "--store", AGAIN])]}
    if survey.store is None:
        return repeat
    best = f"{survey.store}/best/rank-{rank:03d}.zarr"
    given = "" if survey.location else ", V"
    take = [
        shlex.join(["dnmf", "report", best, "-o", f"rank-{rank}.html"]),
        f"survey = dnmf.load_survey({survey.store!r})\n"
        f"survey.best({rank})         # the best run of the rank: W, H, transform\n"
        f"survey.consensus({rank}{given})    # the consensus of all of its runs",
        shlex.join(["dnmf", "consensus", survey.store, "--rank", str(rank), "--store", f"consensus-{rank}.zarr"])
        + ("" if survey.location else " --matrix V.zarr"),
    ]
    return {f"Take rank {rank}": take, **repeat}
