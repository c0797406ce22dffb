"""The penalty of a graph: components of neighbours are pulled towards each other.

With the weights a_ij of a graph between the n columns of X (r, n), the roughness of component k is
x_k L x_kᵀ = ½ Σ_ij a_ij (x_ki − x_kj)², with the Laplacian L = D − A and the degrees d. The penalty is
½ μ Σ_k s_k x_k L x_kᵀ, where s_k = ‖w_k‖² is taken from the other factor: Cai, He, Han & Huang 2011 (eq. 7) without it,
which the scale of a component then evades (Gu, Ding & Han 2011). With it the penalty does not depend on that scale.

It is majorised at X̃, since ‖x_i − x_j‖² ≤ 2‖x_i − m_ij‖² + 2‖x_j − m_ij‖² for every m_ij, with equality for
m_ij = (x_i + x_j)/2, here taken from X̃. The sum falls apart into columns,

    ½ x L xᵀ ≤ Σ_j d_j x_j² − x_j (d_j x̃_j + e_j) + constant,   e = x̃A,

which is a `Penalty` with l2 = 2 μ s_k d_j and l1 = −μ s_k (d_j x̃_kj + e_kj). See docs/graphs.md.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.kernels.blocks.tiles import Float, Vector, kernel, slices
from dnmf.kernels.constraint import Constraint
from dnmf.kernels.penalty import Penalty

# Columns of which the roughness is summed at once: independent of the number of threads, for the same bits.
TOGETHER = 8192
NO_PENALTY = Penalty()


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """The symmetric weights of a graph between n columns, compressed by columns.

    Attributes
    ----------
    starts
        Where the neighbours of every column start in the next two (n + 1,).
    neighbours, weights
        Numbers of the neighbours, and their weights.
    owner
        An object that is kept as long as the graph: that of the files from which the last two are mapped.
    """

    starts: NDArray[np.int64]
    neighbours: NDArray[np.integer[Any]]
    weights: Float
    owner: object = None

    @property
    def size(self) -> int:
        """Number of columns n."""
        return len(self.starts) - 1

    @property
    def nbytes(self) -> int:
        """Bytes in memory; mapped files do not count, since the system reads them again where it has no room."""
        mapped = 0 if self.owner is not None else self.neighbours.nbytes + self.weights.nbytes
        return int(self.starts.nbytes + mapped)

    def degrees(self, columns: slice = slice(None)) -> Vector:
        """Return the sum of the weights of every column, or of some."""
        starts = self.starts[slice(columns.start, None if columns.stop is None else columns.stop + 1)]
        found = np.empty(len(starts) - 1)
        _degrees(starts, self.weights, found)
        return found

    def mean_degree(self) -> float:
        """Return the mean of the degrees."""
        return float(np.sum(self.weights, dtype=np.float64)) / self.size

    def product(self, rows: Float, columns: slice) -> Float:
        """Return the sums of the neighbours of some columns, (XA)ᵀ (w, r) in float64, for Xᵀ (n, r)."""
        starts = self.starts[columns.start : columns.stop + 1]
        sums = np.zeros((len(starts) - 1, rows.shape[1]))
        _add_neighbours(starts, self.neighbours, self.weights, rows, sums)
        return sums

    def roughness(self, rows: Float, each: Any = map) -> Vector:
        """Return x_k L x_kᵀ of every component (r,), for Xᵀ (n, r); `each` maps over parts of the columns."""

        def part(columns: slice) -> Vector:
            sums = np.zeros(rows.shape[1])
            starts = self.starts[columns.start : columns.stop + 1]
            _add_roughness(starts, self.neighbours, self.weights, rows, columns.start, sums)
            return sums

        total: Vector = functools.reduce(np.add, each(part, slices(self.size, TOGETHER)))
        return total


@kernel
def _degrees(starts, weights, degrees):  # type: ignore[no-untyped-def]
    for column in range(len(starts) - 1):
        total = 0.0
        for edge in range(starts[column], starts[column + 1]):
            total += np.float64(weights[edge])
        degrees[column] = total


@kernel
def _add_neighbours(starts, neighbours, weights, rows, sums):  # type: ignore[no-untyped-def]
    rank = rows.shape[1]
    for column in range(len(starts) - 1):
        for edge in range(starts[column], starts[column + 1]):
            weight, other = np.float64(weights[edge]), neighbours[edge]
            for k in range(rank):
                sums[column, k] += weight * np.float64(rows[other, k])


@kernel
def _add_roughness(starts, neighbours, weights, rows, first, sums):  # type: ignore[no-untyped-def]
    """Add ½ Σ a_ij (x_i − x_j)² of the edges of some columns, which does not cancel as d x² − x e would."""
    rank = rows.shape[1]
    for column in range(len(starts) - 1):
        here = first + column
        for edge in range(starts[column], starts[column + 1]):
            half, other = 0.5 * np.float64(weights[edge]), neighbours[edge]
            for k in range(rank):
                step = np.float64(rows[here, k]) - np.float64(rows[other, k])
                sums[k] += half * step * step


def pull(X: Float, sums: Float, degrees: Float, scale: Vector, dtype: Any = np.float64) -> Penalty:
    """Return the majoriser of the penalty of a graph at X.

    Parameters
    ----------
    X, sums
        Some columns of X (r, w), and of XA (r, w).
    degrees
        Their degrees (w,).
    scale
        μ s_k of every component (r,).
    """
    strength = scale[:, None] * np.asarray(degrees, np.float64)
    l1 = -(strength * X + scale[:, None] * sums)
    return Penalty(l1.astype(dtype, copy=False), (2 * strength).astype(dtype, copy=False))


def hold(sums: Float, degrees: Float, scale: Vector, dtype: Any = np.float64) -> Penalty:
    """Return the penalty of edges to columns that do not change, whose weighted sums are given (r, w); it is exact."""
    strength = scale[:, None] * np.asarray(degrees, np.float64)
    return Penalty((-scale[:, None] * sums).astype(dtype), strength.astype(dtype))


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CoupledPenalty:
    """The penalty of a factor X (r, n) that is held whole, with those of graphs.

    Attributes
    ----------
    own
        The penalty of X in the settings.
    lengths
        The penalty ½ Σ l2_k ‖x_k‖² (r, 1) that the graph of the other factor adds.
    graph, weight
        Graph between the columns of X, or None, and μ.
    entries
        The penalty of single entries of X, which may have targets.
    scale_matters
        Whether the objective depends on how the scale of a component is split; graphs alone do not make it so.
    """

    own: Penalty
    lengths: Penalty
    graph: Graph | None = None
    weight: float = 0.0
    entries: Penalty = NO_PENALTY
    scale_matters: bool = False

    plain = by_component = False

    @property
    def within(self) -> Constraint:
        """The constraint of X."""
        return self.own.within

    @property
    def exact(self) -> bool:
        """Whether `at` returns the penalty itself, and not a majoriser."""
        return self.graph is None

    @property
    def none(self) -> bool:
        """Whether nothing depends on the scale of X."""
        return self.own.none and self.entries.none and not self.scale_matters

    def at(self, X: Float, squares: Vector) -> Penalty:
        """Return the majoriser at X, for the squared lengths of the other factor's components (r,)."""
        penalty = self.own.plus(self.entries).plus(self.lengths)
        if self.graph is None:
            return penalty
        rows = np.ascontiguousarray(X.T)
        sums = self.graph.product(rows, slice(0, self.graph.size)).T
        return penalty.plus(pull(X, sums, self.graph.degrees(), self.weight * squares))

    def times(self, factor: float) -> "CoupledPenalty":
        """Return the penalty with another weight."""
        own, entries, lengths = (one.times(factor) for one in (self.own, self.entries, self.lengths))
        return dataclasses.replace(self, own=own, entries=entries, lengths=lengths, weight=self.weight * factor)

    def value_at(self, X: Float, squares: Vector) -> float:
        """Return the penalty of X, without that of its targets."""
        value = self.own.value_at(X) + self.lengths.value_at(X)
        value += 0.0 if self.entries.none else self.entries.value_above(X)
        if self.graph is not None:
            rough = self.graph.roughness(np.ascontiguousarray(X.T))
            value += 0.5 * self.weight * float(squares @ rough)
        return value
