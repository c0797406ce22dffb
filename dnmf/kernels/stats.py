"""What the visits of a pass leave behind: small sums, added up in a fixed order."""

import dataclasses
from typing import Self

import numpy as np

from dnmf.kernels.tiles import Float


@dataclasses.dataclass(slots=True)
class Stats:
    """Sums over the blocks that were visited, in float64.

    Attributes
    ----------
    cross, gram
        A = VHᵀ (m, r) and B = HHᵀ (r, r); for a divergence, A = (V/WH) Hᵀ.
    mass
        The sum of every row of H (r,).
    fit
        The loss between V and WH, without penalties, with the new H and the old W.
    missed, met
        For every component (r,), the squared violation of the optimality conditions by H, and the square that it
        is measured against.
    norms
        ‖V_j‖² of every block visited, in their order.
    """

    cross: Float
    gram: Float
    mass: Float
    fit: float
    missed: Float
    met: Float
    norms: list[float]

    @classmethod
    def zero(cls, rows: int, rank: int) -> Self:
        """Return the statistics of no block, to be added to in place by the one task that holds them."""
        return cls(
            cross=np.zeros((rows, rank)),
            gram=np.zeros((rank, rank)),
            mass=np.zeros(rank),
            fit=0.0,
            missed=np.zeros(rank),
            met=np.zeros(rank),
            norms=[],
        )

    def add(self, other: Self) -> Self:
        """Return the statistics of these blocks followed by the others."""
        return type(self)(
            **{field.name: getattr(self, field.name) + getattr(other, field.name) for field in dataclasses.fields(self)}
        )
