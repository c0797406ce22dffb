"""Non-negative least squares, solved exactly, for many columns.

Columns go side by side through the exchanges of block principal pivoting (Kim & Park 2011, Algorithm 1): those of one
tile are factorised by the same vector instructions, each with its own passive set. The few that need more than that are
solved one by one. See "Least squares, exactly" in docs/mathematics.md.
"""

import numpy as np

from dnmf.kernels.blocks.elimination import SIDE, back_substitute, factorise, set_slopes
from dnmf.kernels.blocks.tiles import Float, kernel
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic.column_pivoting import FULL_EXCHANGES, ROUNDINGS, SINGULAR, SLACK, solve_column

# The largest rank at which columns go side by side, so that their factors take 1 MB; and the smallest share of the
# components in the first passive set of one that does, since the vectors hold the factors of all components.
WIDEST, DENSE_SHARE = 128, 0.5


def pivot(H: Float, C: Float, G: Float, penalty: Penalty, sweeps: int) -> None:
    """Set every column h of H (r, p) to the minimum of ½hᵀ(G + l2 I)h − (c − l1)ᵀh over h ≥ 0.

    The positive entries of H are the first guess of the passive set. Where G is singular, as with more components than
    V has rows, there are several minima, and one with few components is returned. A component without data
    (G_kk + l2 = 0) stays as it is, so that it can come back, or is set to 0 where l1 > 0. If rounding keeps both
    methods from ending, coordinate descent solves the column in at most `sweeps` sweeps. Where l2 differs between
    columns, so do their Gram matrices.
    """
    least = max(SINGULAR, ROUNDINGS * float(np.finfo(G.dtype).eps))
    if not penalty.plain:
        _pivot_arrays(H, C, np.asarray(G, np.float64), *penalty.arrays(H.shape), least, sweeps)
        return
    gram = np.asarray(G, np.float64) + penalty.l2 * np.eye(len(G))
    scale = np.sqrt(gram.diagonal())
    scale = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    _pivot(H, C, gram * scale * scale[:, None], scale, penalty.l1, least, sweeps)


