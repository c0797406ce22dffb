"""Constraints of a factor besides X ≥ 0: columns that sum to 1, and a bound of the entries."""

import math
from typing import NamedTuple

import numpy as np

from dnmf.kernels.blocks.tiles import Float, kernel

# The curvature of a component, as a share of the largest one, below which another one is used in its place where the
# components share a sum: a component that is 0 in the other factor costs nothing, and may take any share.
LEAST_CURVATURE = 1e-6

# The value of |N(0, 1)| that becomes the bound of the entries, where random factors are scaled to it.
WIDEST = 3.0


class Constraint(NamedTuple):
    """The set of a factor X ≥ 0 (r, n).

    Attributes
    ----------
    upper
        Bound of every entry.
    simplex
        Whether the entries of every column sum to 1.
    """

    upper: float = math.inf
    simplex: bool = False

    @property
    def free(self) -> bool:
        """Whether X ≥ 0 is all."""
        return not self.simplex and self.upper == math.inf

    def metric(self, curvature: Float) -> Float:
        """Return the curvature (r, ...) of the separable model of an objective: that of its entries, but not 0.

        >>> Constraint(simplex=True).metric(np.array([4.0, 0.0])).tolist()
        [4.0, 4e-06]
        """
        if not self.simplex:
            return curvature
        largest = curvature.max(axis=0, keepdims=True)
        found: Float = np.where(largest > 0, np.maximum(curvature, LEAST_CURVATURE * largest), 1)
        return found

    def begin(self, X: Float) -> Float:
        """Return random factors |N(0, 1)| (r, n), scaled into the set; equal shares where a column is 0.

        >>> Constraint(simplex=True).begin(np.array([[1.0], [3.0]])).tolist()
        [[0.25], [0.75]]
        """
        if self.simplex:
            sums = np.broadcast_to(X.sum(axis=0), X.shape)
            X = np.divide(X, sums, out=np.full_like(X, 1 / len(X)), where=sums > 0)
        return X if self.upper == math.inf else np.minimum(X * (self.upper / WIDEST), self.upper)

    def project(self, X: Float, inverse: Float) -> None:
        """Replace X (r, p) by the nearest point of the set, in the metric Σ (x − y)²/`inverse`, in place.

        >>> X = np.array([[0.9, 2.0], [0.5, -1.0]])
        >>> Constraint(simplex=True).project(X, np.ones_like(X))
        >>> X.round(3).tolist()
        [[0.7, 1.0], [0.3, 0.0]]
        """
        project(X, inverse, X.dtype.type(self.upper), self.simplex)

    def enter(self, X: Float, fixed: int = 0) -> None:
        """Replace X (r, p) in float64 by the nearest point of the set, but for its first `fixed` rows, in place."""
        if not self.free:
            free = np.ascontiguousarray(X[fixed:])
            self.project(free, np.ones(free.shape))
            X[fixed:] = free

    def gain(self, X: Float, slope: Float, curvature: Float) -> float:
        """Return by how much a step within the set lowers Σ g δ + ½ d δ², for slopes g and curvatures d (r, p).

        The minimum of this separable model is a projection. It is at X exactly where X minimises the objective under
        the constraint, and where X is free, its decrease is what the steps of single entries promise.
        """
        metric = self.metric(curvature)
        if self.simplex:  # steps do not change the sum: leave out the slope that all entries have in common
            slope = slope - np.einsum("kj,kj->j", X, slope) / np.maximum(X.sum(axis=0), 1e-300)
        inverse = np.divide(1, metric, out=np.zeros_like(metric), where=metric > 0)
        step = X - slope * inverse
        self.project(step, inverse)
        step -= X
        step[metric == 0] = np.where(slope > 0, -X, 0)[metric == 0]
        return float(np.maximum(-np.einsum("kj,kj->j", step, slope + 0.5 * metric * step), 0).sum())


FREE = Constraint()


@kernel
def project(X, inverse, upper, simplex):  # type: ignore[no-untyped-def]
    """Project the columns of X (r, p) on the simplex, in the metric 1/`inverse`; or its entries on [0, upper].

    The projection is x_k = max(0, y_k − τ inverse_k). Duchi, Shalev-Shwartz, Singer & Chandra 2008 find τ by sorting.
    Here it is the limit of Newton's method from below, which ends after finitely many steps (Michelot 1986), each of
    which is a sum over the components: columns of a tile are worked on together, and the result of one does not depend
    on the others. τ and the sums are in float64, since entries of y, and of τ `inverse`, may be far above 1.
    """
    rank, width = X.shape
    if not simplex:
        zero = X.dtype.type(0)
        for k in range(rank):
            for j in range(width):
                x = X[k, j] if X[k, j] > zero else zero
                X[k, j] = x if x < upper else upper
        return
    shift, top, low = np.full(width, -np.inf), np.empty(width), np.empty(width)
    moved = True
    while moved:
        top[:], low[:] = -1.0, 0.0
        for k in range(rank):
            for j in range(width):
                x, scale = np.float64(X[k, j]), np.float64(inverse[k, j])
                active = x > shift[j] * scale
                top[j] += x if active else 0.0
                low[j] += scale if active else 0.0
        moved = False
        for j in range(width):
            found = top[j] / low[j] if low[j] > 0.0 else shift[j]
            moved = moved or found > shift[j]
            shift[j] = found if found > shift[j] else shift[j]
    top[:] = 0.0
    for k in range(rank):
        for j in range(width):
            x = np.float64(X[k, j]) - shift[j] * np.float64(inverse[k, j])
            X[k, j] = x if x > 0.0 else 0.0
            top[j] += X[k, j]
    for k in range(rank):
        for j in range(width):
            X[k, j] = X[k, j] / top[j] if top[j] > 0.0 else 1.0 / rank
