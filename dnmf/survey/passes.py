"""Computations in the passes of a survey: sketches of the entries not held out, and measures of all models at once."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.engine.passes import Work
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.sums import Summable, TupleSums
from dnmf.kernels.blocks.tiles import Float
from dnmf.solvers.bundle import FusedUpdate
from dnmf.solvers.sketch import Sketch, SketchSums
from dnmf.survey.holdout import Fold, blanked


@dataclasses.dataclass(frozen=True, slots=True)
class CombinedPass:
    """Run several computations in one pass; none of them writes H."""

    works: tuple[Work[Any], ...]

    def zero(self) -> TupleSums:
        """Return the sums of no block."""
        return TupleSums([work.zero() for work in self.works])

    def visit(self, block: int, V: Block, H: Float | None, sums: TupleSums, scratch: Scratch) -> None:
        """Visit a block for each computation."""
        for work, part in zip(self.works, sums.parts, strict=True):
            work.visit(block, V, H, part, scratch)


@dataclasses.dataclass(frozen=True, slots=True)
class SketchOfShown:
    """Sketch V with zeros in place of the entries that a fold holds out."""

    inner: Sketch
    fold: Fold

    def zero(self) -> SketchSums:
        """Return the sums of no block."""
        return self.inner.zero()

    def visit(self, block: int, V: Block, H: Float | None, sums: SketchSums, scratch: Scratch) -> None:
        """Add the entries of a block that are not held out."""
        self.inner.visit(block, blanked(self.fold, V, self.inner.bounds[block]), None, sums, scratch)


@dataclasses.dataclass(slots=True)
class VerifySums(Summable):
    """Statistics of every model, and the H of all on a sample of the columns (Σr, s)."""

    bundle: TupleSums
    sample: list[Float]


@dataclasses.dataclass(frozen=True, slots=True)
class Verify:
    """Find the H of every model and its loss, and keep H at some places (s,) only."""

    fused: FusedUpdate
    places: NDArray[np.int64]
    bounds: tuple[int, ...]

    def zero(self) -> VerifySums:
        """Return the sums of no block."""
        return VerifySums(self.fused.zero(), [])

    def visit(self, block: int, V: Block, H: Float | None, sums: VerifySums, scratch: Scratch) -> None:
        """Visit a block for all models."""
        new = self.fused.visit(block, V, H, sums.bundle, scratch)
        assert new is not None
        sums.sample.append(columns_at(new, self.places, self.bounds, block))


@dataclasses.dataclass(slots=True)
class FactorSums(Summable):
    """Sum and sum of squares of every row of H (r,), and H (r, s) at some places, by blocks."""

    mass: Float
    squares: Float
    sample: list[Float]


@dataclasses.dataclass(frozen=True, slots=True)
class SumFactor:
    """Sum the rows of H, and keep its columns at some places (s,)."""

    rows: int
    places: NDArray[np.int64]
    bounds: tuple[int, ...]

    def zero(self) -> FactorSums:
        """Return the sums of no block."""
        return FactorSums(np.zeros(self.rows), np.zeros(self.rows), [])

    def visit(self, block: int, V: Block, H: Float | None, sums: FactorSums, scratch: Scratch) -> None:
        """Add a block."""
        assert H is not None
        sums.mass += H.sum(axis=1, dtype=np.float64)
        sums.squares += np.square(H, dtype=np.float64).sum(axis=1)
        sums.sample.append(columns_at(H, self.places, self.bounds, block))


def columns_at(H: Float, places: NDArray[np.int64], bounds: Sequence[int], block: int) -> Float:
    """Return the columns of a block (r, w) that are at some places."""
    start, stop = np.searchsorted(places, bounds[block : block + 2])
    return H[:, places[start:stop] - bounds[block]].copy()