@kernel
def _pivot(H, C, gram, scale, l1, least, sweeps):  # type: ignore[no-untyped-def]
    rank, width = H.shape
    rows = np.empty((rank * (rank + 3) // 2 if rank <= WIDEST else 1, SIDE))
    inverse, passive = np.empty((rank, SIDE)), np.empty((rank, SIDE))
    x, slope, c = np.empty((rank, SIDE)), np.empty((rank, SIDE)), np.empty((rank, SIDE))
    slack, ended, solved = np.empty(SIDE), np.empty(SIDE, np.bool_), np.empty(SIDE, np.bool_)
    one, its_slope, its_c, chosen = np.empty(rank), np.empty(rank), np.empty(rank), np.empty(rank, np.int64)
    its_passive, factor = np.empty(rank, np.bool_), np.empty((rank, rank))
    for start in range(0, width, SIDE):
        count = min(SIDE, width - start)
        solved[:] = False
        if _guess(H, C, scale, l1, start, count, c, passive, slack, ended) > 0:
            _exchange_side_by_side(gram, c, scale, least, slack, x, slope, passive, ended, solved, rows, inverse)
        for j in range(count):
            if solved[j]:
                continue
            for k in range(rank):
                its_c[k] = c[k, j]
                one[k] = H[k, start + j] / scale[k] if scale[k] > 0 else 0.0
            solve_column(gram, its_c, scale, least, sweeps, one, its_slope, its_passive, chosen, factor)
            for k in range(rank):
                x[k, j] = one[k]
        for k in range(rank):
            if scale[k] > 0 or l1 > 0:
                for j in range(count):
                    H[k, start + j] = x[k, j] * scale[k] if x[k, j] > 0.0 else 0.0  # never −0


@kernel
def _guess(H, C, scale, l1, start, count, c, passive, slack, ended):  # type: ignore[no-untyped-def]
    """Set c (r, SIDE) and the first guess of the passive sets, and return how many columns go side by side.

    The guess for a column of zeros are the components that would grow.
    """
    rank, together = len(H), 0
    slack[:] = 0.0
    for k in range(rank):
        for j in range(SIDE):
            c[k, j] = (C[k, start + j] - l1) * scale[k] if j < count else 0.0
            passive[k, j] = 1.0 if j < count and H[k, start + j] > 0 and scale[k] > 0 else 0.0
            slack[j] = max(slack[j], SLACK * c[k, j])
    for j in range(SIDE):
        size = 0
        for k in range(rank):
            size += passive[k, j] > 0.0
        if size == 0:
            for k in range(rank):
                passive[k, j] = 1.0 if c[k, j] > slack[j] else 0.0
                size += c[k, j] > slack[j]
        ended[j] = j >= count or rank > WIDEST or size < DENSE_SHARE * rank
        together += not ended[j]
    return together


@kernel
def _exchange_side_by_side(gram, c, scale, least, slack, x, slope, passive, ended, solved, rows, inverse):  # type: ignore[no-untyped-def]
    """Exchange as `_exchange` of one column does, and mark the columns where x ≥ 0 and Gx − c ≥ 0 was reached.

    A column has `ended` when it is marked, or when its passive set is singular.
    """
    rank, right = len(c), len(rows) - len(c)
    wrong = np.empty((rank, SIDE), np.bool_)
    infeasible, last = np.empty(SIDE, np.int64), np.empty(SIDE, np.int64)
    fewest, patience = np.full(SIDE, rank + 1), np.full(SIDE, FULL_EXCHANGES)
    for _ in range(20 + 5 * rank):
        for k in range(rank):
            for j in range(SIDE):
                rows[right + k, j] = c[k, j]
        factorise(gram, passive, least, rows, inverse, ended)
        back_substitute(rows, inverse, x)
        set_slopes(gram, x, c, slope)
        infeasible[:], last[:] = 0, -1
        for k in range(rank):
            for j in range(SIDE):
                value = x[k, j] if passive[k, j] > 0.0 else slope[k, j]
                wrong[k, j] = scale[k] > 0 and value < -slack[j]
                infeasible[j] += wrong[k, j]
                last[j] = k if wrong[k, j] else last[j]
        left = 0
        for j in range(SIDE):
            if ended[j]:
                continue
            if infeasible[j] == 0:
                solved[j] = ended[j] = True
                continue
            left += 1
            if infeasible[j] < fewest[j]:
                fewest[j], patience[j] = infeasible[j], FULL_EXCHANGES
            else:
                patience[j] -= 1
            for k in range(rank):
                if wrong[k, j] and (patience[j] >= 0 or k == last[j]):
                    passive[k, j] = 1.0 - passive[k, j]
        if left == 0:
            break


@kernel
def _pivot_arrays(H, C, G, l1, l2, least, sweeps):  # type: ignore[no-untyped-def]
    """Do the same with penalties of every entry (r, p)."""
    rank, width = H.shape
    x, slope, c, scale = np.empty(rank), np.empty(rank), np.empty(rank), np.empty(rank)
    passive = np.empty(rank, np.bool_)
    chosen = np.empty(rank, np.int64)
    factor, gram = np.empty((rank, rank)), np.empty((rank, rank))
    for column in range(width):
        for k in range(rank):
            bend = G[k, k] + l2[k, column]
            scale[k] = 1.0 / np.sqrt(bend) if bend > 0.0 else 0.0
        for k in range(rank):
            for i in range(rank):
                gram[k, i] = G[k, i] * scale[k] * scale[i]
            gram[k, k] = 1.0 if scale[k] > 0.0 else 0.0
            c[k] = (C[k, column] - l1[k, column]) * scale[k]
            x[k] = H[k, column] / scale[k] if scale[k] > 0.0 else 0.0
        solve_column(gram, c, scale, least, sweeps, x, slope, passive, chosen, factor)
        for k in range(rank):
            if scale[k] > 0.0 or l1[k, column] > 0.0:
                H[k, column] = x[k] * scale[k] if x[k] > 0.0 else 0.0
