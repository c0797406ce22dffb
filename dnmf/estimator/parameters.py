"""Parameters of the estimators: allowed values, and their translation to the settings of a run."""

from numbers import Integral, Real
from typing import Any, get_args

import numpy as np
import scipy.sparse
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_non_negative

from dnmf.checks import ranks
from dnmf.errors import DataError, SettingsError, StoreError, unknown, warn
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.registry import solvers_for, solvers_named
from dnmf.settings import BETAS, CONSTRAINTS, Init, Loss, Missing, Settings, Solver

SPECTRAL = ("nndsvd", "nndsvda", "nndsvdar")
# The solvers that scikit-learn has too.
SHARED_SOLVERS = ("cd", "mu")
# Solvers of `transform` by β, for every solver of the fit: those that come closest to the minimum.
BEST_ROWS = {2.0: "hals", 1.0: "cd"}
MOST_SEED = 2**31 - 1

Constraints = dict[str, Any]
SHARED: Constraints = {
    "n_components": [Interval(Integral, 1, None, closed="left"), None, StrOptions({"auto"})],
    "init": [StrOptions({*get_args(Init), "custom"}), None],
    "beta_loss": [StrOptions(set(get_args(Loss))), Real],
    "tol": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "random_state": ["random_state"],
    "alpha_W": [Interval(Real, 0, None, closed="left")],
    "alpha_H": [Interval(Real, 0, None, closed="left"), StrOptions({"same"})],
    "l1_ratio": [Interval(Real, 0, 1, closed="both")],
    "verbose": ["verbose"],
}
OF_NMF: Constraints = {
    "n_components": [*SHARED["n_components"], list, tuple],
    "layer_weights": "no_validation",
    "solver": [StrOptions(set(get_args(Solver)))],
    "shuffle": ["boolean"],
    "store": "no_validation",
    "checkpoint_every": [Interval(Integral, 1, None, closed="left")],
    "memory_limit": [Interval(Real, 0, None, closed="neither"), str, None],
    "max_seconds": [Interval(Real, 0, None, closed="left"), None],
    "missing": [StrOptions(set(get_args(Missing)))],
    "n_runs": [Interval(Integral, 1, None, closed="left")],
    "threads": [Interval(Integral, 1, None, closed="left"), None],
    "fixed_components": "no_validation",
    "graph_W": "no_validation",
    "graph_H": "no_validation",
    "graph_weight": [Interval(Real, 0, None, closed="left"), "array-like"],
    "constraints": [dict, None],
    "client": "no_validation",
}
OF_MINIBATCH: Constraints = {
    "max_no_improvement": [Interval(Integral, 1, None, closed="left"), None],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "forget_factor": [Interval(Real, 0, 1, closed="both")],
    "fresh_restarts": ["boolean"],
    "fresh_restarts_max_iter": [Interval(Integral, 1, None, closed="left")],
}


def beta_of(beta_loss: str | float) -> float:
    """Return the β of a loss.

    >>> beta_of("kullback-leibler"), beta_of(0.5)
    (1.0, 0.5)
    """
    return BETAS[beta_loss] if isinstance(beta_loss, str) else float(beta_loss)


def seed_of(random_state: Any) -> int:
    """Return a seed for a random state: the state itself if it is an integer, else a number drawn from it."""
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(MOST_SEED))


def penalties_of(model: Any, shape: tuple[int, int]) -> dict[str, float]:
    """Return the penalties of an estimator for a matrix (n_samples, n_features).

    α_W is multiplied by n_features and α_H by n_samples, so that both are balanced against the loss and against each
    other for every size of the matrix.
    """
    samples, features = shape
    alpha_W = model.alpha_W * features
    alpha_H = (model.alpha_W if model.alpha_H == "same" else model.alpha_H) * samples
    l1, l2 = model.l1_ratio, 1 - model.l1_ratio
    return {"l1_W": l1 * alpha_W, "l2_W": l2 * alpha_W, "l1_H": l1 * alpha_H, "l2_H": l2 * alpha_H}


def rank_of(n_components: Any, shape: tuple[int, int], H: Any = None) -> int:
    """Return the number of components, of the last of several layers: by default that of a given H, or of features."""
    if isinstance(n_components, (list, tuple)) and n_components:
        return ranks("n_components", n_components)[-1]
    if isinstance(n_components, Integral):
        return int(n_components)
    given = () if H is None else getattr(H, "shape", None) or np.shape(H)
    return int(given[0]) if n_components == "auto" and given else shape[1]


def init_for(init: str | None, rank: int, shape: tuple[int, int], missing: str = "none") -> str:
    """Return the name of an initialisation in the settings of a run.

    >>> init_for(None, 3, (10, 5)), init_for(None, 8, (10, 5)), init_for("custom", 3, (10, 5))
    ('nndsvda', 'random', 'auto')
    """
    if init == "custom":
        return "auto"
    if init is None:
        return "nndsvda" if rank <= min(shape) and missing == "none" else "random"
    if init in SPECTRAL and rank > min(shape):
        raise SettingsError(
            f"init = '{init}' can only be used when n_components <= min(n_samples, n_features), which are {rank} "
            f"and {min(shape)}; use init='random'."
        )
    return init


def check_loss(solver: str, beta_loss: str | float, init: str | None) -> None:
    """Raise SettingsError if solver and loss are incompatible; warn of zeros that the solver cannot change."""
    fitting = solvers_for(beta_of(beta_loss))
    if solver not in ("auto", *fitting):
        raise SettingsError(
            f"Invalid beta_loss parameter: solver {solver!r} does not handle beta_loss = {beta_loss!r}; "
            f"{solvers_named(beta_of(beta_loss))}."
        )
    if solver == "mu" and init == "nndsvd":
        warn(
            "The multiplicative update ('mu') solver cannot update zeros present in the initialization, and "
            "init='nndsvd' has many; use init='nndsvda' or 'nndsvdar'.",
            UserWarning,
        )


