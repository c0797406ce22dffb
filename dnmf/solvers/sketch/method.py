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
from dnmf.solvers.sketch.basis import (
    PILOT_ROUNDS,
    first_basis,
    left_over,
    lifted,
    pilot_bytes,
)
from dnmf.solvers.sketch.columns import BlockColumns
from dnmf.solvers.sketch.effort import SPARSE_CHEAP, WIDTH, Effort, is_light, products
from dnmf.solvers.sketch.passes import Sketch, SketchSums
from dnmf.solvers.sketch.samples import SAMPLE, stride_of
from dnmf.solvers.sketch.scaled import scaled_start
from dnmf.solvers.sketch.surrogate import Surrogate
from dnmf.solvers.sketch.trial import KEPT_WIDTH, AfterPass, Projected, Trial, couple, next_directions
from dnmf.solvers.state import MethodState, State
from dnmf.sources.base import Layout

# Rows of [H; R] in a later pass for every component: H, and R for W, for the kept basis, and for the last change.
LARGEST = 3 + KEPT_WIDTH
# The sketch is given up after this many consecutive trial points that were rejected.
REJECTIONS = 2


def fits(rule: Rule, layout: Layout, rank: int) -> bool:
    """Return whether passes can use a sketch: it must be smaller than V in both directions, and W have no volume."""
    return isinstance(rule, Quadratic) and rule.volume is None and LARGEST * rank < min(layout.shape)


def starts(rule: Rule, layout: Layout, rank: int, beta: float = 2) -> bool:
    """Return whether a run can start from a sketch: every entry counts, no component is fixed, and no entry bounded.

    β decides how small the sketch must be; see `exceeded`.
    """
    if not isinstance(rule, (Quadratic, Divergence)) or rule.n_fixed_W or rule.n_fixed_H:
        return False
    if min(rule.penalty_W.within.upper, rule.penalty_H.within.upper) < math.inf:
        return False
    return rule.entries.all and exceeded(rank, beta) < min(layout.shape)


def exceeded(rank: int, beta: float) -> int:
    """Return the number that those of rows and columns must exceed for a start from a sketch.

    Under a divergence with 1 ≤ β < 2, a sketch that is as large as V still saves passes: a random start is far from any
    solution. With other β, it leads to other minima, which are not better.

    >>> exceeded(4, 2), exceeded(4, 1), exceeded(4, 0)
    (20, 4, 20)
    """
    return rank if 1 <= beta < 2 else LARGEST * rank


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
    layout = engine.source.layout
    if isinstance(rule, Divergence):
        return scaled_start(context, settings, min(WIDTH * rank, *layout.shape))
    assert isinstance(rule, Quadratic)
    dtype, stride = layout.work_dtype, stride_of(layout)
    effort = Effort.of_start(layout, settings)
    generator = np.random.default_rng(settings.seed)
    pilot = effort.pilot_rounds, effort.pilot_share
    left, R, sums = low_rank(context, effort.basis_width(rank), generator, pilot)
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
            W, columns = couple(context, surrogate, W, R, columns.factor(layout.bounds), first=True)
    R.drop()
    directions = surrogate.left  # spans VRᵀ, and becomes orthonormal with W
    carry = MethodState(sketch_directions=directions if directions.size else None)
    H, norms = columns.factor(layout.bounds), tuple(sums.norms)
    return State(1, W.astype(dtype), H, norms, method="sketch", carry=carry, runs=runs)


def low_rank(
    context: PassContext,
    width: int,
    generator: np.random.Generator,
    pilot: tuple[int, int] = (PILOT_ROUNDS, 0),
    *,
    summed: bool = False,
) -> tuple[Float, Factor, SketchSums]:
    """Return L (m, K) and R (K, n) with L R ≈ V, computed in one pass, and its sums; K ≤ width.

    The `pilot` are the rounds of products and the share of columns for the first basis.
    """
    layout = context.layout
    Q, known = first_basis(context.engine, width, generator, *pilot)
    R = context.new_factor(Q.shape[1])
    work = Sketch(np.ascontiguousarray(Q, layout.work_dtype), layout.bounds, stride_of(layout), summed=summed)
    sums: SketchSums = context.engine.one_pass(work, output=R, scope=Scope(known=known))
    known.clear()
    return Q + lifted(Q, sums.product, sums.gram, layout.work_dtype), R, sums


def corrected(context: PassContext, state: State) -> State:
    """Make a pass at the trial point of the last surrogate; the next one is found when the next pass begins.

    A dense V in memory whose blocks are read without a copy is projected after the step, and so not in the last pass:
    that takes more arithmetic than time to read V again.
    """
    if state.carry.sketch_directions is None or state.carry.rejections >= REJECTIONS:
        return extrapolated(context, state)
    assert isinstance(context.rule, Quadratic)
    layout, settings, rank = context.layout, context.settings, state.W.shape[1]
    light = settings is not None and is_light(layout, settings)
    late = light and not layout.sparse and layout.read_bytes == 0
    H, update = context.new_factor(rank), Update.of(context, state)
    if late:
        projected, stats = None, context.engine.one_pass(update, context.input(state), H)
    else:
        projected = Projected.of(context, state, context.input(state), update)
        stats = projected.sums.stats
        context.engine.one_pass(MapBlocks(Rows(0, rank)), projected.both, H, H_ALONE)
    after, state = context.after(state, stats, H)
    step = after.finish(state.point, stats)
    norms = tuple(stats.norms)
    if not state.accepts(step):
        H.drop()
        if projected is not None:
            projected.both.drop()
        carry = dataclasses.replace(state.carry, W_trial=None, H_trial=None, rejections=state.carry.rejections + 1)
        return dataclasses.replace(state, passes=state.passes + 1, norms=norms, method="sketch", carry=carry)
    new = state.after(step, H, norms)
    # A pass at W itself, after a rejected point, is no evidence for or against the surrogates.
    rejections = state.carry.rejections if state.carry.W_trial is None else 0
    carry = MethodState(sketch_directions=state.carry.sketch_directions, rejections=rejections)
    ends = settings is not None and new.optimality <= settings.tol
    if projected is None and not ends:
        projected = Projected.of(context, state, H)
    if projected is not None:
        surrogate = AfterPass.of(step.W, stats, projected, H)
        directions = next_directions(projected.Q, projected.sums.gram, surrogate.change, KEPT_WIDTH * rank)
        carry = dataclasses.replace(carry, sketch_directions=directions.astype(layout.work_dtype))
        if ends:
            projected.both.drop()
        else:
            carry = dataclasses.replace(carry, propose=Trial(context, surrogate))
    return dataclasses.replace(new, method="sketch", carry=carry)
