"""Bi-cross-validation: sketches of the entries that a fold leaves, and predictions of those that it holds out."""

import dataclasses
import itertools

import numpy as np
from numpy.typing import NDArray

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block, panels, square_sum
from dnmf.kernels.blocks.products import add_gram
from dnmf.kernels.blocks.sums import Summable, TupleSums
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.quadratic.free_rows import solve, update_free
from dnmf.kernels.quadratic.rule import Quadratic, begin
from dnmf.solvers.sketch import Sketch, SketchSums
from dnmf.survey.drawn import Drawn
from dnmf.survey.fold_errors import relative_errors
from dnmf.survey.holdout import Halves


def part_of(V: Block, rows: NDArray[np.bool_], columns: NDArray[np.bool_]) -> Block:
    """Return some rows and columns of a block, as a copy."""
    if isinstance(V, np.ndarray):
        return V[np.ix_(np.flatnonzero(rows), np.flatnonzero(columns))]
    return V[:, np.flatnonzero(columns)][np.flatnonzero(rows), :]


@dataclasses.dataclass(slots=True)
class SampledSketch(Summable):
    """The sums of a sketch, and the sample of its columns."""

    sketch: SketchSums
    drawn: Drawn


@dataclasses.dataclass(frozen=True, slots=True)
class SketchOfRest:
    """Sketch V, or the rows and columns of it that a fold does not hold out.

    Attributes
    ----------
    Q
        The basis (m', K) of the rows that are left.
    halves
        The rows and columns held out, or None.
    shape
        Shape of V.
    bounds
        First column of every block, and the number of columns.
    stride
        Number of columns for every one of the sample that is at a random place.
    """

    Q: Float
    halves: Halves | None
    shape: tuple[int, int]
    bounds: tuple[int, ...]
    stride: int

    @property
    def inner(self) -> Sketch:
        """The sketch of the columns that are left, with a sample of one."""
        return Sketch(self.Q, self.bounds, self.shape[1])

    def zero(self) -> SampledSketch:
        """Return the sums of no block."""
        return SampledSketch(self.inner.zero(), Drawn.zero(self.Q.shape[1], self.Q.dtype))

    def visit(self, block: int, V: Block, H: Float | None, sums: SampledSketch, scratch: Scratch) -> None:
        """Add the rows and columns of a block that are not held out."""
        first, last = self.bounds[block : block + 2]
        left, rest = np.ones(last - first, np.bool_), V
        if self.halves is not None:
            left = ~self.halves.columns(first, last)
            rest = part_of(V, ~self.halves.rows(self.shape[0]), left) if left.any() else V
        if not left.any():
            return
        R = self.inner.visit(block, rest, None, sums.sketch, scratch)
        sums.drawn = sums.drawn.add(Drawn.of(R, np.arange(first, last)[left], self.stride))


@dataclasses.dataclass(slots=True)
class PredictionSums(Summable):
    """Sums of a fold over the columns that are not held out (index 0) and those that are (index 1).

    V_I Hᵀ (2, |I|, Σr), HHᵀ of every rank (2, r, r), and ‖V_IJ‖².
    """

    cross: Float
    grams: TupleSums
    square: float


@dataclasses.dataclass(frozen=True, slots=True)
class PredictBlock:
    """Predict the block that a fold holds out from factors of the other rows and columns.

    Owen & Perry 2009, section 5, for non-negative factors: H is fitted to the rows that are not held out, W_I to the
    columns that are not.

    Attributes
    ----------
    rule
        Rule with the penalties and the sweeps over H.
    halves
        The rows and columns held out.
    W
        Factors (|−I|, Σr) of all ranks, side by side.
    ranks
        Number of columns of each factor.
    """

    rule: Quadratic
    halves: Halves
    W: Float
    ranks: tuple[int, ...]
    rows: int
    bounds: tuple[int, ...]

    @property
    def columns(self) -> list[slice]:
        """Columns of W of each rank."""
        return [slice(*pair) for pair in itertools.pairwise(np.cumsum([0, *self.ranks]).tolist())]

    def zero(self) -> PredictionSums:
        """Return the sums of no block."""
        held = int(self.halves.rows(self.rows).sum())
        grams = TupleSums([np.zeros((2, rank, rank)) for rank in self.ranks])
        return PredictionSums(np.zeros((2, held, self.W.shape[1])), grams, 0.0)

    def visit(self, block: int, V: Block, H: Float | None, sums: PredictionSums, scratch: Scratch) -> None:
        """Fit H of a block to the rows that are left, and add the rows that are held out."""
        held_rows = self.halves.rows(self.rows)
        held_columns = self.halves.columns(*self.bounds[block : block + 2])
        everywhere = np.ones(len(held_columns), np.bool_)
        H = self._solved(part_of(V, ~held_rows, everywhere), scratch)
        for index, chosen in enumerate((~held_columns, held_columns)):
            if not chosen.any():
                continue
            outside, own = part_of(V, held_rows, chosen), H[:, chosen]
            for columns, panel in panels(outside, H.dtype, scratch):
                h = np.ascontiguousarray(own[:, columns])
                panel.add_outer(h, sums.cross[index], scratch)
                for grams, rows in zip(sums.grams.parts, self.columns, strict=True):
                    add_gram(h[rows], grams[index])
            if index:
                sums.square += square_sum(outside, H.dtype, scratch)

    def _solved(self, inside: Block, scratch: Scratch) -> Float:
        H = np.ones((self.W.shape[1], inside.shape[1]), self.W.dtype)
        wide = self.W.astype(np.float64)
        grams = [(wide[:, own].T @ wide[:, own]).astype(H.dtype) for own in self.columns]
        for columns, panel in panels(inside, H.dtype, scratch):
            C = panel.cross(self.W, scratch)
            for gram, own in zip(grams, self.columns, strict=True):
                h = np.ascontiguousarray(H[own, columns])
                begin(h, C[own], gram, self.rule.penalty_H)
                update_free(self.rule.update, h, C[own], gram, self.rule.penalty_H, self.rule.sweeps, 0)
                H[own, columns] = h
        return H

    def errors(self, sums: PredictionSums) -> list[float]:
        """Return ‖V_IJ − W_I H_J‖²/‖V_IJ‖² for every rank; NaN where V_IJ is 0.

        A component whose H is only rounding errors outside the columns held out would be divided by them: its W_I is 0.
        """
        found, eps = [], float(np.finfo(self.W.dtype).eps)
        for own, (left, held) in zip(self.columns, sums.grams.parts, strict=True):
            seen = np.diag(left) > eps * np.diag(held)
            cross = np.ascontiguousarray(sums.cross[0][:, own].T)
            rows = np.zeros(cross.shape)
            if seen.any():
                known = np.zeros((int(seen.sum()), cross.shape[1]))
                solve(known, cross[seen], left[np.ix_(seen, seen)], self.rule.penalty_W.components(seen))
                rows[seen] = known
            fit = sums.square - 2 * float(np.vdot(rows, sums.cross[1][:, own].T))
            fit += float(np.vdot(rows @ rows.T, held))
            found.append(max(fit, 0.0))
        errors: list[float] = relative_errors(found, sums.square).tolist()
        return errors
