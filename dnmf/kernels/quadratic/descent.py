"""The factorisation of a small matrix of low rank in one compiled function: rounds of HALS with extrapolation.

The matrix is V̂ = LS, with Lᵀ (q, m) and S (q, n), or S itself. A half-step updates one factor X (r, w) of it, given the
other one's product with the opposite side, P (r, q), and its Gram matrix G (r, r): X from PA and G, where A (q, w) is
Lᵀ or S. Its own products XAᵀ and XXᵀ are then the P and G of the other factor's half-step. So both are the same
function.
"""

import math

import numpy as np

from dnmf.kernels.blocks.tiles import LANES, clear, gram_pair, gram_row, kernel, load_tile, reordered, store_tile
from dnmf.kernels.extrapolation import BOUND_GROWTH, CUT, FIRST, GROWTH, extrapolate_into
from dnmf.kernels.quadratic.row_updates import sweep_tile


@kernel
def descend(left, S, W, H, fresh, norm, penalties, scaled, rounds, tolerance, sweeps):  # type: ignore[no-untyped-def]
    """Lower the objective of Wᵀ (r, m) and H (r, n) in place, and return that of W and its own H.

    Rounds end as those of `Surrogate.descend`, which describes the extrapolation.

    Parameters
    ----------
    left, S
        Lᵀ (q, m) and S (q, n), in the dtype of the factors. A `left` without rows, (0, m), is the identity of q = m.
    W, H
        The factors. After the last round, H is that of the last point that was tried.
    fresh
        Whether H has no values yet.
    norm
        The squared norm of the matrix that V̂ approximates, twice the loss of factors that are 0.
    penalties
        l1 and l2 of W, and of H.
    scaled
        Whether the objective does not depend on the scale of a component.
    rounds, tolerance
        Their largest number, and the share of the loss by which one must lower it for the next one to follow.
    sweeps
        Sweeps over W and over H in a round, and over an H without values in the first one.
    """
    point, previous, new, begun = np.empty_like(W), np.empty_like(W), np.empty_like(W), False
    copy_to(W, point, 1.0)
    step, bound, least, found = FIRST, 1.0, np.inf, np.inf
    product_H = product = np.zeros((len(W), len(left)))
    gram_H = gram = np.zeros((len(W), len(W)))
    for turn in range(rounds):
        loss = 0.5 * norm
        copy_to(point, new, 1.0)
        for half in range(3):  # the products of W, then H, then W, in one call, since it is compiled where it stands
            of_H, begin = half == 1, fresh and turn == 0 and half == 1
            A, X, l1, l2 = (S, H, *penalties[2:]) if of_H else (left, new, *penalties[:2])
            often = 0 if half == 0 else sweeps[2] if begin else sweeps[1] if of_H else sweeps[0]
            product, gram, total = half_step(A, X, product, gram, l1, l2, often, begin)
            for k in range(len(W) if half > 0 else 0):
                loss += 0.5 * l2 * gram[k, k]
            loss += l1 * total if half > 0 else 0.0
            if of_H:
                product_H, gram_H = product, gram
        loss += max(0.5 * sum_of_products(gram_H, gram) - sum_of_products(product_H, product), -0.5 * norm)
        if loss > least:
            step, bound, least, begun = step / CUT, step, np.inf, False
            copy_to(W, point, 1.0)
            continue
        settled = least - loss < tolerance * loss
        copy_to(new, W, 1.0)
        least = found = loss
        if settled:
            break
        copy_to(new, point, 1.0)
        if begun:
            extrapolate_into(new.T, previous.T, step, 0.0, scaled, point.T)
            step, bound = min(bound, GROWTH * step), min(1.0, BOUND_GROWTH * bound)
        copy_to(new, previous, 1.0)
        begun = True
    return found


