"""Projection: the factor of new rows or new columns, given the other factor."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from dnmf.aliases import names_options
from dnmf.checkpoint import appearing, check_target, inputs_in, write_long
from dnmf.engine import single_threaded_products
from dnmf.engine.factor import Factor
from dnmf.engine.plan import amount, enough
from dnmf.engine.session import memory_of, open_session
from dnmf.errors import BudgetError, DataError, unknown
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.floats import own_errors
from dnmf.kernels.preparation.steps import WEIGHT
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.rule import Model
from dnmf.run.arrays import as_dask, as_numpy, whole
from dnmf.run.display import showing
from dnmf.run.joined import Joined
from dnmf.run.open import inputs_of
from dnmf.run.result import Result
from dnmf.run.solving import Solve, load_of_solving
from dnmf.run.stored import fitted_of, stored_result, whole_checkpoint
from dnmf.run.units import scaled
from dnmf.run.watcher import Watch, Watchers
from dnmf.settings import Settings
from dnmf.solvers.selection import rule_of
from dnmf.solvers.unused import check_overwrite
from dnmf.sources import Source, open_matrix
from dnmf.sources.axes import FITTED, Fitted, advice_on, axis_for, other
from dnmf.sources.base import Axis, Layout
from dnmf.sources.emphasis import check_unweighted
from dnmf.sources.names import Names, Order, order_of, warn_of_order
from dnmf.sources.prepared import Prepared
from dnmf.sources.preparing import open_along, open_prepared, steps_along
from dnmf.sources.unfolding import Unfolding
from dnmf.sources.weighted import is_weighted


@names_options()
@own_errors
def transform(
    fitted: Result | str | Path,
    V: Any,
    *,
    axis: Axis | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    memory_limit: int | str | None = None,
    threads: int | None = None,
    watchers: Watch = (),
    progress: bool | None = None,
    client: Any = None,
    weights: Any = None,
    edges: Any = None,
    row_names: Any = None,
    column_names: Any = None,
) -> Any:
    """Project new rows or columns on fitted factors: return W given H, or H given W, in one read of V.

    Every row (or column) is solved independently: exactly for the Frobenius loss, with the penalties of the run. Graphs
    and targets of the run are those of its own rows and columns; `edges` join new ones to them.

    Parameters
    ----------
    fitted
        A result, or the path of a store.
    V
        New data of any kind that `factorize` takes, with as many columns (or rows) as the fitted matrix. They are
        preprocessed by the same steps. If both have names along this axis, their order may differ: the fitted factor is
        brought into the order of V, with a `DataWarning`. Other names are an error.
    axis
        `"rows"` for the W of new rows, given H; `"columns"` for the H of new columns, given W. None is the axis that
        the shape of V allows. For the shape of the fitted matrix, None is the axis whose other factor alone agrees with
        the names of V, or else that of the factor that the fit returned as a Dask array. A square V without such names
        needs `axis`.
    out
        Path or URL for the factor as a Zarr array, which appears complete or not at all.
    overwrite
        Whether to replace a factor or matrix at `out` that dnmf wrote; nothing else is deleted.
    memory_limit, threads, watchers, progress, client
        As for `factorize`.
    weights
        Weights of the new entries, or None. Missing entries are marked as in the fit.
    edges
        Weights (new, fitted) of edges between the new rows (or columns) and those of the fit: new ones are pulled to
        their neighbours with the `graph_weight` of the fit, relative to the mean sum of the weights of a new one. The
        scale of the loss at V takes another read, but for the Frobenius loss of all entries.
    row_names, column_names
        Names of the rows and columns of V, if it has none or not those of the fit; as for `factorize`.

    Returns
    -------
    numpy.ndarray or dask.array.Array
        W (m, r), or H (r, n): a NumPy array if V is in memory, else a lazy Dask array.

    Raises
    ------
    DataError
        If the shape or the names of V do not fit the factors, or the axis is ambiguous.
    BudgetError
        If the fitted factor does not fit in memory.

    Examples
    --------
    >>> import dnmf, numpy as np
    >>> V = np.array([[1.0, 0, 2, 1], [0, 3, 0, 1], [2, 0, 4, 2]])
    >>> result = dnmf.factorize(V, rank=2)
    >>> transform(result, V[:, :2]).shape, transform(result, V[:1]).shape
    ((2, 2), (1, 2))
    """
    fitted = fitted_of(fitted)
    options: dict[str, Any] = {"axis": axis, "memory_limit": memory_limit, "threads": threads, "watchers": watchers}
    options |= {"progress": progress, "client": client, "weights": weights, "edges": edges}
    options |= {"row_names": row_names, "column_names": column_names}
    if not isinstance(fitted, Result):
        again = {"out": out, "overwrite": overwrite, **options}
        return whole_checkpoint(lambda: transform(stored_result(fitted), V, **again))
    result = fitted
    check_overwrite(out, overwrite, "out")
    origins = [V, weights, *inputs_in(result.store)] if out is not None else []
    if out is not None:
        check_target(out, overwrite, origins)
    settings = result.settings.of_layer().replace({"memory_limit": memory_limit, "threads": threads})
    new = open_new(result, V, axis, Names.of(row_names, column_names), weights)
    layout = new.source.layout
    check_held(layout, settings, new.axis)

    def held() -> Float:
        factor = whole(result, other(new.axis)) if (new.axis == "rows") != result.rows_streamed else result.short
        factor = scaled(factor, result.steps, other(new.axis))
        return factor if new.order is None else factor[new.order]

    joined = None if edges is None else Joined.of(result, new.source, edges, new.axis)
    with (
        showing(watchers, progress) as seen,
        solved(new.source, held, settings, seen, client, joined=joined) as (factor, _),
    ):
        bounds, rank, dtype, by_rows = layout.bounds, settings.rank, layout.work_dtype, new.axis == "rows"
        if out is not None:
            with appearing(out, overwrite, [*origins, *inputs_of(new.source)]) as draft:
                write_long(draft, factor, bounds, rank, dtype, by_rows)
        arranged = as_numpy if layout.in_memory else as_dask
        return arranged(factor, bounds, rank, dtype, by_rows)


class New(NamedTuple):
    """New data, opened along the axis to solve for, and the order for the fitted factor."""

    source: Source
    axis: Axis
    order: Order | None


def open_new(result: Result, V: Any, axis: Axis | None, names: Names, weights: Any) -> New:
    """Open new data for a result, with the steps of its preprocessing."""
    if axis not in (None, *get_args(Axis)):
        raise unknown("axis", axis, get_args(Axis))
    missing = result.settings.missing
    given = V if isinstance(V, Prepared) else open_matrix(V, missing=missing, axes=result.unfolding)
    shape = given.layout.user_shape
    if not any(step.name == WEIGHT for step in result.steps):
        check_unweighted(given, "the factorised matrix was not")
    own = names.filled(given.layout.names).checked(shape)
    fitted = Fitted(result.shape, result.names, result.rows_streamed)
    axis = axis_for(fitted, shape, own, axis)
    held = other(axis)
    check_same_axes(given.layout.unfolding, result.unfolding, held)
    wanted, known = getattr(own, held), getattr(result.names, held)
    order = order_of(wanted, known, held, FITTED, advice_on(held, also_new=shape == result.shape))
    steps = steps_along(result.steps, axis, order)
    along = given if given.layout.transposed == (axis == "rows") else open_along(V, axis, missing, result.unfolding)
    source = open_prepared(along, steps, axis, weights, names=own, missing=missing)
    warn_of_order((order, None) if held == "rows" else (None, order), FITTED)
    return New(source, axis, order)


def check_same_axes(given: Unfolding | None, fitted: Unfolding | None, held: Axis) -> None:
    """Raise DataError if other axes of an array make the rows or columns that new data share with those of the fit."""
    if given is not None and fitted is not None and given.differs(fitted, held):
        raise DataError(
            f"The {held} of V are made by {given}, and those of the fit by {fitted}; give V with the same axes for its "
            f"{held}, as by dnmf.unfold."
        )


def check_held(layout: Layout, settings: Settings, axis: Axis) -> None:
    """Raise BudgetError if the fitted factor does not fit in memory."""
    size = 2 * layout.shape[0] * settings.rank * layout.work_dtype.itemsize
    limit = memory_of(settings)
    if size > limit:
        name, of = ("H", "columns") if axis == "rows" else ("W", "rows")
        raise BudgetError(
            f"axis={axis!r} holds {name} of {layout.shape[0]} {of}, which takes {enough(size)}, and memory_limit is "
            f"{amount(limit)}; raise memory_limit (--memory-limit), or solve along the other axis."
        )


@contextmanager
def solved(
    source: Source,
    held: Callable[[], Float],
    settings: Settings,
    watchers: Watch = (),
    progress: bool | None = None,
    client: Any = None,
    *,
    kept: bool = True,
    measured: bool = False,
    summed: bool = False,
    joined: Joined | None = None,
) -> Iterator[tuple[Factor, Stats]]:
    """Yield the factor along the streamed axis, given the other one, and the statistics of the pass.

    On a cluster, the factor exists until the end of the context.

    Parameters
    ----------
    source
        The matrix.
    held
        Returns the other factor; it is called after all checks.
    settings
        Of the fit.
    watchers, client
        As for `transform`.
    kept
        Whether to keep the factor; otherwise it has no blocks.
    measured, summed
        Whether the statistics include the loss, without penalties, and all sums that an update of the other factor
        needs.
    joined
        Edges to rows or columns of the fit, or None.
    """
    layout = source.layout
    rule = rule_of(settings, layout, is_weighted(source))

    watchers = Watchers.of(watchers)
    with open_session(client, source, watchers.workers) as session, single_threaded_products():
        load = load_of_solving(rule, settings.rank, kept, summed or (measured and not isinstance(rule, Quadratic)))
        plan = session.plan(settings, load if joined is None else joined.load(load, settings.rank))
        watchers.started(plan, 0, 1 if joined is None else 1 + joined.reads(rule))
        model = Model.of(np.ascontiguousarray(held(), layout.work_dtype))
        engine = session.engine(plan, watchers.block_read)
        scale = None if joined is None else joined.scale(model, rule, engine)
        solve = Solve(rule, model, kept, measured, summed, scale)
        factor = session.new_factor(plan, engine)
        yield factor, engine.one_pass(solve, None if joined is None else joined.sums(layout), factor)
