"""What a β-divergence needs of every entry of a dense panel: powers of WH, and the loss.

Arrays are in C order; the loops run along their rows, in tiles of fixed width where a logarithm is taken.
"""

import numpy as np
from numba import types
from numba.extending import overload

from dnmf.kernels.beta import divergence_of
from dnmf.kernels.tiles import LANES, Float, kernel

LOG_2 = float(np.log(2))
MANTISSA, ONE_BITS, SHIFTED = 0x000FFFFFFFFFFFFF, 0x3FF0000000000000, 0x4330000000000000
# SHIFTED is the float64 2⁵² with room for an integer in its last bits; 1023 is the bias of its exponents.
UNSHIFT = 2.0**52 + 1023.0


@kernel
def ratios(V, weights, Y, beta, top, low):  # type: ignore[no-untyped-def]
    """Set `top` to V Y^(β−2) and `low`, where it is not empty, to Y^(β−1), both times the weights, if there are any.

    Where Y is 0, so is `top`: no update can make such an entry positive.
    """
    height, width = V.shape
    zero, one, tiny = Y.dtype.type(0), Y.dtype.type(1), np.finfo(Y.dtype).tiny
    wants, weighted = low.size > 0, weights.size > 0
    power = Y.dtype.type(beta - 1.0)
    for i in range(height):
        if beta == 1.0:
            for j in range(width):
                y = Y[i, j]
                quotient = V[i, j] / (y if y > tiny else tiny)
                top[i, j] = quotient if y > zero else zero
            if wants:
                for j in range(width):
                    low[i, j] = one
        elif beta == 2.0:
            for j in range(width):
                top[i, j] = V[i, j]
                low[i, j] = Y[i, j]
        elif beta == 0.0:
            for j in range(width):
                y = Y[i, j]
                inverse = one / (y if y > tiny else tiny)
                low[i, j] = inverse if y > zero else zero
                top[i, j] = V[i, j] * inverse * inverse if y > zero else zero
        else:
            for j in range(width):
                y = Y[i, j]
                low[i, j] = y**power if y > zero else zero
                top[i, j] = V[i, j] / y * low[i, j] if y > zero else zero
        if weighted:
            for j in range(width):
                top[i, j] *= weights[i, j]
            if wants:
                for j in range(width):
                    low[i, j] *= weights[i, j]


def add_loss(V: Float, weights: Float, top: Float, Y: Float, beta: float, by_totals: bool) -> float:
    """Return the loss of a dense panel; where it is by totals, without the sum of Y, which is known otherwise.

    `top` is V/Y, as `ratios` left it.
    """
    if V.strides[0] < V.strides[1]:
        V, weights, top, Y = V.T, weights.T, top.T, Y.T
    if by_totals:
        return float(_kullback_leibler(V, top))
    return float(_loss(V, weights, Y, beta))


@kernel
def _kullback_leibler(V, quotient):  # type: ignore[no-untyped-def]
    """Return Σ v log(v/y) − v; infinite where y is 0 and v is not."""
    height, width = V.shape
    zero, one = V.dtype.type(0), V.dtype.type(1)
    room = width + LANES
    x, value = np.empty(room, V.dtype), np.empty(room, V.dtype)
    total = 0.0
    lost = 0
    for i in range(height):
        quotients, values = quotient[i], V[i]
        for j in range(width):
            q, v = quotients[j], values[j]
            x[j] = q if q > zero else one
            value[j] = v
            lost += 1 if (q <= zero and v > zero) else 0
        total += log_sum(x, value, width)
        for j in range(width):
            total -= np.float64(values[j])
    return np.inf if lost else total


def log_sum(x: Float, pull: Float, count: int) -> float:
    """Return Σ pull · log x of the first `count` entries, x > 0 normal; what follows is overwritten, up to `LANES`."""
    return float((_log_sum_32 if x.dtype == np.float32 else _log_sum_64)(x, pull, count))


@overload(log_sum)
def _compiled_log_sum(x, pull, count):  # type: ignore[no-untyped-def]
    chosen = _log_sum_32 if x.dtype == types.float32 else _log_sum_64
    return lambda x, pull, count: chosen(x, pull, count)


@kernel
def _log_sum_64(x, pull, count):  # type: ignore[no-untyped-def]
    near, exponent, sums = np.empty(LANES), np.empty(LANES), np.zeros(LANES)
    bits, exponent_bits = near.view(np.int64), exponent.view(np.int64)
    for start in range(0, pad(x, pull, count), LANES):
        there, weight = x[start : start + LANES], pull[start : start + LANES]
        for j in range(LANES):
            near[j] = there[j]
        logarithms(near, bits, exponent, exponent_bits)
        for j in range(LANES):
            sums[j] += weight[j] * exponent[j]
    return sums.sum()


@kernel
def _log_sum_32(x, pull, count):  # type: ignore[no-untyped-def]
    """Return the same for float32, with logarithms to 1e-7 and their sum in float64: half the time."""
    near, exponent, sums = np.empty(LANES, np.float32), np.empty(LANES, np.float32), np.zeros(LANES)
    bits = near.view(np.int32)
    for start in range(0, pad(x, pull, count), LANES):
        there, weight = x[start : start + LANES], pull[start : start + LANES]
        for j in range(LANES):
            near[j] = there[j]
        logarithms_32(near, bits, exponent)
        for j in range(LANES):
            sums[j] += np.float64(weight[j] * exponent[j])
    return sums.sum()


@kernel
def pad(x, pull, count):  # type: ignore[no-untyped-def]
    """Fill up to a multiple of `LANES` with what counts for nothing, and return that number."""
    full = -(-count // LANES) * LANES
    for j in range(count, full):
        x[j], pull[j] = 1.0, 0.0
    return full


@kernel
def logarithms_32(x, bits, out):  # type: ignore[no-untyped-def]
    """Set `out` to log x for `LANES` normal float32 numbers x > 0, as `logarithms` does."""
    shift, bias, mantissa, one_bits = np.int32(23), np.int32(127), np.int32(0x007FFFFF), np.int32(0x3F800000)
    one, half, two = np.float32(1), np.float32(0.5), np.float32(2)
    root, log_2 = np.float32(1.4142135), np.float32(LOG_2)
    c3, c5, c7, c9 = np.float32(1 / 3), np.float32(1 / 5), np.float32(1 / 7), np.float32(1 / 9)
    for j in range(LANES):
        word = bits[j]
        out[j] = np.float32(np.int32(np.int32(word >> shift) - bias))
        bits[j] = np.int32(np.int32(word & mantissa) | one_bits)
    for j in range(LANES):
        m = x[j]
        high = m > root
        m = m * half if high else m
        f = (m - one) / (m + one)
        s = f * f
        series = one + s * (c3 + s * (c5 + s * (c7 + s * c9)))
        e = out[j] + one if high else out[j]
        out[j] = e * log_2 + two * f * series


@kernel
def logarithms(x, bits, out, out_bits):  # type: ignore[no-untyped-def]
    """Set `out` to log x for `LANES` normal numbers x > 0, to 1e-12; `bits` are those of x, and are spoiled.

    log x = e log 2 + 2 artanh((m − 1)/(m + 1)) for x = 2^e m with m in [√½, √2), by the series of artanh. It has no
    branch and no call, so that it becomes vector instructions.
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
