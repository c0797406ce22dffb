"""Newton's step of all entries of a column of H at once, for the Kullback–Leibler divergence.

The step minimises the quadratic model of the column over h ≥ 0, by coordinate descent. It needs one division per entry
of V where a sweep of single steps needs up to 2r. It is taken only if the objective surely does not rise: with
u = (y' − y)/y', log(y'/y) = −log(1 − u) is at least u + u²/2 + u³/3 for every u < 1, so that the change is at most

    Σ_k (h'_k − h_k) (Σ m w_k + l1 + l2 (h_k + h'_k)/2) − Σ m v (u + u²/2 + u³/3).

That needs another look at the entries, and often none: if no entry of h falls by more than a share δ of itself, then
s = (y' − y)/y is at least −δ, where −log(1 + s) ≤ −s + (1 + 2δ/(3(1 − δ))) s²/2. So the objective rises by at most the
linear terms of the model, and 1 + 2δ/(3(1 − δ)) times the quadratic ones.

See "Newton's method for Kullback–Leibler" in docs/mathematics.md.
"""

import numpy as np

from dnmf.kernels.blocks.tiles import kernel, reordered
from dnmf.kernels.optimality import quadratic_gain

# Sweeps over the model of a column, which end when one moves the entries by less than this share of the whole step,
# squared and weighted by the curvature.
MODEL_SWEEPS, MODEL_STILL = 20, 1e-6
# The largest rank of joint steps: their work grows with its square, that of single steps only with the rank.
JOINT_RANK = 12


@kernel
def joint_work(rank, longest, like):  # type: ignore[no-untyped-def]
    """Return the arrays of `column_slopes` and `joint_step`, for columns in the dtype of `like`."""
    entries = np.empty((3, longest), like.dtype)
    return entries[0], entries[1], entries[2], np.zeros(rank), np.zeros(rank), np.zeros((rank, rank)), np.zeros(rank)


@reordered
def column_slopes(near, v, m, y, h, masses, l1, l2, fixed, work, count):  # type: ignore[no-untyped-def]
    """Set slopes and curvatures of a column with the model y, and return what steps of its single entries promise."""
    pulls, bends, _, slopes, _, hessian, _ = work
    zero, one, tiny = y.dtype.type(0), y.dtype.type(1), np.finfo(y.dtype).tiny
    for e in range(count):
        inverse = one / (y[e] if y[e] > tiny else tiny)
        inverse = inverse if y[e] > zero else zero
        pull = m[e] * v[e] * inverse
        pulls[e], bends[e] = pull, pull * inverse
    gained = 0.0
    for k in range(fixed, len(h)):
        slopes[k] = masses[k] + l1[k] + l2[k] * h[k] - product(near[k], pulls, count)
        hessian[k, k] = product_of_three(near[k], near[k], bends, count) + l2[k]
        gained += quadratic_gain(np.float64(h[k]), slopes[k], hessian[k, k])
    return gained


@reordered
def joint_step(near, v, m, y, h, masses, l1, l2, fixed, work, count):  # type: ignore[no-untyped-def]
    """Take the step of a column after `column_slopes`, for which y is not brought up to date.

    Return whether it was taken, and whether it goes to the minimum of the model.
    """
    _, bends, moved, slopes, steps, hessian, first = work
    for a in range(fixed, len(h)):
        w = near[a]
        for e in range(count):
            moved[e] = w[e] * bends[e]
        for b in range(fixed, a):
            hessian[a, b] = hessian[b, a] = product(near[b], moved, count)
    for k in range(len(first)):  # loops are compiled in a fraction of the time of an assignment of arrays
        first[k] = slopes[k]
    settled = _minimise_model(h, slopes, steps, hessian, fixed)
    change, tiny = 0.0, np.finfo(h.dtype).tiny
    for k in range(fixed, len(h)):
        new = h.dtype.type(h[k] + steps[k])
        steps[k] = np.float64(new if new >= tiny else 0.0) - h[k]
        change += steps[k] * (masses[k] + l1[k] + l2[k] * (h[k] + 0.5 * steps[k]))
    if not _surely_falls(h, first, steps, hessian, l2, fixed):
        moved[:count] = 0
        for k in range(fixed, len(h)):
            w, step = near[k], y.dtype.type(steps[k])
            for e in range(count):
                moved[e] += step * w[e]
        if not change <= _least_fall(v, m, y, moved, count):
            return False, settled
    for k in range(fixed, len(h)):
        h[k] += steps[k]
    return True, settled


