"""The update of a matrix between two others: X ≥ 0 in ½ tr(XᵀPXG) − tr(CᵀX), for mixing matrices between layers."""

import numpy as np

from dnmf.kernels.blocks.tiles import Float, kernel
from dnmf.kernels.optimality import quadratic_gain


def descend_mixing(X: Float, C: Float, P: Float, G: Float, l1: float, l2: float, sweeps: int) -> float:
    """Lower ½ tr(XᵀPXG) − tr(CᵀX) + l1‖X‖₁ + ½ l2‖X‖² in place, each entry set to its minimum in turn.

    x_ik ← max(0, x_ik − ((PXG)_ik − c_ik + l1 + l2 x_ik) / (P_ii G_kk + l2)), the coordinate descent of HALS (Cichocki,
    Zdunek & Amari 2007) with a Gram matrix on either side. An entry without curvature stays as it is, or is set to 0
    where l1 > 0.

    Parameters
    ----------
    X, C
        The matrix (a, b) and the linear term, in float64.
    P, G
        Gram matrices (a, a) and (b, b).
    l1, l2
        Penalties of the entries.
    sweeps
        Sweeps over all entries.

    Returns
    -------
    float
        By how much one step of every entry promised to lower the objective at first.

    Examples
    --------
    >>> X = np.zeros((1, 1))
    >>> descend_mixing(X, np.array([[6.0]]), np.array([[3.0]]), np.eye(1), l1=0.0, l2=0.0, sweeps=1), X.item()
    (6.0, 2.0)
    """
    tiny = float(np.finfo(X.dtype).tiny)
    return float(_descend(X, np.ascontiguousarray(C), P, np.ascontiguousarray(G), X @ G, l1, l2, tiny, sweeps))


@kernel
def _descend(X, C, P, G, product, l1, l2, tiny, sweeps):  # type: ignore[no-untyped-def]
    """Sweep over the columns of X; `product` is XG (a, b)."""
    promised = 0.0
    for sweep in range(sweeps + 1):
        for k in range(X.shape[1]):
            for i in range(X.shape[0]):
                slope = l1 + l2 * X[i, k] - C[i, k]
                for row in range(X.shape[0]):
                    slope += P[i, row] * product[row, k]
                bend = P[i, i] * G[k, k] + l2
                if sweep == 0:
                    promised += quadratic_gain(X[i, k], slope, bend)
                    continue
                if bend < tiny and l1 == 0.0:
                    continue
                new = max(0.0, X[i, k] - slope / bend) if bend >= tiny else 0.0
                for column in range(X.shape[1]):
                    product[i, column] += (new - X[i, k]) * G[k, column]
                X[i, k] = new
    return promised
