"""The Frobenius loss ½ Σ m (v − wh)² where entries are missing or weighted: every column and row has a Gram matrix of
its own.

For a column, G_c = Σ_i m_i w_i w_iᵀ over the rows i, and C = Wᵀ(m ∘ v). Weights are held against a base that most
entries have, 1 in a dense panel and 0 where only stored entries count: G_c = base · WᵀW + Σ (m_i − base) w_i w_iᵀ, so
that the work is proportional to the entries that are different. For W's rows the same sums go over the columns.
"""

import dataclasses

import numpy as np

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import Entries
from dnmf.kernels.blocks.panels import Block, Panel
from dnmf.kernels.blocks.products import add_square
from dnmf.kernels.blocks.sparse_panel import SparsePanel
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float, Penalty, kernel
from dnmf.kernels.optimality import relative_violation
from dnmf.kernels.quadratic.grams import change_by_rows, solve_columns, update_columns, update_rows
from dnmf.kernels.rule import Model, Step

# W's update costs no read of V.
W_SWEEPS = 20


@dataclasses.dataclass(frozen=True, slots=True)
class WeightedQuadratic:
    """The rule of the Frobenius loss over the entries that count: coordinate descent with Gram matrices of their own.

    The attributes are those of `Divergence`.
    """

    sweeps: int
    penalty_W: Penalty
    penalty_H: Penalty
    entries: Entries
    held_W: int = 0
    held_H: int = 0

    @property
    def least(self) -> float:
        """How far W may be put down from outside: W may be put to 0."""
        return 0.0

    @property
    def scaled(self) -> bool:
        """Whether no penalty sees the scale of a component."""
        return not any(self.penalty_W + self.penalty_H)

    def zero(self, rows: int, rank: int) -> Stats:
        """Return the statistics of no block."""
        stats = Stats.zero(rows, rank)
        stats.grams = np.zeros((rows, rank * (rank + 1) // 2))
        stats.seen = np.zeros(rows, np.int64)
        return stats

    def visit(self, V: Block, H: Float, model: Model, stats: Stats, scratch: Scratch, *, fresh: bool) -> None:
        """Update H (r, w) in place, then add up the sums of W."""
        for columns, panel in self.entries.panels(V, H.dtype, scratch):
            stats.unseen_columns += panel.count_observed(stats.seen)
            h = H[:, columns].astype(np.float64)
            self._visit_panel(panel, h, model, stats, scratch, fresh)
            H[:, columns] = h

    def _visit_panel(self, panel: Panel, h: Float, model: Model, stats: Stats, scratch: Scratch, fresh: bool) -> None:
        base, different = panel.split(scratch)
        product = panel.weighted(scratch)
        C = product.cross(model.W, scratch)
        penalty = self.penalty_H
        how = (base, self.sweeps, penalty.l1, penalty.l2, self.held_H, fresh)
        sums = np.zeros((2, len(h)))
        update_columns(different.starts, different.rows, different.weights, model.W, model.gram, C, h, how, sums)
        stats.kkt_residual += sums[0]
        stats.kkt_scale += sums[1]
        h32 = h.astype(model.W.dtype)
        h[...] = h32
        stats.row_sums += h.sum(axis=1)
        stats.squares += float(np.vdot(h, h))
        if base:
            stats.gram += h @ h.T
        add_row_grams(different, h, stats.grams, scratch)
        product.add_outer(h32, stats.cross, scratch)
        stats.fit += 0.5 * panel.square_residual(model.W, h32, scratch)

    def transform(self, V: Block, model: Model, scratch: Scratch) -> Float:
        """Return the H (r, w) that minimises the objective with W held, column by column."""
        H = np.zeros((len(model.gram), V.shape[1]), model.W.dtype)
        for columns, panel in self.entries.panels(V, H.dtype, scratch):
            base, different = panel.split(scratch)
            C = panel.weighted(scratch).cross(model.W, scratch)
            penalty = self.penalty_H
            how = (base, float(penalty.l1), float(penalty.l2))
            h = np.zeros((len(H), C.shape[1]))
            solve_columns(different.starts, different.rows, different.weights, model.W, model.gram, C, how, h)
            H[:, columns] = h
        return H

    def finish(self, W: Float, stats: Stats) -> Step:
        """Minimise over every row of W by itself; the loss follows by the exact change of the quadratic."""
        rows = W.astype(np.float64)
        sums = np.zeros((2, W.shape[1]))
        penalty = self.penalty_W
        how = (W_SWEEPS, penalty.l1, penalty.l2, self.held_W)
        rows[stats.seen == 0, self.held_W :] = 0
        update_rows(rows, np.ascontiguousarray(stats.cross), stats.grams, stats.gram, how, sums)
        new = rows.astype(W.dtype)
        change = change_by_rows(W.astype(np.float64), new.astype(np.float64), stats.cross, stats.grams, stats.gram)
        fit = max(stats.fit + float(change), 0.0)
        norm = sum(stats.norms)
        total = self.penalty_H.value(float(stats.row_sums.sum()), stats.squares)
        total += penalty.value(float(new.sum(dtype=np.float64)), float(np.square(new, dtype=np.float64).sum()))
        optimality = max(relative_violation(stats.kkt_residual, stats.kkt_scale), relative_violation(*sums))
        error = float(np.sqrt(2 * fit / norm)) if norm > 0 else 0.0
        return Step(new, fit + total, error, optimality, stats.unseen)


def add_row_grams(panel: SparsePanel, H: Float, grams: Float, scratch: Scratch) -> None:
    """Add the weighted h hᵀ of every row's entries to its Gram matrix, row by row, so that each is in the cache."""
    starts = np.zeros(panel.height + 1, np.int64)
    columns = scratch.array("columns by rows", panel.rows.shape, np.dtype(np.int32))
    weights = scratch.array("weights by rows", panel.rows.shape, panel.weights.dtype)
    _sort_by_rows(panel.starts, panel.rows, panel.weights, starts, columns, weights)
    _add_row_grams(starts, columns, weights, np.ascontiguousarray(H.T), grams)


@kernel
def _sort_by_rows(starts, rows, weights, row_starts, columns, sorted_weights):  # type: ignore[no-untyped-def]
    """Fill in the same entries compressed by rows; those of a row are in the order of their columns."""
    for entry in range(starts[0], starts[-1]):
        row_starts[rows[entry] + 1] += 1
    for row in range(len(row_starts) - 1):
        row_starts[row + 1] += row_starts[row]
    places = row_starts[:-1].copy()
    for column in range(len(starts) - 1):
        for entry in range(starts[column], starts[column + 1]):
            place = places[rows[entry]]
            places[rows[entry]] += 1
            columns[place] = column
            sorted_weights[place] = weights[entry]


@kernel
def _add_row_grams(starts, columns, weights, H, grams):  # type: ignore[no-untyped-def]
    for row in range(len(starts) - 1):
        own = grams[row]
        for entry in range(starts[row], starts[row + 1]):
            add_square(H[columns[entry]], np.float64(weights[entry]), own)
