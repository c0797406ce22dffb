"""The trial point after a pass: V projected on a basis, and the factorisation of its surrogate."""

import dataclasses
from typing import NamedTuple, Self

import numpy as np

from dnmf.engine import parallel_map
from dnmf.engine.factor import Factor
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.solvers.iteration import PassContext, Update
from dnmf.solvers.shared_scale import first_mean, in_scale, needs_scale
from dnmf.solvers.sketch.basis import left_over, lifted, orthonormal
from dnmf.solvers.sketch.columns import BlockColumns
from dnmf.solvers.sketch.effort import FULL_EFFORT, Effort
from dnmf.solvers.sketch.passes import Correct, CorrectSums
from dnmf.solvers.sketch.samples import stride_of
from dnmf.solvers.sketch.surrogate import Surrogate
from dnmf.solvers.state import State

# Columns of later bases besides W, for every component.
KEPT_WIDTH = 2
# Rounds over all columns where graphs or penalties of single entries couple them.
COUPLED_ROUNDS = 60


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
            self.surrogate.projected.both.drop()
        self.surrogate = None


class Projected(NamedTuple):
    """The basis Q (m, q), the columns [H; R] with R = QᵀV, and the sums of the pass that made them."""

    Q: Float
    both: Factor
    sums: CorrectSums

    @classmethod
    def of(cls, context: PassContext, state: State, H: Factor, update: Update | None = None) -> Self:
        """Make a pass that projects V and, if an update is given, updates H; else H stays as it is."""
        layout, known = context.layout, state.carry.sketch_directions
        assert known is not None
        directions = np.hstack([state.point, known], dtype=np.float64)
        Q = orthonormal(directions).astype(layout.work_dtype)
        both = context.new_factor(state.W.shape[1] + Q.shape[1])
        return cls(Q, both, context.engine.one_pass(Correct(Q, layout.bounds, stride_of(layout), update), H, both))


@dataclasses.dataclass(frozen=True, slots=True)
class AfterPass:
    """The surrogate of V after a pass.

    Attributes
    ----------
    W
        The W (m, r) after the step.
    change
        The part of the surrogate outside the basis (m, r).
    norms, gram
        ‖V_j‖² of every block, and HHᵀ (r, r).
    projected
        V projected on the basis.
    H
        The H of the pass.
    """

    W: Float
    change: Float
    norms: tuple[float, ...]
    gram: Float
    projected: Projected
    H: Factor

    @classmethod
    def of(cls, W: Float, stats: Stats, projected: Projected, H: Factor) -> Self:
        """Return the surrogate at the step from a pass to W (m, r)."""
        change = lifted(projected.Q, stats.cross, stats.gram, projected.Q.dtype)
        return cls(W, change, tuple(stats.norms), stats.gram, projected, H)

    def factorised(self, context: PassContext) -> tuple[Float, Factor | None]:
        """Return the W (m, r) that factorises the surrogate; with a coupling, its H too."""
        assert isinstance(context.rule, Quadratic)
        Q, both, sums = self.projected
        layout, norm = context.layout, sum(self.norms)
        left = np.hstack([self.change, Q], dtype=layout.work_dtype, casting="same_kind")
        # The two parts are orthogonal.
        beyond = left_over(left_over(norm, self.change, self.gram), Q, sums.gram)
        S, wide = np.concatenate(sums.sample, axis=1), self.W.astype(np.float64)
        effort = FULL_EFFORT if context.settings is None else Effort.of_correction(layout, context.settings)
        with parallel_map(context.threads) as each:
            surrogate = Surrogate(left, context.rule, norm, beyond, each, effort)
            if context.coupled is not None:
                new, columns = couple(context, surrogate, wide, both, self.H)
                H_trial: Factor | None = columns.factor(layout.bounds)
            else:
                all_columns = BlockColumns(context.engine, context.new_factor, both, self.H)
                new, _ = surrogate.solve(S, wide, all_columns, stride_of(layout), S[: wide.shape[1]].copy())
                all_columns.drop()
                H_trial = None
        return new.astype(layout.work_dtype), H_trial


def couple(
    context: PassContext, surrogate: Surrogate, W: Float, R: Factor, H: Factor, *, first: bool = False
) -> tuple[Float, BlockColumns]:
    """Return W (m, r) and the columns with their H after rounds with the coupling, from a fit without it.

    From noise, a graph would make all components alike before they differ; and the `first` W gets the scale that the
    penalties need. The rounds run in this process, which holds the graph: a cluster would have to bring H and its
    product with the graph there and back in every round.
    """
    coupled = context.coupled
    assert coupled is not None
    S, start = coupled.room.release(R, surrogate.left.shape[1]), coupled.room.release(H, W.shape[1])
    begun = start
    if first and needs_scale(context.rule, coupled) and (mean := first_mean(context)):
        W, begun = in_scale(context, W, start, mean)
    columns = BlockColumns(context.engine.here(), coupled.room.new_factor_here, S, begun, coupled=coupled)
    W = dataclasses.replace(surrogate, coupled=coupled).solve_coupled(W, columns, COUPLED_ROUNDS)
    for here, there in ((S, R), (start, H)):
        if here is not there:
            here.drop()
    return W, columns


def next_directions(Q: Float, gram: Float, change: Float, width: int) -> Float:
    """Return the directions (m, q) that the next pass adds to the basis.

    They are the `width` leading ones of the basis Q (m, q), given RRᵀ, and the part of the surrogate outside Q.
    """
    values, vectors = np.linalg.eigh(gram)
    leading = Q @ vectors[:, np.argsort(values)[::-1][:width]]
    size = float(np.linalg.norm(change))
    return np.hstack([leading, change * (1e-3 / size)]) if size > 0 else leading
