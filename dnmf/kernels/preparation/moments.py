"""Moments of the rows and the columns of a block, taken panel by panel."""

import dataclasses
from typing import Self

import numpy as np

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import PART_BYTES, Block, panels
from dnmf.kernels.blocks.tiles import Vector

# Memory for the moments of a panel: a sparse one has the places of its entries as well.
DENSE_BYTES, SPARSE_BYTES = 4 * PART_BYTES, 12 * PART_BYTES


@dataclasses.dataclass(slots=True, eq=False)
class Moments:
    """Moments of each of k rows or columns, from which the factors of a step are computed.

    Deviations are taken from the mean, and those of panels and blocks are combined as by Chan, Golub & LeVeque
    (1983), since Σx² − n·mean² cancels where the mean is large. NaN is left out.

    Attributes
    ----------
    count, nonzero
        Number of entries (k,), and of those that are not 0.
    mean, squares
        Mean of the entries (k,), and sum of their squared deviations from it (k,).
    """

    count: Vector
    nonzero: Vector
    mean: Vector
    squares: Vector

    @classmethod
    def zero(cls, size: int) -> Self:
        """Return the moments of no entries."""
        return cls(*np.zeros((4, size)))

    def add(self, other: Self) -> Self:
        """Return the moments of these entries and others of the same rows or columns."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        with np.errstate(all="ignore"):
            away = other.mean - self.mean
            squares = self.squares + other.squares + away * away * self.count * share
            return type(self)(count, self.nonzero + other.nonzero, self.mean + away * share, squares)

    def take(self, other: Self) -> None:
        """Add the moments of other entries in place."""
        total = self.add(other)
        self.count, self.nonzero, self.mean, self.squares = total.count, total.nonzero, total.mean, total.squares


def row_moments(V: Block) -> Moments:
    """Return the moments of every row of a block (m, w)."""
    total = Moments.zero(V.shape[0])
    for _, panel in panels(V, V.dtype, Scratch(), narrow=True):
        total.take(Moments(*panel.moments(1)))
    return total
