"""The choice of the weight of a graph, by the error on entries that models are not fitted to."""

import dataclasses
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.aliases import names_options
from dnmf.checkpoint import Store
from dnmf.checkpoint.run_names import names_of
from dnmf.checks import pair
from dnmf.engine.factor import MappedFactor, Rows
from dnmf.engine.plan import Load
from dnmf.engine.session import open_session
from dnmf.errors import DataError, SettingsError
from dnmf.kernels.floats import own_errors
from dnmf.run.coupled import GRAPHS, SCALED, couple, given_names
from dnmf.run.display import showing
from dnmf.run.open import inputs_of, matrix_header, settings_of
from dnmf.run.run import Run
from dnmf.run.watcher import Watch
from dnmf.settings import DATA_OPTIONS, FIELDS, Settings
from dnmf.solvers.bundle import bundle, bundled, rows_of
from dnmf.solvers.compatibility import check_options
from dnmf.solvers.coupling import Coupling, Pair
from dnmf.solvers.history import Record
from dnmf.solvers.initialise import random_state
from dnmf.solvers.iteration import PassContext
from dnmf.solvers.selection import follow_of, resolve, rule_of
from dnmf.solvers.shared_scale import sharing
from dnmf.solvers.state import State
from dnmf.solvers.unused import check_overwrite, check_used
from dnmf.sources import open_matrix
from dnmf.sources.base import Layout
from dnmf.sources.emphasis import check_unweighted
from dnmf.survey.advance import advance, saved_bundle
from dnmf.survey.fold_errors import mean_and_error, relative_errors
from dnmf.survey.holdout import FLOOR, Hidden, Predict
from dnmf.survey.progress import SurveyProgress
from dnmf.survey.request import SurveyRequest
from dnmf.survey.runner import header_of, name_of
from dnmf.survey.store import WEIGHTS, Piece, SurveyStore

# One weight of both graphs, or those for W and H.
Weight = float | Pair
# Default number of passes of the models.
PASSES = 30
# The name of the errors in a store.
PIECE = "weights"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class WeightSurvey:
    """The errors of graph weights on entries that were held out.

    Attributes
    ----------
    rank
        Rank of the models.
    weights
        The weights (k,), in rising order: numbers, or pairs for W and H.
    held_out
        Error (k, folds) on the entries that a fold held out: ‖V − WH‖²/‖V‖² over them for the Frobenius loss, else the
        mean divergence of an entry, as in a survey of ranks. NaN for a fold that holds out nothing but zeros.
    passes
        Reads of V.
    """

    rank: int
    weights: tuple[Weight, ...]
    held_out: NDArray[np.float64]
    passes: int

    def table(self) -> dict[str, list[Any]]:
        """Return the weights with the mean of their errors, and its standard error."""
        means, spreads = mean_and_error(self.held_out)
        return {"weight": list(self.weights), "held_out": means.tolist(), "held_out_se": spreads.tolist()}

    def suggest(self) -> Weight:
        """Return the weight with the least mean error.

        Raises
        ------
        DataError
            If no error is known.
        """
        means = mean_and_error(self.held_out)[0]
        if np.isnan(means).all():
            raise DataError("No fold holds out an entry that is not 0, so that no weight can be chosen; give one.")
        return self.weights[int(np.nanargmin(means))]

    def __repr__(self) -> str:
        table = self.table()
        rows = zip(*table.values(), strict=True)
        lines = [f"{shown_weight(weight):>10}  {error:.6g} ± {spread:.2g}" for weight, error, spread in rows]
        return "\n".join([f"    weight  held-out error at rank {self.rank}", *lines])


