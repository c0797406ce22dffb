"""The page of a survey of ranks: its suggestion, its curves, its consensus and its silhouettes."""

import shlex
from typing import Any

import numpy as np

from dnmf.inspection.figures.survey import PANELS
from dnmf.inspection.html import Markup, join, tag
from dnmf.inspection.numbers import duration, number
from dnmf.kernels.blocks.tiles import Float
from dnmf.report.charts import WIDTH, Mark, Scale, Series, line_chart, svg
from dnmf.report.components import legend
from dnmf.report.images import picture, smaller
from dnmf.report.page import Section, Tile, command, facts, figure, more, note, page, paragraphs, table
from dnmf.report.reproduce import flags
from dnmf.survey import RankSurvey
from dnmf.survey.columns import order, tree
from dnmf.survey.table import HEADS

# A heat map of the consensus has no more lines than this.
HEAT = 240
# Silhouettes of no more clusters than this are drawn, with so many bars each.
CLUSTERS, BARS = 40, 50


def survey_page(survey: RankSurvey, title: str) -> str:
    """Return the whole page of a survey."""
    found = survey.suggest()
    chosen = found.rank if found.rank is not None else survey.ranks[-1]
    state = "verdict good" if found.agree else "verdict"
    verdict = tag("p", found.reason, class_=state)
    rows = survey.table()
    place = survey.ranks.index(chosen)
    error = rows["held_out"][place]
    tiles = [
        Tile(
            "suggested rank",
            "none" if found.rank is None else str(found.rank),
            "the criteria agree" if found.agree else "see the reasons",
        ),
        Tile("ranks tried", f"{survey.ranks[0]} – {survey.ranks[-1]}", f"{len(survey.ranks)} of them"),
        Tile("models", f"{len(survey.models):,}", f"{len(survey.of(chosen))} runs of every rank"),
        Tile(
            "held-out error",
            number(error),
            f"at rank {chosen}, {survey.holdout}" if error is not None else "not measured",
        ),
        Tile("reads of V", f"{survey.passes:,}", duration(survey.seconds)),
    ]
    sections = [
        _curves(survey, found.rank),
        _consensus(survey, chosen),
        _silhouettes(survey, chosen),
        _figures(survey),
        _how(survey),
        _going_on(survey, chosen),
    ]
    return page(title, "Survey of ranks", verdict, tiles, sections)


def _curves(survey: RankSurvey, suggested: int | None) -> Section:
    rows = survey.table()
    marks = [] if suggested is None else [Mark(suggested, f"rank {suggested}", upright=True)]
    charts = []
    for title, label, curves in PANELS:
        known = [one for one in curves if any(value is not None for value in rows[one[0]])]
        if not known:
            charts.append(tag("div", tag("h3", title), note("Not measured.")))
            continue
        series = [_series(words, survey.ranks, rows[name], rows.get(bars or "")) for name, bars, words in known]
        words = " and ".join(words for _, _, words in known)
        chart = line_chart(series, f"{title} by rank", "rank", label.partition(",")[0], marks=marks)
        charts.append(figure(title.lower().replace(" ", "-"), chart, words.capitalize() + ".", title))
    return Section("curves", "What each rank is worth", tag("div", *charts, class_="grid"))


def _series(words: str, ranks: tuple[int, ...], values: list[Any], bars: list[Any] | None) -> Series:
    """Return a curve of what is known, with its error bars where there are some."""
    known = [k for k, value in enumerate(values) if value is not None]
    sizes = None if bars is None else [float(np.nan_to_num(bars[k] or 0.0)) for k in known]
    return Series(words, [ranks[k] for k in known], [values[k] for k in known], sizes)


def _consensus(survey: RankSurvey, rank: int) -> Section:
    title = f"Consensus of the columns at rank {rank}"
    if len(survey.of(rank)) < 2 or len(survey.places) < 2:
        return Section(
            "consensus", title, note("A consensus compares several runs; make the survey with n_runs above 1.")
        )
    C = survey.connectivity(rank)
    places = order(C, tree(C))
    heat = picture(smaller(C[np.ix_(places, places)], HEAT), f"Heat map of the consensus of {len(places)} columns", 1.0)
    words = (
        f"How often two of {len(places):,} sampled columns have the same strongest component over "
        f"{len(survey.of(rank))} runs, ordered so that clusters stand together. Clear squares speak for the rank."
    )
    drawn = join([tag("div", heat, class_="square"), legend("never", "always")])
    return Section("consensus", title, join([paragraphs(words), figure("consensus", drawn)]))


def _silhouettes(survey: RankSurvey, rank: int) -> Section:
    title, found = f"Silhouettes of the components at rank {rank}", survey.stability(rank)
    if found is None:
        return Section(
            "silhouettes", title, note("Silhouettes compare several runs; make the survey with n_runs above 1.")
        )
    groups = [falling(found.silhouettes[found.labels == k]) for k in range(len(found.clusters))]
    words = (
        f"Each run has one component in each cluster. A silhouette of 1 says that all runs found the same component; "
        f"the worst cluster has {number(found.least, 3)}, all together {number(found.mean, 3)}."
    )
    chart = silhouette_chart(groups[:CLUSTERS], found.mean)
    names = [f"cluster {k + 1}" for k in range(len(groups))]
    means = [(name, (number(float(value), 3), float(value))) for name, value in zip(names, found.clusters, strict=True)]
    listed = more(
        "Means as a table", figure("clusters", table("Clusters", ("cluster", "mean silhouette"), means[:CLUSTERS]))
    )
    caption = "A bar to each component of each run, cluster by cluster."
    return Section(
        "silhouettes",
        title,
        join([paragraphs(words), tag("div", figure("silhouettes", chart, caption), class_="square"), listed]),
    )


