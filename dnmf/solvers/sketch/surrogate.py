"""The factorisation of a surrogate of V, a matrix of low rank, without reading V.

The surrogate is V̂ = L S, with L (m, q) on the driver and S (q, n) in blocks, as a long factor. The update of H needs
WᵀV̂ = (LᵀW)ᵀ S, and that of W needs V̂Hᵀ = L (S Hᵀ); both cost q/m of a pass.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from dnmf.engine import MapFunction
from dnmf.kernels.blocks.hashing import spread
from dnmf.kernels.blocks.products import power_of_two
from dnmf.kernels.blocks.tiles import Float, slices
from dnmf.kernels.extrapolation import Momentum, extrapolate
from dnmf.kernels.quadratic import descent, free_rows
from dnmf.kernels.quadratic.row_updates import hals
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.solvers.bundle import comparable
from dnmf.solvers.coupling import Coupled
from dnmf.solvers.several_runs import better_half
from dnmf.solvers.sketch.columns import (
    FIRST_SWEEPS,
    SWEEPS,
    BlockColumns,
    LocalColumns,
    Round,
    SurrogateColumns,
    SurrogateSums,
)
from dnmf.solvers.sketch.effort import CLOSE, COLUMNS_PER_ROW, EXACT, FULL_EFFORT, LAST_ROUNDS, TIE, Effort
from dnmf.solvers.sketch.samples import GROWTH, SAMPLE, TOGETHER, begun, represents, revived, squares
from dnmf.solvers.sketch.singular import singular_start

# Sweeps over W in a round.
W_SWEEPS = 6
# Products in a half-step for both factors, up to which the rounds in this process are one call of a compiled function;
# and those in all rounds of a start, up to which a start is not worth a thread.
AT_ONCE = 10**6
# Times as many rounds over all columns follow those on a sample that does not stand for them.
UNFAIR = 8

Trial = tuple[LocalColumns, Float, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Surrogate:
    """The surrogate V̂ = L S, and the rule of its factors.

    Attributes
    ----------
    left
        L (m, q), in the dtype of the columns.
    rule
        Penalties and fixed components.
    norm
        ‖V‖², a term of the loss.
    beyond
        ‖V‖² − ‖V̂‖², the part of V outside the surrogate.
    each
        Maps over parts of W, parts of the columns, and random starts: `map`, or the same with several threads.
    effort
        Number of rounds, and when they end.
    coupled
        Graphs and penalties of single entries, or None.
    """

    left: Float
    rule: Quadratic
    norm: float
    beyond: float = 0.0
    each: MapFunction = map
    effort: Effort = FULL_EFFORT
    coupled: Coupled | None = None

    def descend(self, columns: SurrogateColumns, W: Float, rounds: int) -> tuple[Float, float]:
        """Return a better W (m, r) and its loss, after `rounds` rounds or when the progress is small.

        W is extrapolated as in `extrapolation.py`. The step after one that was undone is not compared with any other:
        `least` is infinite then, and `found` remains the loss of the returned W.
        """
        if isinstance(columns, LocalColumns) and self._fits(columns.S.shape[1], W.shape[1]):
            return self._descend_at_once(columns, W, rounds)
        momentum, point = Momentum(), W
        best, previous, least, found = W, None, np.inf, np.inf
        for _ in range(rounds):
            new, loss = self._step(columns, point)
            if loss > least:
                momentum, point, previous, least = momentum.cut(), best, None, np.inf
                continue
            settled = least - loss < self.effort.tolerance * loss
            best, least, found = new, loss, loss
            if settled:
                break
            point = new
            if previous is not None:
                point = extrapolate(new, previous, momentum.step, 0.0, self.rule.scaled)
                momentum = momentum.grown()
            previous = new
        return best, found

    def solve(
        self,
        S: Float,
        W: Float,
        all_columns: BlockColumns,
        stride: int,
        H: Float | None = None,
    ) -> tuple[Float, SurrogateColumns]:
        """Return a better W (m, r), and the columns with their H.

        The first rounds are on a sample in this process, and the others over all columns, unless the sample has all.
        Those on a first surrogate may begin on few columns of the sample.

        Parameters
        ----------
        S
            One of `stride` columns of S (q, p).
        all_columns
            The columns in blocks.
        stride
            Number of columns for every one in the sample.
        W, H
            Initial W (m, r), and H (r, p) of the sample or None.
        """
        local, rounds = LocalColumns(S, H, self.each), self.effort.rounds
        small, most = self.on_sample(S, stride), rounds[0]
        if self.effort.few:
            part, few = small.part_of(S, max(self.effort.few, COLUMNS_PER_ROW * len(S)), W.shape[1])
            if part is not small:
                W, most = part.descend(LocalColumns(few, each=self.each), W, rounds[0])[0], LAST_ROUNDS
        W, loss = small.descend(local, W, most)
        if H is None and loss > EXACT * small.inside and not W.any(axis=0).all():
            new, found = small.descend(again := LocalColumns(S, each=self.each), revived(W, self.rule), rounds[0])
            W, local = (new, again) if found < loss else (W, local)
        columns: SurrogateColumns = all_columns if stride > 1 else local
        if stride > 1:
            fair = represents(self.left, S, (1.0, 1 / stride), small.inside, self.inside, W.shape[1])
            start, more = (W, 1) if fair else (revived(W, self.rule), UNFAIR)
            W, _ = self.descend(all_columns, start, more * rounds[1])
        columns.update(self.round(W, S.dtype))
        return W, columns

    def solve_coupled(self, W: Float, columns: BlockColumns, rounds: int) -> Float:
        """Return a better W (m, r), after rounds over all columns from their H, which gets that of W.

        A sample would tear a graph.
        """
        W, _ = self.descend(columns, W, rounds)
        columns.update(self.round(W, columns.dtype))
        return W

    def all_of(
        self, S: Float, rank: int, seeds: Sequence[int], stride: int, rounds: int
    ) -> tuple[Float, tuple[float, ...]]:
        """Return the best W (m, r) of complete fits on one of `stride` columns from random starts, and all losses."""
        fits, losses = zip(*(self.fitted(S, rank, seed, stride, 1, rounds) for seed in seeds), strict=True)
        losses = tuple(map(comparable, losses))
        return fits[losses.index(min(losses))], losses

    def fitted(self, S: Float, rank: int, seed: int, stride: int, starts: int, rounds: int) -> tuple[Float, float]:
        """Return W (m, r) fitted on one of `stride` columns from the best random start, and its loss for all."""
        small = self.on_sample(S, stride)
        W, loss = small.descend(LocalColumns(S, each=self.each), small.best_of(S, rank, starts, seed), rounds)
        fair = represents(self.left, S, (1.0, 1 / stride), small.inside, self.inside, rank)
        return W if fair else revived(W, self.rule), stride * loss

    def round(self, W: Float, dtype: np.dtype[np.floating]) -> Round:
        """Return the round for W (m, r), in the dtype of the columns."""
        wide, rule = W.astype(np.float64), self.rule
        if self.coupled is not None:
            visiting = self.coupled.visiting(rule, wide, 1.0)
            assert isinstance(visiting, Quadratic)
            rule = visiting
        return Round(rule, self._projected(W.astype(dtype)), (wide.T @ wide).astype(dtype))

    @property
    def inside(self) -> float:
        """‖V̂‖²."""
        return self.norm - self.beyond

    def on_sample(self, S: Float, stride: float) -> "Surrogate":
        """Return the surrogate of the columns S (q, p), one of `stride`, with less weight for the penalty of W.

        Its norm is that of these columns, since the error of an estimate could exceed the loss.
        """
        if stride == 1:
            return self
        rule = dataclasses.replace(self.rule, penalty_W=self.rule.penalty_W.times(1 / stride))
        beyond = self.beyond / stride
        return dataclasses.replace(self, rule=rule, norm=squares(self.left, S) + beyond, beyond=beyond)

    def part_of(self, S: Float, most: int, rank: int) -> "tuple[Surrogate, Float]":
        """Return a surrogate of `most` columns of S (q, p), or more to stand for all of them, and these columns."""
        while most < S.shape[1]:
            few = np.ascontiguousarray(S[:, spread(S.shape[1], most)])
            part, shares = self.on_sample(few, S.shape[1] / few.shape[1]), (1.0, few.shape[1] / S.shape[1])
            if represents(self.left, few, shares, part.inside, self.inside, rank):
                return part, few
            most *= GROWTH
        return self, S

    def trial_on(self, S: Float, size: int, rank: int) -> "tuple[Surrogate, Float]":
        """Return a surrogate of `size` rows and columns S (q, p), or more to stand for all, and these columns.

        The penalties act as on all rows and columns.
        """
        rows, columns = spread(len(self.left), size), spread(S.shape[1], size)
        left, few = np.ascontiguousarray(self.left[rows]), np.ascontiguousarray(S[:, columns])
        high, wide, norm = len(rows) / len(self.left), len(columns) / S.shape[1], squares(left, few)
        if high * wide < 1 and size < SAMPLE and not represents(left, few, (high, wide), norm, self.inside, rank):
            return self.trial_on(S, min(GROWTH * size, SAMPLE), rank)
        penalty_W, penalty_H = self.rule.penalty_W.times(wide), self.rule.penalty_H.times(high)
        rule = dataclasses.replace(self.rule, penalty_W=penalty_W, penalty_H=penalty_H)
        return dataclasses.replace(self, left=left, rule=rule, norm=norm, beyond=0.0, each=map), few

    def _fits(self, width: int, rank: int) -> bool:
        """Return whether all rounds on `width` columns take place in one compiled function, without calls between."""
        rule = self.rule
        simple = all(penalty.plain and penalty.within.free for penalty in (rule.penalty_W, rule.penalty_H))
        known = rule.update is not hals or rule.n_fixed_W or rule.n_fixed_H or self.coupled is not None
        return simple and not known and self._products(width, rank) <= AT_ONCE

    def _products(self, width: int, rank: int) -> int:
        """Return the products in a half-step for both factors, with `width` columns."""
        return rank * int(self.left.shape[1]) * (len(self.left) + width)

    def _descend_at_once(self, columns: LocalColumns, W: Float, rounds: int) -> tuple[Float, float]:
        """Return the same as `descend` by one compiled function."""
        S, left, fresh = np.ascontiguousarray(columns.S), np.ascontiguousarray(self.left.T), columns.H is None
        rule, new = self.rule, np.array(W.T, left.dtype, order="C")
        given = np.empty((len(new), S.shape[1]), S.dtype) if columns.H is None else columns.H
        columns.H = np.ascontiguousarray(given)
        penalties = (*map(float, (*rule.penalty_W[:2], *rule.penalty_H[:2])),)
        limits = rounds, self.effort.tolerance, (W_SWEEPS, SWEEPS, FIRST_SWEEPS)
        loss = descent.descend(left, S, new, columns.H, fresh, self.norm, penalties, rule.scaled, *limits)
        return np.ascontiguousarray(new.T), float(loss)

    def _step(self, columns: SurrogateColumns, W: Float) -> tuple[Float, float]:
        """Update H, then W (m, r); return the new W and the loss of both."""
        sums = columns.update(self.round(W, columns.dtype))
        rule = self.rule
        if self.coupled is not None:
            assert isinstance(columns, BlockColumns)
            finishing = self.coupled.finishing(rule, sums, columns.roughness(W.shape[1]), 1.0)
            assert isinstance(finishing, Quadratic)
            rule = finishing
        new = self._improved(W, sums, W_SWEEPS, rule)
        wide = new.astype(np.float64)
        fit = 0.5 * self.norm - np.vdot(sums.cross, self._projected(wide)) + 0.5 * np.vdot(sums.gram, wide.T @ wide)
        squares = np.diag(sums.gram)
        penalty = rule.penalty_H.value(sums.mass, squares) + sums.penalty + rule.penalty_W.value_at(wide.T, squares)
        return new, max(float(fit), 0.0) + penalty

    def _improved(self, W: Float, sums: SurrogateSums, sweeps: int, rule: Quadratic) -> Float:
        """Return a better W (m, r) for the sums of a round, which are divided by their size so that they are finite."""
        dtype, size = self.left.dtype, power_of_two(float(sums.gram.max(initial=0)))
        cross, gram = (sums.cross / size).astype(dtype).T, (sums.gram / size).astype(dtype)
        penalty = rule.penalty_W.at(W.T, np.diag(sums.gram)).times(1 / size)
        new = np.empty(W.shape, dtype)

        def improve(rows: slice) -> None:
            part, C = np.ascontiguousarray(W[rows].T, dtype), cross @ self.left[rows].T
            free_rows.update_free(hals, part, C, gram, penalty.columns(rows), sweeps, rule.n_fixed_W)
            new[rows] = part.T

        list(self.each(improve, slices(len(W), TOGETHER)))
        return new

    def _projected(self, W: Float) -> Float:
        """Return LᵀW (q, r)."""
        return functools.reduce(np.add, self.each(lambda rows: self.left[rows].T @ W[rows], slices(len(W), TOGETHER)))

    def tried(self, trial: Trial, rounds: int) -> Trial:
        """Return a random start after further rounds, with its loss."""
        columns, W, _ = trial
        return columns, *self.descend(columns, W, rounds)

    def best_of(self, S: Float, rank: int, starts: int, seed: int) -> Float:
        """Return the best W (m, r) of some starts on columns S (q, n) of the surrogate.

        They are random, except that the first of several may be that of singular vectors. They run on a sample of rows
        and columns; the better half continues, until one is left.
        """
        rounds, generator = self.effort.trial_rounds, np.random.default_rng(seed)
        small, few = self.trial_on(S, self.effort.trial_size, rank)
        first = [np.abs(generator.standard_normal((len(small.left), rank))) for _ in range(starts)]
        if self.effort.singular and starts > 1:
            first[0] = singular_start(small.left, few, first[0])
        size, shape = float(np.sqrt(small.norm / len(small.left) / few.shape[1])), (len(self.left), S.shape[1])
        trials = [(LocalColumns(few), begun(W, self.rule, size, shape), 0.0) for W in first]
        while len(trials) > 1:
            each = map if small._products(few.shape[1], rank) * rounds <= AT_ONCE else self.each
            trials = list(each(functools.partial(small.tried, rounds=rounds), trials))
            rounds *= 2
            trials = [trials[k] for k in better_half([loss for _, _, loss in trials], CLOSE, TIE * small.norm)]
        sums = trials[0][0].update(small.round(trials[0][1], few.dtype))
        return self._improved(np.zeros((len(self.left), rank)), sums, FIRST_SWEEPS, small.rule)
