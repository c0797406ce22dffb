"""Successive projections: the choice of columns that are not mixtures of others."""

import dataclasses
import math
from collections.abc import Callable
from typing import Self

import numpy as np

from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.tiles import Float, Vector
from dnmf.sources.base import Layout

# Columns whose sum is below this share of the usual one are left out: divided by it, they are mostly noise. The usual
# one is the mean of sums that are clipped at their mean, this many times, so that a few larger ones hide no others.
DARK, CLIPPINGS = 0.01, 2
# Lengths within this share of the largest are equal up to rounding; the first of them counts.
EQUAL = 1e-4


@dataclasses.dataclass(slots=True)
class Farthest:
    """The column that is the longest after a projection: its length, its number, and its coordinates (K,)."""

    length: float = -1.0
    place: int = -1
    point: Vector = dataclasses.field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, points: Float, chosen: Float, start: int = 0) -> Self:
        """Return the farthest of some points (K, w) from the span of those chosen before, given its basis (k, K)."""
        basis = chosen.astype(points.dtype)
        left = points - basis.T @ (basis @ points)
        lengths = np.sqrt(np.einsum("kj,kj->j", left, left))
        best = int(np.argmax(lengths >= (1 - EQUAL) * lengths.max()))
        return cls(float(lengths[best]), int(start + best), points[:, best].astype(np.float64))

    def add(self, other: Self) -> Self:
        """Return the farther one; of two that are equally far, the first."""
        return other if other.length > (1 + EQUAL) * self.length else self


@dataclasses.dataclass(frozen=True, slots=True)
class Search:
    """The work of a pass over normalised columns (K, n) alone that finds the farthest from the basis (k, K)."""

    chosen: Float
    bounds: tuple[int, ...]

    def zero(self) -> Farthest:
        """Return no column."""
        return Farthest()

    def visit(self, block: int, V: Block, H: Float | None, sums: Farthest, scratch: Scratch) -> None:
        """Compare the columns of a block with those before."""
        assert H is not None
        found = sums.add(Farthest.of(H, self.chosen, self.bounds[block]))
        sums.length, sums.place, sums.point = found.length, found.place, found.point


@dataclasses.dataclass(frozen=True, slots=True)
class Normalise:
    """Divides the columns T R (K, w) of a block by the sums of those of V̂; dark columns become 0.

    Attributes
    ----------
    T
        The matrix (K, K) that keeps lengths.
    totals
        1ᵀL (K,), so that 1ᵀL R are the sums.
    least
        The least sum of a column that is not dark.
    """

    T: Float
    totals: Vector
    least: float

    def __call__(self, block: int, R: Float) -> Float:
        """Return the columns of a block."""
        sums = self.totals @ R
        scale = np.divide(1, sums, out=np.zeros_like(sums), where=(sums > 0) & (sums >= self.least))
        return np.asarray((self.T @ R) * scale, R.dtype)


def successive(
    search: Callable[[Float], Farthest], width: int, rank: int, layout: Layout, rows: bool
) -> tuple[int, ...]:
    """Return the numbers of the columns that successive projections choose.

    Parameters
    ----------
    search
        Returns the column that is the farthest from the span of an orthonormal basis (k, K).
    width
        Number of coordinates K of a column.
    rank, layout
        Number of columns, and layout of V.
    rows
        Whether they are rows of the user's matrix, for the error.
    """
    basis, anchors = np.zeros((0, width)), list[int]()
    found = search(basis)
    least = found.length * math.sqrt(float(np.finfo(layout.work_dtype).eps))
    while found.length > least:
        anchors.append(found.place)
        left = found.point
        for _ in range(2):  # once more, since the first projection leaves rounding errors
            left = left - basis.T @ (basis @ left)
        basis = np.vstack([basis, left / np.linalg.norm(left)])
        if len(anchors) == rank:
            return tuple(anchors)
        found = search(basis)
    name, axis = ("spa_rows", "rows") if rows else ("spa", "columns")
    raise DataError(
        f"init={name!r} at rank={rank} needs as many independent {axis}, and V has {len(anchors)}, without {axis} "
        f"whose sum is below {DARK:.0%} of the mean; use a lower rank, or init='random'."
    )
