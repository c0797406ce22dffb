"""Non-negative least squares of one column, solved exactly.

Block principal pivoting (Kim & Park 2011, Algorithm 1), or where the Gram matrix is singular on a passive set, one
component at a time (Lawson & Hanson 1974, chapter 23), of which none depends on others. See "Least squares, exactly" in
docs/mathematics.md.
"""

import numpy as np

from dnmf.kernels.blocks.tiles import kernel
from dnmf.kernels.optimality import set_gradient
from dnmf.kernels.quadratic.row_updates import descend_column

# Full exchanges without progress before one variable at a time is exchanged (α in Algorithm 1).
FULL_EXCHANGES = 3

# Sweeps of coordinate descent where neither method ends, and the largest move, relative to the largest entry, at which
# they end.
PIVOT_SWEEPS = 1000
TOLERANCE = 1e-10

# A pivot of the Gram matrix, scaled to a diagonal of ones, is 0 below this, or below a few roundings of its dtype; and
# a slope or an entry, relative to the largest product.
SINGULAR, ROUNDINGS = 1e-11, 8
SLACK = 1e-12


@kernel
def solve_column(gram, c, scale, least, sweeps, x, slope, passive, chosen, factor):  # type: ignore[no-untyped-def]
    """Set x to the minimum of ½xᵀGx − cᵀx over x ≥ 0, for a G with a diagonal of ones, or 0 where `scale` is 0.

    The positive entries of x are the first guess. The last four arguments are buffers.
    """
    rank = len(c)
    largest = 0.0
    for k in range(rank):
        passive[k] = x[k] > 0 and scale[k] > 0
        largest = max(largest, c[k])  # entries that l1 has made negative do not measure the scale of x
    if _exchange(gram, c, scale, least, SLACK * largest, x, slope, passive, chosen, factor):
        return
    if not _add_components(gram, c, scale, least, SLACK * largest, x, slope, passive, chosen, factor):
        nothing, inverse = np.zeros(rank), np.empty(rank)
        set_gradient(x, c, gram, nothing, nothing, slope)
        descend_column(x, c, gram, nothing, nothing, 0, sweeps, TOLERANCE, slope, inverse)


@kernel
def _exchange(gram, c, scale, least, slack, x, slope, passive, chosen, factor):  # type: ignore[no-untyped-def]
    """Exchange variables between the passive set F, where y = Gx − c is 0, and the active set G, where x is 0.

    Algorithm 1 of Kim & Park 2011: all infeasible variables are exchanged, or only the last one after FULL_EXCHANGES
    exchanges without progress. Return whether x ≥ 0 and y ≥ 0 was reached.
    """
    rank = len(c)
    fewest, patience = rank + 1, FULL_EXCHANGES  # β and α
    for _ in range(20 + 5 * rank):
        if not _solve_passive(gram, c, least, x, passive, chosen, factor):
            return False
        infeasible, last = 0, -1
        for k in range(rank):
            slope[k] = -c[k]
            for i in range(rank):
                slope[k] += gram[k, i] * x[i]
            if scale[k] > 0 and (x[k] < -slack if passive[k] else slope[k] < -slack):
                infeasible += 1
                last = k
        if infeasible == 0:
            return True
        if infeasible < fewest:
            fewest, patience = infeasible, FULL_EXCHANGES
        else:
            patience -= 1
        for k in range(rank):
            if scale[k] > 0 and (patience >= 0 or k == last):
                exchanged = x[k] < -slack if passive[k] else slope[k] < -slack
                passive[k] = passive[k] != exchanged
    return False


