"""A round of the update of W from the sums of a pass, in one compiled call for some rows: from W and A = VHᵀ to W.

Tiles of rows are updated one after another, so that a tile stays in the cache from its first sweep to its last.
"""

import numpy as np

from dnmf.kernels.blocks.tiles import LANES, Float, MapFunction, clear, gram_row, kernel, slices
from dnmf.kernels.optimality import add_row_gains
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic.row_updates import inverses, sweep_tile
from dnmf.kernels.rule import PART_ROWS


def improve_rows(
    W: Float, cross: Float, gram: Float, penalty: Penalty, sweeps: int, new: Float
) -> tuple[float, float, float]:
    """Set `new` (p, r), which may be W, to W (p, r) after sweeps of HALS in float64, under a penalty of numbers.

    Parameters
    ----------
    W, cross, gram, penalty
        Some rows of W and of A = VHᵀ, B = HHᵀ (r, r), and the penalty of W.

    Returns
    -------
    tuple of float
        What one more step of every entry promised before the sweeps, and after them, and the change of
        ½ tr(WBWᵀ) − tr(AWᵀ).
    """
    sums = np.zeros(3)
    _improve_rows(W, cross, gram, float(penalty.l1), float(penalty.l2), sweeps, new, sums)
    return float(sums[0]), float(sums[1]), float(sums[2])


@kernel
def _improve_rows(W, cross, gram, l1, l2, sweeps, new, sums):  # type: ignore[no-untyped-def]
    rank = W.shape[1]
    inverse = inverses(gram, l2)
    old, x, c = np.zeros((rank, LANES)), np.zeros((rank, LANES)), np.zeros((rank, LANES))
    slopes, slope, below = np.zeros((rank, LANES)), np.empty(LANES), np.empty(LANES)
    gains, products, changes = np.zeros((2, LANES)), np.zeros(LANES), np.zeros(LANES)
    for start in range(0, len(W), LANES):
        count = min(LANES, len(W) - start)
        if count < LANES:
            clear(old)
            clear(x)
            clear(c)
        for k in range(rank):
            for j in range(count):
                x[k, j] = old[k, j] = W[start + j, k]
                c[k, j] = cross[start + j, k]
        for half in range(2):  # one call in the machine code, since it is compiled where it stands
            if half == 1:
                sweep_tile(x, c, gram, l1, l2, inverse, sweeps, slope, below)
                for k in range(rank):
                    for j in range(count):
                        new[start + j, k] = x[k, j]
                        x[k, j] = new[start + j, k]  # which may be rounded
            for k in range(rank):
                gram_row(gram, k, x, slope)
                add_row_gains(x[k], c[k], slope, gram[k, k], l1, l2, gains[half], products)
                if half == 0:
                    for j in range(LANES):
                        slopes[k, j] = slope[j]
                else:
                    # The change of a quadratic is that of its variable times the slope half-way, without cancellation.
                    for j in range(LANES):
                        changes[j] += (x[k, j] - old[k, j]) * (0.5 * (slopes[k, j] + slope[j]) - c[k, j])
    for j in range(LANES):
        sums[0] += gains[0, j]
        sums[1] += gains[1, j]
        sums[2] += changes[j]


def change(old: Float, new: Float, cross: Float, gram: Float, each: MapFunction = map) -> float:
    """Return the change of ½ tr(WBWᵀ) − tr(AWᵀ) from an old W (m, r) to a new one, given A and B.

    The function is quadratic, so its change is that of W times the slope half-way, without cancellation.
    """

    def change_of(rows: slice) -> float:
        moved, middle = new[rows].astype(np.float64), old[rows].astype(np.float64)
        moved -= middle
        middle += 0.5 * moved
        slope = middle @ gram
        slope -= cross[rows]
        return float(np.vdot(moved, slope))

    return sum(each(change_of, slices(len(old), PART_ROWS)))
