"""The work of a pass that makes a sketch."""

import dataclasses

import numpy as np

from dnmf.kernels.blocks.buffers import Scratch, zeros
from dnmf.kernels.blocks.panels import Block, panels, square_sum
from dnmf.kernels.blocks.products import add_gram
from dnmf.kernels.blocks.sums import Stats, Summable
from dnmf.kernels.blocks.tiles import Float
from dnmf.solvers.iteration import Update
from dnmf.solvers.sketch.samples import sampled


@dataclasses.dataclass(slots=True)
class SketchSums(Summable):
    """Sums of the first pass.

    Y = VRᵀ (m, K), RRᵀ (K, K), a sample of the columns of R, ‖V_j‖² of every block, and the sum of V if requested.
    """

    product: Float
    gram: Float
    sample: list[Float]
    norms: list[float]
    total: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Sketch:
    """The work of the first pass: R = QᵀV of every block, for Q (m, K).

    `scaled` divides every column of V by √l, with l its sum, and appends a row of √l to R; `summed` adds up V.
    """

    Q: Float
    bounds: tuple[int, ...]
    stride: int
    scaled: bool = False
    summed: bool = False

    def zero(self) -> SketchSums:
        """Return the sums of no block."""
        rows, width = self.Q.shape
        return SketchSums(zeros((rows, width)), np.zeros((width, width)), [], [])

    def visit(self, block: int, V: Block, H: Float | None, sums: SketchSums, scratch: Scratch) -> Float:
        """Return R of a block, with √l below it if the columns are scaled."""
        sums.norms.append(square_sum(V, self.Q.dtype, scratch))
        if self.summed:
            sums.total += float(V.sum(dtype=np.float64))
        width = self.Q.shape[1]
        out = np.empty((width + self.scaled, V.shape[1]), self.Q.dtype)
        R, ones = out[:width], np.ones((len(self.Q), 1), self.Q.dtype)
        for columns, panel in panels(V, self.Q.dtype, scratch):
            inverse = None
            if self.scaled:
                root = out[width, columns] = np.sqrt(panel.cross(ones, scratch)[0])
                inverse = np.divide(1, root, out=np.zeros_like(root), where=root > 0)
            part = panel.cross(self.Q, scratch)
            R[:, columns] = part if inverse is None else part * inverse
            again = R[:, columns] if inverse is None else R[:, columns] * inverse
            panel.add_outer(again, sums.product, scratch)
            add_gram(R[:, columns], sums.gram)
        sums.sample.append(sampled(out, self.bounds[block], self.stride))
        return out


@dataclasses.dataclass(slots=True)
class CorrectSums(Summable):
    """Sums of a later pass: those of the rule, RRᵀ (q, q), and a sample of the columns of [H; R]."""

    stats: Stats
    gram: Float
    sample: list[Float]


@dataclasses.dataclass(frozen=True, slots=True)
class Correct:
    """The work of a later pass: compute R = QᵀV below H, after its update if there is one."""

    Q: Float
    bounds: tuple[int, ...]
    stride: int
    update: Update | None = None

    def zero(self) -> CorrectSums:
        """Return the sums of no block."""
        width = self.Q.shape[1]
        stats = Stats.zero(1, 1) if self.update is None else self.update.zero()
        return CorrectSums(stats, np.zeros((width, width)), [])

    def visit(self, block: int, V: Block, H: Float | None, sums: CorrectSums, scratch: Scratch) -> Float:
        """Return [H; R] of a block."""
        new = H if self.update is None else self.update.visit(block, V, H, sums.stats, scratch)
        assert new is not None
        rank = len(new)
        both = np.empty((rank + self.Q.shape[1], V.shape[1]), new.dtype)
        both[:rank] = new
        for columns, panel in panels(V, new.dtype, scratch):
            both[rank:, columns] = panel.cross(self.Q, scratch)
            add_gram(both[rank:, columns], sums.gram)
        sums.sample.append(sampled(both, self.bounds[block], self.stride))
        return both
