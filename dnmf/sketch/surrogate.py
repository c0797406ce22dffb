"""The factorisation of a matrix of low rank that is close to V, without a read of V.

The surrogate is V̂ = L S with L (m, q) on the driver and S (q, n) in blocks, as a long factor is. With W held, H needs
WᵀV̂ = (LᵀW)ᵀ S, and with H held W needs V̂Hᵀ = L (S Hᵀ): an update of both costs q/m of what a pass costs.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol, Self

import numpy as np

from dnmf.accelerate import Momentum, extrapolate
from dnmf.engine import H_ALONE, Engine
from dnmf.factor import ArrayFactor, Factor, StackedFactor
from dnmf.kernels.panels import PANEL_BYTES, Block, slices
from dnmf.kernels.products import add_gram, add_outer_product, cross_product, power_of_two
from dnmf.kernels.quadratic import Quadratic, match_scale, update_free
from dnmf.kernels.scratch import Scratch
from dnmf.kernels.tiles import Float, Penalty
from dnmf.kernels.updates import hals

# Sweeps over H and over W in a round, and over an H that has no values yet.
SWEEPS, W_SWEEPS, FIRST_SWEEPS = 6, 6, 20
# A solution ends when a round lowers the loss by less than this share of it.
TOLERANCE = 1e-6
# Rounds of every random start, on so many rows and columns at most, before the better half goes on with twice as many.
TRIAL_ROUNDS, TRIAL_SIZE = 16, 4000
# Losses of two starts are close together where they differ by less than the first share of them, or the second of ‖V̂‖².
CLOSE, TIE = 1e-3, 1e-6


@dataclasses.dataclass(slots=True)
class SurrogateSums:
    """SHᵀ (q, r), HHᵀ (r, r), and the sum of every row of H (r,)."""

    cross: Float
    gram: Float
    mass: Float

    @classmethod
    def zero(cls, width: int, rank: int) -> Self:
        """Return the sums of no column."""
        return cls(np.zeros((width, rank)), np.zeros((rank, rank)), np.zeros(rank))

    def add(self, other: Self) -> Self:
        """Return these sums and the others."""
        return type(self)(self.cross + other.cross, self.gram + other.gram, self.mass + other.mass)


@dataclasses.dataclass(frozen=True, slots=True)
class Round:
    """What is done to some columns of the surrogate in a round.

    Attributes
    ----------
    rule
        With the penalties of H, and how many of its rows are held.
    projected, gram
        LᵀW (q, r) and WᵀW (r, r), in the working dtype.
    """

    rule: Quadratic
    projected: Float
    gram: Float

    def act(self, S: Float, H: Float | None, sums: SurrogateSums, scratch: Scratch) -> Float:
        """Return the new H (r, w) of columns S (q, w), and add them up."""
        rank, width = len(self.gram), S.shape[1]
        new = np.empty((rank, width), S.dtype)
        for columns in slices(width, max(128, PANEL_BYTES // (len(S) * S.itemsize))):
            part = S[:, columns]
            C = cross_product(part, self.projected, scratch)
            if H is None:
                h = np.maximum(C, 0)
                h /= power_of_two(float(h.max(initial=0)))
                match_scale(h, C, self.gram)
            else:
                h = np.ascontiguousarray(H[:, columns])
            sweeps = FIRST_SWEEPS if H is None else SWEEPS
            update_free(hals, h, C, self.gram, self.rule.penalty_H, sweeps, 0 if H is None else self.rule.held_H)
            new[:, columns] = h
            add_outer_product(part, h, sums.cross, scratch)
            add_gram(h, sums.gram)
            sums.mass += h.sum(axis=1, dtype=np.float64)
        return new


class Columns(Protocol):
    """The columns S of a surrogate with their H, wherever they are."""

    @property
    def dtype(self) -> "np.dtype[np.floating]":
        """Of S and H."""

    def update(self, round_: Round) -> SurrogateSums:
        """Do a round to all of them."""

    def factor(self, bounds: Sequence[int]) -> Factor:
        """Return H (r, n) in the blocks with these bounds."""


class LocalColumns:
    """Columns S (q, n) in this process, with the H (r, n) that they have, if any."""

    def __init__(self, S: Float, H: Float | None = None) -> None:
        self.S, self.H, self.dtype = S, H, S.dtype
        self._scratch = Scratch()

    def update(self, round_: Round) -> SurrogateSums:
        """Do a round to all of them."""
        sums = SurrogateSums.zero(len(self.S), len(round_.gram))
        self.H = round_.act(self.S, self.H, sums, self._scratch)
        return sums

    def factor(self, bounds: Sequence[int]) -> Factor:
        """Return H, once it was updated."""
        assert self.H is not None
        return ArrayFactor(self.H, bounds)


@dataclasses.dataclass(frozen=True, slots=True)
class RoundOfBlock:
    """The work of a round as a pass over the blocks of S, with those of H on top of them where there are some.

    `below` are rows under those of S that are none of it.
    """

    round: Round
    begun: bool
    below: int

    def zero(self) -> SurrogateSums:
        """Return the sums of no block."""
        return SurrogateSums.zero(*self.round.projected.shape)

    def visit(self, block: int, V: Block, H: Float | None, sums: SurrogateSums, scratch: Scratch) -> Float:
        """Return the block's new H."""
        assert H is not None
        rank = len(self.round.gram) if self.begun else 0
        return self.round.act(H[rank : len(H) - self.below], H[:rank] if self.begun else None, sums, scratch)


