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
        "ahead": int(state.guide.ahead is not None),
        "columns": 0 if guide is None else guide.shape[1],
        "refused": state.guide.refused,
        **dataclasses.asdict(state.guide.momentum),
    }
    record = {
        "passes": state.passes,
        "state": numbers,
        "history": [record.to_dict() for record in history],
        "verdict": None if verdict is None else {"sentence": verdict.sentence, "converged": verdict.converged},
    }
    return store.save(state.W, state.H, layout.bounds, record, keep, guide)


def guide_array(guide: Guide) -> Float | None:
    """Return the arrays of a guide side by side (m, q), or None."""
    parts = [part for part in (guide.ahead, guide.probes) if part is not None]
    return np.ascontiguousarray(np.hstack(parts)) if parts else None


def saved_state(store: Store, commit: Commit, layout: Layout) -> State:
    """Return the state that a commit is of."""
    W, H = store.arrays(commit)
    short, long = (H, W) if layout.transposed else (W, H)
    whole: Any = short[...]
    whole = whole.T.copy() if layout.transposed else whole
    numbers = dict(commit.state)
    norms = tuple(numbers.pop("norms")) or None
    guide = saved_guide(numbers.pop("guide", None), store.guide(commit), whole.shape[1])
    if not commit.history:
        numbers = {}
    method = commit.history[-1]["solver"] if commit.history else ""
    factor = StoredFactor(long, layout.bounds, layout.transposed)
    return State(commit.passes, whole, factor, norms, **numbers, method=method, guide=guide)


def saved_guide(numbers: dict[str, Any] | None, array: Float | None, rank: int) -> Guide:
    """Return a guide from its numbers and its arrays side by side."""
    if numbers is None:
        return Guide()
    wide = rank if numbers["ahead"] else 0
    ahead = np.ascontiguousarray(array[:, :wide]) if array is not None and wide else None
    probes = np.ascontiguousarray(array[:, wide:]) if array is not None and array.shape[1] > wide else None
    return Guide(ahead, probes, Momentum(numbers["step"], numbers["bound"]), numbers["refused"])
