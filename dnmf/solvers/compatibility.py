"""Options that do not go together: with each other, or with the matrix."""

from collections.abc import Collection
from typing import Any

import numpy as np

from dnmf.errors import DataWarning, SettingsError, warn
from dnmf.kernels.registry import solver_of, within
from dnmf.settings import CONSTRAINTS, PENALTIES, Settings
from dnmf.solvers.sketch import WIDTH, exceeded
from dnmf.sources.base import Layout

# The solvers that can update a factor within a constraint.
PROJECTING = ("auto", "sketch", "pg", "minibatch")
# The constraints of entries that the volume of a factor does not go with.
BOUNDS = {"W": ("rows_W", "upper_W"), "H": ("columns_H", "upper_H")}
# The constraints that the scale of a component meets.
SCALES = ("columns_W", "rows_H")
# Arguments that hold components, by the options that count these.
HELD = {"n_fixed_W": "fixed_W", "n_fixed_H": "fixed_H"}


def check_options(settings: Settings, given: bool = False, coupled: Collection[str] = ()) -> None:
    """Check the settings of a run before its matrix is opened.

    Parameters
    ----------
    settings
        Of the run.
    given
        Whether initial factors are given.
    coupled
        Names of the graphs, targets and penalties of single entries that are given.

    Raises
    ------
    SettingsError
        If the solver does not fit the loss, constraints do not fit other options, or several runs would start from the
        same factors.
    """
    solver_of(settings)
    check_volume(settings, given, coupled)
    check_constraints(settings, coupled)
    check_penalties(settings, coupled)
    if given and settings.layers:
        raise SettingsError(
            f"rank={list(settings.layers)} starts from init='sketch' or 'random', not from given factors."
        )
    if given and settings.n_runs > 1:
        raise SettingsError(f"n_runs={settings.n_runs} is for random starts, and init gives one; leave n_runs out.")


def check_constraints(settings: Settings, coupled: Collection[str] = ()) -> None:
    """Raise SettingsError for the first constraint that does not fit another option."""
    given = _constraints(settings)
    for name, value in given.items():
        words = f"{name}={value!r}"
        if name in SCALES:
            _check_scale(settings, words, [*(other for other in given if other != name), *coupled])
            continue
        if settings.beta != 2:
            raise SettingsError(
                f"{words} needs loss='frobenius', and loss={settings.loss!r}; use columns_W='simplex', which is for "
                "every loss, with the shares of Result.usage."
            )
        if settings.solver not in PROJECTING:
            use = ", ".join(f"{solver!r}" for solver in PROJECTING)
            raise SettingsError(f"{words} needs a solver that can project, one of {use}; got {settings.solver!r}.")
        if settings.init.startswith("nndsvd") or (settings.init == "sketch" and name.startswith("upper")):
            raise SettingsError(f"init={settings.init!r} does not keep {words}; use init='random'.")
    for sums, upper, fixed in (("rows_W", "upper_W", "n_fixed_W"), ("columns_H", "upper_H", "n_fixed_H")):
        if sums in given and upper in given:
            raise SettingsError(
                f"{upper}={given[upper]:g} and {sums}='simplex' bound the same entries, which are at most 1 where they "
                "sum to 1; leave one of the two out."
            )
        if sums in given and getattr(settings, fixed):
            raise SettingsError(f"{sums}='simplex' needs free entries, and {HELD[fixed]} has some; give one of both.")
    if set(given) in ({"upper_W"}, {"upper_H"}) and not (_penalties(settings) or _held(settings) or coupled):
        warn(
            f"{''.join(given)} alone has no effect: the other factor absorbs the scale. Bound or penalise that too, or "
            "leave the bound out.",
            DataWarning,
        )


def _constraints(settings: Settings) -> dict[str, Any]:
    """Return the constraints that are given, by name."""
    given = {name: getattr(settings, name) for name in CONSTRAINTS}
    return {name: value for name, value in given.items() if value not in ("free", None)}


def _check_scale(settings: Settings, words: str, others: Collection[str]) -> None:
    """Raise SettingsError if the objective depends on the scale of a component, which `words` sets after the passes."""
    found = [*_penalties(settings), *_held(settings), *(name for name in others if not name.startswith("graph"))]
    if found:
        raise SettingsError(
            f"{words} sets the scale of every component, on which {found[0]} depends; leave one of the two out."
        )


