"""Updates of the rows of a factor that are not fixed, and what the next step of every entry promises."""

import numpy as np

from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.optimality import quadratic_gains
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic.block_pivoting import pivot
from dnmf.kernels.quadratic.column_pivoting import PIVOT_SWEEPS
from dnmf.kernels.quadratic.projected_gradient import STEPS, accelerated, minimise
from dnmf.kernels.quadratic.row_updates import RowUpdate, hals, measured_hals


def update_free(update: RowUpdate, H: Float, C: Float, G: Float, penalty: Penalty, sweeps: int, fixed: int) -> None:
    """Update the rows of H (r, p) in place, except for the first `fixed`.

    With fixed rows f and free rows u, the objective of H_u is quadratic with C_u − G_uf H_f and G_uu. Within a
    constraint, every update is by projected gradients. Without sweeps, H stays as it is.
    """
    if sweeps and not penalty.within.free and update is not accelerated:
        update, sweeps = accelerated, STEPS
    if fixed == 0:
        update(H, C, G, penalty, sweeps)
    elif fixed < len(H):
        free = np.ascontiguousarray(H[fixed:])
        rest = C[fixed:] - G[fixed:, :fixed] @ H[:fixed]
        update(free, rest, np.ascontiguousarray(G[fixed:, fixed:]), penalty.components(slice(fixed, None)), sweeps)
        H[fixed:] = free


def update_measured(
    update: RowUpdate, H: Float, C: Float, G: Float, penalty: Penalty, sweeps: int, fixed: int
) -> tuple[float, float]:
    """Do the same, and return what one more step of every entry promises, and ⟨C, H⟩."""
    if update is hals and penalty.plain and penalty.within.free and not fixed:
        return measured_hals(H, C, G, penalty, sweeps)
    update_free(update, H, C, G, penalty, sweeps, fixed)
    return quadratic_gains(H, C, G, penalty, fixed)


def solve(H: Float, C: Float, G: Float, penalty: Penalty) -> None:
    """Set every column of H (r, p) to the minimum of the quadratic objective, within the constraint of the penalty."""
    if penalty.within.free:
        pivot(H, C, G, penalty, PIVOT_SWEEPS)
    else:
        minimise(H, C, G, penalty)


def count_zeros(C: Float) -> int:
    """Return the number of columns of cross products (r, p) that are 0, where any point of a simplex may be as good.

    >>> count_zeros(np.array([[0.0, 1.0], [0.0, 0.0]]))
    1
    """
    return int(np.count_nonzero(~C.any(axis=0)))
