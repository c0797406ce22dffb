"""The steps of `joint_steps` for the columns of a tile, for `dense_columns`."""

import numpy as np

from dnmf.kernels.blocks.tiles import LANES, kernel
from dnmf.kernels.divergence.beta import minimum
from dnmf.kernels.divergence.dense_models import minimise_models, triangle
from dnmf.kernels.divergence.dense_terms import SIDE_BYTES, set_falls, set_terms
from dnmf.kernels.divergence.exact_columns import STILL
from dnmf.kernels.divergence.joint_steps import MODEL_SWEEPS, bound_of_rise

# Rows whose terms are added up in their own precision, and their sums in float64.
ROWS = 256
# Times that a refused step is drawn halfway, and its share of the way that remains.
HALVINGS, HALF = 4, 0.5


@kernel
def set_slopes(entries, totals, fixed, work):  # type: ignore[no-untyped-def]
    """Set the sums and the models of the columns that are going, and what steps of their single entries promise."""
    h, l1, l2, going, gained, pulls, bends, slopes, inverses = work[:9]
    _add_terms(entries, h, going, pulls, bends)
    for j in range(LANES):
        gained[j] = 0.0 if going[j] else gained[j]
    for k in range(fixed, h.shape[0]):
        x, slope, inverse, own, push, more = h[k], slopes[k], inverses[k], bends[triangle(k, k)], l1[k], l2[k]
        mass, pull = np.float64(totals[k]), pulls[k]
        for j in range(LANES):  # `quadratic_gain`, without branches
            wide, bend = np.float64(x[j]), own[j] + more[j]
            gradient = mass + push[j] + more[j] * wide - pull[j]
            share = 1.0 / bend if bend > 0.0 else 0.0
            fall = gradient if gradient < bend * wide else bend * wide
            curved = (0.5 * fall * share) * (2.0 * gradient - fall)
            flat = gradient * wide if gradient > 0.0 else 0.0
            promised = curved if bend > 0.0 else flat
            gained[j] += promised if going[j] else 0.0
            slope[j], inverse[j] = gradient, share


@kernel
def _add_terms(entries, h, going, pulls, bends):  # type: ignore[no-untyped-def]
    """Set Σ w v/y (r, LANES) and Σ w wᵀ v/y² (r(r+1)/2, LANES) of the vectors with a column that is going."""
    rows, products, v, some_pulls, some_bends = entries
    side = SIDE_BYTES // h.itemsize
    pulls[:] = 0.0
    bends[:] = 0.0
    for at in range(0, v.shape[1], side):
        if not going[at : at + side].any():
            continue
        for first in range(0, len(rows), ROWS):
            set_terms(rows, products, v, h, at, first, min(first + ROWS, len(rows)), some_pulls, some_bends)
            for some, total in ((some_pulls, pulls), (some_bends, bends)):
                for k in range(len(total)):
                    for j in range(at, at + side):
                        total[k, j] += np.float64(some[k, j])


@kernel
def _least_falls(entries, h, trial):  # type: ignore[no-untyped-def]
    """Set a lower bound of Σ v log(y'/y) of the vectors with a column that is tried."""
    rows, _, v, some, _ = entries
    steps, falls, _, tried = trial
    side = SIDE_BYTES // h.itemsize
    falls[:] = 0.0
    for at in range(0, v.shape[1], side):
        if not tried[at : at + side].any():
            continue
        for first in range(0, len(rows), ROWS):
            set_falls(rows, v, h, steps, at, first, min(first + ROWS, len(rows)), some)
            for j in range(at, at + side):
                falls[j] += np.float64(some[0, j])