@names_options([*FIELDS, *DATA_OPTIONS])
@own_errors
def select_graph_weight(
    V: Any,
    rank: int,
    graph_weights: Sequence[Weight] = (0.0, 0.3, 1.0, 3.0, 10.0),
    *,
    cv: int = 3,
    store: str | Path | None = None,
    overwrite: bool = False,
    watchers: Watch = (),
    progress: bool | None = None,
    cancel: threading.Event | None = None,
    client: Any = None,
    **options: Any,
) -> WeightSurvey:
    """Compare weights of a graph by the error on held-out entries, in the reads of one run.

    The models of all weights and folds share every read of V. A fold hides single entries, chosen by a hash of their
    row and column, and measures their prediction.

    Parameters
    ----------
    V, rank
        As in `factorize`.
    graph_weights
        Values of `graph_weight`, numbers or pairs; 0 is the model without a graph.
    cv
        Number of folds, at least 2.
    store
        Path or URL of the survey. A survey that was stopped resumes there when the call is repeated, with the same
        bits.
    overwrite, watchers, progress, cancel, client
        As in `factorize`.
    options
        `graph_W` and `graph_H`, of which at least one is given, and `loss`, `solver`, `missing`, `seed`, `tol`,
        `max_passes`, `memory_limit`, `threads`, `checkpoint_every`, `keep_checkpoints` and penalties, one for each
        component at most, as in `factorize`.

    Returns
    -------
    WeightSurvey
        With `table()` and `suggest()`.

    Raises
    ------
    DnmfError
        If the matrix, a graph or an option is not valid, before the first pass.

    Examples
    --------
    >>> import dnmf, numpy as np
    >>> rng = np.random.default_rng(0)
    >>> curves = np.sin(np.linspace(0, 6, 200) + np.arange(3)[:, None]) + 1
    >>> V = rng.poisson(rng.random((30, 3)) @ curves)
    >>> survey = select_graph_weight(V, 3, [0, 1, 100], graph_H=dnmf.graphs.chain(200))
    >>> survey.suggest() > 0
    True
    """
    chosen = _checked_weights(graph_weights)
    if not isinstance(cv, int) or isinstance(cv, bool) or cv < 2:
        raise SettingsError(f"cv={cv!r} is not allowed; give the number of folds, at least 2.")
    settings = _settings(rank, options)
    source = open_matrix(V, missing=settings.missing)
    check_unweighted(source, SCALED)
    graphs = {name: options[name] for name in GRAPHS if options.get(name) is not None}
    coupling, origins = couple(graphs, settings, V, source.layout, names_of({}, source.layout))
    assert coupling is not None
    recipe = resolve(settings, source.layout, coupling=coupling)
    weighted = resolve(settings, source.layout, True, coupling)
    check_used(weighted, graphs if store is None else {*graphs, "store"})
    check_overwrite(store, overwrite)
    request = SurveyRequest((rank,), (settings.seed,), cv, "speckled", settings, (0,))
    header = header_of(source, request) | {"coupled": origins, WEIGHTS: _listed(chosen)}
    kept = SurveyStore(None, header)
    if store is not None:
        kept = SurveyStore.create(store, header, overwrite, inputs_of(source))
    with (
        showing(watchers, progress) as seen,
        kept.closing(),
        open_session(client, source, seen.workers, cancel) as session,
    ):
        plan = session.plan(settings, _load(settings, coupling, len(chosen) * cv, source.layout))
        run = Run(session, recipe, plan, watchers=seen)
        try:
            found = kept.get(PIECE) or _measured(SurveyProgress(run, kept, cancel), request, chosen)
        finally:
            run.close()
    return WeightSurvey(rank, tuple(chosen), found["errors"], int(found["passes"]))


def _checked_weights(graph_weights: Any) -> list[Weight]:
    """Return the weights in rising order, or raise SettingsError if they are not several, each once."""
    try:
        found: list[Any] = [pair("graph_weights", weight) for weight in graph_weights]
    except (TypeError, SettingsError):
        found = []
    chosen = sorted(found, key=_both)
    if not chosen or len({_both(weight) for weight in chosen}) < len(chosen):
        raise SettingsError(
            f"graph_weights={graph_weights!r} is not allowed; give numbers of at least 0, or pairs for W and H, each "
            "once."
        )
    return chosen


def _both(weight: Weight) -> Pair:
    """Return the weights for W and H."""
    return weight if isinstance(weight, tuple) else (weight, weight)


def _listed(weights: Sequence[Weight]) -> list[Any]:
    """Return the weights as JSON has them."""
    return [list(weight) if isinstance(weight, tuple) else weight for weight in weights]


def shown_weight(weight: Weight) -> str:
    """Return a weight as text, a pair as `0.3:10`."""
    return ":".join(f"{one:g}" for one in (weight if isinstance(weight, tuple) else (weight,)))


