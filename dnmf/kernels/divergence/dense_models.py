"""Quadratic models of columns of H, or of rows of W, that lie side by side, minimised over h ≥ 0.

The model of a column has slopes (r,) and a Hessian. Coordinate descent finds which entries are 0 at its minimum, and
Cholesky's method the others. Every loop goes along `LANES` columns, so that it becomes vector instructions; a column
whose minimum was found stays while the others go on.
"""

import numpy as np

from dnmf.kernels.blocks.tiles import LANES, kernel
from dnmf.kernels.divergence.joint_steps import MODEL_STILL

# Sweeps between two attempts to solve for the entries above 0, and the smallest pivot relative to its diagonal.
SOLVE_AFTER, PIVOT = 3, 1e-12


@kernel
def triangle(k, i):  # type: ignore[no-untyped-def]
    """Return the place of an entry of a symmetric matrix in its lower triangle.

    >>> triangle(2, 1), triangle(1, 2)
    (4, 4)
    """
    return k * (k + 1) // 2 + i if i <= k else i * (i + 1) // 2 + k


@kernel
def model_work(rank):  # type: ignore[no-untyped-def]
    """Return the buffers of `minimise_models`."""
    size = rank * (rank + 1) // 2
    vectors = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    return *vectors, np.zeros((size, LANES)), np.zeros((rank, LANES)), np.zeros((rank, LANES))


@kernel
def minimise_models(h, slopes, inverses, bends, l2, fixed, steps, left, work, sweeps, solving):  # type: ignore[no-untyped-def]
    """Set `steps` (r, LANES) to those of the entries that are not fixed to the minima of the models.

    Parameters
    ----------
    h, l2
        Columns and their penalties (r, LANES).
    slopes
        Slopes (r, LANES); overwritten.
    inverses
        Inverses of the curvatures of single entries, with the penalty; 0 where there is no curvature.
    bends
        Lower triangles of the Hessians (r(r+1)/2, LANES), without the penalty.
    left
        1 for the columns to step and 0 for others; set to 0 where the minimum was found.
    sweeps, solving
        Sweeps over the models, at most, and whether Cholesky's method is used, too.
    """
    last, whole, moves = work[0], work[1], work[2]
    steps[:] = 0.0
    for sweep in range(sweeps):
        last[:] = 0.0
        whole[:] = 0.0
        for k in range(fixed, h.shape[0]):
            x, slope, inverse, step, own, more = h[k], slopes[k], inverses[k], steps[k], bends[triangle(k, k)], l2[k]
            for j in range(LANES):
                lowest = -np.float64(x[j]) - step[j]
                way = -slope[j] * inverse[j]
                way = way if way > lowest else lowest
                bound = lowest if slope[j] > 0.0 else 0.0
                move = way if inverse[j] > 0.0 else bound
                move = move if left[j] > 0.0 else 0.0
                bend, moved = own[j] + more[j], step[j] + move
                moves[j], step[j] = move, moved
                last[j] += move * move * bend
                whole[j] += moved * moved * bend
                slope[j] += move * more[j]
            for i in range(fixed, h.shape[0]):
                other, row = slopes[i], bends[triangle(k, i)]
                for j in range(LANES):
                    other[j] += moves[j] * row[j]
        for j in range(LANES):
            left[j] = 0.0 if last[j] <= MODEL_STILL * whole[j] else left[j]
        if solving and left.any() and sweep % SOLVE_AFTER == SOLVE_AFTER - 1:
            _solve(h, slopes, inverses, bends, l2, fixed, steps, left, work)
        if not left.any():
            break


@kernel
def _solve(h, slopes, inverses, bends, l2, fixed, steps, left, work):  # type: ignore[no-untyped-def]
    """Step to the minimum over the entries above 0 in the columns `left` where it is that of all h ≥ 0."""
    fits, free, ways = work[1], work[4], work[5]
    fits[:] = 1.0
    for k in range(fixed, h.shape[0]):
        x, step, inverse, slope, own, way = h[k], steps[k], inverses[k], slopes[k], free[k], ways[k]
        for j in range(LANES):
            own[j] = 1.0 if (x[j] + step[j] > 0.0 and inverse[j] > 0.0) else 0.0
            way[j] = -slope[j] if own[j] > 0.0 else 0.0
    _factorise(bends, l2, fixed, work)
    _substitute(h, steps, fixed, work)
    for k in range(fixed, h.shape[0]):
        total, own, slope, way, more = work[0], free[k], slopes[k], ways[k], l2[k]
        for j in range(LANES):
            total[j] = slope[j] + more[j] * way[j]
        for i in range(fixed, h.shape[0]):
            row, other = bends[triangle(k, i)], ways[i]
            for j in range(LANES):
                total[j] += row[j] * other[j]
        for j in range(LANES):
            fits[j] = fits[j] if (own[j] > 0.0 or total[j] >= 0.0) else 0.0
    for k in range(fixed, h.shape[0]):
        step, way = steps[k], ways[k]
        for j in range(LANES):
            step[j] += way[j] if (fits[j] > 0.0 and left[j] > 0.0) else 0.0
    for j in range(LANES):
        left[j] = 0.0 if fits[j] > 0.0 else left[j]


@kernel
def _factorise(bends, l2, fixed, work):  # type: ignore[no-untyped-def]
    """Factorise the Hessians of the free entries by Cholesky's method, and solve with the factor for the ways."""
    whole, fits, _, factor, free, ways = work
    for k in range(fixed, len(free)):
        own, way, diagonal = free[k], ways[k], factor[triangle(k, k)]
        for i in range(fixed, k + 1):
            row, out, other, more, alone = (
                bends[triangle(k, i)],
                factor[triangle(k, i)],
                free[i],
                l2[k],
                np.float64(i == k),
            )
            for j in range(LANES):
                out[j] = row[j] + alone * more[j] if (own[j] > 0.0 and other[j] > 0.0) else alone
        for j in range(LANES):
            whole[j] = diagonal[j]
        for i in range(fixed, k + 1):
            out = factor[triangle(k, i)]
            for c in range(fixed, i):
                one, two = factor[triangle(k, c)], factor[triangle(i, c)]
                for j in range(LANES):
                    out[j] -= one[j] * two[j]
            if i < k:
                pivot, solved = factor[triangle(i, i)], ways[i]
                for j in range(LANES):
                    out[j] *= pivot[j]
                    way[j] -= out[j] * solved[j]
        for j in range(LANES):
            sound = diagonal[j] > PIVOT * whole[j]
            fits[j] = fits[j] if sound else 0.0
            diagonal[j] = 1.0 / np.sqrt(diagonal[j] if sound else 1.0)
            way[j] *= diagonal[j]


@kernel
def _substitute(h, steps, fixed, work):  # type: ignore[no-untyped-def]
    """Solve with the transposed factor for the ways, which do not fit where they make an entry negative."""
    _, fits, _, factor, _, ways = work
    for k in range(len(ways) - 1, fixed - 1, -1):
        way, pivot, x, step = ways[k], factor[triangle(k, k)], h[k], steps[k]
        for c in range(k + 1, len(ways)):
            row, solved = factor[triangle(c, k)], ways[c]
            for j in range(LANES):
                way[j] -= row[j] * solved[j]
        for j in range(LANES):
            way[j] *= pivot[j]
            fits[j] = fits[j] if x[j] + (step[j] + way[j]) >= 0.0 else 0.0
