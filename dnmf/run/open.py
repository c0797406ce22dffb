"""Open a new run, or a stored one to resume it; everything is checked before the first pass."""

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dnmf.aliases import COUNTS, unknown_option
from dnmf.checkpoint import Store
from dnmf.checkpoint.run_names import check_same_names, kept_names, named_axes, named_in, names_of
from dnmf.engine.plan import Plan
from dnmf.engine.session import open_session, plan_here
from dnmf.errors import DataError, StoreError
from dnmf.run.arrays import named_factors
from dnmf.run.coupled import COUPLED, SCALED, couple, couple_again, given_names, split_arrays
from dnmf.run.factors import Factors
from dnmf.run.result import Result
from dnmf.run.run import Run
from dnmf.run.stored import header_steps, header_unfolding
from dnmf.run.units import in_scale
from dnmf.run.watcher import Watcher, Watchers
from dnmf.settings import ADJUSTABLE, DATA_OPTIONS, Settings
from dnmf.solvers.compatibility import check_options
from dnmf.solvers.initialise import check_fixed, check_given
from dnmf.solvers.selection import resolve
from dnmf.solvers.unused import check_overwrite, check_used
from dnmf.sources import Source, open_matrix
from dnmf.sources.base import Axis, Layout
from dnmf.sources.emphasis import check_unweighted, emphasised
from dnmf.sources.identity import fingerprint
from dnmf.sources.joins import again, check_matrices, joined_form
from dnmf.sources.names import NO_NAMES, Names
from dnmf.sources.preparing import open_along, open_prepared
from dnmf.sources.weighted import is_weighted, location_of_weights, steps_of


def plan_of(layout: Layout, settings: Settings) -> Plan:
    """Plan a run in this process, for a matrix with this layout."""
    return plan_here(layout, settings, resolve(settings, layout).load)


@contextmanager
def new_run(
    V: Any,
    options: Mapping[str, Any],
    store: str | Path | None,
    overwrite: bool,
    watchers: Sequence[Watcher],
    cancel: threading.Event | None,
    client: Any = None,
    tolerated: Collection[str] = (),
) -> Iterator[Run]:
    """Yield a new run that is ready for its first pass, and close it at the end.

    Options whose names are `tolerated` cause only a warning if they have no effect.
    """
    check_overwrite(store, overwrite)
    init: Any = options.get("init", "auto")
    init = named_factors(init) if isinstance(init, Factors) else init
    options, arrays = split_arrays(options)
    weights, fixed_W, fixed_H = (options.get(name) for name in ("weights", "fixed_W", "fixed_H"))
    named = isinstance(init, str)
    settings, coupled = settings_of(options), given_names({**options, **arrays})
    check_options(settings, not named, coupled=coupled)
    names = Names.of(options.get("row_names"), options.get("column_names"))
    source = open_for(V, settings, weights, names)
    layout = source.layout
    names = names_of(options, layout)
    coupling, origins = couple({**options, **arrays}, settings, V, layout, names)
    if coupling is not None:
        check_unweighted(source, SCALED)
    recipe = resolve(settings, layout, is_weighted(source), coupling)
    check_used(recipe, coupled if store is None else {*coupled, "store"}, tolerated)
    given = None if named else check_given(init, layout.user_shape, settings.rank, names)
    fixed = check_fixed(fixed_W, fixed_H, layout.user_shape, names)
    given, fixed = in_scale(given, fixed, steps_of(source))
    watchers = Watchers.of(watchers)
    watchers.opened(settings)
    with open_session(client, source, watchers.workers, cancel) as session:
        plan = session.plan(settings, recipe.load)
        kept = None
        if store is not None:
            header = {
                **matrix_header(source),
                "settings": settings.to_options(),
                "given": given is not None or bool(fixed),
                "named": named_axes(options),
                **({"coupled": origins} if origins else {}),
            }
            kept = Store.create(store, header, overwrite, names, inputs_of(source))
        run = Run(session, recipe, plan, kept, watchers)
        run.names = names
        with run.closing():
            run.initialise(given, fixed)
            yield run


