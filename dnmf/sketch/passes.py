"""The work of the passes of a sketch."""

import dataclasses
from typing import Self

import numpy as np

from dnmf.factor import Rows
from dnmf.kernels.panels import Block, panels, square_sum
from dnmf.kernels.products import add_outer_product, cross_product
from dnmf.kernels.scratch import Scratch
from dnmf.kernels.stats import Stats
from dnmf.kernels.tiles import Float
from dnmf.sketch.basis import sampled
from dnmf.solve import Update


@dataclasses.dataclass(slots=True)
class SketchSums:
    """Sums of the first pass: Y = VRᵀ (m, K), RRᵀ (K, K), a sample of the columns of R, and ‖V_j‖² by block."""

    product: Float
    gram: Float
    sample: list[Float]
    norms: list[float]

    def add(self, other: Self) -> Self:
        """Return these sums followed by the others."""
        return type(self)(
            self.product + other.product,
            self.gram + other.gram,
            self.sample + other.sample,
            self.norms + other.norms,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Sketch:
    """The work of the first pass: R = QᵀV of every block, for Q (m, K)."""

    Q: Float
    bounds: tuple[int, ...]
    stride: int

    def zero(self) -> SketchSums:
        """Return the sums of no block."""
        rows, width = self.Q.shape
        return SketchSums(np.zeros((rows, width)), np.zeros((width, width)), [], [])

    def visit(self, block: int, V: Block, H: Float | None, sums: SketchSums, scratch: Scratch) -> Float:
        """Return R of a block."""
        sums.norms.append(square_sum(V, self.Q.dtype, scratch))
        R = np.empty((self.Q.shape[1], V.shape[1]), self.Q.dtype)
        for columns, panel in panels(V, self.Q.dtype, scratch):
            R[:, columns] = cross_product(panel, self.Q, scratch)
            add_outer_product(panel, R[:, columns], sums.product, scratch)
        wide = R.astype(np.float64)
        sums.gram += wide @ wide.T
        sums.sample.append(sampled(R, self.bounds[block], self.stride))
        return R


@dataclasses.dataclass(slots=True)
class CorrectSums:
    """Sums of a later pass: those of the rule, RRᵀ (q, q), and a sample of the columns of H and R."""

    stats: Stats
    gram: Float
    sample: list[Float]

    def add(self, other: Self) -> Self:
        """Return these sums followed by the others."""
        return type(self)(self.stats.add(other.stats), self.gram + other.gram, self.sample + other.sample)


@dataclasses.dataclass(frozen=True, slots=True)
class Correct:
    """The work of a later pass: an update of H, and R = QᵀV below it."""

    update: Update
    Q: Float
    stride: int

    def zero(self) -> CorrectSums:
        """Return the sums of no block."""
        width = self.Q.shape[1]
        return CorrectSums(self.update.zero(), np.zeros((width, width)), [])

    def visit(self, block: int, V: Block, H: Float | None, sums: CorrectSums, scratch: Scratch) -> Float:
        """Return H on top of R, for a block."""
        new = self.update.visit(block, V, H, sums.stats, scratch)
        assert new is not None
        rank = len(new)
        both = np.empty((rank + self.Q.shape[1], V.shape[1]), new.dtype)
        both[:rank] = new
        for columns, panel in panels(V, new.dtype, scratch):
            both[rank:, columns] = cross_product(panel, self.Q, scratch)
        wide = both[rank:].astype(np.float64)
        sums.gram += wide @ wide.T
        sums.sample.append(sampled(both, self.update.layout.bounds[block], self.stride))
        return both


@dataclasses.dataclass(frozen=True, slots=True)
class Keep:
    """The work of a pass over a long factor that keeps some of its rows as one of their own."""

    rows: Rows

    def zero(self) -> "Nothing":
        """Return nothing."""
        return Nothing()

    def visit(self, block: int, V: Block, H: Float | None, sums: "Nothing", scratch: Scratch) -> Float:
        """Return the rows of a block."""
        assert H is not None
        return self.rows(block, H)


class Nothing:
    """The sum of nothing."""

    def add(self, other: Self) -> Self:
        """Return nothing."""
        return self