class SpreadColumns:
    """Columns in the blocks of a long factor; H is written anew in every round."""

    def __init__(
        self, engine: Engine, make_room: Callable[[int], Factor], S: Factor, H: Factor | None = None, below: int = 0
    ) -> None:
        self.engine, self.make_room = engine, make_room
        self.S, self.H, self.below = S, H, below
        self.dtype = engine.source.layout.work_dtype
        self._own = False

    def update(self, round_: Round) -> SurrogateSums:
        """Do a round to all of them."""
        room = self.make_room(len(round_.gram))
        known: Factor = self.S if self.H is None else StackedFactor(self.H, self.S)
        sums = self.engine.one_pass(RoundOfBlock(round_, self.H is not None, self.below), known, room, H_ALONE)
        self.drop()
        self.H, self._own = room, True
        return sums

    def factor(self, bounds: Sequence[int]) -> Factor:
        """Return H, once it was updated."""
        assert self.H is not None
        return self.H

    def drop(self) -> None:
        """Give up H, where it was made here."""
        if self.H is not None and self._own:
            self.H.drop()


Trial = tuple[LocalColumns, Float, float]


def better_half(trials: list[Trial], close: float) -> list[Trial]:
    """Return the half with the lower losses; of those that are close together, rounding is not to choose: the first."""
    left, chosen = list(trials), list[Trial]()
    while len(chosen) < len(trials) // 2:
        bar = min(loss for _, _, loss in left) * (1 + CLOSE) + close
        chosen.append(left.pop(next(index for index, trial in enumerate(left) if trial[2] <= bar)))
    return chosen


