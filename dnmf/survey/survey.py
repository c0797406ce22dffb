"""Check the request of a survey, and run it."""

import dataclasses
import threading
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dnmf.checkpoint.run_names import named_axes, names_of
from dnmf.engine.session import open_session
from dnmf.errors import SettingsError, no_effect
from dnmf.run.coupled import GRAPHS, SCALED, couple, given_names
from dnmf.run.open import inputs_of
from dnmf.run.run import Run
from dnmf.run.watcher import Watcher, Watchers
from dnmf.settings import MOST_RUNS, Settings
from dnmf.solvers.bundle import bundled
from dnmf.solvers.compatibility import check_options
from dnmf.solvers.selection import Recipe, resolve
from dnmf.solvers.sketch import fits
from dnmf.solvers.unused import check_overwrite, check_used
from dnmf.sources import open_matrix
from dnmf.sources.base import Layout
from dnmf.sources.emphasis import check_unweighted, emphasised
from dnmf.sources.names import Names
from dnmf.sources.weighted import is_weighted
from dnmf.survey.columns import hashed_sample
from dnmf.survey.given import check_folds, listed_of
from dnmf.survey.request import SurveyRequest, option_for_passes, sketchable, survey_load
from dnmf.survey.runner import SurveyRunner, header_of
from dnmf.survey.store import SurveyStore
from dnmf.survey.table import RankSurvey

# Default number of passes of models that make their passes together.
PASSES = 30
# Options of these passes, which models on a sketch of V do not make. `max_passes` and `tol` are limits for any models.
OF_PASSES = ("sweeps", "extrapolate")


