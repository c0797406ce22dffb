"""Passes that update W after every few blocks, in a new random order for each pass.

The sums stay exact: when H_j becomes H_j', A = VHᵀ changes by V_j (H_j' − H_j)ᵀ, and B = HHᵀ likewise. So every update
is block coordinate descent on the objective itself, over W and the blocks of H, like incremental EM (Neal & Hinton
1998): the loss never rises, and there is no step size. In the first pass, unseen blocks are left out, a row of W that
has no data yet keeps its initial values, and the penalty of W is weighted by the share of the columns seen.
Neighbours in a graph pull towards the H that the pass began with; the majoriser there bounds their penalty.
With forgetting, W minimises over sums in which older blocks count less (Mairal, Bach, Ponce & Sapiro 2010). This is
faster in the first passes, but does not converge as far; the reported loss is that of the exact sums.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial

import numpy as np

from dnmf.engine import H_ALONE, Scope
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block, panels
from dnmf.kernels.blocks.products import add_gram
from dnmf.kernels.blocks.sums import Stats, Summable
from dnmf.kernels.blocks.tiles import Float, Vector
from dnmf.kernels.quadratic.free_rows import update_free
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.solvers.iteration import Method, PassContext, Update
from dnmf.solvers.state import MethodState, State

# Updates of W in a pass, if there are as many groups of blocks, and sweeps over W in each.
BATCHES, W_SWEEPS = 16, 4


@dataclasses.dataclass(slots=True)
class BatchSums(Summable):
    """Sums over a batch of blocks: those of the rule, and VHᵀ (m, r) and HHᵀ (r, r) with the previous H.

    Where a graph pulls, also by how much the majoriser of its roughness grows (r,).
    """

    stats: Stats
    cross: Float
    gram: Float
    growth: Float


@dataclasses.dataclass(frozen=True, slots=True)
class BatchUpdate:
    """The work of a batch: update its H, and add up its part of the previous sums if it was `seen` before."""

    update: Update
    seen: bool

    def zero(self) -> BatchSums:
        """Return the sums of no block."""
        rows, rank = self.update.model.W.shape
        return BatchSums(self.update.zero(), np.zeros((rows, rank)), np.zeros((rank, rank)), np.zeros(rank))

    def visit(self, block: int, V: Block, H: Float | None, sums: BatchSums, scratch: Scratch) -> Float | None:
        """Update a block (r, w) of H in place."""
        assert H is not None
        if self.seen:
            before = H[: sums.cross.shape[1]]
            for columns, panel in panels(V, H.dtype, scratch):
                panel.add_outer(np.ascontiguousarray(before[:, columns]), sums.cross, scratch)
            add_gram(before, sums.gram)
        new = self.update.visit(block, V, H, sums.stats, scratch)
        if self.update.below is not None and new is not None:
            sums.growth += self.update.below.growth(H, new)
        return new


@dataclasses.dataclass(frozen=True, slots=True)
class GramOf:
    """The work of a pass over H (r, n) alone that computes HHᵀ."""

    rank: int

    def zero(self) -> Stats:
        """Return the statistics of no block."""
        return Stats.zero(1, self.rank)

    def visit(self, block: int, V: Block, H: Float | None, stats: Stats, scratch: Scratch) -> None:
        """Add HHᵀ of a block."""
        assert H is not None
        add_gram(H, stats.gram)


def minibatch(seed: int, forget: float) -> Method:
    """Return the method, for the seed of the order and the factor by which a batch scales the sums before it."""
    return partial(one_epoch, seed=seed, forget=forget)


def one_epoch(context: PassContext, state: State, seed: int, forget: float) -> State:
    """Make a pass, with an update of W after each batch."""
    rule, engine = context.rule, context.engine
    assert isinstance(rule, Quadratic)
    rank, layout = state.W.shape[1], engine.source.layout
    columns = layout.shape[1]
    seen = state.carry.cross is not None
    cross = state.carry.cross.copy() if state.carry.cross is not None else np.zeros(state.W.shape)
    gram = engine.one_pass(GramOf(rank), state.H, scope=H_ALONE).gram if seen else np.zeros((rank, rank))
    followed = cross * (1 - forget), gram * (1 - forget)
    weight = float(seen) if forget == 1 else seen * (1 - forget)
    H = context.new_factor(rank)
    norms: dict[int, float] = {}
    W, total, given = state.W, rule.zero(*state.W.shape), context.input(state)
    known_H = context.coupled is not None and not state.H.unscaled
    rough = context.coupled.roughness(state.H, rank) if known_H and context.coupled is not None else np.zeros(rank)
    for indices in random_batches(len(engine.groups), [seed, state.passes]):
        update = Update.of(context, state, W=W)
        batch: BatchSums = engine.one_pass(BatchUpdate(update, seen), given, H, Scope(part=indices))
        blocks = [block for index in indices for block in engine.groups[index]]
        norms |= dict(zip(blocks, batch.stats.norms, strict=True))
        total = total.add(batch.stats)
        cross, gram = cross + (batch.stats.cross - batch.cross), gram + (batch.stats.gram - batch.gram)
        followed = forget * followed[0] + batch.stats.cross, forget * followed[1] + batch.stats.gram
        weight = forget * weight + sum(layout.bounds[block + 1] - layout.bounds[block] for block in blocks) / columns
        sums = followed if forget < 1 else (cross, gram)
        rough = rough + batch.growth
        new = update_W(with_graphs(context, rough), W, *sums, weight)
        known = seen or len(norms) == layout.blocks or sums[0].any(axis=1, keepdims=True)
        W = np.where(known & new.any(axis=0), new, W)  # since a column of zeros would stay 0, and its row of H with it
    wide = W.astype(np.float64)
    ordered = [norms[block] for block in sorted(norms)]
    fit = 0.5 * sum(ordered) - float(np.vdot(cross, wide)) + 0.5 * float(np.vdot(gram, wide.T @ wide))
    exact = dataclasses.replace(total, cross=cross, gram=gram, fit=fit, norms=ordered)
    context, state = context.after(state, exact, H)
    step = context.finish(W, exact)
    return dataclasses.replace(state.after(step, H, tuple(ordered)), method="minibatch", carry=MethodState(cross=cross))


def with_graphs(context: PassContext, roughness: Vector) -> Quadratic:
    """Return the rule with the penalties of W that graphs add, given a bound of the roughness of H (r,)."""
    rule = context.rule
    if context.coupled is not None:
        rule = context.coupled.finishing(rule, Stats.zero(1, len(roughness)), roughness, 1.0)
    assert isinstance(rule, Quadratic)
    return rule


def random_batches(groups: int, seed: Sequence[int]) -> list[list[int]]:
    """Return the groups of blocks in a random order, in `BATCHES` batches of almost equal size.

    >>> [len(batch) for batch in random_batches(40, [0, 1])] == [2, 3] * 8
    True
    """
    order = [int(index) for index in np.random.default_rng(seed).permutation(groups)]
    count = min(BATCHES, groups)
    return [order[groups * b // count : groups * (b + 1) // count] for b in range(count)]


def update_W(rule: Quadratic, W: Float, cross: Float, gram: Float, weight: float) -> Float:
    """Return W (m, r) after some sweeps, given VHᵀ and HHᵀ over a share `weight` of the columns."""
    rows, share = np.ascontiguousarray(W.T, np.float64), min(weight, 1.0)
    penalty = rule.penalty_W.at(rows, np.diag(gram)).times(share)
    update_free(rule.update, rows, np.ascontiguousarray(cross.T), gram, penalty, W_SWEEPS, rule.n_fixed_W)
    return np.ascontiguousarray(rows.T, W.dtype)
