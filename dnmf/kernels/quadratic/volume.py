"""The volume that the columns of W span, as a penalty: of all factors that fit, the most compact ones.

With columns of W (m, r) that sum to 1, the penalty is (λ/2) logdet(I + s WᵀW / δ): that of Fu, Huang, Yang, Ma &
Sidiropoulos 2016 and Leplat, Ang & Gillis 2019 up to the constant (λ/2) r log δ, without which it is at least 0.
Columns that do not sum to 1 could shrink while H grows, unless H has a constraint. The determinant lies below its
tangent, so that near W̃ the penalty is at most a constant and (λ/2) s tr(Y WᵀW), with Y = (s W̃ᵀW̃ + δI)⁻¹: it adds λ s Y
to HHᵀ, and nothing else. The quadratic of one column has one curvature in all directions, so that its minimum on the
simplex is a projection.
"""

import dataclasses

import numpy as np

from dnmf.kernels.blocks.tiles import Float, Vector
from dnmf.kernels.penalty import Penalty

# δ, relative to the mean squared length of a column.
DELTA = 0.1
# Rounds of an update of W, each with a new tangent, and sweeps over the columns in a round.
ROUNDS, SWEEPS = 20, 3


@dataclasses.dataclass(frozen=True, slots=True)
class Volume:
    """The penalty on the volume of W.

    Attributes
    ----------
    weight
        The penalty at the first W, relative to the loss without penalties there.
    sums
        Whether the columns of W sum to 1. They need not where a constraint of H sets the scale.
    strength, scale
        λ and s, which follow from the weight at the first W; λ is 0 before.
    """

    weight: float
    sums: bool = True
    strength: float = 0.0
    scale: float = 0.0

    def known(self, found: tuple[float, float] | None, W: Float, fit: float) -> "Volume":
        """Return the penalty with the λ and s that were found at the first W, or else with those of this W (m, r)."""
        if found is None:
            return self.at_start(W, fit)
        return dataclasses.replace(self, strength=found[0], scale=found[1])

    def at_start(self, W: Float, fit: float) -> "Volume":
        """Return the penalty with λ and s for the first W (m, r), whose loss is `fit`.

        s is the inverse of the mean squared length of a column.

        >>> found = Volume(0.5).at_start(np.eye(2), fit=3.0)
        >>> found.scale, round(found.value(np.eye(2)), 12)
        (1.0, 1.5)
        """
        scale = W.shape[1] / max(float(np.square(W, dtype=np.float64).sum()), 1e-300)
        unit = dataclasses.replace(self, strength=1.0, scale=scale)
        return dataclasses.replace(unit, strength=self.weight * fit / unit.value(W.T))

    def value(self, X: Float) -> float:
        """Return the penalty of X = Wᵀ (r, m)."""
        if self.strength == 0:
            return 0.0
        gram = self.scale / DELTA * _gram(X)
        return 0.5 * self.strength * float(np.linalg.slogdet(np.eye(len(X)) + gram)[1])

    def tangent(self, X: Float) -> Float:
        """Return λ s Y (r, r) at X = Wᵀ (r, m)."""
        if self.strength == 0:
            return np.zeros((len(X), len(X)))
        inverse = np.linalg.inv(self.scale * _gram(X) + DELTA * np.eye(len(X)))
        found: Float = self.strength * self.scale * (inverse + inverse.T) / 2
        return found

    def improve(self, X: Float, cross: Float, gram: Float, penalty: Penalty, enough: float) -> float:
        """Improve X = Wᵀ (r, m) in place from VHᵀ and HHᵀ, until the next steps promise little.

        Parameters
        ----------
        X, cross, gram
            The factor; (VHᵀ)ᵀ (r, m) and HHᵀ (r, r), in float64.
        penalty
            Other penalties, equal for all entries of a component.
        enough
            The promise at which the update ends.

        Returns
        -------
        float
            By how much a step of every single column lowers the objective before the update, added up.
        """
        if self.sums:
            divide_by_sums(X)
        first = -1.0
        for _ in range(ROUNDS):
            bent = gram + self.tangent(X)
            promised = sum(self.step(k, X, cross, bent, penalty)[1] for k in range(len(X)))
            first = promised if first < 0 else first
            if promised <= enough:
                break
            for _ in range(SWEEPS):
                for k in range(len(X)):
                    X[k] = self.step(k, X, cross, bent, penalty)[0]
        return first

    def step(self, k: int, X: Float, cross: Float, gram: Float, penalty: Penalty) -> tuple[Vector, float]:
        """Return the best row k of X (r, m) for given others, and by how much it lowers the objective."""
        l1, l2 = penalty.arrays((len(X), 1))
        curvature = gram[k, k] + l2[k, 0]
        if not curvature > 0:
            return X[k], 0.0
        slope = gram[k] @ X + l2[k, 0] * X[k] + l1[k, 0] - cross[k]
        free = X[k] - slope / curvature
        new = on_simplex(free) if self.sums else np.maximum(free, 0)
        step = new - X[k]
        return new, max(-float(step @ slope + 0.5 * curvature * (step @ step)), 0.0)


def on_simplex(y: Vector) -> Vector:
    """Return the nearest vector with entries of at least 0 that sum to 1 (Duchi et al. 2008, figure 1).

    >>> on_simplex(np.array([0.9, 0.5, -1.0])).round(12).tolist()
    [0.7, 0.3, 0.0]
    """
    y = y - y.max()  # which does not move the projection, and leaves 1 to be seen beside large entries
    ordered = np.sort(y)[::-1]
    shifts = (np.cumsum(ordered) - 1) / np.arange(1, len(y) + 1)
    last = int(np.flatnonzero(ordered > shifts)[-1])
    found: Vector = np.maximum(y - shifts[last], 0)
    found /= found.sum()
    return found


def divide_by_sums(X: Float) -> Vector:
    """Divide the rows of X (r, m) by their sums, in place, and return these; a row of zeros becomes constant."""
    sums: Vector = X.sum(axis=1, dtype=np.float64)
    X[sums == 0] = 1.0
    X /= X.sum(axis=1, keepdims=True)
    return sums


def _gram(X: Float) -> Float:
    wide = X.astype(np.float64, copy=False)
    return wide @ wide.T
