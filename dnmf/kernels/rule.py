"""The words that every rule speaks."""

from typing import NamedTuple, Protocol

import numpy as np

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import Entries
from dnmf.kernels.blocks.panels import Block, slices
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float, Penalty

# The names that a rule is written with: docs/extending.md.
__all__ = ["Block", "Entries", "Float", "Model", "Penalty", "Rule", "Scratch", "Stats", "Step"]

GRAM_ROWS = 16384


class Model(NamedTuple):
    """What every task of a pass is told: W (m, r) in the working dtype, and WᵀW (r, r) in float64."""

    W: Float
    gram: Float

    @classmethod
    def of(cls, W: Float) -> "Model":
        """Return the model of a factor W (m, r)."""
        gram = np.zeros((W.shape[1], W.shape[1]))
        for part in slices(len(W), GRAM_ROWS):
            wide = W[part].astype(np.float64)
            gram += wide.T @ wide
        return cls(W, gram)


class Step(NamedTuple):
    """What a rule makes of the statistics of a pass.

    `loss`, `relative_error` and `optimality` are those of the H of the pass with W, or with `evaluated` where the rule
    cannot know those of W before the next pass. `loss` includes the penalties. `relative_error` is ‖V − WH‖/‖V‖, and
    None for a divergence. `optimality` is the relative violation of the optimality conditions, the larger one of both
    factors. `unseen` counts the rows and columns of V without an observed entry.
    """

    W: Float
    loss: float
    relative_error: float | None
    optimality: float
    unseen: tuple[int, int] = (0, 0)
    evaluated: Float | None = None


class Rule(Protocol):
    """A loss with its penalties and its updates of both factors."""

    @property
    def penalty_W(self) -> Penalty:
        """Penalties of W."""

    @property
    def penalty_H(self) -> Penalty:
        """Penalties of H."""

    @property
    def entries(self) -> Entries:
        """Which entries of V count."""

    @property
    def least(self) -> float:
        """The share of itself below which no entry of W may be put from outside: more than 0 where 0 is for ever."""

    @property
    def scaled(self) -> bool:
        """Whether the scale of a component may be moved between W and H without a change of the objective."""

    def zero(self, rows: int, rank: int) -> Stats:
        """Return the statistics of no block, to be added to in place by the one task that holds them."""

    def visit(self, V: Block, H: Float, model: Model, stats: Stats, scratch: Scratch, *, fresh: bool) -> None:
        """Update H (r, w) in place for the block V (m, w), and add what W's update needs to the stats.

        `fresh` says that H is a random start whose columns have yet to be brought to the scale of V's.
        """

    def finish(self, W: Float, stats: Stats) -> Step:
        """Update W (m, r) from the statistics of all blocks."""

    def transform(self, V: Block, model: Model, scratch: Scratch) -> Float:
        """Return the best H (r, w) for a block with W held."""
