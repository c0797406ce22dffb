"""The terms of the objective that need other data than V: graphs between rows or columns, and penalties of entries.

W (m, r) is held whole, and H (r, n) in blocks. What the update of a block of H needs of them lies below it, in rows of
the long factor that the pass reads (`rows_below.py`).

A graph between columns is majorised at H̃ (`kernels/graph.py`), so that the blocks are independent; its penalty of the
new H then gives every component of W an l2. A graph between rows is majorised where W is updated, and gives every
component of H an l2.
"""

import dataclasses
import weakref
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from dnmf.engine import cores, parallel_map
from dnmf.engine.factor import ArrayFactor, Factor, StackedFactor
from dnmf.engine.passes import Engine
from dnmf.engine.plan import Load
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float, Vector
from dnmf.kernels.divergence.rule import Divergence
from dnmf.kernels.graph import CoupledPenalty, Graph
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.registry import altered
from dnmf.kernels.rule import Rule
from dnmf.solvers.rows_below import Below, NeighbourSums, Penalised

NO_PENALTY = Penalty()
# The weights of the graphs between rows and between columns.
Pair = tuple[float, float]


class Room(Protocol):
    """Makes arrays and long factors of this process, which may be on a disk."""

    def new_array(self, shape: tuple[int, int], dtype: "np.dtype[Any]") -> Float:
        """Return an array."""

    def new_factor_here(self, rows: int) -> Factor:
        """Return a factor of `rows` rows for a pass of this process to fill."""

    def release(self, H: Factor, rows: int | None = None) -> Factor:
        """Return a factor, or a copy of it in this process if workers hold it."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Coupling:
    """Other data than V in the objective, as V is streamed.

    Attributes
    ----------
    graph_W, graph_H
        Graphs between the rows and between the columns, or None.
    weight_W, weight_H
        λ of each.
    penalty_W, penalty_H
        Penalties of Wᵀ (r, m) and of H (r, n) with arrays.
    constant
        A term of the objective that the factors do not change: what penalties with a target cost at their least value.
    """

    graph_W: Graph | None = None
    graph_H: Graph | None = None
    weight_W: float = 1.0
    weight_H: float = 1.0
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
        l1, l2 = (len(weight) if isinstance(weight, np.ndarray) else 0 for weight in self.penalty_H[:2])
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
        Makes the array that holds H̃ᵀ, and the factors of rounds on a sketch.
    """

    def __init__(self, coupling: Coupling, engine: Engine, room: Room) -> None:
        self.coupling, self.engine, self.room = coupling, engine, room
        self._layout = engine.source.layout
        graphs = coupling.graph_W, coupling.graph_H
        self._degrees = [np.inf if graph is None else graph.mean_degree() for graph in graphs]
        self._rows: Float | None = None
        self._held: Callable[[], Factor | None] = lambda: None
        self._penalties: Factor | None = None
        self._placed: Factor | None = None

    def curvature(self, known: float, rule: Rule, stats: Stats | None = None) -> float:
        """Return the curvature of the loss at V; 0 if it is not yet known, which it is after the first pass."""
        if known or (stats is None and not isinstance(rule, Quadratic)):
            return known
        return curvature_of(rule, self._layout.shape, stats)

    def strengths(self, curvature: float, weight: Pair | None = None) -> Pair:
        """Return μ of the graphs of W and of H, 0 without one: λ times the curvature, for a mean degree of 1.

        `weight` is another λ of each.
        """
        own = (self.coupling.weight_W, self.coupling.weight_H) if weight is None else weight
        one, two = (given * curvature / degree for given, degree in zip(own, self._degrees, strict=True))
        return one, two

    def input(self, H: Factor, rows: int, *between: Factor, here: bool = False) -> Factor:
        """Return H (rows, n), other factors, and the rows below them, as a pass reads it; `here` in this process."""
        parts = [H, *between]
        if sum(self.coupling.rows_below):
            parts.append(self._entries(here))
        if self._pulls(H):
            assert self.coupling.graph_H is not None
            sums = NeighbourSums(self.coupling.graph_H, self._transposed(H, rows), self._layout.bounds)
            parts.append(sums if here else self.engine.place(sums))
        return StackedFactor(*parts)

    def visiting(self, rule: Rule, W: Float, curvature: float, weight: Pair | None = None) -> Rule:
        """Return the rule for the visits of a pass at W (m, r): the graph of rows gives every component of H an l2."""
        if isinstance(rule, Divergence):
            rule = altered(rule, pulled=True)
        graph, (strength, _) = self.coupling.graph_W, self.strengths(curvature, weight)
        if graph is None or strength == 0:
            return rule
        lengths = Penalty(l2=strength * graph.roughness(np.ascontiguousarray(W))[:, None])
        return altered(rule, penalty_H=rule.penalty_H.plus(lengths))

    def below(
        self,
        H: Factor,
        squares: Vector,
        curvature: float,
        rows: int,
        own: slice,
        weight: Pair | None = None,
    ) -> Below:
        """Return how the tasks of a pass read the rows below others (rows, n), among which are a model's `own` of H.

        `squares` are the squared lengths of the columns of its W (r,).
        """
        scale = self.strengths(curvature, weight)[1] * squares if self._pulls(H) else None
        return Below(rows, own, *self.coupling.rows_below, scale)

    def roughness(self, H: Factor, rows: int) -> Vector:
        """Return h_k L h_kᵀ of every row of H (rows, n) for the graph of columns; zeros without one."""
        graph = self.coupling.graph_H
        if graph is None:
            return np.zeros(rows)
        with parallel_map(cores()) as each:
            return graph.roughness(self._transposed(H, rows), each)

    def finishing(
        self,
        rule: Rule,
        stats: Penalised,
        roughness: Vector,
        curvature: float,
        weight: Pair | None = None,
    ) -> Rule:
        """Return the rule that updates W after a pass, given the roughness of the new H (r,); complete the sums."""
        coupling, (mu_W, mu_H) = self.coupling, self.strengths(curvature, weight)
        lengths = Penalty(l2=mu_H * roughness[:, None])
        stats.penalty += coupling.constant
        graph, matters = coupling.graph_W, not coupling.penalty_H.none
        penalty = CoupledPenalty(rule.penalty_W, lengths, graph, mu_W, coupling.penalty_W, matters)
        return altered(rule, penalty_W=penalty)

    def _pulls(self, H: Factor) -> bool:
        """Return whether neighbours pull in a pass from H: not if its columns have no scale yet."""
        return self.coupling.graph_H is not None and not H.unscaled

    def _entries(self, here: bool) -> Factor:
        """Return the penalties of single entries of H as rows: in this process, or where the tasks of a pass run."""
        if self._penalties is None:
            arrays = [weight for weight in self.coupling.penalty_H[:2] if isinstance(weight, np.ndarray)]
            whole = np.concatenate(arrays).astype(self._layout.work_dtype, copy=False)
            self._penalties = ArrayFactor(whole, self._layout.bounds)
        if not here and self._placed is None:
            self._placed = self.engine.place(self._penalties)
        return self._penalties if here or self._placed is None else self._placed

    def _transposed(self, H: Factor, rows: int) -> Float:
        """Return Hᵀ (n, rows), which the next call may overwrite."""
        bounds, columns = self._layout.bounds, self._layout.shape[1]
        if self._rows is None or self._rows.shape[1] != rows:
            self._rows = self.room.new_array((columns, rows), self._layout.work_dtype)
            self._held = lambda: None
        if self._held() is not H:
            for block in range(self._layout.blocks):
                self._rows[bounds[block] : bounds[block + 1]] = H.read(block).T
            self._held = weakref.ref(H)
        return self._rows


def scale_matters(rule: Rule, coupled: Coupled | None) -> bool:
    """Return whether the objective depends on how W and H share the scale of V; graphs alone do not make it so."""
    penalties = [rule.penalty_W, rule.penalty_H]
    if coupled is not None:
        penalties += [coupled.coupling.penalty_W, coupled.coupling.penalty_H]
    return not all(penalty.none for penalty in penalties)
