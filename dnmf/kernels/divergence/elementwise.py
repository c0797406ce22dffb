"""Functions of single entries that a β-divergence needs: ratios, powers and logarithms of V and Y = WH.

The loops become vector instructions; those with a logarithm run in tiles of fixed width.
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from dnmf.kernels.blocks.simd import bits_of, float_of
from dnmf.kernels.blocks.tiles import LANES, Float, kernel
from dnmf.kernels.divergence.beta import divergence_of

LOG_TILE = 16 * LANES
LOG_2 = float(np.log(2))
# Bits of float64: the mantissa, the number 1, and 2⁵², which takes an integer in its last bits; the exponent has the
# bias 1023.
MANTISSA, ONE_BITS, SHIFTED = 0x000FFFFFFFFFFFFF, 0x3FF0000000000000, 0x4330000000000000
UNSHIFT = 2.0**52 + 1023.0
ROOT_HALF_BITS = np.int32(0x3F3504F3)  # bits of √½ in float32


def steepest(beta: float, dtype: Any) -> float:
    """Return the slope of d(0, y) at y = 0 for 0 < β < 1, which has no bound, as a large number; else 0.

    It keeps entries of a factor at 0 that a graph or a target pulls up.
    """
    return float(np.sqrt(np.finfo(dtype).max)) if 0 < beta < 1 else 0.0


@kernel
def take_ratios(v, m, y, beta, steep, ratios, powers):  # type: ignore[no-untyped-def]
    """Set `ratios` to m v y^(β−2) and `powers`, unless it is empty, to m y^(β−1), for entries (N,).

    `m` is empty where all weights are 1. Both are 0 where y is 0, except that y^0 = 1, and that for 0 < β < 1 the power
    is `steep` where v is 0 too; see `steepest`.
    """
    zero, one, tiny = y.dtype.type(0), y.dtype.type(1), np.finfo(y.dtype).tiny
    wanted, power = len(powers) > 0, y.dtype.type(beta - 1.0)
    if beta == 1.0:
        for e in range(len(v)):
            quotient = v[e] / (y[e] if y[e] > tiny else tiny)
            ratios[e] = quotient if y[e] > zero else zero
        if wanted:
            for e in range(len(v)):
                powers[e] = one
    elif beta == 2.0:
        for e in range(len(v)):
            ratios[e], powers[e] = v[e], y[e]
    elif beta == 0.0:
        for e in range(len(v)):
            inverse = one / (y[e] if y[e] > tiny else tiny)
            powers[e] = inverse if y[e] > zero else zero
            ratios[e] = v[e] * inverse * inverse if y[e] > zero else zero
    else:
        for e in range(len(v)):
            powers[e] = y[e] ** power if y[e] > zero else (zero if v[e] > zero else y.dtype.type(steep))
            ratios[e] = v[e] / y[e] * powers[e] if y[e] > zero else zero
    for e in range(len(m)):
        ratios[e] *= m[e]
    if wanted:
        for e in range(len(m)):
            powers[e] *= m[e]


@kernel
def take_panel_ratios(v, m, y, beta, steep, ratios, powers):  # type: ignore[no-untyped-def]
    """Do the same for the entries of a panel, some at a time, so that they stay in the cache."""
    for start in range(0, len(v), LOG_TILE):
        part = slice(start, start + LOG_TILE)
        take_ratios(v[part], m[part], y[part], beta, steep, ratios[part], powers[part])


def panel_loss(V: Float, weights: Float, Y: Float, beta: float) -> float:
    """Return Σ m d(v, y) of a dense panel, in float64."""
    if V.strides[0] < V.strides[1]:
        V, weights, Y = V.T, weights.T, Y.T
    return float(_loss(V, weights, Y, beta))


@kernel
def divide(v, y):  # type: ignore[no-untyped-def]
    """Set y to v/y, or 0 where y is 0."""
    zero, tiny = y.dtype.type(0), np.finfo(y.dtype).tiny
    for j in range(len(y)):
        bottom = y[j]
        quotient = v[j] / (bottom if bottom > tiny else tiny)
        y[j] = quotient if bottom > zero else zero


@kernel
def set_bends(v, ratios, size, bends):  # type: ignore[no-untyped-def]
    """Set `bends` to v/y² times a size squared, given the ratios v/y, or to 0 where v is 0."""
    zero = v.dtype.type(0)
    for j in range(len(v)):
        value = v[j]
        bends[j] = ratios[j] / value * size * ratios[j] * size if value > zero else zero


@kernel
def divide_and_add(v, y):  # type: ignore[no-untyped-def]
    """Set y to v/y, or 0 where y is 0, and return Σ v log(v/y) − v; infinite where y is 0 and v is not."""
    zero, one, tiny = y.dtype.type(0), y.dtype.type(1), np.finfo(y.dtype).tiny
    x = np.empty(LOG_TILE, v.dtype)
    total, lost = 0.0, 0
    for start in range(0, len(v), LOG_TILE):
        values, below = v[start : start + LOG_TILE], y[start : start + LOG_TILE]
        for j in range(len(values)):
            value, bottom = values[j], below[j]
            quotient = value / (bottom if bottom > tiny else tiny)
            quotient = quotient if bottom > zero else zero
            lost += 1 if (bottom <= zero and value > zero) else 0
            below[j] = quotient
            x[j] = quotient if quotient > zero else one
        total += log_sum(x, values, len(values))
    return np.inf if lost else total


def log_sum(x: Float, pull: Float, count: int) -> float:
    """Return Σ pull · (log x − 1) of the first `count` entries, x > 0 normal."""
    return float((_log_sum_32 if x.dtype == np.float32 else _log_sum_64)(x, pull, count))


@overload(log_sum)
def _compiled_log_sum(x, pull, count):  # type: ignore[no-untyped-def]
    chosen = _log_sum_32 if x.dtype == types.float32 else _log_sum_64
    return lambda x, pull, count: chosen(x, pull, count)


@kernel
def _log_sum_64(x, pull, count):  # type: ignore[no-untyped-def]
    near, exponent, sums = np.empty(LANES), np.empty(LANES), np.zeros(LANES)
    bits, exponent_bits = near.view(np.int64), exponent.view(np.int64)
    for start in range(0, count, LANES):
        width = load_row(x, start, count, near)
        logarithms(near, bits, exponent, exponent_bits)
        weight = pull[start : start + width]
        for j in range(width):
            sums[j] += weight[j] * (exponent[j] - 1.0)
    return sums.sum()


@kernel
def _log_sum_32(x, pull, count):  # type: ignore[no-untyped-def]
    """Do the same for float32, with logarithms to 3e-7 and their sum in float64: less than half the time."""
    sums, one = np.zeros(LANES), np.float32(1)
    for start in range(0, count, LANES):
        width = min(LANES, count - start)
        there, weight = x[start : start + width], pull[start : start + width]
        for j in range(width):
            sums[j] += np.float64(weight[j] * (logarithm_32(there[j]) - one))
    return sums.sum()


@kernel
def load_row(x, start, count, near):  # type: ignore[no-untyped-def]
    """Copy `LANES` numbers from `start` on, with ones past `count`, and return the number copied."""
    width = min(LANES, count - start)
    there = x[start : start + width]
    for j in range(width):
        near[j] = there[j]
    for j in range(width, LANES):
        near[j] = 1.0
    return width


@kernel
def logarithm_32(x):  # type: ignore[no-untyped-def]
    """Return log x for a normal float32 number x > 0, by the series of `logarithms`."""
    shift, one, two = np.int32(23), np.float32(1), np.float32(2)
    c3, c5, c7, c9 = np.float32(2 / 3), np.float32(2 / 5), np.float32(2 / 7), np.float32(2 / 9)
    word = bits_of(x)
    e = np.int32(np.int32(word - ROOT_HALF_BITS) >> shift)
    m = float_of(np.int32(word - np.int32(e << shift)))
    f = (m - one) / (m + one)
    s = f * f
    return np.float32(e) * np.float32(LOG_2) + f * (two + s * (c3 + s * (c5 + s * (c7 + s * c9))))


@kernel
def logarithms(x, bits, out, out_bits):  # type: ignore[no-untyped-def]
    """Set `out` to log x for `LANES` normal numbers x > 0, to 1e-12; `bits` are those of x, and are overwritten.

    log x = e log 2 + 2 artanh((m − 1)/(m + 1)) for x = 2^e m with m in [√½, √2), by the series of artanh. Without a
    branch or a call, the loop becomes vector instructions.
    """
    for j in range(LANES):
        word = bits[j]
        out_bits[j] = (word >> 52) | SHIFTED
        bits[j] = (word & MANTISSA) | ONE_BITS
    for j in range(LANES):
        m, e = x[j], out[j] - UNSHIFT
        high = m > 1.4142135623730951
        m, e = (m * 0.5, e + 1.0) if high else (m, e)
        f = (m - 1.0) / (m + 1.0)
        s = f * f
        series = 1 / 11 + s * (1 / 13 + s * (1 / 15))
        series = 1.0 + s * (1 / 3 + s * (1 / 5 + s * (1 / 7 + s * (1 / 9 + s * series))))
        out[j] = e * LOG_2 + 2.0 * f * series


@kernel
def _loss(V, weights, Y, beta):  # type: ignore[no-untyped-def]
    total = 0.0
    weighted = weights.size > 0
    for i in range(V.shape[0]):
        part = 0.0
        for j in range(V.shape[1]):
            weight = np.float64(weights[i, j]) if weighted else 1.0
            if weight > 0.0:
                part += weight * divergence_of(np.float64(V[i, j]), np.float64(Y[i, j]), beta)
        total += part
    return total
