"""Interfaces shared by all rules."""

from typing import NamedTuple, Protocol

import numpy as np

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import Entries
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float, MapFunction, slices
from dnmf.kernels.penalty import Penalty

# The names that a rule is written with: docs/extending.md.
__all__ = ["Block", "Entries", "Float", "MapFunction", "Model", "Penalty", "Rule", "Scratch", "Stats", "Step"]

GRAM_ROWS = 16384
# Rows of W that are updated together, by one thread: independent of the number of threads, for the same bits.
PART_ROWS = 2048


class Model(NamedTuple):
    """The input of every task of a pass: W (m, r) in the working dtype, and WᵀW (r, r) in float64."""

    W: Float
    gram: Float

    @classmethod
    def of(cls, W: Float) -> "Model":
        """Return the model of a factor W (m, r)."""
        return cls(W, gram_of(W))


def gram_of(W: Float) -> Float:
    """Return WᵀW (r, r) of W (m, r), in float64."""
    gram = np.zeros((W.shape[1], W.shape[1]))
    for part in slices(len(W), GRAM_ROWS):
        wide = W[part].astype(np.float64, copy=False)
        gram += wide.T @ wide
    return gram


class Step(NamedTuple):
    """The result of a pass.

    Attributes
    ----------
    W
        The new W (m, r).
    loss
        Loss with penalties of the H of the pass and W, or `evaluated` where only the next pass can evaluate W.
    relative_error
        ‖V − WH‖/‖V‖ of the same factors; None for a divergence.
    optimality
        Share of the loss that one more step of every single entry of both factors promises.
    unseen
        Numbers of rows and columns of V without an observed entry.
    evaluated
        The W of the pass, where it is not the new W that was evaluated.
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
        """The entries of V that count."""

    @property
    def least(self) -> float:
        """Lower bound, relative to the entry, for proposed values of W; positive where updates cannot leave 0."""

    @property
    def scaled(self) -> bool:
        """Whether the objective does not depend on how the scale of a component is split between W and H."""

    def zero(self, rows: int, rank: int) -> Stats:
        """Return the sums of no block, to be added to in place by a single task."""

    def visit(self, V: Block, H: Float, model: Model, stats: Stats, scratch: Scratch, *, fresh: bool) -> None:
        """Update H (r, w) in place for the block V (m, w), and add to the sums for W.

        `fresh` marks a random start, whose columns are first scaled to fit those of V.
        """

    def finish(self, W: Float, stats: Stats, each: MapFunction = map) -> Step:
        """Update W (m, r) from the sums of all blocks; `each` maps over parts of the rows, on any number of threads."""

    def transform(self, V: Block, model: Model, scratch: Scratch) -> Float:
        """Return the best H (r, w) of a block for a fixed W."""
