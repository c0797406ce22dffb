"""Several runs side by side, of which the best is kept: when runs are dropped, and the losses of all."""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

from dnmf.engine import H_ALONE, MapBlocks
from dnmf.engine.factor import Rows, StackedFactor
from dnmf.solvers.bundle import best_of, bundle, comparable, rows_of
from dnmf.solvers.iteration import Method, PassContext
from dnmf.solvers.state import State
from dnmf.solvers.stopping import in_range

# Several runs are halved first after this many passes, and losses that differ by less than this share are tied.
FIRST_HALVING, SAME = 4, 1e-6
T = TypeVar("T")


def without_overflows(method: Method) -> Method:
    """Return the method that drops the parts whose numbers left the range of floats, unless those of all have."""

    def step(context: PassContext, state: State) -> State:
        new = method(context, state)
        kept = [index for index, part in enumerate(new.parts) if in_range(part)]
        return keep_parts(context, state, new, kept) if kept else new

    return step


def halving(method: Method) -> Method:
    """Return the method that drops the worse half of the parts after some passes, and again after twice as many."""

    def step(context: PassContext, state: State) -> State:
        new = method(context, state)
        halved = new.passes >= FIRST_HALVING and new.passes & (new.passes - 1) == 0  # a power of two
        if len(new.parts) == 1 or not halved:
            return new
        return keep_parts(context, state, new, sorted(better_half([part.loss for part in new.parts], SAME)))

    return step


def all_runs(runs: Sequence[T | None], parts: Sequence[T]) -> tuple[T, ...]:
    """Return the losses of all runs in the order of their seeds, given those of the parts, for which `runs` has None.

    Earlier stores have the losses of runs that were dropped in another order, without None; these come last.

    >>> all_runs((None, 3.0, None, 5.0), [1.0, 2.0]), all_runs((), [1.0, 2.0]), all_runs((5.0, 4.0), [1.0, 2.0])
    ((1.0, 3.0, 2.0, 5.0), (1.0, 2.0), (1.0, 2.0, 5.0, 4.0))
    """
    known = [loss for loss in runs if loss is not None]
    if len(known) == len(runs):
        return (*parts, *known)
    left = iter(parts)
    return tuple(next(left) if loss is None else loss for loss in runs)


def keep_parts(context: PassContext, before: State, new: State, kept: Sequence[int]) -> State:
    """Return the state `new` after `before` with some of its parts; the losses of the others are kept in `runs`."""
    if len(kept) == len(new.parts):
        return new
    losses = [None if index in kept else comparable(part.loss) for index, part in enumerate(new.parts)]
    runs = all_runs(new.runs, losses)
    parts = [dataclasses.replace(new.parts[index], runs=runs) for index in kept]
    rank = sum(part.W.shape[1] for part in parts)
    H = context.new_factor(rank)
    context.engine.one_pass(MapBlocks(Rows(0, rank)), StackedFactor(*(part.H for part in parts)), H, H_ALONE)
    if new.H is not before.H:
        new.H.drop()
    return bundle(parts, H)


def better_half(losses: Sequence[float], share: float, least: float = 0.0) -> list[int]:
    """Return the numbers of the half with the lower losses; of ties the first ones, so that rounding does not decide.

    Losses are tied if they differ by less than a share of their size plus `least`.

    >>> better_half([4.0, 2.0, 3.0, 2.1], 0.1), better_half([4.0, 2.1, 3.0, 2.0, 9.0], 0.1)
    ([1, 3], [1, 3])
    >>> better_half([float("nan"), 2.0, 1.0, 3.0], 0.1), better_half([float("nan"), float("inf")], 0.1)
    ([2, 1], [0])
    """
    losses = [comparable(loss) for loss in losses]
    left, chosen = list(range(len(losses))), list[int]()
    while len(chosen) < len(losses) // 2:
        bar = min(losses[index] for index in left) * (1 + share) + least
        chosen.append(left.pop(next(place for place, index in enumerate(left) if losses[index] <= bar)))
    return chosen


def runs_of(state: State) -> tuple[float, ...]:
    """Return the losses of all runs of a state so far, in the order of their seeds; none for a single one."""
    parts = () if state.mixings else state.parts
    return all_runs(state.runs, [part.loss for part in parts])


def alone(context: PassContext, state: State) -> State:
    """Return the best part of a bundle as the state of a single run, with the losses of all runs in `runs`."""
    best = best_of(state.parts)
    rows = next(rows for rows, part in zip(rows_of(state.parts), state.parts, strict=True) if part is best)
    H = context.new_factor(best.W.shape[1])
    context.engine.one_pass(MapBlocks(rows), state.H, H, H_ALONE)
    return dataclasses.replace(best, H=H, runs=runs_of(state))
