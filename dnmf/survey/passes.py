"""The work of the passes of a survey: sketches of what is not held out, all models at once, and their predictions."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.engine.passes import Work
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.sums import FieldSums, Several
from dnmf.kernels.blocks.tiles import Float
from dnmf.solvers.bundle import Together
from dnmf.solvers.sketch import Sketch, SketchSums
from dnmf.survey.holdout import Speckles, blanked


@dataclasses.dataclass(frozen=True, slots=True)
class Beside:
    """Several works on one read, each of which is shown the H that the pass reads; nothing is kept of it."""

    works: tuple[Work[Any], ...]

    def zero(self) -> Several:
        """Return the sums of no block."""
        return Several([work.zero() for work in self.works])

    def visit(self, block: int, V: Block, H: Float | None, sums: Several, scratch: Scratch) -> None:
        """Do each of them."""
        for work, part in zip(self.works, sums.parts, strict=True):
            work.visit(block, V, H, part, scratch)


@dataclasses.dataclass(frozen=True, slots=True)
class SketchOfShown:
    """The work of a sketch in which the entries that a fold of speckles holds out are 0."""

    inner: Sketch
    fold: Speckles

    def zero(self) -> SketchSums:
        """Return the sums of no block."""
        return self.inner.zero()

    def visit(self, block: int, V: Block, H: Float | None, sums: SketchSums, scratch: Scratch) -> None:
        """Add up what is shown of a block."""
        self.inner.visit(block, blanked(self.fold, V, self.inner.bounds[block]), None, sums, scratch)


@dataclasses.dataclass(slots=True)
class VerifySums(FieldSums):
    """The statistics of every model, and its H on a sample of the columns (Σr, s)."""

    bundle: Several
    sample: list[Float]


@dataclasses.dataclass(frozen=True, slots=True)
class Verify:
    """The work of a pass that finds the H of every model, measures its loss, and keeps H at some places (s,) only."""

    together: Together
    places: NDArray[np.int64]
    bounds: tuple[int, ...]

    def zero(self) -> VerifySums:
        """Return the sums of no block."""
        return VerifySums(self.together.zero(), [])

    def visit(self, block: int, V: Block, H: Float | None, sums: VerifySums, scratch: Scratch) -> None:
        """Visit a block for all models."""
        new = self.together.visit(block, V, H, sums.bundle, scratch)
        assert new is not None
        sums.sample.append(taken(new, self.places, self.bounds, block))


@dataclasses.dataclass(slots=True)
class Samples(FieldSums):
    """H (r, s) at some places, block by block."""

    parts: list[Float]


@dataclasses.dataclass(frozen=True, slots=True)
class Take:
    """The work of a pass over H alone that takes it at some places (s,)."""

    places: NDArray[np.int64]
    bounds: tuple[int, ...]

    def zero(self) -> Samples:
        """Return nothing taken."""
        return Samples([])

    def visit(self, block: int, V: Block, H: Float | None, sums: Samples, scratch: Scratch) -> None:
        """Take what is in a block."""
        assert H is not None
        sums.parts.append(taken(H, self.places, self.bounds, block))


@dataclasses.dataclass(slots=True)
class Totals(FieldSums):
    """Sum and sum of squares of every row of H (r,)."""

    mass: Float
    squares: Float


@dataclasses.dataclass(frozen=True, slots=True)
class RowSums:
    """The work of a pass over H alone that adds it up."""

    rows: int

    def zero(self) -> Totals:
        """Return the sums of no block."""
        return Totals(np.zeros(self.rows), np.zeros(self.rows))

    def visit(self, block: int, V: Block, H: Float | None, sums: Totals, scratch: Scratch) -> None:
        """Add up a block."""
        assert H is not None
        sums.mass += H.sum(axis=1, dtype=np.float64)
        sums.squares += np.square(H, dtype=np.float64).sum(axis=1)


def taken(H: Float, places: NDArray[np.int64], bounds: Sequence[int], block: int) -> Float:
    """Return those columns of a block (r, w) that are among some places."""
    start, stop = np.searchsorted(places, bounds[block : block + 2])
    return H[:, places[start:stop] - bounds[block]].copy()
