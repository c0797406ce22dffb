"""A sample of the columns of a sketch, weighted to stand for all of them, be the squares in many columns or in few."""

import dataclasses
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dnmf.kernels.blocks.hashing import mix
from dnmf.kernels.blocks.tiles import Float, Vector
from dnmf.solvers.sketch import places

# Columns that are drawn by their squares, in addition to those at random places.
HEAVY = 1000
# Key of the hash by which they are drawn.
STREAM = np.uint64(0xD1B54A32D192ED03)


@dataclasses.dataclass(slots=True)
class Drawn:
    """Columns of S (q, n): those at random places, and HEAVY that are drawn by their squares, and the next one.

    Random places alone miss columns that are few but have a large part of the squares. Of a column with the squares x,
    a hash u in (0, 1] makes the key u/x, and the columns with the least keys are drawn (priority sampling: Duffield,
    Lund & Thorup 2007). Which they are depends on no block, and a sum over blocks keeps no more than it needs.

    Attributes
    ----------
    columns
        The columns (q, s).
    squares, keys
        Their squares and keys (s,).
    even
        Whether each is at one of the random places (s,).
    """

    columns: Float
    squares: Vector
    keys: Vector
    even: NDArray[np.bool_]

    @classmethod
    def zero(cls, rows: int, dtype: "np.dtype[np.floating]") -> Self:
        """Return the sample of no column."""
        return cls(np.zeros((rows, 0), dtype), np.zeros(0), np.zeros(0), np.zeros(0, np.bool_))

    @classmethod
    def of(cls, S: Float, numbers: NDArray[np.int64], stride: int) -> Self:
        """Return the sample of columns S (q, w) with rising numbers (w,), one of `stride` of them at random places."""
        squares = np.einsum("kj,kj->j", S, S, dtype=np.float64)
        chances = ((mix(mix(STREAM) ^ numbers.astype(np.uint64)) >> np.uint64(11)) + 1.0) * 2.0**-53
        keys = np.divide(chances, squares, out=np.full(len(squares), np.inf), where=squares > 0)
        start, stop = (int(numbers[0]), int(numbers[-1]) + 1) if len(numbers) else (0, 0)
        even = np.isin(numbers, places(start, stop, stride))
        return cls(S, squares, keys, even)._only(even | (keys <= _bar(keys)))

    def add(self, other: Self) -> Self:
        """Return the sample of these columns and the next ones."""
        both = type(self)(
            np.concatenate([self.columns, other.columns], axis=1),
            np.concatenate([self.squares, other.squares]),
            np.concatenate([self.keys, other.keys]),
            np.concatenate([self.even, other.even]),
        )
        return both._only(both.even | (both.keys <= _bar(both.keys)))

    def weighted(self, stride: int) -> tuple[Float, Vector, NDArray[np.bool_]]:
        """Return the sample (q, s), how many columns each one stands for (s,), and which are at random places (s,)."""
        bar = _bar(self.keys)
        chosen = self._only(self.even | (self.keys < bar))
        by_squares = np.ones(len(chosen.squares)) if np.isinf(bar) else np.minimum(chosen.squares * bar, 1.0)
        by_squares = np.where(chosen.squares > 0, by_squares, 0.0)
        chances = 1 - (1 - 1 / stride) * (1 - by_squares)
        return chosen.columns, 1 / chances, chosen.even

    def _only(self, kept: NDArray[np.bool_]) -> Self:
        """Return some of the columns."""
        kept = kept & (self.even | np.isfinite(self.keys))
        return type(self)(
            np.ascontiguousarray(self.columns[:, kept]), self.squares[kept], self.keys[kept], self.even[kept]
        )


def _bar(keys: Vector) -> float:
    """Return the least key of a column that is not drawn, infinity if all are."""
    return float(np.partition(keys, HEAVY)[HEAVY]) if len(keys) > HEAVY else float("inf")
