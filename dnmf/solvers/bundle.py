"""Bundles: several models that share every read of V, with other seeds or ranks, or without some of its entries.

The state of a bundle has parts, which are the states of its models, and its method makes one pass for all of them. The
next state of a part is decided as in a run of its own. So the parts influence each other by nothing but the rounding
of the products that are formed for all of them at once.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from dnmf.engine import H_ALONE, MapBlocks
from dnmf.engine.factor import Factor, MappedFactor, Rows, StackedFactor
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.sums import Stats, TupleSums
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.quadratic.rule import Quadratic, Share, visit_together
from dnmf.kernels.rule import Rule
from dnmf.solvers.coupling import Pair
from dnmf.solvers.iteration import Follow, Method, PassContext, Update
from dnmf.solvers.state import MethodState, State

# Returns a block as one part sees it, given the number of the part, the number of the block, and the block.
View = Callable[[int, int, Block], Block]


@dataclasses.dataclass(frozen=True, slots=True)
class FusedUpdate:
    """The work of a pass for all parts, with the products of the leading quadratic parts formed together.

    Attributes
    ----------
    updates
        The work of every part.
    W
        W of the fused parts side by side (m, Σr).
    fused
        Number of fused parts: the quadratic ones at the beginning.
    view
        Returns a block as a part sees it; None shows it whole. The fused parts must see it whole.
    """

    updates: tuple[Update, ...]
    W: Float
    fused: int
    view: View | None = None

    @classmethod
    def of(
        cls,
        context: PassContext,
        rules: Sequence[Rule],
        parts: Sequence[State],
        view: View | None,
        weights: Sequence[Pair | None] | None = None,
    ) -> Self:
        """Return the work of the pass from the states of the parts, with the weights of their graphs."""
        contexts, rows = [dataclasses.replace(context, rule=rule) for rule in rules], rows_of(parts)
        given = zip(contexts, parts, rows, weights or [None] * len(parts), strict=True)
        updates = tuple(
            Update.of(one, part, rows[-1].stop, slice(own.start, own.stop), weight) for one, part, own, weight in given
        )
        fused = sum(1 for _ in itertools.takewhile(lambda rule: isinstance(rule, Quadratic), rules))
        first = [part.point for part in parts[:fused]]
        return cls(updates, np.hstack(first) if first else np.zeros((0, 0)), fused, view)

    def zero(self) -> TupleSums:
        """Return the statistics of no block; VHᵀ of the fused parts are views of one array."""
        parts = [update.zero() for update in self.updates]
        cross = np.zeros(self.W.shape)
        for part, own in zip(parts[: self.fused], self._columns, strict=False):
            part.cross = cross[:, own]
        return TupleSums(parts)

    def visit(self, block: int, V: Block, H: Float | None, sums: TupleSums, scratch: Scratch) -> Float | None:
        """Update a block (Σr, w) of H of all parts in place."""
        assert H is not None
        whole: float | None = None
        given, rules = H, [update.rule for update in self.updates]
        if self.updates[0].below is not None:
            rules = [update.below.rule(update.rule, H) for update in self.updates if update.below is not None]
            H = H[: self.updates[0].below.rows].copy()
        for index, (update, stats, own) in enumerate(zip(self.updates, sums.parts, self._columns, strict=True)):
            seen = V if self.view is None else self.view(index, block, V)
            if seen is V and whole is not None and not update.weigh:
                stats.norms.append(whole)
            else:
                update.add_norm(block, seen, stats, H.dtype, scratch)
            if seen is V:
                whole = stats.norms[-1]
            if index >= self.fused:
                rules[index].visit(seen, H[own], update.model, stats, scratch, fresh=update.fresh)
        if self.fused:
            first = sums.parts[: self.fused]
            shares = [share(*each) for each in zip(self.updates, rules, first, strict=False)]
            visit_together(V, H[: self.W.shape[1]], shares, self.W, first[0].cross.base, scratch)
        for update, stats, own in zip(self.updates, sums.parts, self._columns, strict=True):
            if update.below is not None:
                update.below.measure(given, H[own], stats)
        return H

    @property
    def _columns(self) -> list[slice]:
        edges = itertools.accumulate((len(update.model.gram) for update in self.updates), initial=0)
        return [slice(*pair) for pair in itertools.pairwise(edges)]


def share(update: Update, rule: Rule, stats: Stats) -> Share:
    """Return the inputs and statistics of one quadratic part in a fused visit, with its rule for the block."""
    assert isinstance(rule, Quadratic)
    return Share(rule, update.model, stats, update.fresh)


@dataclasses.dataclass(frozen=True, slots=True)
class MergeRows:
    """Merges the rows of H before and after a pass, given on top of each other.

    Attributes
    ----------
    new
        Whether to take the new row (Σr,).
    """

    new: tuple[bool, ...]

    def __call__(self, block: int, H: Float) -> Float:
        """Return the merged rows of a block."""
        old, new = np.split(H, 2)
        return np.where(np.array(self.new)[:, None], new, old)


def rows_of(parts: Sequence[State]) -> list[Rows]:
    """Return the rows of every part in the stacked H of a bundle."""
    edges = itertools.accumulate((part.W.shape[1] for part in parts), initial=0)
    return [Rows(*edge) for edge in itertools.pairwise(edges)]


def bundle(parts: Sequence[State], H: Factor | None = None) -> State:
    """Return the state of several models that have made the same number of passes.

    With H (Σr, n) of all models, the factors of the parts become rows of it; otherwise theirs are stacked.
    """
    whole = StackedFactor(*(part.H for part in parts)) if H is None else H
    if H is not None:
        parts = [
            dataclasses.replace(part, H=MappedFactor(H, rows)) for part, rows in zip(parts, rows_of(parts), strict=True)
        ]
    best = best_of(parts)
    return dataclasses.replace(
        best,
        W=np.hstack([part.W for part in parts]),
        H=whole,
        norms=parts[0].norms,
        optimality=max((part.optimality for part in parts), key=comparable),
        carry=MethodState(),
        parts=tuple(parts),
    )


def comparable(loss: float) -> float:
    """Return a loss to compare with others: NaN is as bad as infinity."""
    return math.inf if math.isnan(loss) else loss


def best_of(parts: Sequence[State]) -> State:
    """Return the first of the states with the lowest loss."""
    return min(parts, key=lambda part: comparable(part.loss))


def bundled(
    follow: Follow,
    rules: Sequence[Rule] | None = None,
    view: View | None = None,
    weights: Sequence[Pair | None] | None = None,
) -> Method:
    """Return the method that makes one pass for all parts of a state.

    Parameters
    ----------
    follow
        Returns the next state of a part.
    rules
        The rule of every part; None is that of the context for all.
    view
        Returns a block as a part sees it; None shows it whole.
    weights
        Weights of both graphs for every part; None is those of the run for all.
    """

    def step(context: PassContext, state: State) -> State:
        own = [context.rule] * len(state.parts) if rules is None else rules
        graphs: Sequence[Pair | None] = [None] * len(state.parts) if weights is None else weights
        H = context.new_factor(state.W.shape[1])
        work = FusedUpdate.of(context, own, state.parts, view, graphs)
        sums = context.engine.one_pass(work, context.input(state), H)
        rough = None if context.coupled is None else context.coupled.roughness(H, state.W.shape[1])
        parts = list[State]()
        given = zip(own, state.parts, sums.parts, rows_of(state.parts), graphs, strict=True)
        for rule, before, stats, of, weight in given:
            alone, part = dataclasses.replace(context, rule=rule), before
            if rough is not None:
                alone, part = alone.finishing(part, stats, rough[of.start : of.stop], weight)
            parts.append(follow(alone, part, stats, H))
        taken = [part.H is H for part in parts]
        if all(taken):
            return bundle(parts, H)
        if not any(taken):
            H.drop()
            return bundle(parts, state.H)
        merged = context.new_factor(state.W.shape[1])
        rows = tuple(new for new, part in zip(taken, parts, strict=True) for _ in range(part.W.shape[1]))
        context.engine.one_pass(MapBlocks(MergeRows(rows)), StackedFactor(state.H, H), merged, H_ALONE)
        H.drop()
        return bundle(parts, merged)

    return step
