"""The method: a pass, and the factorisation of a surrogate after it."""

import dataclasses
import math

import numpy as np

from dnmf.engine import H_ALONE, MapBlocks, Scope, parallel_map
from dnmf.engine.factor import Factor, Rows
from dnmf.engine.plan import Load
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.divergence.rule import Divergence
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.rule import Rule
from dnmf.settings import Settings
from dnmf.solvers.iteration import PassContext, Update, check_scale_of, extrapolated
from dnmf.solvers.shared_scale import first_mean, in_scale, needs_scale
from dnmf.solvers.sketch.basis import (
    PILOT_ROUNDS,
    first_basis,
    left_over,
    lifted,
    orthonormal,
    pilot_bytes,
)
from dnmf.solvers.sketch.columns import BlockColumns
from dnmf.solvers.sketch.effort import FULL_EFFORT, SPARSE_CHEAP, Effort, products
from dnmf.solvers.sketch.passes import Correct, CorrectSums, Sketch, SketchSums
from dnmf.solvers.sketch.samples import SAMPLE, stride_of
from dnmf.solvers.sketch.scaled import scaled_start
from dnmf.solvers.sketch.surrogate import Surrogate
from dnmf.solvers.state import MethodState, State
from dnmf.sources.base import Layout

# Columns of the first basis for every component, and those of later ones besides W.
WIDTH, KEPT_WIDTH = 3, 2
# Rows of [H; R] in a later pass for every component: H, and R for W, for the kept basis, and for the last change.
LARGEST = 3 + KEPT_WIDTH
# Rounds over all columns where graphs or penalties of single entries couple them.
COUPLED_ROUNDS = 60
# The sketch is given up after this many consecutive trial points that were rejected.
REJECTIONS = 2


def fits(rule: Rule, layout: Layout, rank: int) -> bool:
    """Return whether passes can use a sketch: it must be smaller than V in both directions, and W have no volume."""
    return isinstance(rule, Quadratic) and rule.volume is None and LARGEST * rank < min(layout.shape)


def starts(rule: Rule, layout: Layout, rank: int) -> bool:
    """Return whether a run can start from a sketch: every entry counts, no component is fixed, and no entry bounded."""
    if not isinstance(rule, (Quadratic, Divergence)) or rule.n_fixed_W or rule.n_fixed_H:
        return False
    if min(rule.penalty_W.within.upper, rule.penalty_H.within.upper) < math.inf:
        return False
    return rule.entries.all and LARGEST * rank < min(layout.shape)


def pays(layout: Layout, rank: int) -> bool:
    """Return whether reading V costs more than its sketch: by its layout alone, so that a clock decides no bits.

    It does on a disk. Elsewhere, a sparse V must not be smaller than the sketch, nor in memory so small that a pass
    costs as little as a round on its sketch. A Dask array may compute its blocks from anywhere.
    """
    if layout.on_disk:
        return True
    sketch = LARGEST * rank * layout.shape[1] * layout.work_dtype.itemsize
    if layout.sparse and layout.stored_bytes <= 2 * sketch:
        return False
    return not (layout.in_memory and layout.sparse) or products(layout, rank) >= SPARSE_CHEAP


def sketch_load(load: Load, rank: int, layout: Layout) -> Load:
    """Return the load of a run that makes sketches.

    The long factors of a sketch are [H; R] of a pass, H before and after it, and two H of the surrogate. The driver
    holds the basis, the left factor of the surrogate and the directions of the last one in the working dtype, the
    sample with the arrays of all starts, and the pilot columns of V.
    """
    sample = 4 * LARGEST * rank * min(SAMPLE, layout.shape[1]) * layout.work_dtype.itemsize
    return load.beginning(
        "for the sketch of V and factors of its size",
        sums=WIDTH * rank,
        worked=LARGEST * rank,
        held=(LARGEST + 4) * rank,
        kept=2 * layout.work_dtype.itemsize * rank,
        extra=sample + pilot_bytes(layout),
    )