def open_for(V: Any, settings: Settings, weights: Any = None, names: Names = NO_NAMES) -> Source:
    """Open the matrix of a new run, to be read along the axis that the settings need."""
    axis, missing = settings.streamed, settings.missing
    if axis is not None and weights is None:
        V = open_along(V, axis, missing)
    return emphasised(open_matrix(V, axis, weights, names=names, missing=missing), settings)


def matrix_header(source: Source) -> dict[str, Any]:
    """Return the part of the header of a store that describes its matrix."""
    layout = source.layout
    join = joined_form(source)
    return {
        "fingerprint": fingerprint(source),
        "location": layout.location,
        "transposed": layout.transposed,
        "bounds": list(layout.bounds),
        "weights": {"location": location_of_weights(source)} if is_weighted(source) else None,
        "prepared": [step.to_json() for step in steps_of(source)],
        **({} if layout.unfolding is None else {"unfolded": layout.unfolding.to_json()}),
        **({"joined": join} if join else {}),
    }


def settings_of(options: Mapping[str, Any]) -> Settings:
    """Return the settings in the options of a run, in which `init`, `fixed_W` and `fixed_H` may be arrays."""
    for name, (_, option) in COUNTS.items():
        if name in options:
            raise unknown_option(name, [option])
    init = options.get("init", "auto")
    settings = {name: value for name, value in split_arrays(options)[0].items() if name not in DATA_OPTIONS}
    for axis, (count, name) in enumerate((("n_fixed_H", "fixed_H"), ("n_fixed_W", "fixed_W"))):
        given: Any = options.get(name)
        settings[count] = np.shape(given)[axis] if np.ndim(given) == 2 else 0  # check_fixed refuses others
    return Settings.from_options({**settings, "init": init if isinstance(init, str) else "auto"})


@contextmanager
def old_run(
    store: str | Path,
    V: Any,
    options: Mapping[str, Any],
    watchers: Sequence[Watcher],
    cancel: threading.Event | None,
    client: Any = None,
) -> Iterator[Run]:
    """Yield a stored run in the state of its newest whole checkpoint, and close it at the end."""
    kept = Store.open(store, write=True)
    try:
        if "saved" in kept.header:
            raise StoreError(
                f"{kept} has a saved result and no run to resume; start a run from its factors with "
                f"dnmf.factorize(V, rank, init=dnmf.load({str(store)!r}))."
            )
        weights = options.get("weights")
        options, arrays = split_arrays(options)
        plain = ("weights", "row_names", "column_names", *COUPLED)
        settings = resumed_settings(kept, {name: options[name] for name in options if name not in plain})
        source = reopen(kept, V, weights)
        names = kept_names(kept, options, source.layout, V is not None)
        coupling = couple_again(kept, {**options, **arrays}, settings, V, source.layout, names)
        recipe = resolve(settings, source.layout, is_weighted(source), coupling)
        watchers = Watchers.of(watchers)
        watchers.opened(settings)
        with open_session(client, source, watchers.workers, cancel) as session:
            plan = session.plan(settings, recipe.load)
            commit = kept.newest()
            if commit is None and (kept.begun() or kept.header["given"]):
                raise StoreError(f"{kept} has no whole checkpoint left to resume from; start a new run.")
            location = source.layout.location or kept.header["location"]
            kept.amend({"settings": settings.to_options(), "location": location})
            run = Run(session, recipe, plan, kept, watchers)
            run.names = names
            try:
                if commit is None:
                    run.initialise(None)
                else:
                    run.resume_from(commit)
                yield run
            finally:
                run.close()
    finally:
        kept.discard_scratch()
        kept.close()