@kernel
def _add_components(gram, c, scale, least, slack, x, slope, passive, chosen, factor):  # type: ignore[no-untyped-def]
    """Add the component of the steepest slope to the passive set until none is left; return whether that was reached.

    Algorithm NNLS of Lawson & Hanson 1974, chapter 23. A departure: a component that depends on those in the set takes
    the place of one of them if that lowers the objective, as l1 may demand, or else is left out until the set loses
    another one.
    """
    rank, count = len(c), 0
    z, left_out = np.empty(rank), np.zeros(rank, np.bool_)
    x[:], passive[:] = 0.0, False
    for _ in range(10 * rank):
        new, steepest = -1, -slack
        for k in range(rank):
            if passive[k] or left_out[k] or scale[k] == 0:
                continue
            total = -c[k]
            for a in range(count):
                total += gram[k, chosen[a]] * x[chosen[a]]
            if total < steepest:
                new, steepest = k, total
        if new < 0:
            return True
        chosen[count] = new
        if _factorise(gram, chosen, count, count + 1, least, factor):
            count += 1
        else:
            place = _replace(gram, steepest, x, z, chosen, count, factor)
            if place < 0:
                left_out[new] = True
                continue
            left_out[:] = passive[chosen[place]] = False
            chosen[place] = new
            if not _factorise(gram, chosen, 0, count, least, factor):
                return False
        passive[new] = True
        while True:
            for a in range(count):
                z[a] = c[chosen[a]]
            _back_substitute(factor, z, count)
            share, first = 1.0, -1
            for a in range(count):
                before = x[chosen[a]]
                reach = before / (before - z[a]) if before > 0.0 else 0.0
                if z[a] <= 0.0 and reach <= share:
                    share, first = reach, a
            kept = 0
            for a in range(count):
                k = chosen[a]
                x[k] += share * (z[a] - x[k])
                if a == first or (z[a] <= 0.0 and x[k] <= 0.0):
                    x[k], passive[k] = 0.0, False
                else:
                    chosen[kept] = k
                    kept += 1
            if kept == count:
                break
            left_out[:] = False
            left_out[new] = not passive[new]
            count = kept
            _factorise(gram, chosen, 0, count, least, factor)
    return False


@kernel
def _replace(gram, slope, x, z, chosen, count, factor):  # type: ignore[no-untyped-def]
    """Raise the component chosen[count], which depends on those before it, by as much as these can fall in exchange.

    Its part of WH stays the same, and the objective changes by the slope. Return the place of the component that
    falls to 0, or −1, without a step, where there is none or where the objective would rise.
    """
    new, length, place = chosen[count], np.inf, -1
    for a in range(count):
        z[a] = gram[chosen[a], new]
    _back_substitute(factor, z, count)
    bend = gram[new, new]
    for a in range(count):
        bend -= gram[chosen[a], new] * z[a]
        if z[a] > 0.0 and x[chosen[a]] < length * z[a]:
            length, place = x[chosen[a]] / z[a], a
    if place < 0 or not slope + 0.5 * bend * length < 0.0:
        return -1
    for a in range(count):
        x[chosen[a]] = max(x[chosen[a]] - length * z[a], 0.0)
    x[chosen[place]], x[new] = 0.0, length
    return place


@kernel
def _solve_passive(gram, c, least, x, passive, chosen, factor):  # type: ignore[no-untyped-def]
    """Solve for the passive variables by Cholesky, with 0 for the others; return False if G is singular on them."""
    rank, count = len(c), 0
    for k in range(rank):
        if passive[k]:
            chosen[count] = k
            count += 1
    if not _factorise(gram, chosen, 0, count, least, factor):
        return False
    z = np.empty(count)
    for a in range(count):
        z[a] = c[chosen[a]]
    _back_substitute(factor, z, count)
    x[:] = 0.0
    for a in range(count):
        x[chosen[a]] = z[a]
    return True


@kernel
def _factorise(gram, chosen, first, count, least, factor):  # type: ignore[no-untyped-def]
    """Compute rows `first` to `count` of the Cholesky factor of the chosen components; return False at a pivot of 0."""
    for a in range(first, count):
        for b in range(a + 1):
            total = gram[chosen[a], chosen[b]]
            for i in range(b):
                total -= factor[a, i] * factor[b, i]
            if a > b:
                factor[a, b] = total / factor[b, b]
            elif total > least:
                factor[a, a] = np.sqrt(total)
            else:
                return False
    return True


@kernel
def _back_substitute(factor, z, count):  # type: ignore[no-untyped-def]
    """Solve LLᵀz = z in place, for the Cholesky factor L of `count` components."""
    for a in range(count):
        for i in range(a):
            z[a] -= factor[a, i] * z[i]
        z[a] /= factor[a, a]
    for a in range(count - 1, -1, -1):
        for i in range(a + 1, count):
            z[a] -= factor[i, a] * z[i]
        z[a] /= factor[a, a]
