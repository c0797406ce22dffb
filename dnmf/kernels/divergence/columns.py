"""Parts of the updates that go through one column of H at a time, while its entries are in the cache.

A column h (r,) has `count` entries: `v`, their weights `m`, and the model `y` = Wh at them. `near` (r, N) holds the
rows of W at the entries, transposed.
"""

import numpy as np

from dnmf.kernels.blocks.products import scale_column
from dnmf.kernels.blocks.simd import add_to_rows
from dnmf.kernels.blocks.tiles import kernel, reordered
from dnmf.kernels.divergence.beta import divergence_of

# Entries that the vector instructions of a loop take together: columns are padded to multiples of it, since a compiled
# loop takes the entries that are left one by one.
PAD = 32


@kernel
def padded(count):  # type: ignore[no-untyped-def]
    """Return the length of a column of `count` entries in whole vectors."""
    return (count + PAD - 1) // PAD * PAD


@kernel
def longest_column(starts):  # type: ignore[no-untyped-def]
    """Return a length that suffices for every column in whole vectors.

    It is an odd multiple of half of one, so that rows of that length share few lines of the cache: rows of 8192 bytes
    take 1.4 times as long.
    """
    longest = 1
    for column in range(len(starts) - 1):
        longest = max(longest, starts[column + 1] - starts[column])
    return padded(longest) + PAD // 2


@kernel
def load_column(rows, values, weights, W, begin, count, v, m, near):  # type: ignore[no-untyped-def]
    """Gather the entries of a column, their weights unless all are 1, and the rows of W at them.

    Values and rows are 0 from there to the end of a whole vector, so that loops over that length add nothing.
    """
    width = padded(count)
    v[count:width] = 0
    near[:, count:width] = 0
    for e in range(count):
        v[e] = values[begin + e]
        if len(weights) > 0:
            m[e] = weights[begin + e]
        row = rows[begin + e]
        for k in range(W.shape[1]):
            near[k, e] = W[row, k]


@reordered
def multiply_column(near, h, y, count):  # type: ignore[no-untyped-def]
    """Set y to Wh at the entries."""
    first = near[0]
    for e in range(count):
        y[e] = h[0] * first[e]
    for k in range(1, len(h)):
        if h[k] != 0:
            w = near[k]
            for e in range(count):
                y[e] += h[k] * w[e]


@reordered
def weighted_sum(w, m, count):  # type: ignore[no-untyped-def]
    """Return Σ m w."""
    total = m.dtype.type(0)
    for e in range(count):
        total += m[e] * w[e]
    return total


@kernel
def scale_to_fit(v, m, y, totals, h, beta, fixed, count):  # type: ignore[no-untyped-def]
    """Scale a column without a scale by Σ m v y^(β−1) / Σ m y^β, the factor that fits best.

    Where `totals` = Wᵀ1 (r,) is given, the denominator is that of all entries, for β = 1.
    """
    numerator, denominator = 0.0, 0.0
    for e in range(count):
        power = np.float64(m[e]) * np.float64(y[e]) ** (beta - 1.0) if y[e] > 0 else 0.0
        numerator += np.float64(v[e]) * power
        denominator += np.float64(y[e]) * power
    if len(totals) > 0:
        denominator = 0.0
        for k in range(len(h)):
            denominator += np.float64(totals[k]) * np.float64(h[k])
    scale_column(h, numerator, denominator, fixed)


@reordered
def add_to_sums(rows, ratios, powers, h, numerators, denominators):  # type: ignore[no-untyped-def]
    """Add Σ m v y^(β−2) h, and Σ m y^(β−1) h unless that is empty, to the sums for W (m, r), in float64."""
    add_to_rows(ratios, h, rows, numerators)
    if len(denominators) > 0:
        add_to_rows(powers, h, rows, denominators)


@kernel
def entry_loss(v, y, m, beta, zeros):  # type: ignore[no-untyped-def]
    """Return the loss of an entry of weight m; where zeros count, less y, since Σ y of all entries is known."""
    if not m > 0.0:
        return 0.0
    return m * (divergence_of(v, y, beta) - (y if zeros else 0.0))


@reordered
def queue_logarithms(v, m, y, zeros, quotients, pulls):  # type: ignore[no-untyped-def]
    """Return the Kullback–Leibler divergence of a column less Σ pull · (log quotient − 1), and set these two.

    The logarithms of many short columns are taken together, by vector instructions, in the precision of these two.
    """
    zero, one = y.dtype.type(0), y.dtype.type(1)
    total, lost = 0.0, 0
    for e in range(len(v)):
        used = v[e] > zero and m[e] > zero
        lost += 1 if (used and y[e] <= zero) else 0
        quotient = quotients.dtype.type(v[e]) / y[e]
        quotients[e] = quotient if (used and y[e] > zero) else one
        pulls[e] = m[e] * v[e]
    if not zeros:
        for e in range(len(v)):
            total += np.float64(m[e]) * np.float64(y[e])
    return np.inf if lost > 0 else total
