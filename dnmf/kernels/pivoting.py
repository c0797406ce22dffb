"""Non-negative least squares, solved exactly by block principal pivoting (Kim & Park 2011, SIAM J. Sci. Comput.)."""

import numpy as np

from dnmf.kernels.tiles import Float, Penalty, kernel

# Full exchanges allowed without progress before one variable at a time is exchanged (p̄ in the paper).
FULL_EXCHANGES = 3

# Sweeps of coordinate descent allowed where pivoting cannot be used.
PIVOT_SWEEPS = 1000


def pivot(H: Float, C: Float, G: Float, penalty: Penalty, sweeps: int) -> None:
    """Set every column h of H (r, p) to the minimum of ½hᵀ(G + l2 I)h − (c − l1)ᵀh over h ≥ 0.

    The positive entries of H are the first guess of the passive set. Where G is singular on a passive set, the
    column is solved by coordinate descent, at most `sweeps` sweeps, which needs no inverse. A component with nothing
    to fit (G_kk + l2 = 0) is left as it is, so that it can come back, or set to 0 where l1 > 0.
    """
    gram = np.asarray(G, np.float64) + penalty.l2 * np.eye(len(G))
    scale = np.sqrt(np.diag(gram))
    scale = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    _pivot(H, C, gram * scale * scale[:, None], scale, penalty.l1, sweeps)


@kernel
def _pivot(H, C, gram, scale, l1, sweeps):  # type: ignore[no-untyped-def]
    rank, width = H.shape
    x, slope, c = np.empty(rank), np.empty(rank), np.empty(rank)
    passive = np.empty(rank, np.bool_)
    chosen = np.empty(rank, np.int64)
    factor = np.empty((rank, rank))
    for column in range(width):
        largest = 0.0
        for k in range(rank):
            c[k] = (C[k, column] - l1) * scale[k]
            passive[k] = H[k, column] > 0 and scale[k] > 0
            largest = max(largest, c[k])  # what l1 has made negative says nothing of the scale of x
        if not _exchange(gram, c, scale, 1e-12 * largest, x, slope, passive, chosen, factor):
            for k in range(rank):
                x[k] = H[k, column] / scale[k] if scale[k] > 0 else 0.0
            _descend(gram, c, scale, x, sweeps)
        for k in range(rank):
            if scale[k] > 0 or l1 > 0:
                H[k, column] = max(x[k], 0.0) * scale[k]


@kernel
def _exchange(gram, c, scale, slack, x, slope, passive, chosen, factor):  # type: ignore[no-untyped-def]
    """Exchange variables between the sets until x ≥ 0 and slope ≥ 0; return whether that was reached."""
    rank = len(c)
    fewest, patience = rank + 1, FULL_EXCHANGES
    for _ in range(20 + 5 * rank):
        if not _solve_passive(gram, c, x, passive, chosen, factor):
            return False
        wrong, last = 0, -1
        for k in range(rank):
            slope[k] = -c[k]
            for i in range(rank):
                slope[k] += gram[k, i] * x[i]
            if scale[k] > 0 and (x[k] < -slack if passive[k] else slope[k] < -slack):
                wrong += 1
                last = k
        if wrong == 0:
            return True
        if wrong < fewest:
            fewest, patience = wrong, FULL_EXCHANGES
        else:
            patience -= 1
        for k in range(rank):
            if scale[k] > 0 and (patience >= 0 or k == last):
                bad = x[k] < -slack if passive[k] else slope[k] < -slack
                passive[k] = passive[k] != bad
    return False


@kernel
def _solve_passive(gram, c, x, passive, chosen, factor):  # type: ignore[no-untyped-def]
    """Solve for the passive variables by Cholesky, the others 0; return False where the Gram matrix is singular."""
    count = 0
    for k in range(len(c)):
        x[k] = 0.0
        if passive[k]:
            chosen[count] = k
            count += 1
    for a in range(count):
        for b in range(a + 1):
            total = gram[chosen[a], chosen[b]]
            for i in range(b):
                total -= factor[a, i] * factor[b, i]
            if a > b:
                factor[a, b] = total / factor[b, b]
            elif total > 1e-11:
                factor[a, a] = np.sqrt(total)
            else:
                return False
    for a in range(count):
        total = c[chosen[a]]
        for i in range(a):
            total -= factor[a, i] * x[chosen[i]]
        x[chosen[a]] = total / factor[a, a]
    for a in range(count - 1, -1, -1):
        total = x[chosen[a]]
        for i in range(a + 1, count):
            total -= factor[i, a] * x[chosen[i]]
        x[chosen[a]] = total / factor[a, a]
    return True


@kernel
def _descend(gram, c, scale, x, sweeps):  # type: ignore[no-untyped-def]
    """Minimise by cyclic coordinate descent, until a sweep moves nothing by more than 1e-10 of the largest entry."""
    for _ in range(sweeps):
        moved, largest = 0.0, 0.0
        for k in range(len(c)):
            if scale[k] == 0:
                continue
            slope = -c[k]
            for i in range(len(c)):
                slope += gram[k, i] * x[i]
            new = max(0.0, x[k] - slope)
            moved = max(moved, abs(new - x[k]))
            largest = max(largest, new)
            x[k] = new
        if moved <= 1e-10 * largest:
            break
