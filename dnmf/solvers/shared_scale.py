"""The scale of W in a random start where penalties depend on how W and H share that of V.

The first pass fits H to V for any W. But if V has large entries and W has not, H is large, and a penalty that suits the
minimum makes all of H 0, which no update leaves. So the entries a of W begin where the penalties of these and of those
of H, b = v/(r a) for entries v of V on average, are smallest.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from dnmf.engine import Scope
from dnmf.engine.factor import Factor, MappedFactor, Scaled
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import Entries
from dnmf.kernels.blocks.hashing import spread
from dnmf.kernels.blocks.panels import PANEL_BYTES, Block
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.rule import Rule
from dnmf.solvers.bundle import bundle
from dnmf.solvers.coupling import Coupled, scale_matters
from dnmf.solvers.iteration import PassContext
from dnmf.solvers.state import State


def needs_scale(rule: Rule, coupled: Coupled | None = None) -> bool:
    """Return whether W needs a scale at the start: with penalties, but where no constraint sets that of a factor."""
    return rule.penalty_W.within.free and rule.penalty_H.within.free and scale_matters(rule, coupled)


def sharing(context: PassContext, *states: State) -> list[State]:
    """Return first states with W in the scale that penalties need, and the same product WH if H is in scale."""
    if not needs_scale(context.rule, context.coupled) or not (mean := first_mean(context)):
        return list(states)
    return [_sharing(context, state, mean) for state in states]


def _sharing(context: PassContext, state: State, mean: float) -> State:
    """Return one state, or a bundle, for a mean of V."""
    if state.parts:
        return bundle([_sharing(context, part, mean) for part in state.parts])
    W, H = in_scale(context, state.W, state.H, mean)
    return dataclasses.replace(state, W=W, H=H)


def in_scale(context: PassContext, W: Float, H: Factor, mean: float) -> tuple[Float, Factor]:
    """Return W (m, r) in the scale that penalties need, and H (r, n), which is divided by it if it has a scale.

    W gets the scale of its target, or else one that gives H that of its own.
    """
    rank, usual, aims = W.shape[1], float(W.mean(dtype=np.float64)), (0.0, 0.0)
    if usual == 0:
        return W, H
    of_W, of_H = context.rule.penalty_W, context.rule.penalty_H
    if context.coupled is not None:
        coupling = context.coupled.coupling
        aims = coupling.penalty_W.aim, coupling.penalty_H.aim
        of_W, of_H = of_W.plus(coupling.penalty_W), of_H.plus(coupling.penalty_H)
    product = mean / rank
    wanted = aims[0] or (product / aims[1] if aims[1] else usual_entry(product, context.layout.shape, of_W, of_H))
    factor = wanted / usual
    scaled = H if H.unscaled else MappedFactor(H, Scaled(np.full(rank, 1 / factor)))
    return (W * factor).astype(W.dtype), scaled


def usual_entry(product: float, shape: tuple[int, int], of_W: Penalty, of_H: Penalty) -> float:
    """Return the entry a of W (m, r) with the least penalty if those of H (r, n) are `product`/a; √ without one.

    The penalty of entries a and b is m (l1 a + ½ l2 a²) + n (l1 b + ½ l2 b²), whose slope in log a rises.

    >>> usual_entry(4.0, (10, 40), Penalty(l1=1.0), Penalty(l1=1.0))
    4.0
    """
    (push, bend), (push_H, bend_H) = (
        [size * float(np.mean(np.maximum(weight, 0))) for weight in penalty[:2]]
        for size, penalty in zip(shape, (of_W, of_H), strict=True)
    )
    root = math.sqrt(product)
    if not (push or bend) or not (push_H or bend_H):
        return root
    low, high = -64.0, 64.0  # powers of 2, times the root
    for _ in range(60):
        power = (low + high) / 2
        a, b = root * 2.0**power, root * 2.0**-power
        above = (push + bend * a) * a >= (push_H + bend_H * b) * b
        low, high = (low, power) if above else (power, high)
    return float(root * 2.0**high)


@dataclasses.dataclass(frozen=True, slots=True)
class Totals:
    """The work of a pass that adds up the entries that count, and their weights."""

    entries: Entries
    dtype: np.dtype[Any]

    def zero(self) -> Stats:
        """Return the statistics of no block."""
        return Stats.zero(1, 1)

    def visit(self, block: int, V: Block, H: Float | None, stats: Stats, scratch: Scratch) -> None:
        """Add those of a block."""
        mass, weight = self.entries.totals(V, self.dtype, scratch)
        stats.mass += mass
        stats.weight += weight


def first_mean(context: PassContext) -> float:
    """Return a weighted mean of V that is in its scale; 0 if V is 0.

    It is that of columns of the first block, which take `PANEL_BYTES`, so that a cluster sends few. Only if these are
    0, it is the mean of all columns, in one pass.
    """
    engine, layout = context.engine, context.layout
    few, width = max(1, PANEL_BYTES * layout.shape[1] // max(layout.stored_bytes, 1)), layout.bounds[1]
    V = engine.fetch(0, spread(width, few) if few < width else None)
    totals = Totals(context.rule.entries, layout.work_dtype)
    stats = totals.zero()
    totals.visit(0, V, None, stats, Scratch())
    if stats.mass == 0:
        stats = engine.one_pass(totals, scope=Scope(known={} if few < width else {0: V}))
    return float(stats.mass / stats.weight) if 0 < stats.mass < math.inf else 0.0