def make_survey(
    V: Any,
    ranks: Sequence[int],
    n_runs: int,
    cv: int,
    holdout: Any,
    sample: int,
    store: str | Path | None,
    overwrite: bool,
    watchers: Sequence[Watcher],
    cancel: threading.Event | None,
    client: Any,
    options: dict[str, Any],
) -> RankSurvey:
    """Run a survey; `dnmf.select_rank` describes it."""
    weights = options.pop("weights", None)
    named = {name: options.pop(name, None) for name in ("row_names", "column_names")}
    graphs = graphs_in(options)
    ranks = listed(ranks)
    settings = checked(ranks, n_runs, cv, options)
    names = Names.of(*named.values())
    source = emphasised(open_matrix(V, weights=weights, names=names, missing=settings.missing), settings)
    layout = source.layout
    names = names_of(named, layout)
    coupling, graph_origins = couple(graphs, settings, V, layout, names)
    if coupling is not None:
        check_unweighted(source, SCALED)
    recipe = resolve(settings, layout, is_weighted(source), coupling)
    request = request_of(ranks, n_runs, cv, holdout, sample, recipe, layout, names)
    check_overwrite(store, overwrite)
    check_used_by(request, recipe, graphs if store is None else {*graphs, "store"})
    watchers = Watchers.of(watchers)
    watchers.opened(settings)
    with open_session(client, source, watchers.workers, cancel) as session:
        header = header_of(source, request) | ({"coupled": graph_origins} if graph_origins else {})
        if given := named_axes(named):
            header["named"] = given
        kept = SurveyStore(None, header)
        if store is not None:
            kept = SurveyStore.create(store, header, overwrite, inputs_of(source))
        with kept.closing():
            last = request.ranks[-1:]
            models = last if request.scheme == "bicross" else len(request.seeds) * last
            plan = partial(session.plan, settings)
            load = survey_load(request, layout, recipe.rule, models, last if request.folds else (), kept=True)
            if coupling is not None:
                load = coupling.load(load, max(last), load.worked // (2 * max(last)) + 1)
            widest = plan(load)
            run = Run(session, recipe, widest, watchers=watchers)
            run.names = names
            try:
                survey = SurveyRunner(run, request, kept, plan, cancel).run_missing()
            finally:
                run.close()
    return survey


def request_of(
    ranks: Sequence[int],
    n_runs: int,
    cv: int,
    holdout: Any,
    sample: int,
    recipe: Recipe,
    layout: Layout,
    names: Names,
) -> SurveyRequest:
    """Return the request of a survey of a matrix, or raise an error if the matrix does not allow it."""
    settings, least = recipe.settings, min(layout.shape)
    if max(ranks) > least:
        raise SettingsError(
            f"ranks go up to {max(ranks)}, and V {layout.user_shape} has rank {least} at most; give ranks up to that."
        )
    held = listed_of(holdout, layout, names)
    if held is not None:
        check_folds(cv)
    return SurveyRequest(
        tuple(sorted(int(rank) for rank in ranks)),
        tuple(range(settings.seed, settings.seed + n_runs)),
        cv if held is None else 1,
        scheme_of(holdout, settings, recipe.rule, layout, recipe.coupling is not None) if held is None else "given",
        settings,
        hashed_sample(layout.shape[1], sample, settings.seed),
        held,
    )


def check_used_by(request: SurveyRequest, recipe: Recipe, given: Collection[str]) -> None:
    """Raise SettingsError for the first option that has no effect on the models of a survey."""
    # The models advance together, whatever a single one would do.
    check_used(dataclasses.replace(recipe, method=bundled(recipe.follow)), given)
    if request.scheme != "bicross":
        return
    for name in OF_PASSES:
        if (value := getattr(request.settings, name)) is not None:
            passes = "models that make passes over V, as with holdout='speckled' or solver='hals'"
            raise no_effect(name, value, passes, "models on a sketch of V")


def graphs_in(options: dict[str, Any]) -> dict[str, Any]:
    """Remove the graphs from the options and return them.

    Raises
    ------
    SettingsError
        For other data of the objective: they have the shape of one rank.
    """
    given = given_names(options)
    for name in sorted(given - set(GRAPHS)):
        raise SettingsError(f"{name} is not for a survey, whose models have several ranks; leave it out.")
    return {name: options.pop(name) for name in sorted(given)}


def listed(ranks: Any) -> list[Any]:
    """Return the ranks as a list, or raise SettingsError if they are not a collection."""
    if isinstance(ranks, str) or not np.iterable(ranks):
        raise SettingsError(f"ranks={ranks!r} is not allowed; give several whole numbers, as range(2, 31) or [2, 4].")
    return [*ranks]


def checked(ranks: Sequence[int], n_runs: int, cv: int, options: dict[str, Any]) -> Settings:
    """Return the settings of the models, at the largest rank, or raise SettingsError if the request is not allowed."""
    whole = all(isinstance(rank, (int, np.integer)) and rank > 0 for rank in ranks)
    if not ranks or not whole or len(set(ranks)) != len(ranks):
        raise SettingsError(f"ranks={ranks!r} is not allowed; give whole numbers of at least 1, each once.")
    for name in ("n_fixed_W", "n_fixed_H", "fixed_W", "fixed_H", "n_runs", "rank"):
        if name in options:
            raise SettingsError(f"the option {name!r} is not for a survey, whose models start at random; leave it out.")
    if options.get("init", "auto") not in ("auto", "random"):
        raise SettingsError(
            f"init={options['init']!r} is not for a survey, whose models start at random: on a sketch of V where that "
            "fits, with init='auto', or on V itself, with init='random'."
        )
    for name in ("volume_W", "volume_H"):
        if options.get(name):
            raise SettingsError(f"{name} is not for a survey, whose models start at random; leave it out.")
    if options.get("max_seconds") is not None:
        raise SettingsError(
            "max_seconds is not for a survey, which is finished or continued from its store; leave it out, and stop "
            "the survey at any time."
        )
    if not isinstance(cv, int) or not 0 <= cv <= MOST_RUNS or cv == 1:
        raise SettingsError(
            f"cv={cv!r} is not allowed; give the number of folds, at least 2, or 0 for none, and at most {MOST_RUNS}."
        )
    settings = Settings.from_options({"rank": int(max(ranks)), "n_runs": n_runs, "max_passes": PASSES, **options})
    check_options(settings)
    if settings.solver == "minibatch":
        raise SettingsError("solver='minibatch' is not for a survey, whose models share their passes; leave it out.")
    return settings


def scheme_of(holdout: str, settings: Settings, rule: Any, layout: Layout, coupled: bool = False) -> str:
    """Return the scheme by which folds hold out entries, from its name or `"auto"`.

    Models that are `coupled` by a graph make passes over V: a block of held-out columns has no neighbours.
    """
    if holdout == "bicross" and not fits(rule, layout, settings.rank):
        raise SettingsError(
            f"holdout='bicross' is for the Frobenius loss of a matrix with every entry and larger than 5 times the "
            f"largest rank, {settings.rank}, in both directions; use holdout='speckled'."
        )
    if holdout == "bicross" and (name := option_for_passes(settings)):
        raise SettingsError(
            f"holdout='bicross' is for models on a sketch of V, and {name}={getattr(settings, name)!r} is for passes "
            f"over V itself; leave {name} out, or use holdout='speckled'."
        )
    if coupled and (holdout == "bicross" or settings.solver == "sketch"):
        raise SettingsError(
            "The models of a survey with a graph make passes over V; use holdout='speckled', and leave solver out."
        )
    if coupled:
        return "speckled"
    if holdout == "speckled" and settings.solver == "sketch":
        raise SettingsError(
            "solver='sketch' fits the models on a sketch of V, and holdout='speckled' is for passes over V itself; "
            "leave one of them out."
        )
    return "bicross" if sketchable(settings, rule, layout) and holdout != "speckled" else "speckled"
