"""The generalised Kullback–Leibler divergence D(V, WH) = Σ v log(v/wh) − v + wh, with multiplicative updates.

Lee & Seung 2001, eq. 5: h ← h · Wᵀ(V/WH) / Wᵀ1. Penalties enter the majoriser: with a = h · Wᵀ(V/WH) and
b = Wᵀ1 + l1, the update is the root of l2 h² + b h − a = 0 that is not negative, 2a / (b + √(b² + 4 l2 a)).
"""

import dataclasses

import numpy as np

from dnmf.kernels.model import Model, Step
from dnmf.kernels.panels import Block, Columns, Panel, panels, slices
from dnmf.kernels.products import add_outer_product
from dnmf.kernels.scratch import Scratch
from dnmf.kernels.stats import Stats
from dnmf.kernels.tiles import Float, Penalty, kernel

RATIO_BYTES = 2**20
TRANSFORM_SWEEPS = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Divergence:
    """The rule of the Kullback–Leibler divergence: several updates of H in a visit, one of W in a pass.

    The statistics depend on W, so that W takes one majorisation step from A = (V/WH) Hᵀ. The loss that comes back
    is therefore the one of the new H and the old W.
    """

    sweeps: int
    penalty_W: Penalty
    penalty_H: Penalty

    def visit(self, V: Block, H: Float, model: Model, stats: Stats, scratch: Scratch, *, fresh: bool) -> None:
        """Update H (r, w) in place, then add up A = (V/WH) Hᵀ."""
        totals = model.W.sum(axis=0, dtype=np.float64).astype(H.dtype)
        for columns, whole in panels(V, H.dtype, scratch):
            for part in narrow(whole):
                chosen = slice(columns.start + part.start, columns.start + part.stop)
                panel = whole if isinstance(whole, Columns) else whole[:, part]
                H[:, chosen] = self._visit_panel(panel, H[:, chosen], model, totals, stats, scratch, fresh)

    def _visit_panel(
        self, panel: Panel, h: Float, model: Model, totals: Float, stats: Stats, scratch: Scratch, fresh: bool
    ) -> Float:
        h = np.ascontiguousarray(h)
        if fresh:
            masses = column_sums(panel)
            bottom = totals @ h
            h = h * np.divide(masses, bottom, out=np.zeros_like(bottom), where=bottom > 0)
        for _ in range(self.sweeps):
            numerator = ratio_cross(panel, model.W, h, scratch)
            missed, met = mismatch(h, numerator, totals, self.penalty_H)
            h = majorise(h, numerator, totals, self.penalty_H)
        stats.missed += missed
        stats.met += met
        stats.fit += add_ratio_outer(panel, model.W, h, stats.cross, scratch)
        wide = h.astype(np.float64)
        stats.fit += float(totals @ wide.sum(axis=1))
        stats.mass += wide.sum(axis=1)
        stats.gram += wide @ wide.T
        return h

    def transform(self, V: Block, model: Model, scratch: Scratch) -> Float:
        """Return the H (r, w) of `TRANSFORM_SWEEPS` updates from a flat start, with W held."""
        H = np.ones((model.W.shape[1], V.shape[1]), model.W.dtype)
        patient = dataclasses.replace(self, sweeps=TRANSFORM_SWEEPS)
        patient.visit(V, H, model, Stats.zero(*model.W.shape), scratch, fresh=True)
        return H

    def finish(self, W: Float, stats: Stats) -> Step:
        """Take one majorisation step of W."""
        rows = W.T.astype(np.float64)
        numerator = stats.cross.T
        missed, met = mismatch(rows, numerator, stats.mass, self.penalty_W)
        optimality = max(ratio(missed, met), ratio(stats.missed, stats.met))
        new = np.ascontiguousarray(majorise(rows, numerator, stats.mass, self.penalty_W).T, dtype=W.dtype)
        penalty = self.penalty_H.value(float(stats.mass.sum()), float(np.trace(stats.gram)))
        penalty += self.penalty_W.value(float(rows.sum()), float(np.vdot(rows, rows)))
        return Step(new, max(stats.fit, 0.0) + penalty, None, optimality)


