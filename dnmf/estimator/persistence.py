"""Estimators in stores: parameters and feature names, saved next to the factors."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from dnmf.checkpoint import Store
from dnmf.checkpoint.header import find_header
from dnmf.checkpoint.state import saved_method_state
from dnmf.errors import StoreError
from dnmf.estimator.parameters import for_rows
from dnmf.kernels.blocks.tiles import Float
from dnmf.run.normalised import within_sums
from dnmf.run.result import Result
from dnmf.run.stored import stored_result
from dnmf.settings import CONSTRAINTS, PENALTIES, Settings
from dnmf.storage.open_location import location_at

KEY = "estimator"


def is_store(path: str | Path) -> bool:
    """Return whether a path or URL is the store of a run."""
    return find_header(location_at(path)) is not None


def described(
    model: Any, settings: Settings, error: float | None = None, proposed: int | None = None
) -> dict[str, Any]:
    """Return the entries of an estimator and its settings in the header of a store, as plain values.

    `proposed` is the number of the pass whose next step the components have taken, or None.
    """
    names = getattr(model, "feature_names_in_", None)
    plain = {name: _plain(value) for name, value in model.get_params().items() if name != "store"}
    estimator = {
        "parameters": plain | {"constraints": constraints_in(settings)},
        "feature_names": None if names is None else list(names),
        "reconstruction_err": error,
        "proposed": proposed,
    }
    return {KEY: estimator, "settings": settings.to_options()}


def stepped(result: Result, short: Float) -> Result:
    """Return a result with another factor that is held whole."""
    return within_sums(dataclasses.replace(result, short=short))


def stored_estimator(path: str | Path, known: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters, out of the known names, and the attributes of the estimator in a store.

    Raises
    ------
    StoreError
        If there is no store, it has no checkpoint, or its description of the estimator is not valid.
    """
    result, store = stored_result(path), Store.open(path)
    header, features = store.header, result.H.shape[1]
    estimator = header.get(KEY, {"parameters": parameters_of(result.settings, header["fingerprint"]["shape"])})
    if not _is_valid(estimator, known, features):
        raise StoreError(
            f"The description of the estimator in {path} is not valid; do not trust it. `dnmf.load` still returns the "
            "factors."
        )
    if result.history and estimator.get("proposed") == result.passes and (commit := store.newest()) is not None:
        proposal = saved_method_state(commit.state.get("guide"), store.guide(commit), result.short.dtype, 0).proposal
        if proposal is not None and result.rows_streamed and proposal.shape == result.short.shape:
            result = stepped(result, proposal)
    error = estimator.get("reconstruction_err")
    attributes = {
        "components_": np.array(result.H),
        "n_components_": result.rank,
        "n_features_in_": features,
        "n_iter_": len(result.history),
        "reconstruction_err_": float("nan") if error is None else float(error),
        "_settings": for_rows(result.settings),
        "result_": result,
        **({"layers_": [np.array(layer.H) for layer in result.layers]} if result.layers else {}),
    }
    names = estimator.get("feature_names")
    names = result.names.columns if names is None else names
    if names is not None:
        attributes["feature_names_in_"] = np.array(names, object)
    return {**estimator["parameters"], "store": str(path)}, attributes


def parameters_of(settings: Settings, shape: tuple[int, int]) -> dict[str, Any]:
    """Return the parameters of an estimator that are equivalent to the settings of a run on (n_samples, n_features).

    An estimator has one `l1_ratio` for both factors; if the ratios of a run differ, it is that of W. Of penalties that
    differ between components, the parameters have the mean; `transform` uses those of the run.
    """
    samples, features = shape
    l1_W, l2_W, l1_H, l2_H = (float(np.mean(getattr(settings, name))) for name in PENALTIES)
    W, H = l1_W + l2_W, l1_H + l2_H
    ratio = l1_W / W if W else l1_H / H if H else 0.0
    same = ["init", "solver", "tol", "shuffle", "missing", "n_runs"]
    same += ["checkpoint_every", "memory_limit", "max_seconds", "threads", "graph_weight", "layer_weights"]
    return {
        **{name: getattr(settings, name) for name in same},
        "n_components": list(settings.layers) or settings.rank,
        "beta_loss": settings.loss,
        "max_iter": settings.max_passes,
        "random_state": settings.seed if settings.seed < 2**32 else None,
        "alpha_W": W / features,
        "alpha_H": H / samples,
        "l1_ratio": ratio,
        "constraints": constraints_in(settings),
    }


def constraints_in(settings: Settings) -> dict[str, Any] | None:
    """Return the constraints of an estimator that are those of a run."""
    found = {name: getattr(settings, name) for name in CONSTRAINTS if name != "columns_W"}
    return {name: value for name, value in found.items() if value not in ("free", None)} or None


def _is_valid(estimator: Any, known: set[str], features: int) -> bool:
    """Return whether the entry of a header may be one that `described` returned."""
    if not isinstance(estimator, dict) or not isinstance(estimator.get("parameters"), dict):
        return False
    names, error = estimator.get("feature_names"), estimator.get("reconstruction_err")
    if names is not None and not (
        isinstance(names, list) and len(names) == features and all(isinstance(name, str) for name in names)
    ):
        return False
    if not isinstance(estimator.get("proposed"), int | None):
        return False
    return set(estimator["parameters"]) <= known and (error is None or isinstance(error, float))


def _plain(value: Any) -> Any:
    """Return a parameter as a value of JSON; None for others, such as a random state."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if isinstance(value, (str, int, float, bool)) else None
