"""The β-divergence of two numbers, and the minimum of its majoriser over one entry of a factor.

d(v, y) = (v^β + (β − 1) y^β − β v y^(β−1)) / (β (β − 1)), with the limits Kullback–Leibler at β = 1 and Itakura–Saito
at β = 0; β = 2 is ½ (v − y)². Févotte & Idier 2011 (Neural Computation 23, section 4.1) give the majoriser at H: at
h·x its slope is

    denominator · x^a + l1 + l2 · h x − numerator · x^b,   numerator = Σ m w v y^(β−2),   denominator = Σ m w y^(β−1),

with (a, b) = (0, β − 2) for β < 1, (β − 1, β − 2) for 1 ≤ β ≤ 2 and (β − 1, 0) for β > 2. Without penalties its root
is x = (numerator / denominator)^γ with γ = 1/(2 − β), 1 and 1/(β − 1). The penalties are majorised too, so that the
objective never rises; for β = 2 l1 h is majorised as ½ l1 h (x² + 1), which puts l1 in the denominator (Hoyer
2002) and keeps positive entries positive. See "Multiplicative updates" in docs/mathematics.md.
"""

import numpy as np

from dnmf.kernels.blocks.tiles import Float, kernel
from dnmf.kernels.penalty import Penalty

ROOT_STEPS = 60
# Doublings of the end of the bracket of a root, which reach from the smallest float to the largest one.
MOST_DOUBLINGS = 2000


@kernel
def exponent(beta):  # type: ignore[no-untyped-def]
    """Return γ(β), the power of the ratio in an update."""
    if beta < 1.0:
        return 1.0 / (2.0 - beta)
    return 1.0 if beta <= 2.0 else 1.0 / (beta - 1.0)


@kernel
def power_of(y, beta):  # type: ignore[no-untyped-def]
    """Return y^(β−1) for y > 0, without a call of `pow` for the usual β."""
    if beta == 2.0:
        return y
    if beta == 0.0:
        return 1.0 / y
    if beta == 0.5:
        return 1.0 / np.sqrt(y)
    if beta == 1.5:
        return np.sqrt(y)
    return y * y if beta == 3.0 else y ** (beta - 1.0)


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
def lone_minimum(linear, l2):  # type: ignore[no-untyped-def]
    """Return the minimum of linear · h + ½ l2 h² over h ≥ 0, of an entry without data; 0 unless penalties pull it up.

    >>> lone_minimum(-3.0, 2.0), lone_minimum(1.0, 2.0), lone_minimum(0.0, 0.0)
    (1.5, 0.0, 0.0)
    """
    return -linear / l2 if (linear < 0.0 and l2 > 0.0) else 0.0


@kernel
def minimum(h, numerator, denominator, beta, l1, l2):  # type: ignore[no-untyped-def]
    """Return the minimum of the majoriser over an entry, at h > 0.

    A negative l1 pulls the entry up, where l2 > 0. At h = 0 the majoriser is finite elsewhere only for β ≤ 1.
    """
    pulled = l1 < 0.0 and l2 > 0.0
    if not (h > 0.0 and numerator > 0.0) and (beta <= 1.0 or h <= 0.0 or not pulled):
        return lone_minimum(denominator + l1, l2) if (pulled and beta <= 1.0) else 0.0
    if beta == 1.0:
        linear = denominator + l1
        if linear < 0.0:
            return (np.sqrt(linear * linear + 4.0 * l2 * h * numerator) - linear) / (2.0 * l2) if l2 > 0.0 else h
        bottom = linear + np.sqrt(linear * linear + 4.0 * l2 * h * numerator) if l2 > 0.0 else 2.0 * linear
        return 2.0 * h * numerator / bottom if bottom > 0.0 else 0.0
    if beta == 2.0:
        bottom = denominator + l2 * h + max(l1, 0.0)
        return h * (numerator - min(l1, 0.0)) / bottom if bottom > 0.0 else 0.0
    gamma = exponent(beta)
    if l2 == 0.0 and (l1 == 0.0 or beta < 1.0):
        return h * (numerator / (denominator + l1)) ** gamma if denominator + l1 > 0.0 else 0.0
    if l1 < 0.0 and not l2 > 0.0:
        return h
    unpenalised = (numerator / denominator) ** gamma if denominator > 0.0 else 1.0
    return h * _root(h, numerator, denominator, beta, l1, l2, unpenalised)


@kernel
def _root(h, numerator, denominator, beta, l1, l2, most):  # type: ignore[no-untyped-def]
    """Return the root x of the slope by Newton's method within a bracket.

    Without a pull, its end is the root without penalties; with one, it is moved up until the slope there is positive.
    """
    a = 0.0 if beta < 1.0 else beta - 1.0
    b = 0.0 if beta > 2.0 else beta - 2.0
    if b == 0.0 and numerator <= l1:
        return 0.0
    least = 0.0
    if l1 < 0.0:
        most = max(most, 1.0)
        for _ in range(MOST_DOUBLINGS):
            if denominator * most**a + l1 + l2 * h * most - numerator * most**b >= 0.0:
                break
            least = most
            most *= 2.0
    x = most
    for _ in range(ROOT_STEPS):
        slope = denominator * x**a + l1 + l2 * h * x - numerator * x**b
        if slope > 0.0:
            most = x
        else:
            least = x
        steep = a * denominator * x ** (a - 1.0) + l2 * h - b * numerator * x ** (b - 1.0)
        new = x - slope / steep if steep > 0.0 else least
        if not least < new < most:
            new = 0.5 * (least + most)
        if abs(new - x) <= 1e-14 * x or most - least <= 1e-14 * most:
            return new
        x = new
    return x


def majorise(H: Float, numerator: Float, denominator: Float, beta: float, penalty: Penalty) -> Float:
    """Return the minimum of the majoriser at H (r, p), for a numerator (r, p) and a denominator (r, p) or (r, 1)."""
    new = np.empty(H.shape, H.dtype)
    denominator = np.broadcast_to(denominator, H.shape)
    H, numerator, denominator = (np.ascontiguousarray(array) for array in (H, numerator, denominator))
    if beta == 1 and penalty.plain and penalty.l2 == 0:
        _multiply_divide(H, numerator, denominator, H.dtype.type(penalty.l1), np.finfo(H.dtype).tiny, new)
    else:
        _majorise(H, numerator, denominator, beta, *penalty.arrays(H.shape), np.finfo(H.dtype).tiny, new)
    return new


@kernel
def _majorise(H, numerator, denominator, beta, l1, l2, tiny, new):  # type: ignore[no-untyped-def]
    for k in range(H.shape[0]):
        for j in range(H.shape[1]):
            top, bottom = np.float64(numerator[k, j]), np.float64(denominator[k, j])
            value = minimum(np.float64(H[k, j]), top, bottom, beta, l1[k, j], l2[k, j])
            new[k, j] = value if value >= tiny else 0.0


@kernel
def _multiply_divide(H, numerator, denominator, l1, tiny, new):  # type: ignore[no-untyped-def]
    """Do the same for β = 1 without l2 (Lee & Seung 2001, eq. 5), in loops that become vector instructions."""
    zero = tiny - tiny
    for k in range(H.shape[0]):
        h, top, below, out = H[k], numerator[k], denominator[k], new[k]
        for j in range(len(h)):
            bottom = below[j] + l1
            value = h[j] * top[j] / (bottom if bottom > tiny else tiny)
            out[j] = value if value >= tiny and bottom > zero else zero
