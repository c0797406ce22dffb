"""The Frobenius loss ½ Σ m (v − wh)² with missing or weighted entries.

Every column has its own Gram matrix G_j = Σ_i m_ij w_i w_iᵀ, and C = Wᵀ(m ∘ V). With μ the weight of most entries, 1 in
a dense panel and 0 where only listed entries count, G_j = μ WᵀW + Σ_i (m_ij − μ) w_i w_iᵀ, so that the work is
proportional to the entries of other weights. For the rows of W the same sums go over the columns. See "Missing and
weighted entries" in docs/mathematics.md.
"""

import dataclasses

import numpy as np

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import Entries
from dnmf.kernels.blocks.panels import Block, Panel
from dnmf.kernels.blocks.row_grams import add_row_grams
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float, MapFunction, slices
from dnmf.kernels.optimality import promised_share
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic.grams import change_by_rows, solve_columns, update_columns, update_rows
from dnmf.kernels.quadratic.projected_gradient import STEPS
from dnmf.kernels.rule import PART_ROWS, Model, Step

# Sweeps over W, which cost no read of V.
W_SWEEPS = 20
# Rounds into which they are divided where a penalty is majorised.
W_ROUNDS = 5


@dataclasses.dataclass(frozen=True, slots=True)
class WeightedQuadratic:
    """The rule of the Frobenius loss over the entries that count: coordinate descent on every column and row.

    The attributes are those of `Divergence`, and whether both factors are updated by projected gradients, as they are
    within a constraint.
    """

    sweeps: int
    penalty_W: Penalty
    penalty_H: Penalty
    entries: Entries
    n_fixed_W: int = 0
    n_fixed_H: int = 0
    first: bool = False
    projected: bool = False

    @property
    def least(self) -> float:
        """The smallest share of an entry of W that may be proposed: 0, which updates can leave."""
        return 0.0

    @property
    def scaled(self) -> bool:
        """Whether the objective does not depend on how the scale of a component is split between W and H."""
        return self.penalty_W.none and self.penalty_H.none

    def zero(self, rows: int, rank: int) -> Stats:
        """Return the sums of no block."""
        stats = Stats.zero(rows, rank)
        stats.grams = np.zeros((rows, rank * (rank + 1) // 2))
        stats.seen = np.zeros(rows, np.int64)
        return stats

    def visit(self, V: Block, H: Float, model: Model, stats: Stats, scratch: Scratch, *, fresh: bool) -> None:
        """Update H (r, w) in place, then add to the sums for W."""
        for columns, panel in self.entries.panels(V, H.dtype, scratch):
            stats.unseen_columns += panel.count_observed(stats.seen)
            h = H[:, columns].astype(np.float64)
            self._visit_panel(panel, h, model, stats, scratch, fresh, self.penalty_H.columns(columns))
            H[:, columns] = h

    def _visit_panel(
        self, panel: Panel, h: Float, model: Model, stats: Stats, scratch: Scratch, fresh: bool, penalty: Penalty
    ) -> None:
        base, different = panel.split(scratch)
        product = panel.weighted(scratch)
        C = product.cross(model.W, scratch)
        within = self._within(penalty)
        if fresh and not penalty.within.free:
            h[self.n_fixed_H :], fresh = penalty.within.begin(h[self.n_fixed_H :]), False
        sweeps = self.sweeps
        if sweeps and not (self.projected or penalty.within.free):
            sweeps = max(sweeps, STEPS)
        options = (base, sweeps, *penalty.by_columns(h.shape), self.n_fixed_H, self.first, fresh, within)
        entries = different.starts, different.rows, different.weights
        updated = h if sweeps else h.copy()  # a measurement does not even round H to the set of a constraint
        stats.gain += float(update_columns(*entries, model.W, model.gram, C, updated, options))
        rounded = h.astype(model.W.dtype)
        h[...] = rounded
        stats.row_sums += h.sum(axis=1)
        stats.squares += np.einsum("kj,kj->k", h, h)
        if base:
            stats.gram += h @ h.T
        add_row_grams(different, h, stats.grams, scratch)
        product.add_outer(rounded, stats.cross, scratch)
        stats.fit += 0.5 * panel.square_residual(model.W, rounded, scratch)

    def transform(self, V: Block, model: Model, scratch: Scratch) -> Float:
        """Return the H (r, w) that minimises the objective with W fixed, column by column."""
        H = np.zeros((len(model.gram), V.shape[1]), model.W.dtype)
        for columns, panel in self.entries.panels(V, H.dtype, scratch):
            base, different = panel.split(scratch)
            C = panel.weighted(scratch).cross(model.W, scratch)
            penalty = self.penalty_H.columns(columns)
            within = not penalty.within.free, *penalty.within
            options = (base, *penalty.by_columns((len(H), C.shape[1])), within)
            h = np.zeros((len(H), C.shape[1]))
            solve_columns(different.starts, different.rows, different.weights, model.W, model.gram, C, options, h)
            H[:, columns] = h
        return H

    def finish(self, W: Float, stats: Stats, each: MapFunction = map) -> Step:
        """Minimise over every row of W; the loss follows from the exact change of the quadratic."""
        rows = W.astype(np.float64)
        gain = self._improve_rows(rows, stats, each)
        new = rows.astype(W.dtype)

        def change_of(part: slice) -> float:
            old, moved = (array[part].astype(np.float64) for array in (W, new))
            return float(change_by_rows(old, moved, stats.cross[part], stats.grams[part], stats.gram))

        fit = max(stats.fit + sum(each(change_of, slices(len(W), PART_ROWS))), 0.0)
        norm = sum(stats.norms)
        total = self.penalty_H.value(stats.row_sums, stats.squares) + stats.penalty
        total += self.penalty_W.value_at(new.T, stats.squares)
        optimality = promised_share(stats.gain + gain, fit + total, norm, W.dtype)
        error = float(np.sqrt(2 * fit / norm)) if norm > 0 else 0.0
        return Step(new, fit + total, error, optimality, stats.unseen)

    def _improve_rows(self, rows: Float, stats: Stats, each: MapFunction) -> float:
        """Improve the rows of W (m, r) in place, and return what a step of every entry promised before.

        A penalty that is majorised at W is majorised again after a part of the sweeps.
        """
        pulled = self.penalty_W.at(rows.T, stats.squares).by_columns(rows.T.shape)[1].any(axis=1)
        rows[(stats.seen == 0) & ~pulled, self.n_fixed_W :] = 0
        self.penalty_W.within.enter(rows.T, self.n_fixed_W)
        cross, rounds = np.ascontiguousarray(stats.cross), 1 if self.penalty_W.exact else W_ROUNDS
        penalty, gains = self.penalty_W, list[float]()

        def improve(part: slice) -> float:
            l1, l2 = penalty.columns(part).by_columns(rows[part].T.shape)
            options = (W_SWEEPS // rounds, l1, l2, self.n_fixed_W, self._within(penalty))
            return float(update_rows(rows[part], cross[part], stats.grams[part], stats.gram, options))

        for _ in range(rounds):
            penalty = self.penalty_W.at(rows.T, stats.squares)
            gains.append(sum(each(improve, slices(len(rows), PART_ROWS))))
        return gains[0]

    def _within(self, penalty: Penalty) -> tuple[bool, float, bool]:
        """Return whether to take projected gradients, and the set of a column or row."""
        return self.projected or not penalty.within.free, *penalty.within
