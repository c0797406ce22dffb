"""The rows below H in the long factor that a pass reads, which the update of a block needs besides V.

```
H̃        the rows of all models
l1, l2    penalties of single columns or entries
H̃A, d     for a graph between columns: the sums over the neighbours of every column, and its degree
```
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from dnmf.engine.factor import Factor
from dnmf.kernels.blocks.tiles import Float, Vector
from dnmf.kernels.graph import Graph, pull
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.registry import altered
from dnmf.kernels.rule import Rule


class Penalised(Protocol):
    """Sums with the penalty of H where that differs between columns."""

    penalty: float


@dataclasses.dataclass(frozen=True, slots=True)
class Below:
    """How a task reads the rows below H in a block.

    Attributes
    ----------
    rows
        Rows of H of all models.
    own
        Those of one model.
    l1, l2
        Rows of l1 and l2.
    scale
        μ s_k of every component (r,) of the model, or None without a graph.
    """

    rows: int
    own: slice
    l1: int
    l2: int
    scale: Vector | None

    def penalty(self, H: Float) -> Penalty:
        """Return the penalty of single entries in a block."""
        l1, l2 = H[self.rows :][: self.l1], H[self.rows + self.l1 :][: self.l2]
        return Penalty(l1 if self.l1 else 0.0, l2 if self.l2 else 0.0)

    def rule(self, rule: Rule, H: Float) -> Rule:
        """Return the rule for a block, given the rows of H before the update and those below."""
        penalty = rule.penalty_H.plus(self.penalty(H))
        if self.scale is None:
            return altered(rule, penalty_H=penalty)
        sums, degrees = H[self.rows + self.l1 + self.l2 : -1][self.own], H[-1]
        penalty = penalty.plus(pull(H[self.own], sums, degrees, self.scale, H.dtype))
        return altered(rule, penalty_H=penalty, first=True)

    def growth(self, H: Float, new: Float) -> Any:
        """Return by how much the majoriser of h_k L h_kᵀ grows from H to the new H, for every component (r,)."""
        if self.scale is None:
            return 0.0
        sums, degrees = H[self.rows + self.l1 + self.l2 : -1][self.own].astype(np.float64), H[-1].astype(np.float64)
        before, after = H[self.own].astype(np.float64), new.astype(np.float64)
        # d (h'² − h²) − (h' − h) (d h + e) = (h' − h) (d h' − e)
        return 2 * np.einsum("kj,kj->k", after - before, degrees * after - sums)

    def measure(self, H: Float, new: Float, stats: Penalised) -> None:
        """Add the penalty of single entries of the model's new H (r, w)."""
        if self.l1 or self.l2:
            stats.penalty += self.penalty(H).value_above(new)


class NeighbourSums(Factor):
    """H̃A (r, n) with a row of degrees below, computed from H̃ᵀ (n, r) block by block."""

    def __init__(self, graph: Graph, rows: Float, bounds: Sequence[int]) -> None:
        self._graph, self._rows, self._bounds = graph, rows, bounds

    def read(self, block: int) -> Float:
        """Compute a block."""
        columns = slice(self._bounds[block], self._bounds[block + 1])
        rank = self._rows.shape[1]
        out = np.empty((rank + 1, columns.stop - columns.start), self._rows.dtype)
        out[:rank] = self._graph.product(self._rows, columns).T
        out[rank] = self._graph.degrees(columns)
        return out