def _settings(rank: int, options: dict[str, Any]) -> Settings:
    """Return the settings of the models, or raise SettingsError for options that are not for them."""
    if not any(options.get(name) is not None for name in GRAPHS):
        raise SettingsError("No graph to choose a weight of; give graph_W or graph_H (--graph-W, --graph-H).")
    data = ({*DATA_OPTIONS} | given_names(options)) - {*GRAPHS}
    for name in ("graph_weight", "target_weight", "init", "n_runs", "max_seconds", *sorted(data)):
        if options.get(name) is not None:
            raise SettingsError(f"{name} is not for the choice of a graph's weight; leave it out.")
    plain = {name: value for name, value in options.items() if name not in GRAPHS}
    settings = settings_of({"rank": rank, "max_passes": PASSES, **plain, "init": "random", "graph_weight": 1.0})
    if settings.solver in ("sketch", "minibatch"):
        raise SettingsError(f"solver={settings.solver!r} is not for the choice of a graph's weight; leave it out.")
    check_options(settings)
    return settings


def _load(settings: Settings, coupling: Coupling, models: int, layout: Layout) -> Load:
    """Return the load of the models, whose entries have weights, and of what they share."""
    alone = resolve(settings, layout, weighted=True).load
    return coupling.load(alone.times(models), settings.rank, models)._replace(copies=1)


def _measured(progress: SurveyProgress, request: SurveyRequest, weights: Sequence[Weight]) -> Piece:
    """Fit the models of all weights and folds, from the last checkpoint on, and store their errors."""
    (rank,), settings, run, kept = request.ranks, request.settings, progress.run, progress.store
    name, models = name_of(request.ranks), [rank] * (len(weights) * request.folds)
    progress.announce(settings.max_passes + 1)

    def advanced(state: State, history: list[Record]) -> None:
        progress.count(name, state.passes, models)
        history.append(progress.record(state))
        progress.passed(state.parts)

    header = {**matrix_header(run.source), "settings": settings.to_options(), "given": True, "named": []}
    context = run.context()
    with kept.checkpoints(name, header) as checkpoints:
        state = _fitted(context, request, weights, checkpoints, advanced)
        errors = _errors(context, request, state)
    progress.count(name, state.passes + 1, models)
    progress.finish()
    return kept.put(PIECE, errors=errors.reshape(len(weights), request.folds), passes=state.passes + 1)


def _fitted(
    context: PassContext,
    request: SurveyRequest,
    weights: Sequence[Weight],
    checkpoints: Store | None,
    advanced: Callable[[State, list[Record]], None],
) -> State:
    """Return the models of every weight, each without the entries of every fold, after their last pass."""
    layout, settings, folds = context.layout, request.settings, request.folds
    hidden = tuple(request.fold(fold) for _ in weights for fold in range(folds))
    pairs = [_both(weight)[::-1] if layout.transposed else _both(weight) for weight in weights]
    given = [weight for weight in pairs for _ in range(folds)]

    def follow(context: PassContext, state: State, stats: Any, H: Any) -> State:
        return follow_of(settings, context.rule)(context, state, stats, H)

    begun = saved_bundle(checkpoints, layout, 1)
    if begun is None:
        begun = bundle(sharing(context, random_state(settings, layout)) * len(hidden)), []
    rules = [rule_of(settings, layout, weighted=True)] * len(hidden)
    method = bundled(follow, rules, Hidden(hidden, layout.bounds), given)
    return advance(context, begun, method, settings, checkpoints, advanced)


def _errors(context: PassContext, request: SurveyRequest, state: State) -> NDArray[np.float64]:
    """Return the error of every model (k,) on the entries that its fold held out, in one more pass."""
    layout, parts = context.layout, state.parts
    entries = dataclasses.replace(context.rule.entries, dense=True)
    H = MappedFactor(state.H, Rows(0, rows_of(parts)[-1].stop))
    least = FLOOR * float(np.sqrt(sum(state.norms or ()) / (layout.shape[0] * layout.shape[1])))
    hidden = tuple(request.fold(index % request.folds) for index in range(len(parts)))
    work = Predict(tuple(part.W for part in parts), hidden, request.settings.beta, least, entries, layout.bounds)
    missed, scales = context.engine.one_pass(work, H).sums.T[:2]
    return relative_errors(missed, scales)
