"""The small sums of a pass, added up over the blocks in a fixed order."""

import dataclasses
import math
import sys
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dnmf.kernels.blocks.buffers import zeros
from dnmf.kernels.blocks.tiles import Float


class Summable:
    """A dataclass of sums, which are added field by field; lists are concatenated."""

    __slots__ = ()

    def add(self, other: Self) -> Self:
        """Return the total of these sums and the next ones."""
        names = [field.name for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        return type(self)(**{name: total(getattr(self, name), getattr(other, name)) for name in names})

    def absorb(self, other: Self) -> Self:
        """Add the next sums to these, in their memory, and return these."""
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            setattr(self, field.name, absorbed(getattr(self, field.name), getattr(other, field.name)))
        return self


def total(one: Any, two: Any) -> Any:
    """Return the sum of two numbers, arrays, lists or objects with an `add` method."""
    return one.add(two) if hasattr(one, "add") else one + two


def absorbed(one: Any, two: Any) -> Any:
    """Return the same sum in the memory of the first, where it is an array or has such arrays."""
    if isinstance(one, np.ndarray):
        one += two
        return one
    return one.absorb(two) if hasattr(one, "absorb") else total(one, two)


@dataclasses.dataclass(slots=True)
class TupleSums:
    """A list of sums, added part by part."""

    parts: list[Any]

    def add(self, other: Self) -> Self:
        """Return the total of these sums and the next ones."""
        return type(self)([total(one, two) for one, two in zip(self.parts, other.parts, strict=True)])

    def absorb(self, other: Self) -> Self:
        """Add the next sums to these, in their memory, and return these."""
        self.parts = [absorbed(one, two) for one, two in zip(self.parts, other.parts, strict=True)]
        return self


@dataclasses.dataclass(slots=True)
class Stats(Summable):
    """Sums over the visited blocks, in float64.

    Attributes
    ----------
    cross, gram
        A = VHᵀ (m, r) and B = HHᵀ (r, r); for a divergence, A = (V Y^(β−2)) Hᵀ with Y = WH, and no B.
    row_sums
        The sum of every row of H (r,).
    fit
        The loss between V and WH, without penalties, with the new H and the old W.
    gain
        By how much one more step of every single entry of H lowers the objective, added up.
    norms
        ‖V_j‖² of every visited block, in their order.
    squares
        The sum of the squares of every row of H (r,); for `Quadratic`, the diagonal of B has them.
    penalty
        The penalty of H where it differs between columns, and terms that the factors do not change.
    mass, weight
        Σ m v and Σ m over the entries that count, where they are needed.
    denominator
        For a divergence, Y^(β−1) Hᵀ (m, r) with Y = WH, unless the sums of the rows of H replace it; else empty.
    grams
        With weights, the own part of the Gram matrix of every row of V (m, r(r+1)/2), for second-order steps its
        Hessian: the lower triangle, row by row; else empty.
    seen, unseen_columns
        Number of observed entries of every row (m,), where some are missing, else empty; number of columns without any.
    """

    cross: Float
    gram: Float
    row_sums: Float
    fit: float
    norms: list[float]
    gain: float = 0.0
    squares: Float = dataclasses.field(default_factory=lambda: np.zeros(0))
    penalty: float = 0.0
    mass: float = 0.0
    weight: float = 0.0
    denominator: Float = dataclasses.field(default_factory=lambda: np.zeros((0, 0)))
    grams: Float = dataclasses.field(default_factory=lambda: np.zeros((0, 0)))
    seen: NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    unseen_columns: int = 0

    @property
    def unseen(self) -> tuple[int, int]:
        """Rows and columns without an observed entry."""
        return int((self.seen == 0).sum()), self.unseen_columns

    @classmethod
    def zero(cls, rows: int, rank: int) -> Self:
        """Return the sums of no block, to be added to in place by a single task."""
        return cls(
            cross=zeros((rows, rank)),
            gram=np.zeros((rank, rank)),
            row_sums=np.zeros(rank),
            fit=0.0,
            norms=[],
            squares=np.zeros(rank),
        )


def same_sum(one: float, other: float, count: int) -> bool:
    """Return whether two sums of `count` squares are equal up to the rounding of another order of summation.

    >>> same_sum(14.5 + 1e-15, 14.5, 3), same_sum(14.5001, 14.5, 3)
    (True, False)
    """
    return abs(one - other) <= 4 * sys.float_info.epsilon * math.sqrt(count) * max(one, other)
