"""Options that do not go together: with each other, or with the matrix."""

from collections.abc import Collection

import numpy as np

from dnmf.errors import DataWarning, SettingsError, warn
from dnmf.kernels.registry import solver_of
from dnmf.settings import Settings
from dnmf.solvers.sketch import LARGEST
from dnmf.sources.base import Layout


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
        If the solver does not fit the loss, or several runs would start from the same factors.
    """
    solver_of(settings)
    check_penalties(settings, coupled)
    if given and settings.n_runs > 1:
        raise SettingsError(f"n_runs={settings.n_runs} is for random starts, and init gives one; leave n_runs out.")


def check_penalties(settings: Settings, coupled: Collection[str] = ()) -> None:
    """Warn of penalties on one factor alone, which the scale can make arbitrarily small.

    A factor cannot grow if it is fixed, and neither can if one has a target.
    """
    of_W, of_H = (
        any(np.any(getattr(settings, name)) or name in coupled for name in (f"l1_{factor}", f"l2_{factor}"))
        for factor in "WH"
    )
    held = settings.rank in (settings.fixed, settings.n_fixed_H) or {"target_W", "target_H"} & set(coupled)
    if of_W == of_H or held:
        return
    one, other = "WH" if of_W else "HW"
    warn(
        f"A penalty of {one} alone has no effect: {other} absorbs the scale, so that {one} can shrink towards 0 with "
        f"the same product WH. Give one of {other} too (l1_{other} or l2_{other}; alpha_{other} of an estimator; "
        f"--l1-{other} or --l2-{other} on the command line), or give none.",
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
        raise SettingsError("solver='minibatch' needs every entry of V, by the same weight; use solver='hals'.")


def check_missing(settings: Settings, layout: Layout) -> None:
    """Raise SettingsError if blocks of this kind cannot mark entries as missing in the way that the settings name."""
    if settings.missing == "nan" and layout.sparse:
        raise SettingsError("missing='nan' needs a dense V, and this one is sparse; use missing='zeros', or weights=.")
    if settings.missing == "zeros" and not layout.sparse:
        raise SettingsError(
            "missing='zeros' takes the entries that a sparse V does not store as missing, and this V is dense; give a "
            "CSR or CSC matrix, or missing='nan' with NaN for missing entries."
        )


def _check_init(settings: Settings, layout: Layout, weighted: bool) -> None:
    """Raise SettingsError if the initialisation does not fit the matrix, the rank or the number of runs."""
    least = min(layout.shape)
    if settings.init.startswith("nndsvd") and settings.rank > least:
        raise SettingsError(
            f"rank={settings.rank} is more than min(m, n)={least}, and init={settings.init!r} has no more singular "
            "vectors than that; use init='random' or a lower rank."
        )
    if settings.init not in ("auto", "random") and (settings.missing != "none" or weighted):
        raise SettingsError(f"init={settings.init!r} needs every entry of V, by the same weight; use init='random'.")
    if settings.init == "sketch" and LARGEST * settings.rank >= least:
        raise SettingsError(
            f"init='sketch' at rank={settings.rank} is for matrices of more than {LARGEST * settings.rank} rows and "
            f"columns, and V has {layout.user_shape}; use init='random'."
        )
    if settings.n_runs > 1 and (settings.init.startswith("nndsvd") or settings.solver == "minibatch"):
        option = f"solver={settings.solver!r}" if settings.solver == "minibatch" else f"init={settings.init!r}"
        raise SettingsError(
            f"n_runs={settings.n_runs} is for random starts whose runs share their passes, and {option} makes one run; "
            "leave n_runs out, or use init='random' and another solver."
        )
    if settings.init == "sketch" and (settings.fixed or settings.n_fixed_H):
        raise SettingsError("init='sketch' takes neither fixed_W nor fixed_H; use init='random'.")