@kernel
def _set_aside(h, pulls, bends, fixed, steps, trial, work):  # type: ignore[no-untyped-def]
    """Do not try the columns that have a step which surely lowers the objective."""
    _, _, change, tried = trial
    linear, square, fall = work[0], work[1], work[2]
    for j in range(LANES):
        linear[j], square[j], fall[j] = change[j], 0.0, 0.0
    for k in range(fixed, len(h)):
        x, step, pull, own = h[k], steps[k], pulls[k], bends[triangle(k, k)]
        for j in range(LANES):
            wide = np.float64(x[j])
            share = -step[j] / wide if step[j] < 0.0 else 0.0
            fall[j] = share if share > fall[j] else fall[j]
            linear[j] -= step[j] * pull[j]
            square[j] += 0.5 * own[j] * step[j] * step[j]
        for i in range(fixed, k):
            row, other = bends[triangle(k, i)], steps[i]
            for j in range(LANES):
                square[j] += row[j] * step[j] * other[j]
    for j in range(LANES):
        tried[j] = tried[j] and not bound_of_rise(fall[j], linear[j], square[j]) <= 0.0


@kernel
def take_steps(entries, totals, fixed, work, exact):  # type: ignore[no-untyped-def]
    """Take the steps of the columns that are going, and set them to the moves of their entries.

    A column whose step does not go to the minimum of its model remains `left`.
    """
    h, l1, l2, going, _, pulls, bends, slopes, inverses, models, steps, left, trial = work
    close, falls, change, tried = trial
    dtype, tiny = h.dtype.type, np.finfo(h.dtype).tiny
    for j in range(LANES):
        left[j], tried[j] = 1.0 if going[j] else 0.0, going[j]
    minimise_models(h, slopes, inverses, bends, l2, fixed, steps, left, models, MODEL_SWEEPS, exact)
    for turn in range(HALVINGS + 2):
        change[:] = 0.0
        for k in range(fixed, h.shape[0]):
            x, step, push, more, near, mass = h[k], steps[k], l1[k], l2[k], close[k], np.float64(totals[k])
            for j in range(LANES):
                new = dtype(x[j] + step[j])
                new = new if new >= tiny else dtype(0)
                moved = np.float64(new) - np.float64(x[j]) if going[j] else 0.0
                step[j], near[j] = moved, dtype(moved)
                change[j] += moved * (mass + push[j] + more[j] * (x[j] + 0.5 * moved))
        if turn > HALVINGS:
            break
        if turn == 0:
            _set_aside(h, pulls, bends, fixed, steps, trial, models)
        _least_falls(entries, h, trial)
        for j in range(LANES):
            tried[j] = tried[j] and not change[j] <= falls[j]
            if not tried[j]:
                continue
            left[j] = 1.0
            for k in range(fixed if exact else h.shape[0], h.shape[0]):
                wide = np.float64(h[k, j])
                safe = minimum(wide, pulls[k, j], np.float64(totals[k]), 1.0, l1[k, j], l2[k, j]) - wide
                steps[k, j] = safe + (HALF * (steps[k, j] - safe) if turn < HALVINGS else 0.0)
        if not exact or not tried.any():
            break
    for k in range(fixed, h.shape[0]):
        for j in range(LANES):
            h[k, j] = dtype(h[k, j] + steps[k, j])


@kernel
def settle(totals, before, found, work):  # type: ignore[no-untyped-def]
    """Stop the columns that are at their minimum: whose next move, as the last two foretell, is still.

    Newton's method converges faster and faster near the minimum, so that a move is at most the last one times their
    ratio. The one before counts as the size of the column at most: a fall from far above may end far below the minimum.
    """
    h, going, steps, left = work[0], work[3], work[10], work[11]
    for j in range(len(found)):
        moved, size = 0.0, 0.0
        for k in range(len(h)):
            moved, size = max(moved, abs(steps[k, j]) * totals[k]), max(size, h[k, j] * totals[k])
        last = min(before[j], size)
        share = moved / last if last > moved else 1.0
        if going[j] and left[j] == 0.0 and moved * share <= STILL * size:
            found[j], going[j] = True, False
        before[j] = moved if left[j] == 0.0 else 0.0
