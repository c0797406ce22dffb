"""Columns of H that minimise a β-divergence with W fixed: coordinate descent until no entry moves.

Every entry of a column takes the safeguarded steps of `entry_steps` in turn, in float64, so that the result depends on
neither the other columns nor the solver of the run. For 1 ≤ β ≤ 2 the objective is convex and its minimum is found. For
other β it may have several minima: multiplicative updates from a flat start choose one (Févotte & Idier 2011, section
4.1), and then no step of a single entry improves the result. See "Divergences, with one factor held" in
docs/mathematics.md.
"""

import numpy as np

from dnmf.kernels.blocks.sparse_panel import SparsePanel
from dnmf.kernels.blocks.tiles import Float, kernel, reordered
from dnmf.kernels.divergence.beta import lone_minimum, minimum
from dnmf.kernels.divergence.columns import load_column, longest_column, multiply_column, scale_to_fit, weighted_sum
from dnmf.kernels.divergence.entry_steps import newton_entry, shift_model, slopes
from dnmf.kernels.penalty import Penalty

# Sweeps over a column end when the largest move, in mass of Wh, is STILL of the mass, or after MOST_SWEEPS.
STILL = 1e-10
MOST_SWEEPS = 2000
# Multiplicative updates of a column before these sweeps, where there may be several minima.
FIRST_SWEEPS = 300


def minimise_columns(panel: SparsePanel, W: Float, beta: float, penalty: Penalty) -> Float:
    """Return the H (r, p) in float64 that minimises the penalised β-divergence of a panel (m, p), for W (m, r).

    A panel whose unlisted entries are zeros that count needs β = 1.
    """
    assert beta == 1 or not panel.zeros
    H = np.empty((len(panel.starts) - 1, W.shape[1]))
    totals = W.sum(axis=0, dtype=np.float64) if panel.zeros else np.empty(0)
    values, weights = panel.values, panel.weights.astype(panel.values.dtype, copy=False)
    options = (float(beta), *penalty.by_columns((W.shape[1], len(H))))
    _minimise_columns(panel.starts, panel.rows, values, weights, np.ascontiguousarray(W), totals, options, H)
    return H.T


@reordered
def _minimise_columns(starts, rows, values, weights, W, totals, options, H):  # type: ignore[no-untyped-def]
    beta, l1, l2 = options
    rank, zeros, tiny = W.shape[1], len(totals) > 0, np.finfo(np.float64).tiny
    longest = longest_column(starts)
    near = np.empty((rank, longest), W.dtype)
    v, m, y = np.empty(longest), np.ones(longest), np.empty(longest)
    masses = totals.copy() if zeros else np.empty(rank)
    for column in range(len(starts) - 1):
        begin, count = starts[column], starts[column + 1] - starts[column]
        h, push, bend = H[column], l1[column], l2[column]
        load_column(rows, values, weights, W, begin, count, v, m, near)
        for k in range(rank):
            masses[k] = masses[k] if zeros else weighted_sum(near[k], m, count)
            h[k] = 1.0 if masses[k] > 0.0 else 0.0
        multiply_column(near, h, y, count)
        scale_to_fit(v, m, y, totals, h, beta, 0, count)
        for k in range(rank):
            if not masses[k] > 0.0:
                h[k] = lone_minimum(masses[k] + push[k], bend[k])
        if beta < 1.0 or beta > 2.0:
            _multiply(near, v, m, y, h, masses, beta, push, bend, count)
        for _ in range(MOST_SWEEPS):
            multiply_column(near, h, y, count)
            moved, size = 0.0, 0.0
            for k in range(rank):
                if not masses[k] > 0.0:
                    continue
                if beta == 1.0:
                    new, _ = newton_entry(near[k], v, m, y, h[k], masses[k], None, push[k], bend[k], count)
                else:
                    new, _ = newton_entry(near[k], v, m, y, h[k], masses[k], beta, push[k], bend[k], count)
                new = _kept(new, h[k])
                shift_model(near[k], y, new - h[k], tiny, count)
                moved = max(moved, abs(new - h[k]) * masses[k])
                size = max(size, new * masses[k])
                h[k] = new
            if moved <= STILL * size:
                break


@kernel
def _multiply(near, v, m, y, h, masses, beta, l1, l2, count):  # type: ignore[no-untyped-def]
    """Set all entries of a column to the minima of their majorisers, until none moves."""
    new = np.empty_like(h)
    for _ in range(FIRST_SWEEPS):
        multiply_column(near, h, y, count)
        moved, size = 0.0, 0.0
        for k in range(len(h)):
            numerator, denominator, _ = slopes(near[k], v, m, y, 0.0, 0.0, beta, count)
            new[k] = _kept(minimum(h[k], numerator, denominator, beta, l1[k], l2[k]), h[k])
            moved = max(moved, abs(new[k] - h[k]) * masses[k])
            size = max(size, new[k] * masses[k])
        h[:] = new
        if moved <= STILL * size:
            break


@kernel
def _kept(new, h):  # type: ignore[no-untyped-def]
    """Return the new value of an entry, with 0 for subnormal numbers, or h where the new value is not finite."""
    if not 0.0 <= new < np.inf:
        return h
    return new if new >= np.finfo(np.float64).tiny else 0.0
