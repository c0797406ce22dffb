"""The first state of a deep factorisation: random factors, or those of a sketch of V."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from dnmf.engine import parallel_map
from dnmf.engine.factor import RandomFactor, StackedFactor
from dnmf.engine.plan import Load
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float, Vector
from dnmf.kernels.extrapolation import Momentum
from dnmf.kernels.penalty import Penalty
from dnmf.settings import Settings
from dnmf.solvers.iteration import PassContext
from dnmf.solvers.layers.method import stacked
from dnmf.solvers.layers.tower import Joint, Tower
from dnmf.solvers.shared_scale import first_mean, needs_scale, usual_entry
from dnmf.solvers.sketch import left_over, low_rank, sketch_load, stride_of
from dnmf.solvers.sketch.columns import BlockColumns, LocalColumns
from dnmf.solvers.sketch.effort import WIDTH, Effort
from dnmf.solvers.sketch.samples import squares
from dnmf.solvers.sketch.surrogate import Surrogate
from dnmf.solvers.state import State
from dnmf.sources.base import Layout

# Rounds of each layer by itself on the sample, before the joint ones, and rounds of the joint step after each of these.
FIRST_ROUNDS, STEP_ROUNDS = 30, 2


def fits_layers(layout: Layout, ranks: Sequence[int]) -> bool:
    """Return whether a start from a sketch is possible: it must be smaller than V in both directions."""
    return WIDTH * ranks[0] < min(layout.shape)


def layered_load(settings: Settings, layout: Layout, sketching: bool) -> Load:
    """Return the load of a run on all layers."""
    load, first = Load.plain(settings.width)._replace(shares=True), settings.layers[0]
    if not sketching:
        return load
    found = sketch_load(load, first, layout)
    return found._replace(
        worked=max(load.worked, (WIDTH + 1) * first), held=load.held + WIDTH * first, kept=load.kept + 4 * WIDTH * first
    )


def layered_start(context: PassContext, settings: Settings, joint: Joint, init: str) -> State:
    """Return the first state of a deep factorisation."""
    if init == "sketch":
        return sketched_layers(context, settings, joint)
    return random_layers(context, settings, joint)


def random_layers(
    context: PassContext, settings: Settings, joint: Joint, passes: int = 0, norms: tuple[float, ...] = ()
) -> State:
    """Return random factors as the first state, W₁ in the scale that penalties need."""
    layout, ranks, seed = context.layout, settings.layers, settings.seed
    tower, dtype = Tower.random(layout.shape[0], ranks, layout.work_dtype, seed), layout.work_dtype
    if any(map(needs_scale, joint.rules)) and (mean := first_mean(context)):
        penalties = joint.rules[0].penalty_W, joint.rules[0].penalty_H
        scale = usual_entry(mean / ranks[0], layout.shape, *penalties) / float(tower.first.mean(dtype=np.float64))
        tower = tower._replace(first=(tower.first * scale).astype(dtype))
    return stacked(tower, RandomFactor(sum(ranks), layout.bounds, dtype, seed), passes, norms)


def sketched_layers(context: PassContext, settings: Settings, joint: Joint) -> State:
    """Make the first pass, and return factors of its surrogate L R ≈ V as the first state.

    The layers are factorised one after another on a sample of the columns, then all together; the H of all columns
    follows from the last W. Where components of a layer vanish so, and would stay 0, the start is random.
    """
    layout, dtype = context.layout, context.layout.work_dtype
    stride = stride_of(layout)
    left, R, sums = low_rank(context, WIDTH * settings.layers[0], np.random.default_rng(settings.seed))
    norm, S = sum(sums.norms), np.concatenate(sums.sample, axis=1)
    beyond = left_over(norm, left, sums.gram)
    effort = Effort.of_start(layout, settings)
    with parallel_map(context.threads) as each:
        surrogates = [Surrogate(left.astype(dtype), rule, norm, beyond, each, effort) for rule in joint.rules]
        sample = [surrogate.on_sample(S, stride) for surrogate in surrogates]
        tower = _one_by_one(sample, S, settings)
        joint = dataclasses.replace(joint, rules=tuple(surrogate.rule for surrogate in sample))
        tower = descend(joint, sample, [LocalColumns(S, each=each) for _ in sample], tower, effort)
        if not all(W.any(axis=0).all() for W in tower.products()):  # the penalties of one layer starve the next
            R.drop()
            return random_layers(context, settings, joint, 1, tuple(sums.norms))
        factors = []
        for surrogate, W in zip(surrogates, tower.products(), strict=True):
            columns = BlockColumns(context.engine, context.new_factor, R)
            columns.update(surrogate.round(W, dtype))
            factors.append(columns.factor(layout.bounds))
    R.drop()
    return stacked(tower, StackedFactor(*factors), 1, tuple(sums.norms))


def _one_by_one(surrogates: Sequence[Surrogate], S: Float, settings: Settings) -> Tower:
    """Return factors of the layers on columns S (q, p) of the surrogate, each fitted to the H of the one before.

    As by Cichocki, Zdunek & Amari 2006 (multilayer NMF), with the rows of H scaled by the lengths of the columns of Ψ.
    """
    first, effort, mixings = surrogates[0], surrogates[0].effort, list[Float]()
    columns = LocalColumns(S, each=first.each)
    W = first.best_of(S, settings.layers[0], effort.starts, settings.seed)
    W, _ = first.descend(columns, W, FIRST_ROUNDS)
    product, H = W.astype(np.float64), columns.H
    for index, rank in enumerate(settings.layers[1:], start=1):
        assert H is not None
        lengths = np.linalg.norm(product, axis=0)
        scale = np.diag(lengths).astype(S.dtype)
        rule = surrogates[index].rule
        rule = dataclasses.replace(rule, penalty_W=of_scaled(rule.penalty_W, lengths))
        layer = dataclasses.replace(surrogates[index], left=scale, rule=rule, norm=squares(scale, H), beyond=0.0)
        columns = LocalColumns(H, each=first.each)
        X = layer.best_of(H, rank, effort.starts, settings.seed + index)
        X, _ = layer.descend(columns, X, FIRST_ROUNDS)
        mixings.append(np.divide(X, lengths[:, None], out=np.zeros(X.shape), where=lengths[:, None] > 0))
        product, H = product @ mixings[-1], columns.H
    return Tower(W.astype(S.dtype), tuple(mixings))


def of_scaled(penalty: Penalty, lengths: Vector) -> Penalty:
    """Return the penalty of a mixing matrix (r₁, r₂) as one of this matrix with its rows times lengths (r₁,), turned.

    >>> of_scaled(Penalty(l1=4.0), np.array([1.0, 2.0])).l1.tolist()
    [[4.0, 2.0]]
    """
    if penalty.none:
        return penalty
    inverse = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)[None]
    return Penalty(penalty.l1 * inverse, penalty.l2 * inverse**2, penalty.within)


def descend(
    joint: Joint, surrogates: Sequence[Surrogate], columns: Sequence[LocalColumns], tower: Tower, effort: Effort
) -> Tower:
    """Return better factors of all layers on columns of the surrogate, after rounds or when the progress is small.

    They are extrapolated as in `Surrogate.descend`.
    """
    momentum, point, least = Momentum(), tower, np.inf
    best, previous = tower, None
    left = surrogates[0].left.astype(np.float64)
    for _ in range(effort.rounds[0]):
        given = zip(surrogates, columns, point.products(), strict=True)
        stats = [_sums(surrogate, own, W) for surrogate, own, W in given]
        outcome = joint.finish(point, stats, STEP_ROUNDS, left.__matmul__, left.T.__matmul__)
        loss = joint.objective(outcome.losses, outcome.penalty)
        if loss > least:
            momentum, point, previous, least = momentum.cut(), best, None, np.inf
            continue
        settled = least - loss < effort.tolerance * loss
        best, least = outcome.tower, loss
        if settled:
            break
        point = outcome.tower
        if previous is not None:
            point = outcome.tower.beyond(previous, momentum.step, 0.0, joint.scaled)
            momentum = momentum.grown()
        previous = outcome.tower
    return best


def _sums(surrogate: Surrogate, columns: LocalColumns, W: Float) -> Stats:
    """Return the sums of a round on one layer, with A = L X as X."""
    round_ = surrogate.round(W, columns.dtype)
    sums = columns.update(round_)
    wide = W.astype(np.float64)
    fit = 0.5 * surrogate.norm - np.vdot(sums.cross, round_.projected) + 0.5 * np.vdot(sums.gram, wide.T @ wide)
    return Stats(sums.cross, sums.gram, sums.mass, max(float(fit), 0.0), [surrogate.norm], penalty=sums.penalty)
