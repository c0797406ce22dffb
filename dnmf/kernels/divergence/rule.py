"""The β-divergences D(V, WH) with penalties: multiplicative updates, and Newton's method for Kullback–Leibler.

`beta.py` has the formulas. A visit updates H several times, since its block of V is in memory; W takes one majorised
step a pass, because its sums Σ v y^(β−2) h and Σ y^(β−1) h depend on W. The loss of a pass is that of the new H and the
W that the pass was made with; the W of the step is evaluated by the next pass.
"""

import dataclasses
from typing import Any

import numpy as np

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.dense_panel import DensePanel
from dnmf.kernels.blocks.entries import Entries
from dnmf.kernels.blocks.panels import Block, slices
from dnmf.kernels.blocks.products import add_outer_product, product_like, scale_columns
from dnmf.kernels.blocks.sparse_panel import SparsePanel
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float, Penalty
from dnmf.kernels.divergence.beta import majorise
from dnmf.kernels.divergence.elementwise import add_loss, divide, divide_and_add, take_panel_ratios
from dnmf.kernels.divergence.exact_columns import minimise_columns
from dnmf.kernels.divergence.multiplicative_columns import multiply_columns
from dnmf.kernels.divergence.newton_columns import descend_columns
from dnmf.kernels.divergence.newton_rows import add_curvature, newton_rows
from dnmf.kernels.optimality import divergence_violation, relative_violation
from dnmf.kernels.quadratic.row_updates import KEPT
from dnmf.kernels.rule import Model, Step

