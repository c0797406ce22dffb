"""The terms of the objective that need other data than V: graphs between rows or columns, and penalties of entries.

W (m, r) is held whole, and H (r, n) in blocks. What the update of a block of H needs of them lies below it, in rows of
the long factor that the pass reads:

```
H̃        the rows of all models
l1, l2    penalties of single columns or entries
H̃A, d     for a graph between columns: the sums over the neighbours of every column, and its degree
```

A graph between columns is majorised at H̃ (`kernels/graph.py`), so that the blocks are independent; its penalty of the
new H then gives every component of W an l2. A graph between rows is majorised where W is updated, and gives every
component of H an l2.
"""

import dataclasses
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from dnmf.engine import cores, parallel_map
from dnmf.engine.factor import ArrayFactor, Factor, StackedFactor
from dnmf.engine.passes import Engine
from dnmf.engine.plan import Load
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float, Vector
from dnmf.kernels.divergence.rule import Divergence
from dnmf.kernels.graph import CoupledPenalty, Graph, pull
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.registry import altered
from dnmf.kernels.rule import Rule

NO_PENALTY = Penalty()
# Returns an array of a shape and dtype that may be on a disk.
Room = Callable[[tuple[int, int], "np.dtype[Any]"], Float]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Coupling:
    """Other data than V in the objective, as V is streamed.

    Attributes
    ----------
    graph_W, graph_H
        Graphs between the rows and between the columns, or None.
    weight
        λ, the weight of both.
    penalty_W, penalty_H
        Penalties of Wᵀ (r, m) and of H (r, n) with arrays.
    constant
        A term of the objective that the factors do not change.
    """

    graph_W: Graph | None = None
    graph_H: Graph | None = None
    weight: float = 1.0
    penalty_W: Penalty = NO_PENALTY
    penalty_H: Penalty = NO_PENALTY
    constant: float = 0.0

    @property
    def pulls_W(self) -> bool:
        """Whether rows of W without data have neighbours or targets."""
        return self.graph_W is not None or bool(np.any(self.penalty_W.l2))

    @property
    def pulls_H(self) -> bool:
        """Whether columns of H without data have neighbours or targets."""
        return self.graph_H is not None or bool(np.any(self.penalty_H.l2))

    @property
    def rows_below(self) -> tuple[int, int]:
        """Rows of l1 and of l2 below H."""
        l1, l2 = (len(weight) if isinstance(weight, np.ndarray) else 0 for weight in self.penalty_H)
        return l1, l2

    def load(self, load: Load, rank: int, models: int = 1) -> Load:
        """Return the load of a run of some models: graphs, H̃ᵀ, the H of a trial, and rows below H with their penalties.

        Arrays that were given in memory are not counted, as is V; but l1 and l2 of H are kept in the dtype of V.
        """
        below = sum(self.rows_below)
        graphs = [graph for graph in (self.graph_W, self.graph_H) if graph is not None]
        worked, held = load.worked + below + 4 * rank * models, load.held + below
        if self.graph_H is not None:
            worked, held = worked + rank * models + 1, held + 2 * rank * models
        size = sum(graph.nbytes for graph in graphs)
        base = None if load.base is None else self.load(load.base, rank, models)
        return load._replace(worked=worked, held=held, kept=load.kept + 8 * rank, graphs=size, base=base)


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
            stats.penalty += self.penalty(H).value_at(new)


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


def curvature_of(rule: Rule, shape: tuple[int, int], totals: Stats | None) -> float:
    """Return the curvature of the loss at V of a shape, for which λ = 1 pulls as hard as the data.

    It is ω v^(β − 2), with the mean weight ω of an entry and the weighted mean v of V, from its `totals`; 1 for the
    Frobenius loss of all entries, which needs none.
    """
    if isinstance(rule, Quadratic) or totals is None or not (totals.mass > 0 and totals.weight > 0):
        return 1.0
    beta = rule.beta if isinstance(rule, Divergence) else 2.0
    share = totals.weight / (shape[0] * shape[1])
    return float(share * (totals.mass / totals.weight) ** (beta - 2))