@kernel
def half_step(A, X, P, G, l1, l2, sweeps, fresh):  # type: ignore[no-untyped-def]
    """Sweep over X (r, w) in place; return XAᵀ (r, q), XXᵀ (r, r) and the sum of X, in float64.

    An A without rows is the identity. A `fresh` X has no values yet, and begins at the positive part of PA, scaled to
    fit. P and G are divided by a power of two near the largest entry on the diagonal of G, so that they are finite in
    any dtype.
    """
    rank, width = X.shape
    dtype = X.dtype.type
    gram, factors = np.empty((rank, rank), X.dtype), np.empty(P.shape, X.dtype)
    inverse, zero, largest = np.empty(rank, X.dtype), dtype(0), 0.0
    for k in range(rank):
        largest = max(largest, G[k, k])
    scale = math.ldexp(1.0, -min(max(math.frexp(largest)[1], -120), 120))
    copy_to(G, gram, scale)
    copy_to(P, factors, scale)
    push, bend = dtype(l1 * scale), dtype(l2 * scale)
    for k in range(rank):
        curvature = gram[k, k] + bend
        inverse[k] = dtype(1) / curvature if curvature >= np.finfo(X.dtype).tiny else zero
    a, c, x = np.empty((len(A), LANES), A.dtype), np.empty((rank, LANES), X.dtype), np.empty((rank, LANES), X.dtype)
    slope, below = np.empty(LANES, X.dtype), np.empty(LANES, X.dtype)
    whole, wide = len(A) == 0, np.empty((len(A) + rank, LANES))
    products, sums, total = np.zeros((rank, width if whole else len(A))), np.zeros((rank, len(wide))), 0.0
    for start in range(0, width, LANES):
        if width - start < LANES:
            clear(a)
            clear(x)
            clear(c)
            clear(wide)
        load_tile(A, start, wide[: len(A)])
        load_tile(X, start, x)
        if sweeps > 0:
            if whole:
                load_tile(factors, start, c)
            else:
                load_tile(A, start, a)
                for k in range(0, rank - 1, 2):
                    gram_pair(factors, k, a, c[k], c[k + 1])
                if rank % 2:
                    gram_row(factors, rank - 1, a, c[rank - 1])
            if fresh:
                begin_tile(x, c, gram, slope)
            sweep_tile(x, c, gram, push, bend, inverse, sweeps, slope, below)
            store_tile(x, X, start)
        copy_to(x, wide[len(A) :], 1.0)
        total += add_products(wide, sums)
        if whole:
            store_tile(x, products, start)
    if not whole:
        copy_to(sums[:, : len(A)], products, 1.0)
    grams = np.empty((rank, rank))
    for k in range(rank):
        for i in range(k + 1):
            grams[k, i] = grams[i, k] = sums[k, len(A) + i]
    return products, grams, total


@kernel
def copy_to(source, target, factor):  # type: ignore[no-untyped-def]
    """Copy an array, times a factor, to another one; loops are compiled much faster than expressions of arrays."""
    for i in range(source.shape[0]):
        for j in range(source.shape[1]):
            target[i, j] = source[i, j] * factor


@reordered
def sum_of_products(one, two):  # type: ignore[no-untyped-def]
    """Return the sum of the products of the entries of two arrays."""
    total = 0.0
    for i in range(one.shape[0]):
        for j in range(one.shape[1]):
            total += one[i, j] * two[i, j]
    return total


@reordered
def begin_tile(x, c, gram, slope):  # type: ignore[no-untyped-def]
    """Set the columns of x (r, p) to max(c, 0), each times cᵀx / xᵀGx, which fits best."""
    zero = x.dtype.type(0)
    fit, size = np.zeros(LANES), np.zeros(LANES)
    for k in range(len(x)):
        for j in range(LANES):
            x[k, j] = c[k, j] if c[k, j] > zero else zero
            fit[j] += np.float64(x[k, j]) * np.float64(x[k, j])
    for k in range(len(x)):
        gram_row(gram, k, x, slope)
        for j in range(LANES):
            size[j] += np.float64(x[k, j]) * np.float64(slope[j])
    for k in range(len(x)):
        for j in range(LANES):
            x[k, j] *= fit[j] / size[j] if size[j] > 0.0 else 0.0


@reordered
def add_products(wide, sums):  # type: ignore[no-untyped-def]
    """Add the products of the last rows of a tile (t, LANES) with the rows up to them to `sums` (r, t).

    Return the sum of these rows. The products of two rows with four are added up at once: their factors are loaded
    less often.
    """
    rank, first, total = len(sums), len(wide) - len(sums), 0.0
    for k in range(0, rank, 2):
        last = min(k + 1, rank - 1)
        x, y, rows = wide[first + k], wide[first + last], min((first + last) // 4 * 4 + 4, len(wide))
        for i in range(0, rows - rows % 4, 4):
            a, b, c, d = wide[i], wide[i + 1], wide[i + 2], wide[i + 3]
            xa, xb, xc, xd, ya, yb, yc, yd = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for j in range(LANES):
                xa += x[j] * a[j]
                xb += x[j] * b[j]
                xc += x[j] * c[j]
                xd += x[j] * d[j]
                ya += y[j] * a[j]
                yb += y[j] * b[j]
                yc += y[j] * c[j]
                yd += y[j] * d[j]
            add_four(sums[k], i, xa, xb, xc, xd)
            if last > k:
                add_four(sums[last], i, ya, yb, yc, yd)
        for i in range(rows - rows % 4, rows):
            a, xa, ya = wide[i], 0.0, 0.0
            for j in range(LANES):
                xa += x[j] * a[j]
                ya += y[j] * a[j]
            sums[k, i] += xa
            if last > k:
                sums[last, i] += ya
    for k in range(first, len(wide)):
        for j in range(LANES):
            total += wide[k, j]
    return total


@kernel
def add_four(row, i, a, b, c, d):  # type: ignore[no-untyped-def]
    """Add numbers to the four entries of a row from i on."""
    row[i] += a
    row[i + 1] += b
    row[i + 2] += c
    row[i + 3] += d