def narrow(panel: Panel) -> list[slice]:
    """Cut a panel so that its ratio V/WH stays in the cache."""
    if isinstance(panel, Columns):
        return [slice(0, len(panel.starts) - 1)]
    return list(slices(panel.shape[1], max(1, RATIO_BYTES // (panel.shape[0] * panel.itemsize))))


def majorise(H: Float, numerator: Float, totals: Float, penalty: Penalty) -> Float:
    """Return the minimum over H ≥ 0 of the majoriser at H (r, p), given Wᵀ(V/WH) and Wᵀ1 (r,)."""
    top = H * numerator
    linear = (totals + penalty.l1)[:, None]
    bottom = linear + np.sqrt(linear * linear + 4 * penalty.l2 * top)
    new: Float = np.divide(2 * top, bottom, out=np.zeros_like(H), where=bottom > 0)
    return new.astype(H.dtype, copy=False)


def mismatch(H: Float, numerator: Float, totals: Float, penalty: Penalty) -> tuple[Float, Float]:
    """Return the squared violation of the optimality conditions by component, and what it is measured against (r,).

    With b = Wᵀ1 + l1 + l2 h, the violation of an entry is 1 − Wᵀ(V/WH)/b; where that is positive it counts by the
    share h·b that the component has in the column, so that it fades as h does. Columns count by their mass.
    """
    bottom = (totals + penalty.l1)[:, None] + penalty.l2 * H
    slope = 1 - np.divide(numerator, bottom, out=np.ones_like(H), where=bottom > 0)
    masses = (H * numerator).sum(axis=0)
    share = np.divide(H * bottom, masses, out=np.zeros_like(H), where=masses > 0)
    slope = np.where(slope > 0, slope * np.minimum(share, 1), slope).astype(np.float64)
    masses = masses.astype(np.float64)
    return (slope * slope) @ masses, np.full(len(H), masses.sum())


def ratio(missed: Float, met: Float) -> float:
    """Return √(Σ missed / Σ met), 0 where there is nothing to meet."""
    return float(np.sqrt(missed.sum() / met.sum())) if met.sum() > 0 else 0.0


def column_sums(panel: Panel) -> Float:
    """Return the sums of a panel's columns (p,)."""
    if not isinstance(panel, Columns):
        return np.asarray(panel.sum(axis=0))
    sums = np.zeros(len(panel.starts) - 1, panel.values.dtype)
    np.add.at(sums, np.repeat(np.arange(len(sums)), np.diff(panel.starts)), panel.values)
    return sums


def ratio_cross(panel: Panel, W: Float, H: Float, scratch: Scratch) -> Float:
    """Return Wᵀ(V/WH) (r, p), valid until the next call."""
    out = scratch.array("cross", H.shape, H.dtype)
    if isinstance(panel, Columns):
        _sparse_cross(panel.starts, panel.rows, panel.values, W, H, out)
        return out
    quotient = np.matmul(W, H, out=scratch.array("ratio", panel.shape, H.dtype))
    _divide(panel, quotient)
    return np.matmul(W.T, quotient, out=out)


def add_ratio_outer(panel: Panel, W: Float, H: Float, total: Float, scratch: Scratch) -> float:
    """Add (V/WH) Hᵀ to `total` (m, r) and return Σ v log(v/wh) − v over the entries v > 0."""
    if isinstance(panel, Columns):
        return float(_sparse_outer(panel.starts, panel.rows, panel.values, W, H, total))
    quotient = np.matmul(W, H, out=scratch.array("ratio", panel.shape, H.dtype))
    fit = float(_divide(panel, quotient))
    add_outer_product(quotient, H, total, scratch)
    return fit


@kernel
def _divide(V, product):  # type: ignore[no-untyped-def]
    """Replace WH by V/WH, and return Σ v log(v/wh) − v.

    Where WH is 0 and V is not, the loss is infinite, and the quotient is 0: no update can make such an entry positive.
    """
    total = 0.0
    tiny = np.finfo(product.dtype).tiny
    for i in range(V.shape[0]):
        for j in range(V.shape[1]):
            value = V[i, j]
            if value > 0 and product[i, j] > 0:
                quotient = value / max(product[i, j], tiny)
                product[i, j] = quotient
                total += np.float64(value) * (np.log(np.float64(quotient)) - 1.0)
            else:
                total += np.inf if value > 0 else 0.0
                product[i, j] = 0
    return total


@kernel
def _quotient(value, row, W, h):  # type: ignore[no-untyped-def]
    product = h[0] * W[row, 0]
    for k in range(1, len(h)):
        product += h[k] * W[row, k]
    return value / max(product, np.finfo(W.dtype).tiny) if product > 0 else product


@kernel
def _sparse_cross(starts, rows, values, W, H, out):  # type: ignore[no-untyped-def]
    rank = len(H)
    h, sums = np.empty(rank, W.dtype), np.empty(rank, W.dtype)
    for column in range(len(starts) - 1):
        for k in range(rank):
            h[k] = H[k, column]
            sums[k] = 0
        for entry in range(starts[column], starts[column + 1]):
            row = rows[entry]
            quotient = _quotient(values[entry], row, W, h)
            for k in range(rank):
                sums[k] += quotient * W[row, k]
        for k in range(rank):
            out[k, column] = sums[k]


@kernel
def _sparse_outer(starts, rows, values, W, H, total):  # type: ignore[no-untyped-def]
    rank = len(H)
    h = np.empty(rank, W.dtype)
    fit = 0.0
    for column in range(len(starts) - 1):
        for k in range(rank):
            h[k] = H[k, column]
        for entry in range(starts[column], starts[column + 1]):
            row, value = rows[entry], values[entry]
            if value > 0:
                quotient = _quotient(value, row, W, h)
                fit += np.float64(value) * (np.log(np.float64(quotient)) - 1.0) if quotient > 0 else np.inf
                for k in range(rank):
                    total[row, k] += np.float64(quotient) * np.float64(h[k])
    return fit
