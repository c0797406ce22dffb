"""What a β-divergence needs of every entry of a dense panel: powers of WH, and the loss.

Arrays are in C order; the loops run along their rows, in tiles of fixed width where a logarithm is taken.
"""

import numpy as np

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
        return float((_kullback_leibler_32 if V.dtype == np.float32 else _kullback_leibler)(V, top))
    return float(_loss(V, weights, Y, beta))


@kernel
def _kullback_leibler(V, quotient):  # type: ignore[no-untyped-def]
    """Return Σ v log(v/y) − v; infinite where y is 0 and v is not."""
    height, width = V.shape
    x, exponent = np.empty(LANES), np.empty(LANES)
    bits, exponent_bits = x.view(np.int64), exponent.view(np.int64)
    sums = np.zeros(LANES)
    lost = 0
    for i in range(height):
        for start in range(0, width, LANES):
            count = min(LANES, width - start)
            quotients, values = quotient[i, start : start + count], V[i, start : start + count]
            for j in range(count):
                value = np.float64(quotients[j])
                x[j] = value if value > 0.0 else 1.0
                lost += 1 if (value <= 0.0 and values[j] > 0) else 0
            for j in range(count, LANES):
                x[j] = 1.0
            logarithms(x, bits, exponent, exponent_bits)
            for j in range(count):
                sums[j] += np.float64(values[j]) * (exponent[j] - 1.0)
    return np.inf if lost else sums.sum()


@kernel
def _kullback_leibler_32(V, quotient):  # type: ignore[no-untyped-def]
    """Return the same for float32, with logarithms to 1e-7 and their sum in float64: half the time."""
    height, width = V.shape
    x, value, exponent = np.empty(LANES, np.float32), np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    shift, bias, mantissa, one_bits = np.int32(23), np.int32(127), np.int32(0x007FFFFF), np.int32(0x3F800000)
    bits, sums = x.view(np.int32), np.zeros(LANES)
    zero, one, half, two = np.float32(0), np.float32(1), np.float32(0.5), np.float32(2)
    root, log_2 = np.float32(1.4142135), np.float32(LOG_2)
    c3, c5, c7, c9 = np.float32(1 / 3), np.float32(1 / 5), np.float32(1 / 7), np.float32(1 / 9)
    lost = 0
    for i in range(height):
        for start in range(0, width, LANES):
            count = min(LANES, width - start)
            quotients, values = quotient[i, start : start + count], V[i, start : start + count]
            for j in range(count):
                q, v = quotients[j], values[j]
                x[j] = q if q > zero else one
                value[j] = v
                lost += 1 if (q <= zero and v > zero) else 0
            for j in range(count, LANES):
                x[j], value[j] = one, zero
            for j in range(LANES):
                word = bits[j]
                exponent[j] = np.float32(np.int32(np.int32(word >> shift) - bias))
                bits[j] = np.int32(np.int32(word & mantissa) | one_bits)
            for j in range(LANES):
                m = x[j]
                high = m > root
                m = m * half if high else m
                f = (m - one) / (m + one)
                s = f * f
                series = one + s * (c3 + s * (c5 + s * (c7 + s * c9)))
                e = exponent[j] + one if high else exponent[j]
                value[j] *= e * log_2 + two * f * series - one
            for j in range(LANES):
                sums[j] += np.float64(value[j])
    return np.inf if lost else sums.sum()


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
