"""What the visits of a pass leave behind: small sums, added up in a fixed order."""

import dataclasses
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dnmf.kernels.blocks.tiles import Float


class FieldSums:
    """A dataclass of sums, which are added up field by field; lists are put behind each other."""

    __slots__ = ()

    def add(self, other: Self) -> Self:
        """Return these sums followed by the others."""
        names = [field.name for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        return type(self)(**{name: total(getattr(self, name), getattr(other, name)) for name in names})


def total(one: Any, two: Any) -> Any:
    """Return two numbers, arrays or lists added up, or sums as they say themselves."""
    return one.add(two) if hasattr(one, "add") else one + two


@dataclasses.dataclass(slots=True)
class Several:
    """Several sums, each of which is added to its own."""

    parts: list[Any]

    def add(self, other: Self) -> Self:
        """Return these sums followed by the others."""
        return type(self)([total(one, two) for one, two in zip(self.parts, other.parts, strict=True)])


@dataclasses.dataclass(slots=True)
class Stats(FieldSums):
    """Sums over the blocks that were visited, in float64.

    Attributes
    ----------
    cross, gram
        A = VHᵀ (m, r) and B = HHᵀ (r, r); for a divergence, A = (V Y^(β−2)) Hᵀ with Y = WH, and no B.
    row_sums
        The sum of every row of H (r,).
    fit
        The loss between V and WH, without penalties, with the new H and the old W.
    kkt_residual, kkt_scale
        For every component (r,), the squared violation of the optimality conditions by H, and the square that it
        is measured against.
    norms
        ‖V_j‖² of every block visited, in their order.
    squares
        The sum of H's squares.
    denominator
        For a divergence, Y^(β−1) Hᵀ (m, r) with Y = WH, where that depends on more than H; else empty.
    grams
        For every row of V whose entries count by weights of their own, the part of HHᵀ that is its own (m, r(r+1)/2),
        the lower triangle row by row; else empty.
    seen, unseen_columns
        Entries of every row (m,) that were observed, where some are missing, else empty; and the columns without any.
    """

    cross: Float
    gram: Float
    row_sums: Float
    fit: float
    kkt_residual: Float
    kkt_scale: Float
    norms: list[float]
    squares: float = 0.0
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
        """Return the statistics of no block, to be added to in place by the one task that holds them."""
        return cls(
            cross=np.zeros((rows, rank)),
            gram=np.zeros((rank, rank)),
            row_sums=np.zeros(rank),
            fit=0.0,
            kkt_residual=np.zeros(rank),
            kkt_scale=np.zeros(rank),
            norms=[],
        )