class Coupled:
    """The coupling of a run, with the factors that its passes read.

    Parameters
    ----------
    coupling
        The data.
    engine
        Makes the passes.
    room
        Returns the array that holds H̃ᵀ.
    """

    def __init__(self, coupling: Coupling, engine: Engine, room: Room) -> None:
        self.coupling, self.engine, self._room = coupling, engine, room
        self._layout = engine.source.layout
        self._rows: Float | None = None
        self._held: Callable[[], Factor | None] = lambda: None
        self._penalties: Factor | None = None

    def curvature(self, known: float, rule: Rule, stats: Stats | None = None) -> float:
        """Return the curvature of the loss at V; 0 if it is not yet known, which it is after the first pass."""
        if known or (stats is None and not isinstance(rule, Quadratic)):
            return known
        return curvature_of(rule, self._layout.shape, stats)

    def strength(self, graph: Graph | None, curvature: float, weight: float | None = None) -> float:
        """Return μ, the weight λ times the curvature, for degrees with the mean 1; 0 without a graph."""
        weight = self.coupling.weight if weight is None else weight
        return 0.0 if graph is None else weight * curvature / graph.mean_degree()

    def input(self, H: Factor, rows: int, *between: Factor) -> Factor:
        """Return H (rows, n), other factors, and the rows below them, as a pass reads it."""
        parts = [H, *between]
        if sum(self.coupling.rows_below):
            parts.append(self._entries())
        if self._pulls(H):
            assert self.coupling.graph_H is not None
            sums = NeighbourSums(self.coupling.graph_H, self._transposed(H, rows), self._layout.bounds)
            parts.append(self.engine.place(sums))
        return StackedFactor(*parts)

    def visiting(self, rule: Rule, W: Float, curvature: float, weight: float | None = None) -> Rule:
        """Return the rule for the visits of a pass at W (m, r): the graph of rows gives every component of H an l2."""
        graph = self.coupling.graph_W
        strength = self.strength(graph, curvature, weight)
        if graph is None or strength == 0:
            return rule
        lengths = Penalty(l2=strength * graph.roughness(np.ascontiguousarray(W))[:, None])
        return altered(rule, penalty_H=rule.penalty_H.plus(lengths))

    def below(
        self, H: Factor, squares: Vector, curvature: float, rows: int, own: slice, weight: float | None = None
    ) -> Below:
        """Return how the tasks of a pass read the rows below others (rows, n), among which are a model's `own` of H.

        `squares` are the squared lengths of the columns of its W (r,).
        """
        scale = self.strength(self.coupling.graph_H, curvature, weight) * squares if self._pulls(H) else None
        return Below(rows, own, *self.coupling.rows_below, scale)

    def roughness(self, H: Factor, rows: int) -> Vector:
        """Return h_k L h_kᵀ of every row of H (rows, n) for the graph of columns; zeros without one."""
        graph = self.coupling.graph_H
        if graph is None:
            return np.zeros(rows)
        with parallel_map(cores()) as each:
            return graph.roughness(self._transposed(H, rows), each)

    def finishing(
        self, rule: Rule, stats: Penalised, roughness: Vector, curvature: float, weight: float | None = None
    ) -> Rule:
        """Return the rule that updates W after a pass, given the roughness of the new H (r,); complete the sums."""
        coupling = self.coupling
        lengths = Penalty(l2=self.strength(coupling.graph_H, curvature, weight) * roughness[:, None])
        stats.penalty += coupling.constant
        penalty = CoupledPenalty(
            rule.penalty_W.plus(coupling.penalty_W),
            lengths,
            coupling.graph_W,
            self.strength(coupling.graph_W, curvature, weight),
            not coupling.penalty_H.none,
        )
        return altered(rule, penalty_W=penalty)

    def _pulls(self, H: Factor) -> bool:
        """Return whether neighbours pull in a pass from H: not if its columns have no scale yet."""
        return self.coupling.graph_H is not None and not H.unscaled

    def _entries(self) -> Factor:
        """Return the penalties of single entries of H as rows."""
        if self._penalties is None:
            arrays = [weight for weight in self.coupling.penalty_H if isinstance(weight, np.ndarray)]
            whole = np.concatenate(arrays).astype(self._layout.work_dtype, copy=False)
            self._penalties = self.engine.place(ArrayFactor(whole, self._layout.bounds))
        return self._penalties

    def _transposed(self, H: Factor, rows: int) -> Float:
        """Return Hᵀ (n, rows), which the next call may overwrite."""
        bounds, columns = self._layout.bounds, self._layout.shape[1]
        if self._rows is None or self._rows.shape[1] != rows:
            self._rows = self._room((columns, rows), self._layout.work_dtype)
            self._held = lambda: None
        if self._held() is not H:
            for block in range(self._layout.blocks):
                self._rows[bounds[block] : bounds[block + 1]] = H.read(block).T
            self._held = weakref.ref(H)
        return self._rows