@reordered
def _minimise_model(h, slopes, steps, hessian, fixed):  # type: ignore[no-untyped-def]
    """Set `steps` to those of the entries of a column that are not fixed to the minimum of its quadratic model.

    Return whether the sweeps came to an end.
    """
    steps[:] = 0.0
    for _ in range(MODEL_SWEEPS):
        last, whole = 0.0, 0.0
        for k in range(fixed, len(h)):
            bend, lowest = hessian[k, k], -h[k] - steps[k]
            move = max(-slopes[k] / bend, lowest) if bend > 0.0 else lowest if slopes[k] > 0.0 else 0.0
            steps[k] += move
            row = hessian[k]
            for i in range(fixed, len(h)):
                slopes[i] += move * row[i]
            last += move * move * bend
            whole += steps[k] * steps[k] * bend
        if last <= MODEL_STILL * whole:
            return True
    return False


@reordered
def _surely_falls(h, slopes, steps, hessian, l2, fixed):  # type: ignore[no-untyped-def]
    """Return whether steps surely lower the objective, given its slopes and Hessian, with the penalty, at h."""
    linear, square, fall = 0.0, 0.0, 0.0
    for k in range(fixed, len(h)):
        step, row = steps[k], hessian[k]
        if step < 0.0:
            fall = max(fall, -step / h[k])
        bent = -l2[k] * step
        for i in range(fixed, len(h)):
            bent += row[i] * steps[i]
        linear += step * (slopes[k] + 0.5 * l2[k] * step)
        square += 0.5 * step * bent
    return bound_of_rise(fall, linear, square) <= 0.0


@kernel
def bound_of_rise(fall, linear, square):  # type: ignore[no-untyped-def]
    """Return an upper bound of the rise by a step, times a positive factor; infinity where an entry falls to 0.

    `fall` is the largest share by which an entry falls, and the others are the terms of the quadratic model.
    """
    rest = 1.0 - fall
    return rest * linear + (rest + fall * (2.0 / 3.0)) * square if rest > 0.0 else np.inf


@reordered
def _least_fall(v, m, y, moved, count):  # type: ignore[no-untyped-def]
    """Return a lower bound of Σ m v log(y'/y) for y' = y + moved; −∞ where y' is 0 and v is not."""
    tiny, half, third = np.finfo(y.dtype).tiny, y.dtype.type(0.5), y.dtype.type(1.0 / 3.0)
    one, zero, total, lost = y.dtype.type(1), y.dtype.type(0), 0.0, 0
    for e in range(count):
        there, pull = y[e] + moved[e], m[e] * v[e]
        lost += 1 if (there <= tiny and pull > zero) else 0
        share = moved[e] / (there if there > tiny else tiny)
        total += pull * share * (one + share * (half + share * third))
    return total if lost == 0 else -np.inf


@reordered
def product(w, pulls, count):  # type: ignore[no-untyped-def]
    """Return Σ w p."""
    total = 0.0
    for e in range(count):
        total += w[e] * pulls[e]
    return total


@reordered
def product_of_three(w, x, pulls, count):  # type: ignore[no-untyped-def]
    """Return Σ w x p."""
    total = 0.0
    for e in range(count):
        total += w[e] * x[e] * pulls[e]
    return total