def sketched(context: PassContext, settings: Settings) -> State:
    """Make the first pass, and return factors of its surrogate as the first state."""
    engine, rule, rank = context.engine, context.rule, settings.rank
    if isinstance(rule, Divergence):
        return scaled_start(context, settings, WIDTH * rank)
    assert isinstance(rule, Quadratic)
    layout = engine.source.layout
    dtype, stride = layout.work_dtype, stride_of(layout)
    effort = Effort.of_start(layout, settings)
    generator = np.random.default_rng(settings.seed)
    left, R, sums = low_rank(context, WIDTH * rank, generator, rounds=effort.pilot_rounds)
    check_scale_of(context, sums.norms)
    norm = sum(sums.norms)
    beyond = left_over(norm, left, sums.gram)
    S = np.concatenate(sums.sample, axis=1)
    all_columns = BlockColumns(engine, context.new_factor, R)
    with parallel_map(context.threads) as each:
        surrogate = Surrogate(left.astype(dtype), rule, norm, beyond, each, effort)
        runs: tuple[float, ...]
        if settings.n_runs == 1:
            W, runs = surrogate.on_sample(S, stride).best_of(S, rank, effort.starts, settings.seed), ()
        else:
            seeds = range(settings.seed, settings.seed + settings.n_runs)
            W, runs = surrogate.all_of(S, rank, seeds, stride, effort.rounds[0])
        W, columns = surrogate.solve(S, W, all_columns, stride)
        if context.coupled is not None:
            W, columns = couple(context, surrogate, W, R, columns.factor(layout.bounds))
    R.drop()
    directions = orthonormal(sums.product).astype(dtype)
    carry = MethodState(sketch_directions=directions if directions.size else None)
    H, norms = columns.factor(layout.bounds), tuple(sums.norms)
    return State(1, W.astype(dtype), H, norms, method="sketch", carry=carry, runs=runs)


def couple(context: PassContext, surrogate: Surrogate, W: Float, R: Factor, H: Factor) -> tuple[Float, BlockColumns]:
    """Return W (m, r) and the columns with their H after rounds with the coupling, from a fit without it.

    From noise, a graph would make all components alike before they differ. The rounds run in this process, which holds
    the graph: a cluster would have to bring H and its product with the graph there and back in every round.
    """
    coupled = context.coupled
    assert coupled is not None
    S, start = coupled.room.release(R, surrogate.left.shape[1]), coupled.room.release(H, W.shape[1])
    begun = start
    if needs_scale(context.rule, coupled) and (mean := first_mean(context)):
        W, begun = in_scale(context, W, start, mean)
    columns = BlockColumns(context.engine.here(), coupled.room.new_factor_here, S, begun, coupled=coupled)
    W = dataclasses.replace(surrogate, coupled=coupled).solve_coupled(W, columns, COUPLED_ROUNDS)
    for here, there in ((S, R), (start, H)):
        if here is not there:
            here.drop()
    return W, columns


def low_rank(
    context: PassContext,
    width: int,
    generator: np.random.Generator,
    *,
    rounds: int = PILOT_ROUNDS,
    summed: bool = False,
) -> tuple[Float, Factor, SketchSums]:
    """Return L (m, K) and R (K, n) with L R ≈ V, computed in one pass, and its sums; K ≤ width."""
    layout = context.layout
    Q, known = first_basis(context.engine, width, generator, rounds)
    R = context.new_factor(Q.shape[1])
    work = Sketch(np.ascontiguousarray(Q, layout.work_dtype), layout.bounds, stride_of(layout), summed=summed)
    sums: SketchSums = context.engine.one_pass(work, output=R, scope=Scope(known=known))
    known.clear()
    return Q + lifted(Q, sums.product, sums.gram, layout.work_dtype), R, sums


