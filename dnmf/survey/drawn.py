"""A weighted sample of the columns of a sketch that stands for all, with the squares in many columns or in few."""

import dataclasses
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from dnmf.kernels.blocks.hashing import mix, places
from dnmf.kernels.blocks.tiles import Float, Vector

# Columns that are drawn by their squares, in addition to those at random places.
HEAVY = 1000
# Columns not at random places that a sum holds at most, before it drops those that are not drawn.
MOST = 3 * HEAVY
# Key of the hash by which they are drawn.
STREAM = np.uint64(0xD1B54A32D192ED03)


class Part(NamedTuple):
    """Some columns (q, s), their squares and keys (s,), and whether each is at one of the random places (s,)."""

    columns: Float
    squares: Vector
    keys: Vector
    even: NDArray[np.bool_]

    def only(self, kept: NDArray[np.bool_]) -> "Part":
        """Return some of the columns."""
        return Part(np.ascontiguousarray(self.columns[:, kept]), self.squares[kept], self.keys[kept], self.even[kept])

    def thinned(self) -> "Part":
        """Return the columns at random places, those with the least keys, and the next one."""
        return self.only(self.even | (np.isfinite(self.keys) & (self.keys <= self.bar)))

    @property
    def bar(self) -> float:
        """The least key of a column that is not drawn, infinity if all are."""
        return float(np.partition(self.keys, HEAVY)[HEAVY]) if len(self.keys) > HEAVY else float("inf")


@dataclasses.dataclass(slots=True)
class Drawn:
    """Columns of S (q, n): those at random places, and HEAVY that are drawn by their squares, and the next one.

    Random places alone miss columns that are few but have a large part of the squares. Of a column with the squares x,
    a hash u in (0, 1] makes the key u/x, and the columns with the least keys are drawn (priority sampling: Duffield,
    Lund & Thorup 2007). Which they are depends on no block, and a sum over blocks keeps few others.

    Attributes
    ----------
    parts
        The columns so far, in their order.
    """

    parts: list[Part]

    @classmethod
    def zero(cls, rows: int, dtype: "np.dtype[np.floating]") -> Self:
        """Return the sample of no column."""
        return cls([Part(np.zeros((rows, 0), dtype), np.zeros(0), np.zeros(0), np.zeros(0, np.bool_))])

    @classmethod
    def of(cls, S: Float, numbers: NDArray[np.int64], stride: int) -> Self:
        """Return the sample of columns S (q, w) with rising numbers (w,), one of `stride` of them at random places."""
        squares = np.einsum("kj,kj->j", S, S, dtype=np.float64)
        chances = ((mix(mix(STREAM) ^ numbers.astype(np.uint64)) >> np.uint64(11)) + 1.0) * 2.0**-53
        keys = np.divide(chances, squares, out=np.full(len(squares), np.inf), where=squares > 0)
        start, stop = (int(numbers[0]), int(numbers[-1]) + 1) if len(numbers) else (0, 0)
        even = np.isin(numbers, places(start, stop, stride))
        return cls([Part(S, squares, keys, even).thinned()])

    def add(self, other: Self) -> Self:
        """Return the sample of these columns and the next ones."""
        both = type(self)([*self.parts, *other.parts])
        return both if sum(int((~part.even).sum()) for part in both.parts) <= MOST else type(self)([both.whole])

    @property
    def whole(self) -> Part:
        """The sample in one part, without columns that are not drawn."""
        columns, squares, keys, even = zip(*self.parts, strict=True)
        joined = np.concatenate(columns, axis=1), *map(np.concatenate, (squares, keys, even))
        return Part(*joined).thinned()

    def weighted(self, stride: int) -> tuple[Float, Vector, NDArray[np.bool_]]:
        """Return the sample (q, s), how many columns each one stands for (s,), and which are at random places (s,)."""
        whole = self.whole
        bar = whole.bar
        chosen = whole.only(whole.even | (whole.keys < bar))
        by_squares = np.ones(len(chosen.squares)) if np.isinf(bar) else np.minimum(chosen.squares * bar, 1.0)
        by_squares = np.where(chosen.squares > 0, by_squares, 0.0)
        chances = 1 - (1 - 1 / stride) * (1 - by_squares)
        return chosen.columns, 1 / chances, chosen.even
