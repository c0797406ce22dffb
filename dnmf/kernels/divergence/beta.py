"""The β-divergence of two numbers, and the minimum of its majoriser over one entry of a factor.

d(v, y) = (v^β + (β − 1) y^β − β v y^(β−1)) / (β (β − 1)), with the limits Kullback–Leibler at β = 1 and Itakura–Saito
at β = 0; β = 2 is ½ (v − y)². Févotte & Idier 2011 (Neural Computation 23) give the majoriser: its slope at h·x is

    low · x^a + l1 + l2 · h x − top · x^b,   top = Σ w v y^(β−2),   low = Σ w y^(β−1),

with (a, b) = (0, β − 2) for β < 1, (β − 1, β − 2) for 1 ≤ β ≤ 2 and (β − 1, 0) for β > 2. Without penalties its root
is x = (top / low)^γ with γ = 1/(2 − β), 1 and 1/(β − 1). The penalties are part of what is majorised, so that the
objective with them never rises.
"""

import numpy as np

from dnmf.kernels.blocks.tiles import Float, Penalty, kernel, reordered

ROOT_STEPS = 60


@kernel
def exponent(beta):  # type: ignore[no-untyped-def]
    """Return γ(β), with which the ratio of an update is taken."""
    if beta < 1.0:
        return 1.0 / (2.0 - beta)
    return 1.0 if beta <= 2.0 else 1.0 / (beta - 1.0)


@kernel
def divergence_of(v, y, beta):  # type: ignore[no-untyped-def]
    """Return d(v, y) for v ≥ 0 and y ≥ 0, with 0 · log 0 = 0; infinite where y is 0, v is not, and β ≤ 1."""
    if beta == 2.0:
        return 0.5 * (v - y) * (v - y)
    if y <= 0.0 and beta <= 1.0:
        return np.inf if v > 0.0 else 0.0
    if beta == 1.0:
        return v * np.log(v / y) - v + y if v > 0.0 else y
    if beta == 0.0:
        return v / y - np.log(v / y) - 1.0
    power = y ** (beta - 1.0) if y > 0.0 else 0.0
    first = v**beta if v > 0.0 else 0.0
    return (first + (beta - 1.0) * y * power - beta * v * power) / (beta * (beta - 1.0))


@kernel
def minimum(h, top, low, beta, l1, l2):  # type: ignore[no-untyped-def]
    """Return where the majoriser of an entry h > 0 is least."""
    if not (h > 0.0 and top > 0.0):
        return 0.0
    if beta == 1.0:
        linear = low + l1
        bottom = linear + np.sqrt(linear * linear + 4.0 * l2 * h * top) if l2 > 0.0 else 2.0 * linear
        return 2.0 * h * top / bottom if bottom > 0.0 else 0.0
    if beta == 2.0:
        bottom = low + l2 * h
        return h * (top - l1) / bottom if top > l1 and bottom > 0.0 else 0.0
    gamma = exponent(beta)
    if l2 == 0.0 and (l1 == 0.0 or beta < 1.0):
        return h * (top / (low + l1)) ** gamma if low + l1 > 0.0 else 0.0
    return h * _root(h, top, low, beta, l1, l2, (top / low) ** gamma if low > 0.0 else 1.0)


@kernel
def _root(h, top, low, beta, l1, l2, high):  # type: ignore[no-untyped-def]
    """Return the x of the penalised majoriser by Newton's method within a bracket; `high` is that without penalties."""
    a = 0.0 if beta < 1.0 else beta - 1.0
    b = 0.0 if beta > 2.0 else beta - 2.0
    if b == 0.0 and top <= l1:
        return 0.0
    least, most = 0.0, high
    x = high
    for _ in range(ROOT_STEPS):
        slope = low * x**a + l1 + l2 * h * x - top * x**b
        if slope > 0.0:
            most = x
        else:
            least = x
        steep = a * low * x ** (a - 1.0) + l2 * h - b * top * x ** (b - 1.0)
        new = x - slope / steep if steep > 0.0 else least
        if not least < new < most:
            new = 0.5 * (least + most)
        if abs(new - x) <= 1e-14 * x or most - least <= 1e-14 * most:
            return new
        x = new
    return x


def majorise(H: Float, top: Float, low: Float, beta: float, penalty: Penalty) -> Float:
    """Return the minimum over H ≥ 0 of the majoriser at H (r, p), given top (r, p) and low, (r, p) or (r, 1)."""
    new = np.empty(H.shape, H.dtype)
    H, top, low = (np.ascontiguousarray(array) for array in (H, top, np.broadcast_to(low, H.shape)))
    if beta == 1 and penalty.l2 == 0:
        _shrink(H, top, low, H.dtype.type(penalty.l1), np.finfo(H.dtype).tiny, new)
    else:
        _majorise(H, top, low, beta, penalty.l1, penalty.l2, np.finfo(H.dtype).tiny, new)
    return new


@kernel
def _majorise(H, top, low, beta, l1, l2, least, new):  # type: ignore[no-untyped-def]
    for k in range(H.shape[0]):
        for j in range(H.shape[1]):
            value = minimum(np.float64(H[k, j]), np.float64(top[k, j]), np.float64(low[k, j]), beta, l1, l2)
            new[k, j] = value if value >= least else 0.0


@kernel
def _shrink(H, top, low, l1, least, new):  # type: ignore[no-untyped-def]
    """Do the same for β = 1 without l2, in loops that become vector instructions."""
    zero = least - least
    for k in range(H.shape[0]):
        h, t, below, out = H[k], top[k], low[k], new[k]
        for j in range(len(h)):
            bottom = below[j] + l1
            value = h[j] * t[j] / (bottom if bottom > least else least)
            out[j] = value if value >= least and bottom > zero else zero


def mismatch(H: Float, top: Float, low: Float, penalty: Penalty) -> tuple[Float, Float]:
    """Return the squared violation of the optimality conditions by component, and what it is measured against (r,).

    With b = low + l1 + l2 h, the violation of an entry is 1 − top/b; where that is positive it counts by the share
    h·b that the component has in the column, so that it fades as h does. Columns count by their mass h·top.
    """
    H, top, low = (np.ascontiguousarray(array) for array in (H, top, np.broadcast_to(low, H.shape)))
    missed, masses = np.zeros(len(H)), np.zeros(H.shape[1])
    _mismatch(H, top, low, penalty.l1, penalty.l2, masses, missed)
    return missed, np.full(len(H), masses.sum())


@reordered
def _mismatch(H, top, low, l1, l2, masses, missed):  # type: ignore[no-untyped-def]
    for k in range(H.shape[0]):
        h, t = H[k], top[k]
        for j in range(len(h)):
            masses[j] += np.float64(h[j]) * np.float64(t[j])
    for k in range(H.shape[0]):
        h, t, below = H[k], top[k], low[k]
        total = 0.0
        for j in range(len(h)):
            bottom = np.float64(below[j]) + l1 + l2 * np.float64(h[j])
            slope = 1.0 - np.float64(t[j]) / bottom if bottom > 0.0 else 0.0
            share = np.float64(h[j]) * bottom / masses[j] if masses[j] > 0.0 else 0.0
            share = share if share < 1.0 else 1.0
            slope = slope * share if slope > 0.0 else slope
            total += slope * slope * masses[j]
        missed[k] = total


def ratio(missed: Float, met: Float) -> float:
    """Return √(Σ missed / Σ met), 0 where there is nothing to meet."""
    return float(np.sqrt(missed.sum() / met.sum())) if met.sum() > 0 else 0.0
