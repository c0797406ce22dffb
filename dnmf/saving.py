"""From a state to the record of a checkpoint, and back."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from dnmf.accelerate import Momentum
from dnmf.checkpoint import Commit, Store, StoredFactor
from dnmf.kernels.tiles import Float
from dnmf.sources.layout import Layout
from dnmf.state import Guide, State
from dnmf.stopping import Verdict
from dnmf.watch import Record


def save_state(
    store: Store, state: State, history: Sequence[Record], verdict: Verdict | None, layout: Layout, keep: int
) -> bool:
    """Write a checkpoint; say whether there was none yet of this pass."""
    numbers: dict[str, Any] = {"norms": list(state.norms or ())}
    if history:
        numbers |= {"loss": state.loss, "relative_error": state.relative_error, "optimality": state.optimality}
    guide = guide_array(state.guide)
    numbers["guide"] = {
        **{name: 0 if part is None else part.shape[1] for name, part in parts_of(state.guide).items()},
        "columns": 0 if guide is None else guide.shape[1],
        "refused": state.guide.refused,
        "damping": state.guide.damping,
        **dataclasses.asdict(state.guide.momentum),
    }
    record = {
        "passes": state.passes,
        "state": numbers,
        "history": [record.to_dict() for record in history],
        "verdict": None if verdict is None else {"sentence": verdict.sentence, "converged": verdict.converged},
    }
    return store.save(state.W, state.H, layout.bounds, record, keep, guide)


def parts_of(guide: Guide) -> dict[str, Float | None]:
    """Return the arrays of a guide by their names."""
    return {"ahead": guide.ahead, "probes": guide.probes, "bold": guide.bold, "sums": guide.sums}


def guide_array(guide: Guide) -> Float | None:
    """Return the arrays of a guide side by side (m, q), in the widest of their dtypes, or None."""
    parts = [part for part in parts_of(guide).values() if part is not None]
    return np.ascontiguousarray(np.hstack(parts)) if parts else None


def saved_state(store: Store, commit: Commit, layout: Layout) -> State:
    """Return the state that a commit is of."""
    W, H = store.arrays(commit)
    short, long = (H, W) if layout.transposed else (W, H)
    whole: Any = short[...]
    whole = whole.T.copy() if layout.transposed else whole
    numbers = dict(commit.state)
    norms = tuple(numbers.pop("norms")) or None
    guide = saved_guide(numbers.pop("guide", None), store.guide(commit), whole.dtype)
    if not commit.history:
        numbers = {}
    factor = StoredFactor(long, layout.bounds, layout.transposed)
    return State(commit.passes, whole, factor, norms, **numbers, guide=guide)


def saved_guide(numbers: dict[str, Any] | None, array: Float | None, dtype: np.dtype[Any]) -> Guide:
    """Return a guide from its numbers and its arrays side by side; all but the sums are of W's dtype."""
    if numbers is None:
        return Guide()
    parts: dict[str, Float] = {}
    start = 0
    for name in parts_of(Guide()):
        if array is not None and numbers[name]:
            part = array[:, start : start + numbers[name]]
            parts[name] = np.ascontiguousarray(part, np.float64 if name == "sums" else dtype)
            start += numbers[name]
    momentum = Momentum(numbers["step"], numbers["bound"])
    return Guide(**parts, momentum=momentum, refused=numbers["refused"], damping=numbers["damping"])
