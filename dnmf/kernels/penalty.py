"""Penalties on a factor: numbers, or arrays with a value for every component, column or entry.

A penalty is l1·X + ½ l2 X², summed over the entries of a factor X ≥ 0 (r, n). Arrays have the shape (r, 1), (1, n) or
(r, n). An array l1 may be negative, which pulls entries up, where l2 is positive: a quadratic with a minimum elsewhere
than at 0, such as that of a target or of the neighbours in a graph. A constraint is a penalty too: 0 within a set, and
infinite elsewhere.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.constraint import FREE, Constraint


class Penalty(NamedTuple):
    """The penalty Σ l1 x + ½ l2 x² over the entries x of a factor X ≥ 0 within a set; l1 and l2: numbers or arrays."""

    l1: Any = 0.0
    l2: Any = 0.0
    within: Constraint = FREE

    @property
    def plain(self) -> bool:
        """Whether l1 and l2 are numbers."""
        return not (isinstance(self.l1, np.ndarray) or isinstance(self.l2, np.ndarray))

    @property
    def exact(self) -> bool:
        """Whether `at` returns the penalty itself, and not a majoriser."""
        return True

    @property
    def none(self) -> bool:
        """Whether nothing is penalised or constrained.

        >>> Penalty().none, Penalty(l2=0.1).none, Penalty(l1=np.zeros((2, 1))).none
        (True, False, True)
        """
        weights = (weight.any() if isinstance(weight, np.ndarray) else weight for weight in (self.l1, self.l2))
        return self.within.free and not any(weights)

    @property
    def by_component(self) -> bool:
        """Whether all columns have the same penalty."""
        return np.shape(self.l1)[1:] in ((), (1,)) and np.shape(self.l2)[1:] in ((), (1,))

    def value_above(self, X: Float) -> float:
        """Return the penalty of a factor X (r, n) above its least value at the targets of entries, which is never < 0.

        An entry that the penalty pulls to t = −l1/l2 > 0 adds ½ l2 (x − t)², without the rounding of l1 x + ½ l2 x².

        >>> Penalty(np.array([[-2.0, 1.0]]), 2.0).value_above(np.array([[1.0, 1.0]]))
        2.0
        """
        l1, l2 = self.arrays(X.shape)
        pulled = (l1 < 0) & (l2 > 0)
        aims = np.divide(-l1, l2, out=np.zeros(X.shape), where=pulled)
        return float(np.sum(0.5 * l2 * (X - aims) ** 2 + np.where(pulled, 0, l1) * X))

    @property
    def aim(self) -> float:
        """The mean of the entries that the penalty alone pulls towards values above 0, as targets do; 0 without any.

        >>> Penalty(np.array([[-2.0, -6.0, 0.0]]), np.array([[2.0, 2.0, 0.0]])).aim
        2.0
        """
        pull, bend = np.broadcast_arrays(-np.asarray(self.l1, np.float64), np.asarray(self.l2, np.float64))
        known = (pull > 0) & (bend > 0)
        return float(np.mean(pull[known] / bend[known])) if known.any() else 0.0

    def plus(self, other: "Penalty") -> "Penalty":
        """Return the sum of two penalties, of which at most one has a constraint."""
        return Penalty(self.l1 + other.l1, self.l2 + other.l2, other.within if self.within.free else self.within)

    def times(self, factor: float) -> "Penalty":
        """Return the penalty with another weight."""
        return Penalty(self.l1 * factor, self.l2 * factor, self.within)

    def columns(self, chosen: Any) -> "Penalty":
        """Return the penalty of some columns: a slice, or their numbers.

        >>> Penalty(l1=np.arange(6.0).reshape(1, 6), l2=2.0).columns(slice(2, 4)).l1
        array([[2., 3.]])
        """
        return self.map(lambda weight: weight if weight.shape[1] == 1 else weight[:, chosen])

    def components(self, chosen: Any) -> "Penalty":
        """Return the penalty of some components: a slice, or their numbers in an order.

        >>> Penalty(l1=np.array([[1.0], [2.0]])).components(slice(1, None)).l1.tolist()
        [[2.0]]
        """
        return self.map(lambda weight: weight if len(weight) == 1 else weight[chosen])

    def map(self, change: Callable[[Float], Float]) -> "Penalty":
        """Return the penalty with changed arrays."""
        l1, l2 = (change(weight) if isinstance(weight, np.ndarray) else weight for weight in (self.l1, self.l2))
        return self._replace(l1=l1, l2=l2)

    def at(self, X: Float, squares: Any = None) -> "Penalty":
        """Return the penalty as it acts near X (r, n): itself. That of a graph is majorised there."""
        return self

    def value(self, totals: Any, squares: Any) -> float:
        """Return the penalty of a factor from its sums, if all columns have the same one.

        Parameters
        ----------
        totals, squares
            Sum of the entries and of their squares: of all, or of every component (r,).

        Examples
        --------
        >>> Penalty(l1=2.0, l2=1.0).value(totals=3.0, squares=5.0)
        8.5
        >>> Penalty(l1=np.array([[1.0], [2.0]])).value(np.array([1.0, 2.0]), np.zeros(2))
        5.0
        """
        return float(_weighted(self.l1, totals) + 0.5 * _weighted(self.l2, squares))

    def value_at(self, X: Float, squares: Any = None) -> float:
        """Return the penalty of a factor X (r, n).

        >>> Penalty(l1=np.eye(2), l2=1.0).value_at(np.full((2, 2), 2.0))
        12.0
        """
        if self.plain and self.none:
            return 0.0
        if self.plain:
            return self.value(float(X.sum(dtype=np.float64)), float(np.square(X, dtype=np.float64).sum()))
        wide = X.astype(np.float64)
        if self.by_component:
            return self.value(wide.sum(axis=1), np.einsum("kj,kj->k", wide, wide))
        return float(np.sum(wide * (self.l1 + 0.5 * self.l2 * wide)))

    def arrays(self, shape: tuple[int, int], dtype: Any = np.float64) -> tuple[Float, Float]:
        """Return l1 and l2 as arrays of a shape (r, n), which share memory and cannot be written to."""
        l1, l2 = (np.broadcast_to(np.asarray(weight, dtype), shape) for weight in (self.l1, self.l2))
        return l1, l2

    def by_columns(self, shape: tuple[int, int]) -> tuple[Float, Float]:
        """Return l1 and l2 (n, r) with a row for every column of a factor of a shape (r, n)."""
        l1, l2 = self.arrays(shape)
        return l1.T, l2.T


def _weighted(weight: Any, sums: Any) -> float:
    """Return the weighted sum of the components' sums."""
    if isinstance(weight, np.ndarray):
        return float(np.sum(weight[:, 0] * sums))
    return float(weight * np.sum(sums))
