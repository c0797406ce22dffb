"""The second-order step of W for the Kullback–Leibler divergence: a damped Newton step of every row.

With H fixed, every row w of W has an objective of its own, Σ_j (y_j − v_j log y_j) + penalties with y = wH. Its
gradient is Σ_j h_j − Σ_j v_j h_j/y_j and its Hessian Σ_j v_j/y_j² h_j h_jᵀ, which a pass can add up for all rows. The
step minimises the quadratic model of the row, damped as by Levenberg and Marquardt with the curvature
Σ_j v_j h_j/(y_j w) of the majoriser that the multiplicative update minimises (Lee & Seung 2001, eq. 5). See "Newton's
method for Kullback–Leibler" in docs/mathematics.md.
"""

import numpy as np

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.hashing import uniform_of
from dnmf.kernels.blocks.row_grams import add_row_grams
from dnmf.kernels.blocks.sparse_panel import SparsePanel
from dnmf.kernels.blocks.tiles import LANES, Float, kernel
from dnmf.kernels.divergence.dense_models import minimise_models, model_work, triangle
from dnmf.kernels.divergence.joint_steps import MODEL_STILL
from dnmf.kernels.penalty import Penalty

# Sweeps over a row, at most, which end as those over a column do; the smallest share of an entry that a step leaves;
# and the share of the row's largest entry below which the damping of an entry no longer grows, so that entries near 0
# can leave it.
ROW_SWEEPS, ROW_LEAST, ROW_FLOOR = 10, 0.02, 1e-3
# The largest rank at which the models of several rows fit into the cache.
SIDE_BY_SIDE = 40
# The largest number of a Hessian: sums in float32 may be infinite, and no product of a step and infinity is a slope.
LARGEST = 1e38


def add_curvature(panel: SparsePanel, H: Float, enough: float, grams: Float, scratch: Scratch) -> None:
    """Add the Hessians of the rows of W, Σ b h hᵀ over the entries of a row, to their lower triangles (m, r(r+1)/2).

    The weights of the panel are b = v/y², in float64, and h are the columns of H (r, p). Of a row with more than
    `enough` entries, about as many count, chosen at random and scaled so that the expected sum is the same: it only
    proposes a step. The others get the weight 0.
    """
    if enough < panel.shape[1]:
        _choose(panel.rows, np.zeros(panel.height), max(enough, 1.0), panel.weights)
    add_row_grams(panel, H, grams, scratch)


@kernel
def _choose(rows, shares, enough, weights):  # type: ignore[no-untyped-def]
    """Set weights to 0, but for a share of those of each row, which become larger; set `shares` (m,) to it."""
    for row in rows:
        shares[row] += 1.0
    for row in range(len(shares)):
        shares[row] = enough / max(shares[row], enough)
    for entry in range(len(rows)):
        row = rows[entry]
        if shares[row] < 1.0:
            chosen = uniform_of(row, entry) < shares[row]
            weights[entry] = weights[entry] / shares[row] if chosen else 0.0


def newton_rows(
    W: Float, numerator: Float, totals: Float, grams: Float, penalty: Penalty, damping: float, fixed: int
) -> Float:
    """Return W (m, r) after a damped step of every row, in float64.

    Parameters
    ----------
    W
        The factor of the sums.
    numerator, totals, grams
        Σ v h/y (m, r), Σ h (r,), and the lower triangles of the Hessians (m, r(r+1)/2).
    penalty
        Penalty of Wᵀ (r, m).
    damping
        Weight of the majoriser's curvature.
    fixed
        Number of fixed columns.
    """
    wide = W.astype(np.float64)
    new = np.empty_like(wide)
    l1, l2 = penalty.by_columns(wide.T.shape)
    step = _side_by_side if wide.shape[1] <= SIDE_BY_SIDE else _one_by_one
    step(wide, numerator, totals, grams, l1, l2, damping, fixed, new)
    return new


@kernel
def _side_by_side(W, numerator, totals, grams, l1, l2, damping, fixed, new):  # type: ignore[no-untyped-def]
    """Minimise the quadratic models of `LANES` rows at a time; a row of zeros stays."""
    rank = W.shape[1]
    shape, size = (rank, LANES), rank * (rank + 1) // 2
    room, slopes, inverses, extra = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape)
    bends, steps, left, work = np.zeros((size, LANES)), np.zeros(shape), np.zeros(LANES), model_work(rank)
    for start in range(0, len(W), LANES):
        width = min(LANES, len(W) - start)
        left[:] = 0.0
        for j in range(width):
            row = start + j
            floor = ROW_FLOOR * np.max(W[row])
            if not floor > 0.0:
                continue
            left[j] = 1.0
            for place in range(size):
                bends[place, j] = min(np.float64(grams[row, place]), LARGEST)
            for k in range(rank):
                w, pull = W[row, k], numerator[row, k]
                room[k, j] = (1.0 - ROW_LEAST) * w
                slopes[k, j] = totals[k] - pull + l1[row, k] + l2[row, k] * w
                extra[k, j] = l2[row, k] + damping * pull / max(w, floor)
                bend = bends[triangle(k, k), j] + extra[k, j]
                inverses[k, j] = 1.0 / bend if bend > 0.0 else 0.0
        minimise_models(room, slopes, inverses, bends, extra, fixed, steps, left, work, ROW_SWEEPS, False)
        for j in range(width):  # the steps of the other rows are 0
            for k in range(rank):
                new[start + j, k] = W[start + j, k] + steps[k, j]


@kernel
def _one_by_one(W, numerator, totals, grams, l1, l2, damping, fixed, new):  # type: ignore[no-untyped-def]
    """Do the same by coordinate descent for one row after another.

    The slope is kept up to date, since the step is bounded, unlike in `descend_column`. A row of zeros stays.
    """
    rank = W.shape[1]
    step, slope, hessian = np.empty(rank), np.empty(rank), np.empty((rank, rank))
    extra, inverse = np.empty(rank), np.empty(rank)
    for row in range(W.shape[0]):
        w, place = W[row], 0
        floor = ROW_FLOOR * np.max(w)
        if not floor > 0.0:
            for k in range(rank):
                new[row, k] = w[k]
            continue
        for k in range(rank):
            for i in range(k + 1):
                hessian[k, i] = hessian[i, k] = min(np.float64(grams[row, place]), LARGEST)
                place += 1
            step[k] = 0.0
            slope[k] = totals[k] - numerator[row, k] + l1[row, k] + l2[row, k] * w[k]
            extra[k] = l2[row, k] + damping * numerator[row, k] / max(w[k], floor)
            bend = hessian[k, k] + extra[k]
            inverse[k] = 1.0 / bend if bend > 0.0 else 0.0
        for _ in range(ROW_SWEEPS):
            last, whole = 0.0, 0.0
            for k in range(fixed, rank):
                lowest = (ROW_LEAST - 1.0) * w[k] - step[k]
                fall = lowest if slope[k] > 0.0 else 0.0
                move = max(-slope[k] * inverse[k], lowest) if inverse[k] > 0.0 else fall
                step[k] += move
                slope[k] += move * extra[k]
                bent = hessian[k]
                for i in range(rank):
                    slope[i] += move * bent[i]
                last += move * move * (bent[k] + extra[k])
                whole += step[k] * step[k] * (bent[k] + extra[k])
            if last <= MODEL_STILL * whole:
                break
        for k in range(rank):
            new[row, k] = w[k] + step[k]
