"""An estimator in the store of its fit: its parameters and the names of its features, beside the factors."""

from pathlib import Path
from typing import Any

import numpy as np

from dnmf.checkpoint import Store
from dnmf.checkpoint.header import find_header
from dnmf.errors import StoreError
from dnmf.estimator.parameters import for_rows
from dnmf.run.stored import stored_result
from dnmf.settings import Settings
from dnmf.storage.open_location import place_at

KEY = "estimator"


def is_store(path: str | Path) -> bool:
    """Say whether there is the store of a run."""
    return find_header(place_at(path)) is not None


def told_of(model: Any, settings: Settings, error: float | None = None) -> dict[str, Any]:
    """Return what the header of a store is to say of an estimator and its settings, as plain values."""
    names = getattr(model, "feature_names_in_", None)
    told = {
        "parameters": {name: _plain(value) for name, value in model.get_params().items() if name != "store"},
        "feature_names": None if names is None else list(names),
        "reconstruction_err": error,
    }
    return {KEY: told, "settings": settings.to_options()}


def fitted_in(path: str | Path, known: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters, of names that are known, and the attributes of the estimator that a store holds.

    Raises
    ------
    StoreError
        If there is none, if it has no checkpoint, or says of the estimator what none can have said.
    """
    result, header = stored_result(path), Store.open(path).header
    components = np.array(result.H)
    told = header.get(KEY, {"parameters": parameters_of(result.settings, header["fingerprint"]["shape"])})
    if not _is_told(told, known, components.shape[1]):
        raise StoreError(
            f"{path} does not say of its estimator what dnmf writes; do not trust it. `dnmf.load` still gives its "
            "factors."
        )
    error = told.get("reconstruction_err")
    attributes = {
        "components_": components,
        "n_components_": len(components),
        "n_features_in_": components.shape[1],
        "n_iter_": len(result.history),
        "reconstruction_err_": float("nan") if error is None else float(error),
        "_settings": for_rows(result.settings),
    }
    names = told.get("feature_names")
    names = result.names.columns if names is None else names
    if names is not None:
        attributes["feature_names_in_"] = np.array(names, object)
    return {**told["parameters"], "store": str(path)}, attributes


def parameters_of(settings: Settings, shape: tuple[int, int]) -> dict[str, Any]:
    """Return the parameters of the estimator that a run on a matrix (n_samples, n_features) would have been of.

    An estimator has one `l1_ratio` for both factors; where those of a run differ, it is that of W.
    """
    samples, features = shape
    W, H = settings.l1_W + settings.l2_W, settings.l1_H + settings.l2_H
    ratio = settings.l1_W / W if W else settings.l1_H / H if H else 0.0
    same = ("init", "solver", "tol", "shuffle", "checkpoint_every", "memory_limit", "max_seconds", "missing")
    return {
        **{name: getattr(settings, name) for name in same},
        "n_components": settings.rank,
        "beta_loss": settings.loss,
        "max_iter": settings.max_passes,
        "random_state": settings.seed if settings.seed < 2**32 else None,
        "alpha_W": W / features,
        "alpha_H": H / samples,
        "l1_ratio": ratio,
    }


def _is_told(told: Any, known: set[str], features: int) -> bool:
    """Say whether what a header holds can be what `told_of` returned."""
    if not isinstance(told, dict) or not isinstance(told.get("parameters"), dict):
        return False
    names, error = told.get("feature_names"), told.get("reconstruction_err")
    if names is not None and not (
        isinstance(names, list) and len(names) == features and all(isinstance(name, str) for name in names)
    ):
        return False
    return set(told["parameters"]) <= known and (error is None or isinstance(error, float))


def _plain(value: Any) -> Any:
    """Return a parameter as JSON can hold it; a state of random numbers is none of it."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, (str, int, float, bool)) else None
