"""The loop: an endless iterator over the states of a run, and the methods that make one pass."""

import dataclasses
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from dnmf.engine import Engine, MapFunction, parallel_map, single_threaded_products
from dnmf.engine.factor import Factor
from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.sums import Stats, same_sum
from dnmf.kernels.blocks.tiles import Float, Vector
from dnmf.kernels.divergence.rule import Divergence
from dnmf.kernels.extrapolation import extrapolate
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.rule import PART_ROWS, Model, Rule, Step
from dnmf.kernels.scale import check_scale
from dnmf.settings import Settings
from dnmf.solvers.coupling import Coupled, Pair, scale_matters
from dnmf.solvers.rows_below import Below
from dnmf.solvers.state import State
from dnmf.sources.base import Layout

NewFactor = Callable[[int], Factor]
# The damping of a second-order step: its factors after a step that lowered the loss and after one that did not.
EASED, TIGHTENED, LEAST_DAMPING = 0.5, 4.0, 1e-3


@dataclasses.dataclass(frozen=True, slots=True)
class PassContext:
    """The means to make a pass.

    Attributes
    ----------
    engine
        Reads V and runs the work on its blocks.
    rule
        Loss, penalties and updates.
    new_factor
        Returns a long factor with a number of rows, for a pass to fill.
    check
        Whether to validate the entries of every block, and to compare its norm with the one in the state.
    threads
        Threads of this process for the work between passes.
    settings
        Those of the run, if a run makes the passes.
    coupled
        Graphs and penalties of single entries, or None.
    eager
        Whether a state is complete when it is yielded, to be saved; otherwise its trial point waits for the next pass.
    """

    engine: Engine
    rule: Rule
    new_factor: NewFactor
    check: bool = True
    threads: int = 1
    settings: Settings | None = None
    coupled: Coupled | None = None
    eager: bool = True

    @property
    def layout(self) -> Layout:
        """Layout of V."""
        return self.engine.source.layout

    def input(self, state: State) -> Factor:
        """Return the long factor that the pass from a state reads: H, and the rows that its update needs."""
        return state.start if self.coupled is None else self.coupled.input(state.start, state.W.shape[1])

    def finish(self, W: Float, stats: Stats) -> Step:
        """Update W (m, r) from the sums of a pass, part by part on the threads of this process."""
        with self.each_part(W) as each:
            return self.rule.finish(W, stats, each)

    def each_part(self, W: Float) -> AbstractContextManager[MapFunction]:
        """Return a map over parts of W (m, r), on the threads of this process."""
        work = W.size * W.shape[1] * (1 if isinstance(self.rule, Quadratic) else 8)  # rows with own Gram matrices
        return parallel_map(min(self.threads, -(-len(W) // PART_ROWS)), work)

    def after(self, state: State, stats: Stats, H: Factor) -> tuple["PassContext", State]:
        """Return the context and the state from which the new H and the sums of a pass are followed."""
        if isinstance(self.rule, Quadratic) and self.rule.volume is not None:
            volume = self.rule.volume.known(state.volume, state.point, stats.fit)
            context = dataclasses.replace(self, rule=dataclasses.replace(self.rule, volume=volume))
            return context, dataclasses.replace(state, volume=(volume.strength, volume.scale))
        if self.coupled is None:
            return self, state
        return self.finishing(state, stats, self.coupled.roughness(H, state.W.shape[1]))

    def finishing(
        self, state: State, stats: Stats, roughness: Vector, weight: Pair | None = None
    ) -> tuple["PassContext", State]:
        """Return the same, given the roughness of the new H (r,) and the weights of the graphs."""
        assert self.coupled is not None
        curvature = self.coupled.curvature(state.curvature, self.rule, stats)
        rule = self.coupled.finishing(self.rule, stats, roughness, curvature, weight)
        return dataclasses.replace(self, rule=rule), dataclasses.replace(state, curvature=curvature)


# Makes a pass from a state, and returns the next state.
Method = Callable[[PassContext, State], State]
# Returns the next state, given the statistics of a pass of the rule and the H that it wrote.
Follow = Callable[[PassContext, State, Stats, Factor], State]


def iterate(context: PassContext, state: State, method: Method) -> Generator[State]:
    """Yield the state after every pass, without end. Each pass reads V once; the first one validates the blocks."""
    try:
        while True:
            with single_threaded_products():
                previous = state = state.proposed()
                state = method(context, previous)
                if context.eager:
                    state = state.proposed()
            for before, now in ((previous.H, state.H), (previous.carry.H_trial, state.carry.H_trial)):
                if before is not None and before is not now:
                    before.drop()
            if math.isinf(previous.loss):  # the first pass of the run
                check_scale_of(context, state.norms or ())
            context = dataclasses.replace(context, check=False)
            yield state
    finally:
        if state.carry.propose is not None:
            state.carry.propose.drop()


def check_scale_of(context: PassContext, norms: Sequence[float]) -> None:
    """Raise DataError if the entries of V are too small or too large for their sums, given ‖V_j‖² of every block."""
    layout, rule = context.layout, context.rule
    size = math.sqrt(sum(norms)) / math.sqrt(math.prod(layout.shape))
    constrained = not (rule.penalty_W.within.free and rule.penalty_H.within.free)
    beta = rule.beta if isinstance(rule, Divergence) else 2.0
    check_scale(size, layout.work_dtype, beta, constrained=constrained, penalised=scale_matters(rule, context.coupled))


def stepping(follow: Follow) -> Method:
    """Return the method that makes a pass of the rule, after which `follow` returns the next state."""

    def step(context: PassContext, state: State) -> State:
        H = context.new_factor(state.W.shape[1])
        stats = context.engine.one_pass(Update.of(context, state), context.input(state), H)
        new = follow(*context.after(state, stats, H), stats, H)
        if new.H is not H:
            H.drop()
        return new

    return step


def after_plain(context: PassContext, state: State, stats: Stats, H: Factor) -> State:
    """Return the state after a pass of the rule alone."""
    return state.after(context.finish(state.point, stats), H, tuple(stats.norms))


def after_extrapolated(context: PassContext, state: State, stats: Stats, H: Factor) -> State:
    """Return the state after a pass from a point beyond W, with the next such point."""
    rule, norms = context.rule, tuple(stats.norms)
    step = context.finish(state.point, stats)
    if not state.accepts(step):
        return state.rejected(norms, "extrapolated")
    momentum = state.carry.momentum if state.carry.W_trial is None else state.carry.momentum.grown()
    begun = state.loss < float("inf")
    W_trial = extrapolate(step.W, state.latest, momentum.step, rule.least, rule.scaled) if begun else None
    new = state.after(step, H, norms)
    carry = dataclasses.replace(new.carry, W_trial=W_trial, momentum=momentum)
    return dataclasses.replace(new, method="extrapolated", carry=carry)


def after_second_order(context: PassContext, state: State, stats: Stats, H: Factor) -> State:
    """Return the state after a pass for the Kullback–Leibler divergence; the next one tries a second-order step of W.

    The state keeps the majorised step, which cannot raise the loss, until a pass has found the second-order step to be
    better.
    """
    rule = context.rule
    assert isinstance(rule, Divergence)
    step = context.finish(state.point, stats)
    norms, carry = tuple(stats.norms), state.carry
    if not state.accepts(step):
        new = state.rejected(norms, "newton")
        damping = min(TIGHTENED * carry.damping, 1.0)
        return dataclasses.replace(new, carry=dataclasses.replace(new.carry, damping=damping, W_newton=None))
    damping = carry.damping if carry.W_trial is None else max(EASED * carry.damping, LEAST_DAMPING)
    with context.each_part(state.W) as each:
        W_newton = rule.second_order(state.point, stats, damping, each)
    W_trial, momentum = W_newton, carry.momentum
    if carry.W_newton is not None:
        momentum = momentum.grown()
        W_trial = extrapolate(W_newton, carry.W_newton, momentum.step, rule.least, rule.scaled)
    new = state.after(step, H, norms)
    carry = dataclasses.replace(new.carry, W_trial=W_trial, W_newton=W_newton, momentum=momentum, damping=damping)
    return dataclasses.replace(new, method="newton", carry=carry)


extrapolated = stepping(after_extrapolated)


@dataclasses.dataclass(frozen=True, slots=True)
class Update:
    """The work of a pass of the rule: validate each block, update its H, and add up the statistics that update W.

    Attributes
    ----------
    rule, model
        The updates, and the W that they use.
    fresh
        Whether the columns of H have yet to be scaled to fit those of V.
    norms
        ‖V_j‖² of every block from earlier passes, or None.
    check
        Whether to compute them again, which validates the entries.
    layout
        Of V.
    below
        How to read the rows below H, or None if there are none.
    weigh
        Whether to add up V and the weights of its entries.
    """

    rule: Rule
    model: Model
    fresh: bool
    norms: tuple[float, ...] | None
    check: bool
    layout: Layout
    below: Below | None = None
    weigh: bool = False

    @classmethod
    def of(
        cls,
        context: PassContext,
        state: State,
        rows: int | None = None,
        own: slice = slice(None),
        weight: Pair | None = None,
        W: Float | None = None,
    ) -> "Update":
        """Return the work of the pass from a state.

        The state may be that of one of several models, which has its `own` of all `rows` of H, and a `weight` for each
        graph. `W` is another point to start from.
        """
        model, coupled = Model.of(state.point if W is None else W), context.coupled
        update = cls(context.rule, model, state.H.unscaled, state.norms, context.check, context.layout)
        if coupled is None:
            return update
        rank, known = state.W.shape[1], coupled.curvature(state.curvature, context.rule)
        own = slice(0, rank) if rows is None else own
        squares = np.diag(model.gram).astype(np.float64)
        return dataclasses.replace(
            update,
            rule=coupled.visiting(context.rule, model.W, known, weight),
            below=coupled.below(state.start, squares, known, rows or rank, own, weight),
            weigh=known == 0,
        )

    def zero(self) -> Stats:
        """Return the statistics of no block."""
        rows, rank = self.model.W.shape
        return self.rule.zero(rows, rank)

    def visit(self, block: int, V: Block, H: Float | None, stats: Stats, scratch: Scratch) -> Float | None:
        """Update a block (r, w) of H in place."""
        assert H is not None
        self.add_norm(block, V, stats, H.dtype, scratch)
        if self.below is None:
            self.rule.visit(V, H, self.model, stats, scratch, fresh=self.fresh)
            return H
        rule, new = self.below.rule(self.rule, H), H[self.below.own].copy()
        rule.visit(V, new, self.model, stats, scratch, fresh=self.fresh)
        self.below.measure(H, new, stats)
        return new

    def add_norm(self, block: int, V: Block, stats: Stats, dtype: np.dtype[Any], scratch: Scratch) -> None:
        """Add ‖V_j‖² of a block to the statistics.

        Raises
        ------
        DataError
            If it differs from that of earlier passes.
        """
        known = self.norms[block] if self.norms else None
        norm = self.rule.entries.square_sum(V, dtype, scratch) if self.check or known is None else known
        if known is not None and not same_sum(norm, known, math.prod(V.shape)):
            raise DataError(
                f"{self.layout.name(block)} of V has changed: the sum of its squares is {norm!r} and was {known!r}. "
                "Give the matrix that the run was started on, or start a new run."
            )
        stats.norms.append(norm)
        if self.weigh:
            mass, weight = self.rule.entries.totals(V, dtype, scratch)
            stats.mass += mass
            stats.weight += weight
