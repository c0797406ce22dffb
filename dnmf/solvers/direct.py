"""The start of a run on a small V in memory: V itself is factorised by compiled rounds in this process.

A round over a small V takes a tenth of a pass or less, which costs more calls than arithmetic. So the rounds go on
until one gains less than a share of `tol`, and the passes after them confirm it. See `descent.descend` for a round.
"""

import dataclasses
import math

import numpy as np

from dnmf.engine.factor import ArrayFactor
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block, square_sum
from dnmf.kernels.blocks.sums import Summable
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.quadratic.descent import descend
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.rule import Rule
from dnmf.settings import Settings
from dnmf.solvers.bundle import comparable
from dnmf.solvers.iteration import PassContext, check_scale_of
from dnmf.solvers.several_runs import better_half
from dnmf.solvers.sketch.effort import CLOSE, EXACT, TIE
from dnmf.solvers.sketch.samples import begun, revived
from dnmf.solvers.state import State
from dnmf.sources.base import Layout

# Products of V with both factors in a round, up to which V is small.
MOST = 4 * 10**5
# Random starts, and the rounds of each; the better half goes on with twice the rounds. Rounds of the last one.
STARTS, TRIAL_ROUNDS, ROUNDS = 4, 8, 1000
# The share of `tol` by which a round must lower the loss for the next one to follow, and the smallest such decrease.
SHARE, LEAST = 0.1, 1e-9
# Sweeps over W and over H in a round, and over an H without values in the first one.
SWEEPS = (3, 3, 10)


def is_small(rule: Rule, layout: Layout, settings: Settings) -> bool:
    """Return whether a run by `"auto"` starts from factors of V itself: if it is small, without penalties by entry."""
    if not isinstance(rule, Quadratic) or rule.volume is not None or not layout.in_memory:
        return False
    if (settings.solver, settings.init) != ("auto", "auto"):
        return False
    rows, columns = layout.shape
    simple = all(penalty.plain and penalty.within.free for penalty in (rule.penalty_W, rule.penalty_H))
    return simple and not rule.n_fixed_W and not rule.n_fixed_H and settings.rank * rows * (rows + columns) <= MOST


def direct_bytes(layout: Layout) -> int:
    """Return the bytes of V as it is held, twice while its blocks are joined."""
    return 2 * math.prod(layout.shape) * layout.work_dtype.itemsize


@dataclasses.dataclass(slots=True)
class Held(Summable):
    """The blocks of V in the working dtype, and ‖V_j‖² of each."""

    blocks: list[Float]
    norms: list[float]


@dataclasses.dataclass(frozen=True, slots=True)
class Hold:
    """The work of a pass that validates V and holds it."""

    dtype: "np.dtype[np.floating]"

    def zero(self) -> Held:
        """Return no block."""
        return Held([], [])

    def visit(self, block: int, V: Block, H: Float | None, sums: Held, scratch: Scratch) -> None:
        """Add a dense copy of a block."""
        sums.norms.append(square_sum(V, self.dtype, scratch))
        sums.blocks.append(np.array(V if isinstance(V, np.ndarray) else V.toarray(), self.dtype, order="C"))


@dataclasses.dataclass(slots=True)
class Trial:
    """Factors Wᵀ (r, m) and H (r, n) of a start, whether H has no values yet, and their loss."""

    Wt: Float
    H: Float
    fresh: bool = True
    loss: float = np.inf


@dataclasses.dataclass(frozen=True, slots=True)
class Descent:
    """Rounds on V (m, n) under the penalties of a rule, until one lowers the loss by less than a share of it."""

    V: Float
    norm: float
    rule: Quadratic
    tolerance: float

    def start(self, W: Float) -> Trial:
        """Return a start from W (m, r)."""
        rank = W.shape[1]
        return Trial(np.ascontiguousarray(W.T, self.V.dtype), np.empty((rank, self.V.shape[1]), self.V.dtype))

    def go(self, trial: Trial, rounds: int) -> Trial:
        """Make rounds from a trial, and return it."""
        V, rule = self.V, self.rule
        penalties = (*map(float, (*rule.penalty_W[:2], *rule.penalty_H[:2])),)
        limits = rounds, self.tolerance, SWEEPS
        identity = np.empty((0, len(V)), V.dtype)
        found = descend(identity, V, trial.Wt, trial.H, trial.fresh, self.norm, penalties, rule.scaled, *limits)
        trial.fresh, trial.loss = False, comparable(float(found))
        return trial

    def best(self, rank: int, starts: int, seed: int) -> Trial:
        """Return the best of some random starts after all rounds; those with the lower losses go on."""
        generator, rounds = np.random.default_rng(seed), TRIAL_ROUNDS
        size = math.sqrt(self.norm / self.V.size)
        first = [np.abs(generator.standard_normal((len(self.V), rank))) for _ in range(starts)]
        trials = [self.start(begun(W, self.rule, size, self.V.shape)) for W in first]
        while len(trials) > 1:
            losses = [self.go(trial, rounds).loss for trial in trials]
            trials, rounds = [trials[k] for k in better_half(losses, CLOSE, TIE * self.norm)], 2 * rounds
        found = self.go(trials[0], ROUNDS)
        if found.loss > EXACT * self.norm and not found.Wt.any(axis=1).all():
            again = self.go(self.start(revived(found.Wt.T, self.rule)), ROUNDS)
            found = again if again.loss < found.loss else found
        return found


def direct_state(context: PassContext, settings: Settings) -> State:
    """Read V in a pass, and return factors of it as the first state."""
    layout, rule, rank = context.layout, context.rule, settings.rank
    assert isinstance(rule, Quadratic)
    held: Held = context.engine.one_pass(Hold(layout.work_dtype))
    check_scale_of(context, held.norms)
    descent = Descent(np.concatenate(held.blocks, axis=1), sum(held.norms), rule, max(SHARE * settings.tol, LEAST))
    if settings.n_runs == 1:
        best, runs = descent.best(rank, STARTS, settings.seed), tuple[float, ...]()
    else:
        seeds = range(settings.seed, settings.seed + settings.n_runs)
        fits = [descent.best(rank, 1, seed) for seed in seeds]
        runs = tuple(fit.loss for fit in fits)
        best = fits[runs.index(min(runs))]
    W = np.ascontiguousarray(best.Wt.T)
    return State(1, W, ArrayFactor(best.H, layout.bounds), tuple(held.norms), runs=runs)
