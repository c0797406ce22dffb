"""From a state to the record of a checkpoint, and back."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from dnmf.checkpoint import Commit, Store, StoredFactor, read_array
from dnmf.kernels.blocks.tiles import Float
from dnmf.solvers.bundle import bundle
from dnmf.solvers.extrapolation import Momentum
from dnmf.solvers.history import Record, Verdict
from dnmf.solvers.state import Guide, State
from dnmf.sources.base import Layout


def save_state(
    store: Store, state: State, history: Sequence[Record], verdict: Verdict | None, layout: Layout, keep: int
) -> bool:
    """Write a checkpoint; say whether there was none yet of this pass."""
    numbers = {"norms": list(state.norms or ()), **numbers_of(state, bool(history)), "runs": list(state.runs)}
    if state.parts:
        numbers["parts"] = [{"rank": part.W.shape[1], **numbers_of(part, bool(history))} for part in state.parts]
    guide = guide_array([state, *state.parts])
    record = {
        "passes": state.passes,
        "state": numbers,
        "history": [record.to_dict() for record in history],
        "verdict": None if verdict is None else {"sentence": verdict.sentence, "converged": verdict.converged},
    }
    return store.save(state.W, state.H, layout.bounds, record, keep, guide)


def parts_of(guide: Guide) -> dict[str, Float | None]:
    """Return the arrays of a guide by their names."""
    return {
        "pending": guide.pending,
        "ahead": guide.ahead,
        "probes": guide.probes,
        "bold": guide.bold,
        "sums": guide.sums,
    }


def numbers_of(state: State, passed: bool) -> dict[str, Any]:
    """Return the numbers of a state, and of its guide."""
    guide = state.guide
    widths = {name: 0 if part is None else part.shape[1] for name, part in parts_of(guide).items()}
    numbers: dict[str, Any] = {
        "guide": {
            **widths,
            "columns": sum(widths.values()),
            "refused": guide.refused,
            "damping": guide.damping,
            **dataclasses.asdict(guide.momentum),
        }
    }
    if passed:
        numbers |= {"loss": state.loss, "relative_error": state.relative_error, "optimality": state.optimality}
    return numbers


def guide_array(states: Sequence[State]) -> Float | None:
    """Return the arrays of the guides of some states side by side (m, q), in the widest of their dtypes, or None."""
    parts = [part for state in states for part in parts_of(state.guide).values() if part is not None]
    return np.ascontiguousarray(np.hstack(parts)) if parts else None


def saved_state(store: Store, commit: Commit, layout: Layout) -> State:
    """Return the state that a commit is of."""
    W, H = store.arrays(commit)
    short, long = (H, W) if layout.transposed else (W, H)
    whole: Any = read_array(short)
    whole = whole.T.copy() if layout.transposed else whole
    numbers = dict(commit.state)
    norms = tuple(numbers.pop("norms")) or None
    runs, parts = tuple(numbers.pop("runs", ())), numbers.pop("parts", [])
    array, factor = store.guide(commit), StoredFactor(long, layout.bounds, layout.transposed)

    def state_of(numbers: dict[str, Any], W: Float, start: int) -> State:
        guide = saved_guide(numbers.get("guide"), array, whole.dtype, start)
        seen = {name: value for name, value in numbers.items() if name not in ("guide", "rank")}
        seen = seen if commit.history else {}
        return State(commit.passes, W, factor, norms, **seen, guide=guide, runs=runs)

    if not parts:
        return state_of(numbers, whole, 0)
    states, first, start = list[State](), 0, 0
    for part in parts:
        states.append(state_of(part, np.ascontiguousarray(whole[:, first : first + part["rank"]]), start))
        first += part["rank"]
        start += part["guide"]["columns"]
    return bundle(states, factor)


def saved_guide(numbers: dict[str, Any] | None, array: Float | None, dtype: np.dtype[Any], start: int) -> Guide:
    """Return a guide from its numbers and its arrays side by side, from a column on; but for the sums in W's dtype."""
    if numbers is None:
        return Guide()
    parts: dict[str, Float] = {}
    for name in parts_of(Guide()):
        width = numbers.get(name, 0)  # stores of 0.4.0 and before have no pending step
        if array is not None and width:
            part = array[:, start : start + width]
            parts[name] = np.ascontiguousarray(part, np.float64 if name == "sums" else dtype)
            start += width
    momentum = Momentum(numbers["step"], numbers["bound"])
    return Guide(**parts, momentum=momentum, refused=numbers["refused"], damping=numbers["damping"])