@dataclasses.dataclass(frozen=True, slots=True)
class Surrogate:
    """V̂ = L S, and what is asked of its factors.

    Attributes
    ----------
    left
        L (m, q), in the dtype of the columns.
    rule
        Penalties and held components.
    norm
        ‖V‖², for the size of the loss.
    """

    left: Float
    rule: Quadratic
    norm: float

    def descend(self, columns: Columns, W: Float, rounds: int) -> tuple[Float, float]:
        """Return a better W (m, r) and its loss, after so many rounds or as soon as they bring little.

        Extrapolated as in `accelerate.py`, with H as good as `SWEEPS` make it.
        """
        momentum, point = Momentum(), W
        best, previous, least = W, None, np.inf
        for _ in range(rounds):
            new, loss = self._step(columns, point)
            if loss > least:
                momentum, point, previous, least = momentum.cut(), best, None, np.inf
                continue
            settled = least - loss < TOLERANCE * loss
            best, least = new, loss
            if settled:
                break
            point = new
            if previous is not None:
                point = extrapolate(new, previous, momentum.step, 0.0, self.rule.scaled)
                momentum = momentum.grown()
            previous = new
        return best, least

    def solve(
        self,
        S: Float,
        W: Float,
        everywhere: "SpreadColumns",
        stride: int,
        rounds: tuple[int, int],
        H: Float | None = None,
    ) -> tuple[Float, Columns]:
        """Return a better W (m, r), and the columns with the H that belongs to it.

        On a sample S (q, p) of the columns, every so-manieth, in this process; then, where that is not all of them, on
        all of them. `rounds` are those of both, and H (r, p) is what the sample begins with.
        """
        local = LocalColumns(S, H)
        W, _ = dataclasses.replace(self, norm=self.norm / stride).descend(local, W, rounds[0])
        columns: Columns = everywhere if stride > 1 else local
        if stride > 1:
            W, _ = self.descend(everywhere, W, rounds[1])
        columns.update(self.round(W, S.dtype))
        return W, columns

    def round(self, W: Float, dtype: np.dtype[np.floating]) -> Round:
        """Return what a round with W (m, r) is, in the dtype of the columns."""
        wide = W.astype(np.float64)
        return Round(self.rule, self.left.T @ W.astype(dtype), (wide.T @ wide).astype(dtype))

    def _step(self, columns: Columns, W: Float) -> tuple[Float, float]:
        """Update H, then W (m, r); return the new W and the loss with both."""
        sums = columns.update(self.round(W, columns.dtype))
        new = self._improved(W, sums, W_SWEEPS)
        wide = new.astype(np.float64)
        fit = 0.5 * self.norm - np.vdot(sums.cross, self.left.T @ new) + 0.5 * np.vdot(sums.gram, wide.T @ wide)
        penalty = self.rule.penalty_H.value(float(sums.mass.sum()), float(np.trace(sums.gram)))
        penalty += self.rule.penalty_W.value(float(wide.sum()), float(np.vdot(wide, wide)))
        return new, max(float(fit), 0.0) + penalty

    def _improved(self, W: Float, sums: SurrogateSums, sweeps: int) -> Float:
        """Return a better W (m, r) for the sums of a round, which are divided by their size so that they fit floats."""
        dtype, size = self.left.dtype, power_of_two(float(sums.gram.max(initial=0)))
        rows, cross = np.ascontiguousarray(W.T, dtype), (sums.cross / size).astype(dtype).T @ self.left.T
        penalty = Penalty(*(weight / size for weight in self.rule.penalty_W))
        update_free(hals, rows, cross, (sums.gram / size).astype(dtype), penalty, sweeps, self.rule.held_W)
        return np.ascontiguousarray(rows.T)

    def best_of(self, S: Float, rank: int, starts: int, seed: int) -> Float:
        """Return the best W (m, r) of some random starts, judged by some columns S (q, n) of the surrogate.

        They are tried on few rows and columns; the better half goes on, until one is left.
        """
        left, few = self.left[:: -(-len(self.left) // TRIAL_SIZE)], S[:, :: -(-S.shape[1] // TRIAL_SIZE)]
        left, few = np.ascontiguousarray(left), np.ascontiguousarray(few)
        wide = few.astype(np.float64)
        norm = float(np.vdot(left.T @ left, wide @ wide.T))
        small = dataclasses.replace(self, left=left, norm=norm)
        generator = np.random.default_rng(seed)
        trials = [(LocalColumns(few), np.abs(generator.standard_normal((len(left), rank))), 0.0) for _ in range(starts)]
        rounds = TRIAL_ROUNDS
        while len(trials) > 1:
            trials = [(columns, *small.descend(columns, W, rounds)) for columns, W, _ in trials]
            rounds *= 2
            trials = better_half(trials, TIE * norm)
        columns, W, _ = trials[0]
        return self._improved(np.zeros((len(self.left), rank)), columns.update(small.round(W, few.dtype)), FIRST_SWEEPS)