def _penalties(settings: Settings) -> list[str]:
    """Return the names of the penalties that are given as numbers."""
    return [name for name in PENALTIES if np.any(getattr(settings, name))]


def _held(settings: Settings) -> list[str]:
    """Return the names of the arguments that hold components."""
    return [HELD[name] for name in HELD if getattr(settings, name)]


def check_volume(settings: Settings, given: bool = False, coupled: Collection[str] = ()) -> None:
    """Raise SettingsError if a penalty on the volume of a factor does not fit another option."""
    name = next((name for name in ("volume_W", "volume_H") if getattr(settings, name)), None)
    if name is None:
        return
    bounds = [bound for bound in BOUNDS[name[-1]] if getattr(settings, bound) not in ("free", None)]
    faults = {
        f"does not go with {', '.join(bounds)}; leave one of them out": bool(bounds),
        "counts, and so does volume_H; give one of the two": name == "volume_W" and settings.volume_H,
        f"needs loss='frobenius', and loss={settings.loss!r}; leave one of the two out": settings.beta != 2,
        f"needs a quadratic update, and solver={settings.solver!r} has none; use solver='hals'": (
            settings.solver in ("mu", "minibatch")
        ),
        f"needs every entry of V, and missing={settings.missing!r}; leave one out": settings.missing != "none",
        f"makes one run, and n_runs={settings.n_runs}; leave n_runs out": settings.n_runs > 1,
        f"is relative to the loss at the start, which init={settings.init!r} leaves high; use init='auto'": (
            not given and settings.init.startswith(("random", "nndsvd"))
        ),
        "sets the scale of W, and fixed_W or fixed_H another; leave one of them out": settings.n_fixed_W
        or settings.n_fixed_H,
        f"goes with no graph, target or penalty of single entries; leave {', '.join(coupled)} out": bool(coupled),
    }
    for words, found in faults.items():
        if found:
            raise SettingsError(f"{name}={getattr(settings, name):g} {words}.")


def check_penalties(settings: Settings, coupled: Collection[str] = ()) -> None:
    """Warn of penalties on one factor alone, which the scale can make arbitrarily small.

    A factor cannot grow if it is fixed or bounded, and neither can if one has a target.
    """
    of_W, of_H = (
        any(np.any(getattr(settings, name)) or name in coupled for name in (f"l1_{factor}", f"l2_{factor}"))
        for factor in "WH"
    )
    held = settings.rank in (settings.n_fixed_W, settings.n_fixed_H) or {"target_W", "target_H"} & set(coupled)
    if of_W == of_H or held:
        return
    one, other = "WH" if of_W else "HW"
    if not within(settings, other).free or settings.volume_W or settings.volume_H:
        return
    warn(
        f"A penalty of {one} alone has no effect: {other} absorbs the scale, so that {one} can shrink towards 0 with "
        f"the same product WH. Give one of {other} too (l1_{other} or l2_{other}; on the command line "
        f"--l1-{other} or --l2-{other}), or give none.",
        DataWarning,
    )


def check_matrix(settings: Settings, layout: Layout, weighted: bool) -> None:
    """Check the settings of a run against its matrix.

    Raises
    ------
    SettingsError
        For the first option that does not fit the matrix, or another option given this matrix.
    """
    check_missing(settings, layout)
    _check_init(settings, layout, weighted)
    if settings.solver == "minibatch" and (settings.missing != "none" or weighted):
        raise SettingsError("solver='minibatch' needs every entry of V, with the same weight; use solver='hals'.")
    held = settings.swapped() if layout.transposed else settings
    if held.volume_H:
        name, axis, other = ("volume_W", "rows", "columns") if layout.transposed else ("volume_H", "columns", "rows")
        raise SettingsError(
            f"{name}={held.volume_H:g} needs the factor of the {axis} of V whole, and this V is cut along its {axis}; "
            f"write it cut along its {other}, with dnmf convert --by {other}."
        )
    if held.volume_W and weighted:
        name = "volume_H" if layout.transposed else "volume_W"
        raise SettingsError(f"{name}={held.volume_W:g} needs every entry of V with the same weight; leave weights out.")


