"""The columns of a surrogate and their H, in this process or in the blocks of a long factor."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol, Self

import numpy as np

from dnmf.engine import H_ALONE, Engine, MapFunction
from dnmf.engine.factor import ArrayFactor, Factor, StackedFactor
from dnmf.engine.passes import add_up
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.products import cross_product, power_of_two
from dnmf.kernels.blocks.sums import Summable
from dnmf.kernels.blocks.tiles import Float, Vector, slices
from dnmf.kernels.constraint import FREE
from dnmf.kernels.quadratic.free_rows import update_free
from dnmf.kernels.quadratic.row_updates import hals
from dnmf.kernels.quadratic.rule import Quadratic, match_scale
from dnmf.solvers.coupling import Coupled
from dnmf.solvers.rows_below import Below
from dnmf.solvers.sketch.samples import TOGETHER

# Sweeps over H in a round, and in the first round.
SWEEPS, FIRST_SWEEPS = 6, 20


@dataclasses.dataclass(slots=True)
class SurrogateSums(Summable):
    """SHᵀ (q, r), HHᵀ (r, r), the row sums of H (r,), and its penalty where that differs between columns."""

    cross: Float
    gram: Float
    mass: Float
    penalty: float = 0.0

    @classmethod
    def zero(cls, width: int, rank: int) -> Self:
        """Return the sums of no column."""
        return cls(np.zeros((width, rank)), np.zeros((rank, rank)), np.zeros(rank))


@dataclasses.dataclass(frozen=True, slots=True)
class Round:
    """The update of H for some columns of the surrogate.

    Attributes
    ----------
    rule
        Rule with the penalties of H and the number of its fixed rows.
    projected, gram
        LᵀW (q, r) and WᵀW (r, r), in the working dtype.
    """

    rule: Quadratic
    projected: Float
    gram: Float

    def update(self, S: Float, H: Float | None, sums: SurrogateSums, scratch: Scratch) -> Float:
        """Return the new H (r, w) of columns S (q, w), and add to the sums."""
        rank, width = len(self.gram), S.shape[1]
        new = np.empty((rank, width), S.dtype)
        for columns in slices(width, TOGETHER):
            part = S[:, columns]
            C = cross_product(part, self.projected, scratch)
            if H is None:
                h = np.maximum(C, 0)
                h /= power_of_two(float(h.max(initial=0)))
                match_scale(h, C, self.gram)
            else:
                h = np.ascontiguousarray(H[:, columns])
            sweeps = FIRST_SWEEPS if H is None else SWEEPS
            penalty = self.rule.penalty_H.columns(columns)
            shared = H is None and penalty.within.simplex
            first = penalty._replace(within=FREE) if shared else penalty
            update_free(hals, h, C, self.gram, first, sweeps, 0 if H is None else self.rule.n_fixed_H)
            if shared:  # W has no scale yet, by which to find a column that sums to 1
                h += np.finfo(h.dtype).tiny
                h /= h.sum(axis=0)
            new[:, columns] = h
            wide = h.astype(np.float64)
            sums.cross += part.astype(np.float64) @ wide.T
            sums.gram += wide @ wide.T
            sums.mass += wide.sum(axis=1)
        return new


class SurrogateColumns(Protocol):
    """The columns S (q, n) of a surrogate with their H (r, n)."""

    @property
    def dtype(self) -> "np.dtype[np.floating]":
        """Dtype of S and H."""

    def update(self, round_: Round) -> SurrogateSums:
        """Update H by a round over all columns."""

    def factor(self, bounds: Sequence[int]) -> Factor:
        """Return H (r, n) in blocks with these bounds."""


class LocalColumns:
    """SurrogateColumns in this process, with an initial H or None; `each` maps over parts of them."""

    def __init__(self, S: Float, H: Float | None = None, each: MapFunction = map) -> None:
        self.S, self.H, self.dtype = S, H, S.dtype
        self._each = each
        self._parts = [(part, Scratch()) for part in slices(S.shape[1], TOGETHER)]

    def update(self, round_: Round) -> SurrogateSums:
        """Update H by a round over all columns."""
        begun = self.H is not None
        H = self.H = self.H if self.H is not None else np.empty((len(round_.gram), self.S.shape[1]), self.dtype)

        def act(part: tuple[slice, Scratch]) -> SurrogateSums:
            columns, scratch = part
            sums = SurrogateSums.zero(len(self.S), len(H))
            H[:, columns] = round_.update(self.S[:, columns], H[:, columns] if begun else None, sums, scratch)
            return sums

        sums: list[SurrogateSums] = list(self._each(act, self._parts))
        return add_up(sums)

    def factor(self, bounds: Sequence[int]) -> Factor:
        """Return H after a first round."""
        assert self.H is not None
        return ArrayFactor(self.H, bounds)


@dataclasses.dataclass(frozen=True, slots=True)
class RoundOfBlock:
    """The work of a round as a pass over the blocks of S, with those of H stacked on top once it has begun.

    `skipped` is a number of rows below S that are skipped; `below` reads those that the penalties of a coupling need.
    """

    round: Round
    begun: bool
    skipped: int
    below: Below | None = None

    def zero(self) -> SurrogateSums:
        """Return the sums of no block."""
        return SurrogateSums.zero(*self.round.projected.shape)

    def visit(self, block: int, V: Block, H: Float | None, sums: SurrogateSums, scratch: Scratch) -> Float:
        """Return the block's new H."""
        assert H is not None
        rank = len(self.round.gram) if self.begun else 0
        if self.below is None:
            return self.round.update(H[rank : len(H) - self.skipped], H[:rank] if self.begun else None, sums, scratch)
        rule = self.below.rule(self.round.rule, H)
        assert isinstance(rule, Quadratic)
        coupled = dataclasses.replace(self.round, rule=rule)
        new = coupled.update(H[rank : self.below.rows], H[:rank], sums, scratch)
        self.below.measure(H, new, sums)
        return new