def falling(values: Float) -> Float:
    """Return numbers from the largest on, not more than a chart shows of a cluster."""
    ordered = np.sort(values)[::-1]
    kept = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), BARS)).round().astype(int))
    return np.asarray(ordered[kept])


def silhouette_chart(groups: list[Float], mean: float) -> Markup:
    """Return silhouettes as bars that lie, cluster by cluster, each with its number."""
    longest = max(len(own) for own in groups)
    bar = float(np.clip(260 / (len(groups) * (longest + 1)), 1.2, 12))
    low = min(0.0, *(float(own.min()) for own in groups))
    x = Scale(low, 1.0, 44, WIDTH - 16)
    drawn, points, y = [], [], 26.0
    for k, own in enumerate(groups):
        drawn.append(tag("text", k + 1, x=34, y=y + bar * len(own) / 2 + 4, class_="end"))
        for value in own.tolist():
            start, stop = sorted((x(0), x(value)))
            size = max(round(stop - start, 1), 0.5)
            drawn.append(
                tag("rect", x=start, y=round(y, 1), width=size, height=round(bar * 0.9, 2), class_=f"s{k % 6} fill")
            )
            points.append((stop, y + bar / 2, f"cluster {k + 1}: {number(value)}"))
            y += bar
        y += max(bar, 3)
    ticks = [tag("text", number(value), x=x(value), y=y + 16, class_="middle") for value in x.ticks()]
    lines = [
        tag("path", d=f"M{x(0)} 20V{y}", class_="axis"),
        tag("path", d=f"M{x(mean)} 20V{y}", class_="dash"),
        tag("text", f"mean {mean:.2f}", x=x(mean) - 5, y=16, class_="end mark"),
        tag("text", "silhouette", x=WIDTH / 2, y=y + 36, class_="middle soft"),
    ]
    return svg(
        WIDTH,
        round(y + 44),
        "Silhouettes of the components of all runs, by cluster",
        [*drawn, *ticks, *lines],
        points,
        lying=True,
    )


def _figures(survey: RankSurvey) -> Section:
    rows = survey.table()
    shown = [name for name in HEADS if any(value is not None for value in rows[name])]
    cells = [
        [(number(rows[name][i]), rows[name][i]) if name != "rank" else str(rows[name][i]) for name in shown]
        for i in range(len(survey.ranks))
    ]
    listed = figure("survey", table("A line to each rank", [HEADS[name] for name in shown], cells))
    return Section("figures", "All figures", listed)


def _how(survey: RankSurvey) -> Section:
    settings = survey.settings
    rows = {
        "matrix": survey.location or "given in memory",
        "loss, solver": f"{settings.loss}, {settings.solver}",
        "runs of a rank": f"{len(survey.of(survey.ranks[0]))}, seeds from {settings.seed}",
        "held out": f"{survey.holdout}, {survey.held_out.shape[1] if survey.held_out.ndim == 2 else 0} folds",
        "compared on": f"{len(survey.places):,} columns, as they are streamed",
        "store": survey.store or "none",
    }
    options = {name.replace("_", " "): str(value) for name, value in settings.to_options().items()}
    return Section(
        "made",
        "How it was made",
        join([facts("The survey", rows), more("All settings", facts("Of every model", options))]),
    )


def _going_on(survey: RankSurvey, rank: int) -> Section:
    runs, folds = len(survey.of(rank)), survey.held_out.shape[1] if survey.held_out.ndim == 2 else 0
    ranks = ",".join(map(str, survey.ranks))
    words = ["dnmf", "rank", survey.location or "V.zarr", "--ranks", ranks, "--runs", str(runs), "--cv", str(folds)]
    held = ["--holdout", survey.holdout] if folds else []
    settings = survey.settings.replace({"n_runs": 1})  # it has a flag of its own
    again = shlex.join([*words, *held, *flags(settings), "--store", "again.zarr"])
    parts, title = [tag("h3", "Make it again"), command(again)], "Take a rank, or repeat"
    if survey.store is None:
        return Section("again", title, join([note("It kept no store to be taken up later."), *parts]))
    best = f"{survey.store}/best/rank-{rank:03d}.zarr"
    given = "" if survey.location else ", V"
    taken = [
        tag("h3", f"Take rank {rank}"),
        command(shlex.join(["dnmf", "report", best, "-o", f"rank-{rank}.html"])),
        command(
            f"survey = dnmf.load_survey({survey.store!r})\n"
            f"survey.best({rank})         # the best run of the rank: W, H, transform\n"
            f"survey.consensus({rank}{given})    # what all of its runs have in common"
        ),
    ]
    return Section("again", title, join([*taken, *parts]))
