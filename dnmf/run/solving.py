"""The work of a pass that solves for the long factor, with the other one held."""

import dataclasses

from dnmf.engine.plan import Load
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float, Vector
from dnmf.kernels.graph import hold
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.registry import altered, sums_per_row
from dnmf.kernels.rule import Model, Rule
from dnmf.solvers.selection import listed_panels


def load_of_solving(rule: Rule, rank: int, kept: bool, summed: bool) -> Load:
    """Return the load of solving for one factor given the other one.

    The given factor is gathered, brought into the order of V and converted to its dtype.
    """
    return Load(
        sums=sums_per_row(rule, rank) if summed else 0,
        worked=rank,
        held=2 * rank if kept else 0,
        kept=4 * rank,
        panels=listed_panels(rule),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Solve:
    """The work of a pass that solves for H given W, and measures the loss if requested.

    Attributes
    ----------
    rule, model
        The loss, and the given W.
    kept
        Whether to return H.
    measured, summed
        Whether the statistics include the loss without penalties, and all sums that an update of W needs.
    scale
        Of the penalties (r,) for a pass that reads the sums of held neighbours, and degrees below them, or None.
    norms
        ‖V_j‖² of every block, if the blocks were validated before.
    """

    rule: Rule
    model: Model
    kept: bool = True
    measured: bool = False
    summed: bool = False
    scale: Vector | None = None
    norms: tuple[float, ...] | None = None

    @property
    def visits(self) -> bool:
        """Whether the sums are those of a visit; the product that solves for H has the Frobenius loss, too."""
        return self.summed or (self.measured and not isinstance(self.rule, Quadratic))

    def zero(self) -> Stats:
        """Return the statistics of no block."""
        return self.rule.zero(*self.model.W.shape) if self.visits else Stats.zero(1, 1)

    def visit(self, block: int, V: Block, H: Float | None, stats: Stats, scratch: Scratch) -> Float | None:
        """Validate a block and solve for its H (r, w)."""
        known = None if self.norms is None else self.norms[block]
        stats.norms.append(self.rule.entries.square_sum(V, self.model.W.dtype, scratch) if known is None else known)
        rule = self.rule
        if self.scale is not None:
            assert H is not None
            rule = altered(rule, penalty_H=rule.penalty_H.plus(hold(H[:-1], H[-1], self.scale)))
        if isinstance(rule, Quadratic) and self.measured and not self.visits:
            best = rule.transform(V, self.model, scratch, stats)
        else:
            best = rule.transform(V, self.model, scratch)
        if self.visits:
            altered(self.rule, sweeps=0).visit(V, best, self.model, stats, scratch, fresh=False)
        return best if self.kept else None
