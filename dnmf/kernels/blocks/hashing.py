"""Numbers from a hash of row and column: pseudo-random, and independent of how V is cut into blocks."""

import numpy as np
from numpy.typing import NDArray

from dnmf.kernels.blocks.tiles import kernel


@kernel
def mix(x):  # type: ignore[no-untyped-def]
    """Return 64 mixed bits (SplitMix64, Steele et al. 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@kernel
def uniform_of(first, second):  # type: ignore[no-untyped-def]
    """Return a number in [0, 1) from a hash of two numbers below 2³²."""
    return np.float64(mix((np.uint64(first) << np.uint64(32)) ^ np.uint64(second)) >> np.uint64(11)) * 2.0**-53


@kernel
def drop_hashed(seed, first, low, high, weights):  # type: ignore[no-untyped-def]
    """Set to 0 the weights (m, w) of the entries whose hash, of 63 bits, is at least `low` and below `high`.

    `first` is the number of the first column.
    """
    key, rows = mix(seed), np.uint64(weights.shape[0])
    for i in range(weights.shape[0]):
        for j in range(weights.shape[1]):
            hashed = mix(key ^ ((first + np.uint64(j)) * rows + np.uint64(i))) >> np.uint64(1)
            if low <= hashed and hashed < high:
                weights[i, j] = 0


@kernel
def drop_hashed_entries(seed, first, rows, low, high, places, weights):  # type: ignore[no-untyped-def]
    """Do the same for single entries, whose rows and columns in a block are `places` (2, N)."""
    key = mix(seed)
    for entry in range(len(weights)):
        i, j = np.uint64(places[0, entry]), np.uint64(places[1, entry])
        hashed = mix(key ^ ((first + j) * rows + i)) >> np.uint64(1)
        if low <= hashed and hashed < high:
            weights[entry] = 0


@kernel
def hash_halves(seed, first, out):  # type: ignore[no-untyped-def]
    """Set `out` (w,) to whether the numbers from `first` on are in one of two halves, by a hash."""
    key = mix(seed)
    for j in range(len(out)):
        out[j] = (mix(key ^ (first + np.uint64(j))) >> np.uint64(63)) == 1


@kernel
def half_normal(seed, first, out):  # type: ignore[no-untyped-def]
    """Fill `out` (r, w) with |N(0, 1)| numbers, by Box–Muller from hashes of their positions.

    The hash is SplitMix64 (Steele, Lea & Flood 2014).
    """
    for k in range(out.shape[0]):
        for j in range(out.shape[1]):
            place = (first + np.uint64(j)) * np.uint64(0x10001) + np.uint64(k)
            one = mix(mix(seed) ^ (place * np.uint64(2)))
            two = mix(mix(seed) ^ (place * np.uint64(2) + np.uint64(1)))
            radius = np.sqrt(-2.0 * np.log((np.float64(one >> np.uint64(11)) + 1.0) * 2.0**-53))
            out[k, j] = abs(radius * np.cos(2.0 * np.pi * np.float64(two >> np.uint64(11)) * 2.0**-53))


def places(start: int, stop: int, stride: int) -> NDArray[np.int64]:
    """Return the numbers from `start` to `stop` that are in a sample: one at random in each run of `stride` numbers.

    Those of equal distances would miss, or meet, whatever is periodic in V, as the first pixel of every line. They
    depend on nothing but the stride, so that blocks of any size have the same sample.

    >>> places(0, 12, 4), places(5, 12, 4)
    (array([ 3,  5, 10]), array([ 5, 10]))
    >>> places(2, 6, 1)
    array([2, 3, 4, 5])
    """
    if stride == 1:
        return np.arange(start, stop)
    runs = np.arange(start // stride, -(-stop // stride), dtype=np.uint64)
    chosen: NDArray[np.int64] = (runs * np.uint64(stride) + mix(runs) % np.uint64(stride)).astype(np.int64)
    return chosen[(chosen >= start) & (chosen < stop)]


def spread(count: int, most: int) -> NDArray[np.int64]:
    """Return at most `most` of `count` places, spread over them."""
    return places(0, count, -(-count // most))
