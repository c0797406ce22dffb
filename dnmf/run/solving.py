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


def load_of_solving(rule: Rule, rank: int, kept: bool, measured: bool) -> Load:
    """Return the load of solving for one factor given the other one.

    The given factor is gathered, brought into the order of V and converted to its dtype.
    """
    return Load(
        sums=sums_per_row(rule, rank) if measured and not isinstance(rule, Quadratic) else 0,
        worked=rank,
        held=2 * rank if kept else 0,
        kept=4 * rank,
        panels=listed_panels(rule),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Solve:
    """The work of a pass that solves for H given W, and measures the loss if requested.

    With the `scale` (r,) of their penalties, the pass reads the sums of held neighbours, and degrees below them. The
    `norms` are ‖V_j‖² of every block, if the blocks were validated before.
    """

    rule: Rule
    model: Model
    kept: bool = True
    measured: bool = False
    scale: Vector | None = None
    norms: tuple[float, ...] | None = None

    def zero(self) -> Stats:
        """Return the statistics of no block."""
        # Blocks are solved independently, and under Frobenius measured by the product that solves them.
        summed = self.measured and not isinstance(self.rule, Quadratic)
        return self.rule.zero(*self.model.W.shape) if summed else Stats.zero(1, 1)

    def visit(self, block: int, V: Block, H: Float | None, stats: Stats, scratch: Scratch) -> Float | None:
        """Validate a block and solve for its H (r, w)."""
        known = None if self.norms is None else self.norms[block]
        stats.norms.append(self.rule.entries.square_sum(V, self.model.W.dtype, scratch) if known is None else known)
        rule = self.rule
        if self.scale is not None:
            assert H is not None
            rule = altered(rule, penalty_H=rule.penalty_H.plus(hold(H[:-1], H[-1], self.scale)))
        best = rule.transform(V, self.model, scratch, stats if self.measured else None)
        return best if self.kept else None