def resumed_settings(store: Store, options: Mapping[str, Any]) -> Settings:
    """Return the settings of a stored run, some of them replaced by options.

    Raises
    ------
    StoreError
        If an option may not change.
    """
    settings = Settings.from_options(store.header["settings"])
    new = settings.replace(options)
    for name in (*options, "layers") if "rank" in options else options:
        before, now = getattr(settings, name), getattr(new, name)
        if name not in ADJUSTABLE and before != now:
            raise StoreError(
                f"The run in {store} has {name}={before!r} and cannot be resumed with {name}={now!r}; resume it with "
                f"its own settings, or start a new run. Only {', '.join(ADJUSTABLE)} may change."
            )
    return new


def inputs_of(source: Source) -> list[str | None]:
    """Return the locations of a matrix and its weights, which must not be overwritten."""
    return [source.layout.location, location_of_weights(source)]


def reopen(store: Store, V: Any, weights: Any = None) -> Source:
    """Open the matrix of a stored run; see `open_again`."""
    return open_again(store.header, f"run in {store}", V, weights)


def open_again(header: Mapping[str, Any], whose: str, V: Any = None, weights: Any = None) -> Source:
    """Open the matrix that a header describes, from its location or as given, and check that it is the same.

    Parameters
    ----------
    header
        The header of a run or of a survey.
    whose
        The run or the survey, for the errors.
    V, weights
        The matrix and its weights, where they have moved or were in memory.

    Raises
    ------
    StoreError
        If it has no location, cannot be opened, or differs.
    """
    location, weighted = header["location"], header.get("weights")
    if V is None and location is None:
        raise StoreError(f"The {whose} was given its matrix in memory; give V again (--matrix).")
    weights = weighted["location"] if weights is None and weighted else weights
    if weights is None and weighted:
        raise StoreError(f"The {whose} was given its weights in memory; give weights again (--weights).")
    try:
        given, bounds = location if V is None else again(V, header.get("joined")), header["bounds"]
        missing, axes = header["settings"].get("missing", "none"), header_unfolding(header)
        streamed = Settings.from_options(header["settings"]).streamed
        source = open_prepared(given, header_steps(header), streamed, weights, bounds, missing=missing, axes=axes)
    except DataError as error:
        if V is not None:
            raise
        raise StoreError(
            f"The matrix of the {whose} cannot be opened: {error} If it or its weights have moved, give them again: V "
            "(--matrix), or weights (--weights)."
        ) from error
    before, now = header["fingerprint"], fingerprint(source)
    words = {
        "sample": "a digest of its first block of",
        "blocks": "blocks:",
        "streamed": "blocks cut along its",
        "axes": "rows and columns",
    }
    for name, value in now.items():
        if name == "sample" and name not in before and "saved" in header:
            continue  # a result is saved without a read of V
        if before.get(name, value if name == "axes" else None) != value:
            what = words.get(name, name)
            check_matrices(source, header.get("joined"), f"The {whose}")
            raise StoreError(
                f"The {whose} is of a matrix with {what} {before.get(name)}, and the given one has {what} {value}; "
                f"give the matrix that the {whose.partition(' ')[0]} was started on, or start a new one."
            )
    return source


def matrix_of(result: Result, V: Any = None, weights: Any = None) -> Source:
    """Open the matrix of a result, which must be cut into the blocks of its factor.

    Raises
    ------
    DnmfError
        If V is missing, or if it is not the matrix that was factorised.
    """
    if result.store is not None:
        store = Store.open(result.store)
        source = reopen(store, V, weights)
        check_same_names(result.names, source.layout, named_in(store.header))
        return source
    if V is None:
        raise StoreError("The run has no store that records the location of its matrix; give V.")
    streamed: Axis = "rows" if result.rows_streamed else "columns"
    missing, axes = result.settings.missing, result.unfolding
    source = open_prepared(V, result.steps, streamed, weights, missing=missing, axes=axes)
    if source.layout.user_shape != result.shape or source.layout.bounds != tuple(result.bounds):
        raise DataError(
            f"V has shape {source.layout.user_shape} in {source.layout.blocks} blocks, and the factorised matrix had "
            f"shape {result.shape} in {len(result.bounds) - 1}; give the same matrix with the same blocks."
        )
    check_same_names(result.names, source.layout)
    return source
