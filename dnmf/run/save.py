"""Save a result that has no store as a store that can be loaded."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dnmf.checkpoint import Store, inputs_in
from dnmf.checkpoint.state import save_state
from dnmf.engine.factor import StackedFactor
from dnmf.kernels.floats import own_errors
from dnmf.run.units import in_units
from dnmf.solvers.history import Verdict
from dnmf.solvers.state import State
from dnmf.sources import Source
from dnmf.sources.identity import fingerprint
from dnmf.sources.joins import joined_form
from dnmf.sources.weighted import is_weighted, location_of_weights

# Fields of a header that describe the matrix of a result.
MATRIX = ("fingerprint", "location", "weights", "named", "unfolded", "joined")


def description_of(source: Source) -> dict[str, Any]:
    """Return the fields of a header that describe a matrix, without a read of it."""
    layout, join = source.layout, joined_form(source)
    return {
        "fingerprint": fingerprint(source, sampled=False),
        "location": layout.location,
        "weights": {"location": location_of_weights(source)} if is_weighted(source) else None,
        **({} if layout.unfolding is None else {"unfolded": layout.unfolding.to_json()}),
        **({"joined": join} if join else {}),
    }


@own_errors
def save_result(result: Any, path: str | Path, overwrite: bool, origin: Mapping[str, Any]) -> str:
    """Write a result as a store; `Result.save` describes it. `origin` says how it was made, if not by a run."""
    matrix = result.matrix
    header = {
        **matrix,
        "transposed": result.rows_streamed,
        "bounds": list(result.bounds),
        "prepared": [step.to_json() for step in result.steps],
        "settings": result.settings.to_options(),
        "given": True,
        "saved": dict(origin),
    }
    weights = matrix.get("weights") or {}
    inputs = [matrix.get("location"), weights.get("location"), *inputs_in(result.store), origin.get("survey")]
    store = Store.create(path, header, overwrite, result.names, inputs)
    try:
        state = _state_of(result)
        verdict = Verdict(result.verdict, result.converged)
        save_state(store, state, result.history, verdict, result.bounds, 1)
        store.publish()
    finally:
        store.close()
    return str(store)


def _state_of(result: Any) -> State:
    """Return the factors of a result as the state of a run, with its layers as parts."""
    short, long = in_units(result.short, result.long, result.steps, result.rows_streamed, result.bounds, back=True)
    figures = {name: getattr(result, name) for name in ("loss", "relative_error", "optimality")}
    state = State(result.passes, short, long, **figures, runs=result.runs, anchors=result.anchors)
    parts = tuple(_state_of(layer) for layer in result.layers)
    if not parts:
        return state
    mixings = tuple(layer.mixing for layer in result.layers[1:])
    return dataclasses.replace(
        state,
        W=np.hstack([part.W for part in parts]),
        H=StackedFactor(*(part.H for part in parts)),
        parts=parts,
        mixings=tuple(mixing.T for mixing in mixings) if result.settings.layered == "H" else mixings,
    )
