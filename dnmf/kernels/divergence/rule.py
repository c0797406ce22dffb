"""The β-divergences D(V, WH) with penalties: multiplicative updates, and Newton's method for Kullback–Leibler.

With Y = WH, the multiplicative update of H takes the numerator Wᵀ(m ∘ V ∘ Y^(β−2)) and the denominator
Wᵀ(m ∘ Y^(β−1)) (Févotte & Idier 2011, section 4.1; `beta.py` has the formulas), and that of W the same sums over the
columns. A visit updates H several times, since its block of V is in memory. W takes one step a pass, as its sums depend
on W. The loss of a pass is that of the new H and the W of the pass; the next pass evaluates the new W. See "Updates" in
docs/mathematics.md.
"""

import dataclasses
from typing import Any

import numpy as np

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.dense_panel import DensePanel
from dnmf.kernels.blocks.entries import Entries
from dnmf.kernels.blocks.panels import Block, Panel, narrow_width
from dnmf.kernels.blocks.products import add_outer_product, column_products, packed, product_like, scale_columns
from dnmf.kernels.blocks.sparse_panel import SparsePanel
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float, MapFunction, slices
from dnmf.kernels.divergence.beta import majorise
from dnmf.kernels.divergence.dense_columns import add_dense_curvature, descend_dense, minimise_dense, split_panel
from dnmf.kernels.divergence.elementwise import divide, divide_and_add, panel_loss, steepest, take_panel_ratios
from dnmf.kernels.divergence.exact_columns import minimise_columns
from dnmf.kernels.divergence.multiplicative_columns import multiply_columns
from dnmf.kernels.divergence.newton_columns import descend_columns
from dnmf.kernels.divergence.newton_rows import add_curvature, newton_rows
from dnmf.kernels.optimality import divergence_gain, promised_share
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic.row_updates import KEPT
from dnmf.kernels.rule import PART_ROWS, Model, Step