def check_layers(settings: Settings, layout: Layout, weighted: bool, coupled: bool) -> None:
    """Check the settings of several layers against their matrix.

    Raises
    ------
    SettingsError
        For the first option that layers do not have, or the axis along which the matrix cannot be cut.
    """
    of = f"rank={list(settings.layers)}"
    if layout.transposed != (settings.layered == "H"):
        cut, by = ("rows", "columns") if layout.transposed else ("columns", "rows")
        raise SettingsError(
            f"{of} with layered={settings.layered!r} needs V in blocks of {by}, and this one is cut along its {cut}; "
            f"convert it with `dnmf convert V.zarr new.zarr --by {by}`, or give layered="
            f"{'H' if settings.layered == 'W' else 'W'!r} if the samples are the {cut}."
        )
    unsuited = {
        "graphs, targets and penalties of single entries": coupled,
        "fixed_W and fixed_H": settings.n_fixed_W or settings.n_fixed_H,
        f"n_runs={settings.n_runs}": settings.n_runs > 1,
        " and ".join(_constraints(settings)): bool(_constraints(settings)),
        "solver='minibatch'": settings.solver == "minibatch",
        "volume_W and volume_H": settings.volume_W or settings.volume_H,
        f"init={settings.init!r}": settings.init.startswith("spa" if settings.greedy else ("nndsvd", "spa")),
    }
    for name, given in unsuited.items():
        if given:
            raise SettingsError(f"{of} does not go with {name}; leave that out, or give a single rank.")
    if settings.greedy:
        return
    if settings.beta != 2:
        raise SettingsError(
            f"loss={settings.loss!r} fits several layers one after another; give layer_weights='greedy', or "
            "loss='frobenius'."
        )
    if weighted or settings.missing != "none":
        raise SettingsError(
            f"{of} needs every entry of V, with the same weight, where all layers are fitted together; give "
            "layer_weights='greedy', which fits the first layer to the entries that count."
        )
    if settings.init == "sketch" and WIDTH * settings.layers[0] >= min(layout.shape):
        raise SettingsError(
            f"init='sketch' at {of} is for matrices of more than {WIDTH * settings.layers[0]} rows and columns, and V "
            f"has {layout.user_shape}; use init='random'."
        )


def check_missing(settings: Settings, layout: Layout) -> None:
    """Raise SettingsError if blocks of this kind cannot mark entries as missing in the way that the settings name."""
    if settings.missing == "nan" and layout.sparse:
        raise SettingsError("missing='nan' needs a dense V, and this one is sparse; use missing='zeros', or weights=.")
    if settings.missing == "zeros" and not layout.sparse:
        of_entries = " Give a table with a row for each entry as its file, as ratings.csv::user,film,stars."
        also = of_entries if "DataFrame" in layout.kind else ""
        raise SettingsError(
            "missing='zeros' takes the entries that a sparse V does not store as missing, and this V is dense; give a "
            f"CSR or CSC matrix, or missing='nan' with NaN for missing entries.{also}"
        )


def _check_init(settings: Settings, layout: Layout, weighted: bool) -> None:
    """Raise SettingsError if the initialisation does not fit the matrix, the rank or the number of runs."""
    least = min(layout.shape)
    single = settings.init.startswith(("nndsvd", "spa"))
    if single and settings.rank > least:
        has = "independent columns and rows" if settings.init.startswith("spa") else "singular vectors"
        raise SettingsError(
            f"rank={settings.rank} is more than min(m, n)={least}, and init={settings.init!r} has no more {has} than "
            "that; use init='random' or a lower rank."
        )
    if settings.init not in ("auto", "random") and (settings.missing != "none" or weighted):
        raise SettingsError(f"init={settings.init!r} needs every entry of V, with the same weight; use init='random'.")
    smallest = exceeded(settings.rank, settings.beta)
    if settings.init == "sketch" and smallest >= least:
        raise SettingsError(
            f"init='sketch' at rank={settings.rank} is for matrices of more than {smallest} rows and columns, and V "
            f"has {layout.user_shape}; use init='random'."
        )
    if settings.n_runs > 1 and (single or settings.solver == "minibatch"):
        option = f"solver={settings.solver!r}" if settings.solver == "minibatch" else f"init={settings.init!r}"
        raise SettingsError(
            f"n_runs={settings.n_runs} is for random starts whose runs share their passes, and {option} makes one run; "
            "leave n_runs out, or use init='random' and another solver."
        )
    if settings.init in ("sketch", "spa", "spa_rows") and (settings.n_fixed_W or settings.n_fixed_H):
        raise SettingsError(f"init={settings.init!r} takes neither fixed_W nor fixed_H; use init='random'.")
