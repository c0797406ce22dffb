"""Several models that advance on one read of V: other seeds, other ranks, or the same without some entries.

A bundle is a state whose parts are states like those of single runs, and a method that makes one pass for all. What
follows on a pass is decided for every part by itself, as if it were alone; so what a part becomes does not depend on
those beside it but by the rounding of the products that are formed for all at once.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from dnmf.engine import H_ALONE
from dnmf.engine.factor import Factor, MappedFactor, Rows, StackedFactor
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.sums import Several, Stats
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.quadratic.rule import Quadratic, Share, visit_together
from dnmf.kernels.rule import Rule
from dnmf.solvers.iteration import Follow, Method, PassContext, SelectRows, Update
from dnmf.solvers.state import MethodState, State

# Shows a part a block as it is to see it, given the number of the part and of the block.
View = Callable[[int, int, Block], Block]


@dataclasses.dataclass(frozen=True, slots=True)
class FusedUpdate:
    """The work of a pass for all parts: one read, and for the first of them one product each way.

    These are the quadratic ones that no other comes before.

    Attributes
    ----------
    updates
        The work of every part.
    W
        The W's of the first parts side by side (m, Σr).
    fused
        How many these are.
    view
        What the parts see of a block, where that is not all of it; the first ones see it whole.
    """

    updates: tuple[Update, ...]
    W: Float
    fused: int
    view: View | None = None

    @classmethod
    def of(cls, context: PassContext, rules: Sequence[Rule], parts: Sequence[State], view: View | None) -> Self:
        """Return the work of the pass that follows on the states of the parts."""
        contexts = [dataclasses.replace(context, rule=rule) for rule in rules]
        updates = tuple(Update.of(context, part) for context, part in zip(contexts, parts, strict=True))
        fused = sum(1 for _ in itertools.takewhile(lambda rule: isinstance(rule, Quadratic), rules))
        first = [part.point for part in parts[:fused]]
        return cls(updates, np.hstack(first) if first else np.zeros((0, 0)), fused, view)

    def zero(self) -> Several:
        """Return the statistics of no block; VHᵀ of the first parts are views of one array, which is added to."""
        parts = [update.zero() for update in self.updates]
        cross = np.zeros(self.W.shape)
        for part, own in zip(parts[: self.fused], self._columns, strict=False):
            part.cross = cross[:, own]
        return Several(parts)

    def visit(self, block: int, V: Block, H: Float | None, sums: Several, scratch: Scratch) -> Float | None:
        """Update a block (Σr, w) of the H's in place."""
        assert H is not None
        whole: float | None = None
        for index, (update, stats, own) in enumerate(zip(self.updates, sums.parts, self._columns, strict=True)):
            seen = V if self.view is None else self.view(index, block, V)
            if seen is V and whole is not None:
                stats.norms.append(whole)
            else:
                update.look(block, seen, stats, H.dtype, scratch)
            if seen is V:
                whole = stats.norms[-1]
            if index >= self.fused:
                update.rule.visit(seen, H[own], update.model, stats, scratch, fresh=update.fresh)
        if self.fused:
            first = sums.parts[: self.fused]
            shares = [share(*each) for each in zip(self.updates, first, strict=False)]
            visit_together(V, H[: self.W.shape[1]], shares, self.W, first[0].cross.base, scratch)
        return H

    @property
    def _columns(self) -> list[slice]:
        edges = np.cumsum([0, *(len(update.model.gram) for update in self.updates)]).tolist()
        return [slice(*pair) for pair in itertools.pairwise(edges)]


def share(update: Update, stats: Stats) -> Share:
    """Return what a quadratic part has of its own in a visit."""
    assert isinstance(update.rule, Quadratic)
    return Share(update.rule, update.model, stats, update.fresh)


@dataclasses.dataclass(frozen=True, slots=True)
class MergeRows:
    """The work of a pass over [old; new] H's that takes some rows from the new ones and the others from the old.

    Attributes
    ----------
    new
        Whether a row (Σr,) is to be the new one.
    """

    new: tuple[bool, ...]

    def zero(self) -> Stats:
        """Return the statistics of no block."""
        return Stats.zero(1, 1)  # there is nothing to add up

    def visit(self, block: int, V: Block, H: Float | None, sums: Stats, scratch: Scratch) -> Float:
        """Return the chosen rows of a block."""
        assert H is not None
        old, new = np.split(H, 2)
        return np.where(np.array(self.new)[:, None], new, old)


def bundle(parts: Sequence[State], H: Factor | None = None) -> State:
    """Return the state of several models that have made the same passes; H (Σr, n) is that of all, where there is one.

    The factors of the parts become rows of it.
    """
    ranks = [part.W.shape[1] for part in parts]
    whole = StackedFactor(*(part.H for part in parts)) if H is None else H
    edges = itertools.pairwise(np.cumsum([0, *ranks]).tolist())
    if H is not None:
        parts = [
            dataclasses.replace(part, H=MappedFactor(H, Rows(*edge))) for part, edge in zip(parts, edges, strict=True)
        ]
    best = best_of(parts)
    return dataclasses.replace(
        best,
        W=np.hstack([part.W for part in parts]),
        H=whole,
        norms=parts[0].norms,
        optimality=max(part.optimality for part in parts),
        carry=MethodState(),
        parts=tuple(parts),
    )


def best_of(parts: Sequence[State]) -> State:
    """Return the first of the states whose loss is the least."""
    return min(parts, key=lambda part: part.loss)


def bundled(follow: Follow, rules: Sequence[Rule] | None = None, view: View | None = None) -> Method:
    """Return the method that makes one pass for all parts of a state, with their rules, or the context's for each."""

    def step(context: PassContext, state: State) -> State:
        own = [context.rule] * len(state.parts) if rules is None else rules
        H = context.new_factor(state.W.shape[1])
        sums = context.engine.one_pass(FusedUpdate.of(context, own, state.parts, view), state.H, H)
        parts = [follow(*each, H) for each in zip(own, state.parts, sums.parts, strict=True)]
        taken = [part.H is H for part in parts]
        if all(taken):
            return bundle(parts, H)
        if not any(taken):
            H.drop()
            return bundle(parts, state.H)
        chosen = context.new_factor(state.W.shape[1])
        rows = tuple(took for took, part in zip(taken, parts, strict=True) for _ in range(part.W.shape[1]))
        context.engine.one_pass(MergeRows(rows), StackedFactor(state.H, H), chosen, H_ALONE)
        H.drop()
        return bundle(parts, chosen)

    return step


def alone(context: PassContext, state: State) -> State:
    """Return the best of the parts of a state as the state of a single run that remembers the losses of all."""
    edges = itertools.pairwise(np.cumsum([0, *(part.W.shape[1] for part in state.parts)]).tolist())
    best = best_of(state.parts)
    rows = next(Rows(*edge) for edge, part in zip(edges, state.parts, strict=True) if part is best)
    H = context.new_factor(best.W.shape[1])
    context.engine.one_pass(SelectRows(rows), state.H, H, H_ALONE)
    return dataclasses.replace(best, H=H, runs=tuple(part.loss for part in state.parts))