@dataclasses.dataclass(frozen=True, slots=True)
class Divergence:
    """The rule of a β-divergence.

    Attributes
    ----------
    beta
        β; 1 is Kullback–Leibler.
    newton
        Whether H is updated by Newton's method, for β = 1, instead of the multiplicative rule.
    sweeps
        Updates of H in a visit.
    penalty_W, penalty_H
        Penalties.
    entries
        The entries of V that count.
    n_fixed_W, n_fixed_H
        Numbers of fixed components: the first ones of each factor.
    hessian_rate
        Entries of a row of V, for every column of a block, that a visit adds up in the Hessian of the row of W, for
        `second_order`; 0 for no Hessians. Only with Newton's method and where every entry counts.
    hessian_dtype
        The dtype of their sums, that of the factors.
    first
        As for `Quadratic`.
    pulled
        Whether graphs or targets may pull entries of a factor up.
    """

    beta: float
    newton: bool
    sweeps: int
    penalty_W: Penalty
    penalty_H: Penalty
    entries: Entries = dataclasses.field(default_factory=Entries)
    n_fixed_W: int = 0
    n_fixed_H: int = 0
    hessian_rate: float = 0.0
    hessian_dtype: str = "float64"
    first: bool = False
    pulled: bool = False

    @property
    def by_totals(self) -> bool:
        """Whether the denominator Wᵀ Y^(β−1) = Wᵀ1 is the same for every column: β = 1, and every entry counts."""
        return self.beta == 1 and self.entries.all

    @property
    def with_hessian(self) -> bool:
        """Whether a visit adds up the Hessians of the rows of W."""
        return self.hessian_rate > 0

    @property
    def least(self) -> float:
        """The smallest share of an entry of W that may be proposed: above 0, since updates cannot leave 0."""
        return KEPT

    @property
    def scaled(self) -> bool:
        """Whether the objective does not depend on how the scale of a component is split between W and H."""
        return self.penalty_W.none and self.penalty_H.none

    def zero(self, rows: int, rank: int) -> Stats:
        """Return the sums of no block."""
        stats = Stats.zero(rows, rank)
        if not self.by_totals:
            stats.denominator = np.zeros((rows, rank))
        if self.with_hessian:
            stats.grams = np.zeros((rows, rank * (rank + 1) // 2), self.hessian_dtype)
        if not self.entries.all:
            stats.seen = np.zeros(rows, np.int64)
        return stats

    def visit(self, V: Block, H: Float, model: Model, stats: Stats, scratch: Scratch, *, fresh: bool) -> None:
        """Update H (r, w) in place, then add to the sums for W."""
        exact = model.W.sum(axis=0, dtype=np.float64) if self.by_totals else np.empty(0)
        totals = exact.astype(H.dtype)
        for columns, panel in self.entries.panels(V, H.dtype, scratch, narrow=self.newton):
            if not self.entries.all:
                stats.unseen_columns += panel.count_observed(stats.seen)
            if self.newton or isinstance(panel, SparsePanel):
                for own, part, dense in split_panel(columns, panel, len(H), self.by_totals):
                    act = self._side_by_side if dense else self._by_columns
                    penalty = self.penalty_H.columns(own)
                    H[:, own] = act(part, H[:, own], model, exact, stats, scratch, fresh, penalty)
                continue
            height, width = panel.shape
            for part in slices(width, narrow_width(height, H.itemsize)):
                chosen = slice(columns.start + part.start, columns.start + part.stop)
                narrow = panel.part(part, scratch)
                penalty = self.penalty_H.columns(chosen)
                H[:, chosen] = self._by_products(narrow, H[:, chosen], model, totals, stats, scratch, fresh, penalty)
        row_sums = H.sum(axis=1, dtype=np.float64)
        stats.row_sums += row_sums
        stats.squares += [float(np.vdot(h, h)) for h in (row.astype(np.float64) for row in H)]
        if self.by_totals:
            stats.fit += float(exact @ row_sums)

    def _by_columns(
        self,
        panel: Panel,
        H: Float,
        model: Model,
        totals: Float,
        stats: Stats,
        scratch: Scratch,
        fresh: bool,
        penalty: Penalty,
    ) -> Float:
        """Update the columns one by one, each while its entries are in the cache."""
        panel, totals = panel.listed(scratch), totals.astype(H.dtype)
        W, h = np.ascontiguousarray(model.W), np.ascontiguousarray(H.T)
        sums = np.zeros(2)
        options = (self.beta, self.sweeps, *penalty.by_columns(H.shape), self.n_fixed_H, self.first, fresh)
        entries = panel.starts, panel.rows, panel.values, panel.weights.astype(h.dtype, copy=False)
        arguments = *entries, W, totals, h, options, stats.cross, stats.denominator, sums
        if self.newton:
            bends = scratch.array("bends", panel.rows.shape if self.with_hessian else (0,), np.dtype(np.float64))
            descend_columns(*arguments, bends)
            if self.with_hessian:
                curved = dataclasses.replace(panel, weights=bends)
                add_curvature(curved, h.T, self.hessian_rate * panel.shape[1], stats.grams, scratch)
        else:
            multiply_columns(*entries, W, totals, h, (*options, self._steep(h.dtype)), *arguments[-3:])
        stats.gain += float(sums[0])
        stats.fit += float(sums[1])
        return h.T

    def _side_by_side(
        self,
        panel: DensePanel,
        H: Float,
        model: Model,
        totals: Float,
        stats: Stats,
        scratch: Scratch,
        fresh: bool,
        penalty: Penalty,
    ) -> Float:
        """Update the columns of a dense panel side by side."""
        h, values = np.ascontiguousarray(H), packed(panel.values, "part", scratch)
        whole, refused = h, np.zeros(h.shape[1], np.bool_)
        if self.sweeps or fresh:
            options = self.sweeps, self.n_fixed_H, self.first, fresh
            gain, refused = descend_dense(values, model.W, totals, h, penalty, options)
            stats.gain += gain
        if refused.any():
            rest, own = np.flatnonzero(refused), np.flatnonzero(~refused)
            others, left = DensePanel.unweighted(values[:, rest]), penalty.columns(rest)
            h[:, rest] = self._by_columns(others, h[:, rest], model, totals, stats, scratch, fresh, left)
            values, h = values[:, own], np.ascontiguousarray(h[:, own])
        product = product_like(values, model.W, h, scratch)
        stats.fit += divide_and_add(values.ravel("K"), product.ravel("K"))
        add_outer_product(product, h, stats.cross, scratch)
        if self.with_hessian:
            add_dense_curvature(values, product, h, stats.grams, scratch)
        return whole

    def _by_products(
        self,
        panel: DensePanel,
        H: Float,
        model: Model,
        totals: Float,
        stats: Stats,
        scratch: Scratch,
        fresh: bool,
        penalty: Penalty,
    ) -> Float:
        """Update all columns of a dense panel together, by products of matrices."""
        values, weights = panel.values, panel.weights
        W, h = model.W, np.ascontiguousarray(H)
        if fresh:
            product = product_like(values, W, h, scratch)
            ratios, powers = self._ratios(values, weights, product, scratch)
            total = totals.astype(np.float64) @ h if self.by_totals else column_products(powers, product)
            scale_columns(h, column_products(ratios, product), total, self.n_fixed_H)
        for sweep in range(self.sweeps):
            product = product_like(values, W, h, scratch)
            if self.by_totals:
                divide(values.ravel("K"), product.ravel("K"))
                ratios, denominator = product, totals[:, None]
            else:
                ratios, powers = self._ratios(values, weights, product, scratch)
                denominator = np.matmul(W.T, powers, out=scratch.array("denominator", h.shape, h.dtype))
            numerator = np.matmul(W.T, ratios, out=scratch.array("numerator", h.shape, h.dtype))
            new = majorise(h, numerator, denominator, self.beta, penalty)
            new[: self.n_fixed_H] = h[: self.n_fixed_H]
            if sweep == (0 if self.first else self.sweeps - 1):
                stats.gain += divergence_gain(h, new, numerator, denominator, penalty)
            h = new
        product = product_like(values, W, h, scratch)
        if self.by_totals:
            stats.fit += divide_and_add(values.ravel("K"), product.ravel("K"))
            add_outer_product(product, h, stats.cross, scratch)
            return h
        ratios, powers = self._ratios(values, weights, product, scratch)
        stats.fit += panel_loss(values, weights, product, self.beta)
        add_outer_product(ratios, h, stats.cross, scratch)
        add_outer_product(powers, h, stats.denominator, scratch)
        return h

    def _steep(self, dtype: Any) -> float:
        """Return the slope at entries where V and WH are 0, if a pull may raise them."""
        return steepest(self.beta, dtype) if self.pulled else 0.0

    def _ratios(self, values: Float, weights: Float, product: Float, scratch: Scratch) -> tuple[Float, Float]:
        """Return m ∘ V ∘ Y^(β−2) and m ∘ Y^(β−1) of a product Y, valid until the next call."""
        order: Any = "F" if values.strides[0] < values.strides[1] else "C"
        ratios, powers = (scratch.array(name, (product.size,), product.dtype) for name in ("ratios", "powers"))
        of = values.ravel(order), weights.ravel(order), product.ravel(order)
        take_panel_ratios(*of, self.beta, self._steep(product.dtype), ratios, powers)
        return ratios.reshape(product.shape, order=order), powers.reshape(product.shape, order=order)

    def transform(self, V: Block, model: Model, scratch: Scratch) -> Float:
        """Return the H (r, w) that minimises the objective with W fixed, column by column."""
        H = np.empty((model.W.shape[1], V.shape[1]), model.W.dtype)
        for columns, panel in self.entries.panels(V, H.dtype, scratch, narrow=True):
            for own, part, dense in split_panel(columns, panel, len(H), self.by_totals):
                penalty = self.penalty_H.columns(own)
                if dense:
                    H[:, own] = minimise_dense(part, model.W, penalty, scratch)
                    continue
                listed = part.listed(scratch, zeros=self.beta != 1)
                H[:, own] = minimise_columns(listed, model.W, self.beta, penalty)
        return H

    def finish(self, W: Float, stats: Stats, each: MapFunction = map) -> Step:
        """Take one majorised step of W."""
        new = np.empty(W.shape, W.dtype)
        diagonal, free = np.cumsum(np.arange(1, W.shape[1] + 1)) - 1, slice(self.n_fixed_W, None)
        penalty = self.penalty_H.value(stats.row_sums, stats.squares) + stats.penalty
        penalty += self.penalty_W.value_at(W.T, stats.squares)
        whole = self.penalty_W.at(W.T, stats.squares)

        def step(part: slice) -> tuple[float, float]:
            """Update some rows, and return their gain and size."""
            rows, numerator = (np.ascontiguousarray(array[part].T, np.float64) for array in (W, stats.cross))
            denominator = stats.row_sums[:, None] if self.by_totals else stats.denominator[part].T
            moved = majorise(rows, numerator, denominator, self.beta, whole.columns(part))
            new[part] = moved.T
            bend = stats.grams[part][:, diagonal].T[free] if self.with_hessian else None
            own = whole.columns(part).components(free)
            gain = divergence_gain(rows[free], moved[free], numerator[free], denominator[free], own, bend)
            return gain, float(np.vdot(rows, numerator))

        gains, sizes = zip(*each(step, slices(len(W), PART_ROWS)), strict=True)
        new[:, : self.n_fixed_W] = W[:, : self.n_fixed_W]
        fit = max(stats.fit, 0.0)
        optimality = promised_share(stats.gain + sum(gains), fit + penalty, sum(sizes), W.dtype)
        norm = sum(stats.norms)
        error = float(np.sqrt(2 * fit / norm)) if self.beta == 2 and norm > 0 else None
        return Step(new, fit + penalty, error, optimality, stats.unseen, evaluated=W)

    def second_order(self, W: Float, stats: Stats, damping: float, each: MapFunction = map) -> Float:
        """Return W after a damped Newton step of every row, whose loss has not been evaluated."""
        penalty = self.penalty_W.at(W.T, stats.squares)

        def step(rows: slice) -> Float:
            cross, grams = stats.cross[rows], stats.grams[rows]
            return newton_rows(W[rows], cross, stats.row_sums, grams, penalty.columns(rows), damping, self.n_fixed_W)

        return np.concatenate(list(each(step, slices(len(W), PART_ROWS)))).astype(W.dtype)
