"""A safeguarded Newton step for one entry of a column of H, for any β: no step raises the objective.

Hsieh & Dhillon 2011 (section 4) take Newton's step h − f'(h)/f''(h) for β = 1. For 1 ≤ β ≤ 2 the slope f' is concave
in the entry, so a step to the right stops short of the minimum. One to the left may pass it; then the chord between its
two ends meets 0 between the minimum and h, since a concave function lies above its chords. The majoriser at h has its
minimum on the same side: y + (h' − h) w lies between y and y h'/h, so that the slope is above the majoriser's to the
left of h and below it to the right. So the longer of both steps is as safe, and better: where this component alone
feeds an entry, the chord is so steep, or the slope so curved, that Newton's step stands still.

For β = 1, w/y is at most 1/h, so that f'' grows by at most 1/(1 − t/h)² over a way t to the left. A step of Newton's to
the left by δ = f'/f'' then lowers the objective by at least f' δ (1 − 1/(2 (1 − δ/h))), a third of f' δ at δ = h/4; it
needs no second look at the slope. See "Newton's method for Kullback–Leibler" in docs/mathematics.md.
"""

import numpy as np

from dnmf.kernels.blocks.tiles import kernel, reordered
from dnmf.kernels.divergence.beta import divergence_of, minimum, power_of
from dnmf.kernels.optimality import quadratic_gain

# The smallest share of an entry down to which Newton's step for β = 1 is taken without looking at the slope there.
SURE = 0.75


@kernel
def newton_entry(w, v, m, y, h, denominator, beta, l1, l2, count):  # type: ignore[no-untyped-def]
    """Return the new value of an entry h of a column, in float64, and what Newton's step promised.

    w holds the component's entries of W, and y the model of the column. `beta` is None for β = 1, so that it is known
    when this is compiled; then the denominator Σ m w is given.
    """
    b = 1.0 if beta is None else beta
    numerator, denominator, curvature = slopes(w, v, m, y, y.dtype.type(0), denominator, beta, count)
    slope, bend = denominator + l1 + l2 * h - np.float64(numerator), np.float64(curvature) + l2
    promised = quadratic_gain(h, slope, bend)
    if slope == 0.0 or (h == 0.0 and slope > 0.0):
        return h, promised
    least = minimum(h, np.float64(numerator), denominator, b, l1, l2)
    if b < 1.0 or b > 2.0:
        return _best(w, v, m, y, h, least, slope, bend, b, l1, l2, count), promised
    new = h - slope / bend if bend > 0.0 else (0.0 if slope > 0.0 else h)
    if slope < 0.0:
        return max(new, least), promised
    new = max(new, 0.0)
    if beta is None and new >= SURE * h:
        return min(new, least), promised
    if b < 2.0:
        for e in range(count):
            if w[e] > 0 and v[e] > 0 and m[e] > 0 and y[e] + y.dtype.type(new - h) * w[e] <= 0:
                return least, promised
    numerator, denominator, _ = slopes(w, v, m, y, y.dtype.type(new - h), denominator, beta, count)
    slope_there = denominator + l1 + l2 * new - np.float64(numerator)
    if slope_there < 0.0:
        new += (h - new) * (-slope_there) / (slope - slope_there)
        new = min(new, least)
    return new, promised


@reordered
def slopes(w, v, m, y, step, denominator, beta, count):  # type: ignore[no-untyped-def]
    """Return Σ m w v z^(β−2), Σ m w z^(β−1) and the second derivative of the divergence, with z = y + step · w."""
    numerator, curvature = 0.0, 0.0
    if beta is None:
        for e in range(count):
            z = y[e] + step * w[e]
            share = w[e] / z if z > 0 else w[e] * 0
            pull = m[e] * v[e] * share
            numerator += pull
            curvature += pull * share
        return numerator, denominator, curvature
    denominator = 0.0
    for e in range(count):
        z = y[e] + step * w[e]
        if not z > 0.0:
            numerator += m[e] * w[e] * v[e] if beta == 2.0 else 0.0
            curvature += m[e] * w[e] * w[e] if beta == 2.0 else 0.0
            continue
        # w/z is at most 1/h, and y^(β−1) a float where y^(β−2) need not be one.
        power, share = m[e] * power_of(z, beta), w[e] / z
        pull, push = v[e] * share * power, w[e] * power
        numerator += pull
        denominator += push
        curvature += ((beta - 1.0) * push - (beta - 2.0) * pull) * share
    return numerator, denominator, curvature


@kernel
def _best(w, v, m, y, h, least, slope, bend, beta, l1, l2, count):  # type: ignore[no-untyped-def]
    """Return the best of h, the majoriser's minimum and Newton's step, where the objective need not be convex.

    Where the curvature is not positive, least squares on max(V − WH, 0) gives the step upward.
    """
    other = least
    if bend > 0.0:
        other = max(h - slope / bend, 0.0)
    elif slope < 0.0:
        lack, square = 0.0, 0.0
        for e in range(count):
            lack += m[e] * w[e] * max(v[e] - y[e], 0.0)
            square += m[e] * w[e] * w[e]
        other = h + lack / square if square > 0.0 else h
    best, fewest = h, _loss(w, v, m, y, 0.0, beta, count) + l1 * h + 0.5 * l2 * h * h
    for new in (least, other):
        cost = _loss(w, v, m, y, new - h, beta, count) + l1 * new + 0.5 * l2 * new * new
        if cost < fewest:
            best, fewest = new, cost
    return best


@reordered
def _loss(w, v, m, y, step, beta, count):  # type: ignore[no-untyped-def]
    """Return Σ m d(v, y + step · w)."""
    total = 0.0
    for e in range(count):
        if m[e] > 0.0:
            total += m[e] * divergence_of(v[e], y[e] + step * w[e], beta)
    return total


@kernel
def shift_model(w, y, step, tiny, count):  # type: ignore[no-untyped-def]
    """Add step · w to y = Wh, which stays positive where w is."""
    if step != 0:
        for e in range(count):
            y[e] = max(y[e] + step * w[e], tiny) if w[e] > 0 else y[e]