def options_of(model: Any, shape: tuple[int, int], H: Any) -> dict[str, Any]:
    """Check the parameters of an `NMF`, and return the options of a run on X (n_samples, n_features)."""
    rank = rank_of(model.n_components, shape, H)
    check_loss(model.solver, model.beta_loss, model.init)
    own_start = model.init is None and (model.solver not in SHARED_SOLVERS or model.n_runs > 1)
    same = ["solver", "missing", "tol", "max_seconds", "checkpoint_every", "memory_limit", "n_runs", "threads"]
    same += ["graph_weight", *(name for name in ("graph_W", "graph_H") if getattr(model, name) is not None)]
    fixed, layers = model.fixed_components, isinstance(model.n_components, (list, tuple))
    own_start |= layers and model.init is None
    several = {"rank": list(model.n_components), "layered": "H"} if layers else {}
    return {
        **{name: getattr(model, name) for name in same},
        **constraints_of(model),
        "rank": rank,
        "loss": model.beta_loss,
        "init": "auto" if own_start else init_for(model.init, rank, shape, model.missing),
        "shuffle": bool(model.shuffle),
        "seed": seed_of(model.random_state),
        "max_passes": model.max_iter,
        **penalties_of(model, shape),
        **({} if fixed is None else {"fixed_H": fixed}),
        **({} if model.layer_weights is None else {"layer_weights": model.layer_weights}),
        **several,
    }


def constraints_of(model: Any) -> dict[str, Any]:
    """Return the constraints of an `NMF`; that of the columns of W is none of them, since `transform` has new rows."""
    given = model.constraints or {}
    for name in given:
        if name == "columns_W":
            raise SettingsError(
                "constraints: 'columns_W' couples the samples, and transform solves each by itself; give 'rows_H', or "
                "use dnmf.factorize."
            )
        if name not in CONSTRAINTS:
            raise unknown("constraints", name, [constraint for constraint in CONSTRAINTS if constraint != "columns_W"])
    return dict(given)


def initial_factors(init: str | None, W: Any, H: Any) -> tuple[Any, Any]:
    """Return the factors W and H to start a fit from, or None; warn of factors that are ignored."""
    if init == "custom":
        return W, H
    if W is not None or H is not None:
        warn(
            "When init!='custom', provided W or H are ignored. Set init='custom' to start from them.",
            RuntimeWarning,
        )
    return None, None


def checked_factors(shape: tuple[int, int], rank: int, W: Any, H: Any) -> tuple[Float, Float]:
    """Check and return the factors to start an `NMF` from, for X of a shape (n_samples, n_features)."""
    H = check_factor(H, (rank, shape[1]), "NMF", "H")
    return check_factor(W, (shape[0], rank), "NMF", "W"), H


def for_rows(settings: Settings) -> Settings:
    """Return the settings of `transform`, which are the same for every solver of the fit."""
    return settings.of_layer().replace({"solver": BEST_ROWS.get(settings.beta, "mu")})


def settings_by_hand(model: Any) -> Settings:
    """Return the settings of `transform` for an estimator whose `components_` were set by hand; check both."""
    name = type(model).__name__
    components = check_array(model.components_, dtype=[np.float64, np.float32], input_name="components_")
    check_non_negative(components, f"{name} (components_)")
    rank, features = components.shape
    options = {"rank": rank, "loss": model.beta_loss, "missing": getattr(model, "missing", "none")}
    return for_rows(Settings.from_options(options | penalties_of(model, (1, features))))


def check_zeros(table: Any, beta: float) -> None:
    """Raise DataError for zeros in a matrix in memory if their loss is infinite."""
    if beta > 0 or table.lazy:
        return
    stored = table.matrix.data if scipy.sparse.issparse(table.matrix) else table.matrix
    if stored.size < table.shape[0] * table.shape[1] or (stored == 0).any():
        raise DataError(
            "When beta_loss <= 0 and X contains zeros, the solver may diverge. Add a small constant to X, or use a "
            "beta_loss above 0."
        )


def check_factor(factor: Any, shape: tuple[int, int], model: str, name: str) -> Float:
    """Check and return a factor; raise ValueError if it is not valid for the model and the shape."""
    whom = f"{model} (input {name})"
    if factor is None:
        raise SettingsError(f"{whom} is None, and init='custom' starts from it; give {name} or choose another init.")
    array: Float = check_array(factor, dtype=[np.float64, np.float32], input_name=name)
    for axis, place in enumerate(("first", "second")):
        if array.shape[axis] != shape[axis]:
            raise DataError(
                f"Array with wrong {place} dimension passed to {whom}. Expected {shape[axis]}, but got "
                f"{array.shape[axis]}."
            )
    check_non_negative(array, whom)
    if not array.any():
        raise DataError(f"Array passed to {whom} is full of zeros; give a factor with positive entries.")
    return array


def check_fixed_components(store: Any, fixed: Any, components: Float) -> None:
    """Raise StoreError if a fit that was resumed has other fixed components."""
    if fixed is not None:
        known = np.asarray(fixed, components.dtype)
        if not np.array_equal(components[: len(known)], known):
            raise StoreError(
                f"The fit in {store} has other fixed_components; give those that it was started with, or another store."
            )
