"""Convert a state to the record of a checkpoint, and back."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dnmf.checkpoint import Commit, Store, StoredFactor, read_array
from dnmf.checkpoint.commit import INFINITE
from dnmf.engine.factor import MappedFactor
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.extrapolation import Momentum
from dnmf.solvers.bundle import bundle, rows_of
from dnmf.solvers.history import Record, Verdict
from dnmf.solvers.state import MethodState, State
from dnmf.sources.base import Layout

# The arrays in the state of a method, by their names in a store, in the order of their columns there.
FIELDS = {
    "pending": "W_pending",
    "ahead": "W_trial",
    "probes": "sketch_directions",
    "bold": "W_newton",
    "sums": "cross",
}


def save_state(
    store: Store, state: State, history: Sequence[Record], verdict: Verdict | None, bounds: Sequence[int], keep: int
) -> bool:
    """Write a checkpoint; return False if there is one of this pass already."""
    runs = written_losses(state.runs)
    numbers = {"norms": list(state.norms or ()), **numbers_of(state, bool(history)), "runs": runs}
    if state.parts:
        numbers["parts"] = [part_numbers(part, bool(history)) for part in state.parts]
    for name, mixings in (("mixings", state.mixings), ("mixings_trial", state.carry.mixings_trial)):
        if mixings:
            numbers[name] = [mixing.tolist() for mixing in mixings]
    if state.volume is not None:
        numbers["volume"] = list(state.volume)
    if state.anchors:
        numbers["anchors"] = list(state.anchors)
    guide = guide_array([state, *state.parts])
    record = {
        "passes": state.passes,
        "state": numbers,
        "history": [record.to_dict() for record in history],
        "verdict": None if verdict is None else {"sentence": verdict.sentence, "converged": verdict.converged},
    }
    return store.save(state.W, state.H, bounds, record, keep, guide, state.carry.H_trial)


def arrays_of(carry: MethodState) -> dict[str, Float | None]:
    """Return the arrays of the state of a method by their names in a store."""
    return {name: getattr(carry, field) for name, field in FIELDS.items()}


def numbers_of(state: State, passed: bool) -> dict[str, Any]:
    """Return the numbers of a state, and of the state of its method."""
    carry = state.carry
    widths = {name: 0 if array is None else array.shape[1] for name, array in arrays_of(carry).items()}
    numbers: dict[str, Any] = {
        "guide": {
            **widths,
            "columns": sum(widths.values()),
            "refused": carry.rejections,
            "damping": carry.damping,
            **dataclasses.asdict(carry.momentum),
        }
    }
    if passed:
        numbers |= {name: known(getattr(state, name)) for name in ("loss", "relative_error", "optimality")}
    if state.curvature:
        numbers["curvature"] = state.curvature
    return numbers


def part_numbers(part: State, passed: bool) -> dict[str, Any]:
    """Return the numbers of one of several models, with the losses before the last pass, which no history has."""
    numbers = {"rank": part.W.shape[1], **numbers_of(part, passed)}
    if part.carry.losses:
        numbers["guide"]["losses"] = list(part.carry.losses)
    return numbers


def known(number: float | None) -> float | None:
    """Return a number of a state as JSON can hold it: None if it is not finite."""
    return None if number is None or not math.isfinite(number) else number


def written_losses(runs: Sequence[float | None]) -> list[float | str | None]:
    """Return the losses of several runs as JSON can hold them; None stands for a run whose loss is not known yet.

    >>> written_losses([2.5, None, math.inf]), read_losses([2.5, None, "Infinity"])
    ([2.5, None, 'Infinity'], (2.5, None, inf))
    """
    return [loss if loss is None or math.isfinite(loss) else INFINITE for loss in runs]


def read_losses(given: Sequence[float | str | None]) -> tuple[float | None, ...]:
    """Return the losses of several runs from the record of a checkpoint."""
    return tuple(None if loss is None else float(loss) for loss in given)


def guide_array(states: Sequence[State]) -> Float | None:
    """Return the arrays of the methods of some states side by side (m, q), in the widest of their dtypes, or None."""
    arrays = [array for state in states for array in arrays_of(state.carry).values() if array is not None]
    return np.ascontiguousarray(np.hstack(arrays)) if arrays else None


def saved_state(store: Store, commit: Commit, layout: Layout) -> State:
    """Return the state of a commit."""
    W, H = store.arrays(commit)
    short, long = (H, W) if layout.transposed else (W, H)
    whole: Any = read_array(short)
    whole = whole.T.copy() if layout.transposed else whole
    numbers = dict(commit.state)
    norms = tuple(numbers.pop("norms")) or None
    runs, parts = read_losses(numbers.pop("runs", ())), numbers.pop("parts", [])
    anchors, volume = tuple(numbers.pop("anchors", ())), numbers.pop("volume", None)
    array, factor = store.guide(commit), StoredFactor(long, layout.bounds, layout.transposed)

    ahead = store.trial(commit)
    trial = None if ahead is None else StoredFactor(ahead, layout.bounds, layout.transposed)

    def state_of(numbers: dict[str, Any], W: Float, start: int) -> State:
        carry = saved_method_state(numbers.get("guide"), array, whole.dtype, start)
        carry = dataclasses.replace(carry, H_trial=trial)
        seen = {name: value for name, value in numbers.items() if name not in ("guide", "rank") and value is not None}
        seen = seen if commit.history else {}
        return State(
            commit.passes,
            W,
            factor,
            norms,
            **seen,
            carry=carry,
            runs=runs,
            anchors=anchors,
            volume=None if volume is None else tuple(volume),
        )

    mixings, mixings_trial = (read_mixings(numbers.pop(name, ())) for name in ("mixings", "mixings_trial"))
    if not parts:
        return state_of(numbers, whole, 0)
    states, first, start = list[State](), 0, 0
    for part in parts:
        states.append(state_of(part, np.ascontiguousarray(whole[:, first : first + part["rank"]]), start))
        first += part["rank"]
        start += part["guide"]["columns"]
    if not mixings:
        return bundle(states, factor)
    state = state_of(numbers, whole, 0)
    carry = dataclasses.replace(state.carry, mixings_trial=mixings_trial or None)
    states = [
        dataclasses.replace(own, norms=norms, H=MappedFactor(factor, rows))
        for own, rows in zip(states, rows_of(states), strict=True)
    ]
    return dataclasses.replace(state, norms=norms, carry=carry, parts=tuple(states), mixings=mixings)


def read_mixings(given: Sequence[Any]) -> tuple[Float, ...]:
    """Return the mixing matrices of layers from the record of a checkpoint."""
    return tuple(np.array(mixing, np.float64) for mixing in given)


def saved_method_state(
    numbers: dict[str, Any] | None, array: Float | None, dtype: np.dtype[Any], start: int
) -> MethodState:
    """Return the state of a method from its numbers and from an array (m, q) that has its arrays from a column on.

    They are in the dtype of W, but for VHᵀ, which is in float64.
    """
    if numbers is None:
        return MethodState()
    arrays: dict[str, Any] = {}
    for name, field in FIELDS.items():
        width = numbers.get(name, 0)  # stores of 0.4.0 and before have no pending step
        if array is not None and width:
            part = array[:, start : start + width]
            arrays[field] = np.ascontiguousarray(part, np.float64 if field == "cross" else dtype)
            start += width
    momentum = Momentum(numbers["step"], numbers["bound"])
    losses = tuple(map(float, numbers.get("losses", ())))
    return MethodState(
        **arrays, momentum=momentum, rejections=numbers["refused"], damping=numbers["damping"], losses=losses
    )