class BlockColumns:
    """SurrogateColumns in the blocks of a long factor; every round writes a new H.

    Parameters
    ----------
    engine, new_factor
        Make the passes and their factors.
    S, H
        The columns, and their H or None.
    skipped
        Rows below S that are no part of it.
    coupled
        Graphs and penalties of single entries, or None; with them, H is given.
    """

    def __init__(
        self,
        engine: Engine,
        new_factor: Callable[[int], Factor],
        S: Factor,
        H: Factor | None = None,
        skipped: int = 0,
        coupled: Coupled | None = None,
    ) -> None:
        self.engine, self.new_factor, self.coupled = engine, new_factor, coupled
        self.S, self.H, self.skipped = S, H, skipped
        self.dtype = engine.source.layout.work_dtype
        self._own = False

    def update(self, round_: Round) -> SurrogateSums:
        """Update H by a round over all columns."""
        rank = len(round_.gram)
        new = self.new_factor(rank)
        work, known = RoundOfBlock(round_, self.H is not None, self.skipped), self.S
        if self.coupled is not None:
            assert self.H is not None
            squares, rows = np.diag(round_.gram).astype(np.float64), rank + len(round_.projected)
            work = dataclasses.replace(work, below=self.coupled.below(self.H, squares, 1.0, rows, slice(0, rank)))
            known = self.coupled.input(self.H, rank, self.S, here=True)
        elif self.H is not None:
            known = StackedFactor(self.H, self.S)
        sums = self.engine.one_pass(work, known, new, H_ALONE)
        self.drop()
        self.H, self._own = new, True
        return sums

    def factor(self, bounds: Sequence[int]) -> Factor:
        """Return H after a first round."""
        assert self.H is not None
        return self.H

    def roughness(self, rank: int) -> Vector:
        """Return the roughness of H (rank, n), for the graph of the coupling."""
        assert self.coupled is not None
        assert self.H is not None
        return self.coupled.roughness(self.H, rank)

    def drop(self) -> None:
        """Free H, unless it was given."""
        if self.H is not None and self._own:
            self.H.drop()