RATIO_BYTES = 2**20
FINISH_ROWS = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Divergence:
    """The rule of a β-divergence.

    Attributes
    ----------
    beta
        β; 1 is Kullback–Leibler.
    newton
        Whether H is updated by Newton's method, for β = 1, and not by the multiplicative rule.
    sweeps
        Updates of H in a visit.
    penalty_W, penalty_H
        Penalties.
    entries
        Which entries of V count.
    held_W, held_H
        How many of the first components of each factor are not updated.
    curved
        Whether a visit adds up the Hessians of the rows of W, for `second_order`: where H is updated by Newton's method
        and every entry counts.
    """

    beta: float
    newton: bool
    sweeps: int
    penalty_W: Penalty
    penalty_H: Penalty
    entries: Entries = dataclasses.field(default_factory=Entries)
    held_W: int = 0
    held_H: int = 0
    curved: bool = False

    @property
    def by_totals(self) -> bool:
        """Whether Σ y^(β−1) w is the same for every column: for β = 1, where every entry counts by 1."""
        return self.beta == 1 and self.entries.all

    @property
    def least(self) -> float:
        """How far W may be put down from outside: W is multiplied, and what is 0 stays so."""
        return KEPT

    @property
    def scaled(self) -> bool:
        """Whether no penalty sees the scale of a component."""
        return not any(self.penalty_W + self.penalty_H)

    def zero(self, rows: int, rank: int) -> Stats:
        """Return the statistics of no block."""
        stats = Stats.zero(rows, rank)
        if not self.by_totals:
            stats.denominator = np.zeros((rows, rank))
        if self.curved:
            stats.grams = np.zeros((rows, rank * (rank + 1) // 2))
        if not self.entries.all:
            stats.seen = np.zeros(rows, np.int64)
        return stats

    def visit(self, V: Block, H: Float, model: Model, stats: Stats, scratch: Scratch, *, fresh: bool) -> None:
        """Update H (r, w) in place, then add up the sums of W."""
        totals = model.W.sum(axis=0, dtype=np.float64).astype(H.dtype) if self.by_totals else np.empty(0, H.dtype)
        for columns, panel in self.entries.panels(V, H.dtype, scratch, narrow=self.newton):
            if not self.entries.all:
                stats.unseen_columns += panel.count_observed(stats.seen)
            if self.newton or isinstance(panel, SparsePanel):
                listed = panel.listed(scratch)
                H[:, columns] = self._by_columns(listed, H[:, columns], model, totals, stats, fresh)
                continue
            height, width = panel.shape
            for part in slices(width, narrow_width(height, H.itemsize)):
                chosen = slice(columns.start + part.start, columns.start + part.stop)
                narrow = panel.part(part, scratch)
                H[:, chosen] = self._by_products(narrow, H[:, chosen], model, totals, stats, scratch, fresh)
        mass = H.sum(axis=1, dtype=np.float64)
        stats.row_sums += mass
        stats.squares += sum(float(np.vdot(h, h)) for h in (row.astype(np.float64) for row in H))
        if self.by_totals:
            stats.fit += float(totals.astype(np.float64) @ mass)

    def _by_columns(
        self, panel: SparsePanel, H: Float, model: Model, totals: Float, stats: Stats, fresh: bool
    ) -> Float:
        """Update columns one by one, each while its entries are in the cache."""
        W, h = np.ascontiguousarray(model.W), np.ascontiguousarray(H.T)
        sums = np.zeros((3, h.shape[1]))
        penalty = self.penalty_H
        how = (self.beta, self.sweeps, penalty.l1, penalty.l2, self.held_H, fresh)
        weights = panel.weights.astype(h.dtype, copy=False)
        values, low = panel.values, stats.denominator
        update = descend_columns if self.newton else multiply_columns
        update(panel.starts, panel.rows, values, weights, W, totals, h, how, stats.cross, low, sums)
        if self.curved:
            add_curvature(panel, W, h, stats.grams)
        stats.kkt_residual += sums[0]
        stats.kkt_scale += sums[1]
        stats.fit += float(sums[2, 0])
        return h.T

    def _by_products(
        self, panel: DensePanel, H: Float, model: Model, totals: Float, stats: Stats, scratch: Scratch, fresh: bool
    ) -> Float:
        """Update all columns of a dense panel together, by products of matrices."""
        values, weights = panel.values, panel.weights
        W, h = model.W, np.ascontiguousarray(H)
        if fresh:
            product = product_like(values, W, h, scratch)
            top, low = self._ratios(values, weights, product, scratch)
            fitted = column_products(top, product)
            bottom = totals.astype(np.float64) @ h if self.by_totals else column_products(low, product)
            scale_columns(h, fitted, bottom, self.held_H)
        for sweep in range(self.sweeps):
            product = product_like(values, W, h, scratch)
            if self.by_totals:
                divide(values.ravel("K"), product.ravel("K"))
                top, low = product, totals[:, None]
            else:
                top, low = self._ratios(values, weights, product, scratch)
            up = np.matmul(W.T, top, out=scratch.array("up", h.shape, h.dtype))
            down = low if self.by_totals else np.matmul(W.T, low, out=scratch.array("down", h.shape, h.dtype))
            if sweep == self.sweeps - 1:
                residual, scale = divergence_violation(h, up, down, self.penalty_H)
                stats.kkt_residual[self.held_H :] += residual[self.held_H :]
                stats.kkt_scale[self.held_H :] += scale[self.held_H :]
            new = majorise(h, up, down, self.beta, self.penalty_H)
            new[: self.held_H] = h[: self.held_H]
            h = new
        product = product_like(values, W, h, scratch)
        if self.by_totals:
            stats.fit += divide_and_add(values.ravel("K"), product.ravel("K"))
            add_outer_product(product, h, stats.cross, scratch)
            return h
        top, low = self._ratios(values, weights, product, scratch)
        stats.fit += add_loss(values, weights, product, self.beta)
        add_outer_product(top, h, stats.cross, scratch)
        add_outer_product(low, h, stats.denominator, scratch)
        return h

    def _ratios(self, values: Float, weights: Float, product: Float, scratch: Scratch) -> tuple[Float, Float]:
        """Return v y^(β−2) and y^(β−1), both times their weights, of a product y."""
        order: Any = "F" if values.strides[0] < values.strides[1] else "C"
        top, low = (scratch.array(name, (product.size,), product.dtype) for name in ("numerator", "denominator"))
        take_panel_ratios(values.ravel(order), weights.ravel(order), product.ravel(order), self.beta, top, low)
        return top.reshape(product.shape, order=order), low.reshape(product.shape, order=order)

    def transform(self, V: Block, model: Model, scratch: Scratch) -> Float:
        """Return the H (r, w) that minimises the objective with W held, column by column."""
        H = np.empty((model.W.shape[1], V.shape[1]), model.W.dtype)
        for columns, panel in self.entries.panels(V, H.dtype, scratch, narrow=True):
            listed = panel.listed(scratch, zeros=self.beta != 1)
            H[:, columns] = minimise_columns(listed, model.W, self.beta, self.penalty_H)
        return H

    def finish(self, W: Float, stats: Stats) -> Step:
        """Take one majorised step of W, some rows at a time."""
        new = np.empty(W.shape, W.dtype)
        sums = np.zeros((2, W.shape[1]))
        penalty = self.penalty_H.value(float(stats.row_sums.sum()), stats.squares)
        for part in slices(len(W), FINISH_ROWS):
            rows, top = (np.ascontiguousarray(array[part].T, np.float64) for array in (W, stats.cross))
            low = stats.row_sums[:, None] if self.by_totals else stats.denominator[part].T
            sums += divergence_violation(rows, top, low, self.penalty_W)
            new[part] = majorise(rows, top, low, self.beta, self.penalty_W).T
            penalty += self.penalty_W.value(float(rows.sum()), float(np.vdot(rows, rows)))
        new[:, : self.held_W] = W[:, : self.held_W]
        optimality_H = relative_violation(stats.kkt_residual, stats.kkt_scale)
        optimality = max(relative_violation(*sums[:, self.held_W :]), optimality_H)
        fit = max(stats.fit, 0.0)
        norm = sum(stats.norms)
        error = float(np.sqrt(2 * fit / norm)) if self.beta == 2 and norm > 0 else None
        return Step(new, fit + penalty, error, optimality, stats.unseen, evaluated=W)

    def second_order(self, W: Float, stats: Stats, damping: float) -> Float:
        """Return W after a damped step of Newton's method for every row, whose loss nobody knows yet."""
        new = newton_rows(W, stats.cross, stats.row_sums, stats.grams, self.penalty_W, damping, self.held_W)
        return np.ascontiguousarray(new, dtype=W.dtype)


def narrow_width(rows: int, itemsize: int) -> int:
    """Return the columns that are worked on at once by products: about `RATIO_BYTES`, in whole vectors.

    >>> narrow_width(2000, 4), narrow_width(10**7, 4)
    (128, 1)
    """
    width = RATIO_BYTES // (rows * itemsize)
    return max(1, width - width % 32 if width > 32 else width)


def column_products(A: Float, B: Float) -> Float:
    """Return the products of the columns of two panels (p,), in float64."""
    products: Float = np.einsum("ij,ij->j", A, B, dtype=np.float64)
    return products