def corrected(context: PassContext, state: State) -> State:
    """Make a pass at the trial point of the last surrogate; the next one is found when the next pass begins."""
    if state.carry.sketch_directions is None or state.carry.rejections >= REJECTIONS:
        return extrapolated(context, state)
    rank = state.W.shape[1]
    assert isinstance(context.rule, Quadratic)
    layout = context.layout
    stride = stride_of(layout)
    Q = orthonormal(np.hstack([state.point, state.carry.sketch_directions], dtype=np.float64)).astype(layout.work_dtype)
    both = context.new_factor(rank + Q.shape[1])
    work = Correct(Update.of(context, state), Q, stride)
    sums: CorrectSums = context.engine.one_pass(work, context.input(state), both)
    H = context.new_factor(rank)
    context.engine.one_pass(MapBlocks(Rows(0, rank)), both, H, H_ALONE)
    after, state = context.after(state, sums.stats, H)
    step = after.finish(state.point, sums.stats)
    norms = tuple(sums.stats.norms)
    if not state.accepts(step):
        both.drop()
        H.drop()
        carry = dataclasses.replace(state.carry, W_trial=None, H_trial=None, rejections=state.carry.rejections + 1)
        return dataclasses.replace(state, passes=state.passes + 1, norms=norms, method="sketch", carry=carry)
    new = state.after(step, H, norms)
    change = lifted(Q, sums.stats.cross, sums.stats.gram, layout.work_dtype)
    # A pass at W itself, after a rejected point, is no evidence for or against the surrogates.
    rejections = state.carry.rejections if state.carry.W_trial is None else 0
    directions = next_directions(Q, sums.gram, change, KEPT_WIDTH * rank).astype(layout.work_dtype)
    carry = MethodState(sketch_directions=directions, rejections=rejections)
    if context.settings is None or new.optimality > context.settings.tol:  # else the run ends here
        carry = dataclasses.replace(carry, propose=Trial(context, AfterPass(step.W, Q, change, sums, both, H)))
    else:
        both.drop()
    return dataclasses.replace(new, method="sketch", carry=carry)


@dataclasses.dataclass(slots=True)
class Trial:
    """Finds the trial point after a pass, which factorises its surrogate.

    The state that a run has yielded keeps its trial during the next pass. So a trial forgets its surrogate once it was
    used: only that frees the columns that are held in memory.

    Attributes
    ----------
    context
        The means to make passes over the surrogate.
    surrogate
        The surrogate, or None once it was used.
    """

    context: PassContext
    surrogate: "AfterPass | None"

    def __call__(self) -> tuple[Float, Factor | None]:
        """Return the W (m, r) that factorises the surrogate; with a coupling, its H too."""
        assert self.surrogate is not None
        found = self.surrogate.factorised(self.context)
        self.drop()
        return found

    def drop(self) -> None:
        """Free the columns of the surrogate."""
        if self.surrogate is not None:
            self.surrogate.both.drop()
        self.surrogate = None


@dataclasses.dataclass(frozen=True, slots=True)
class AfterPass:
    """The surrogate of V after a pass.

    Attributes
    ----------
    W
        The W (m, r) after the step.
    Q, change
        The basis (m, q), and the part of the surrogate outside it (m, r).
    sums
        Those of the pass.
    both, H
        The columns [H; R] of the surrogate, and the H in them.
    """

    W: Float
    Q: Float
    change: Float
    sums: CorrectSums
    both: Factor
    H: Factor

    def factorised(self, context: PassContext) -> tuple[Float, Factor | None]:
        """Return the W (m, r) that factorises the surrogate; with a coupling, its H too."""
        sums = self.sums
        assert isinstance(context.rule, Quadratic)
        layout, norm = context.layout, sum(sums.stats.norms)
        left = np.hstack([self.change, self.Q], dtype=layout.work_dtype, casting="same_kind")
        # The two parts are orthogonal.
        beyond = left_over(left_over(norm, self.change, sums.stats.gram), self.Q, sums.gram)
        S, wide = np.concatenate(sums.sample, axis=1), self.W.astype(np.float64)
        effort = FULL_EFFORT if context.settings is None else Effort.of_correction(layout, context.settings)
        with parallel_map(context.threads) as each:
            surrogate = Surrogate(left, context.rule, norm, beyond, each, effort)
            if context.coupled is not None:
                new, columns = couple(context, surrogate, wide, self.both, self.H)
                H_trial: Factor | None = columns.factor(layout.bounds)
            else:
                all_columns = BlockColumns(context.engine, context.new_factor, self.both, self.H)
                new, _ = surrogate.solve(S, wide, all_columns, stride_of(layout), S[: wide.shape[1]].copy())
                all_columns.drop()
                H_trial = None
        return new.astype(layout.work_dtype), H_trial


def next_directions(Q: Float, gram: Float, change: Float, width: int) -> Float:
    """Return the directions (m, q) that the next pass adds to the basis.

    They are the `width` leading ones of the basis Q (m, q), given RRᵀ, and the part of the surrogate outside Q.
    """
    values, vectors = np.linalg.eigh(gram)
    leading = Q @ vectors[:, np.argsort(values)[::-1][:width]]
    size = float(np.linalg.norm(change))
    return np.hstack([leading, change * (1e-3 / size)]) if size > 0 else leading
