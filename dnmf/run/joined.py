"""Edges between new rows or columns and those of a fit, which do not change."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from dnmf.engine import Engine
from dnmf.engine.factor import Factor
from dnmf.engine.plan import Load
from dnmf.errors import SettingsError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import Entries
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float, Vector
from dnmf.kernels.preparation.steps import WEIGHT
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.rule import Model, Rule
from dnmf.run.arrays import whole
from dnmf.run.result import Result
from dnmf.solvers.coupling import curvature_of
from dnmf.sources import Source
from dnmf.sources.alignment import aligned
from dnmf.sources.base import Axis, Layout
from dnmf.sources.graphs import open_edges


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """The edges of new rows or columns to those of a fit.

    Attributes
    ----------
    edges
        Weights (new, fitted), a CSR matrix.
    fitted
        The factor of the fit along this axis (fitted, r).
    weight
        λ over the mean degree of a new one.
    """

    edges: Any
    fitted: Float
    weight: float

    @classmethod
    def of(cls, result: Result, source: Source, edges: Any, axis: Axis) -> Self:
        """Check the edges of new data to a result.

        Raises
        ------
        DataError
            If the edges have another shape, or a weight that is not allowed.
        SettingsError
            If the fit is of a join with weights.
        """
        if any(step.name == WEIGHT for step in result.steps):
            raise SettingsError(
                "edges need factors of one scale, and the fit is of a join with weights; leave edges out."
            )
        along = 0 if axis == "rows" else 1
        count, weight = source.layout.user_shape[along], result.settings.graph_weights[along]
        names = getattr(source.layout.names, axis), getattr(result.names, axis)
        matrix = open_edges(aligned(edges, names, "edges"), (count, result.shape[along]))
        degree = float(matrix.sum()) / count
        return cls(matrix, whole(result, axis), weight / degree if degree > 0 else 0.0)

    def load(self, load: Load, rank: int) -> Load:
        """Return the load with the fitted factor, the edges, and the rows that a block needs."""
        extra = self.fitted.nbytes + self.edges.data.nbytes + self.edges.indices.nbytes
        return load._replace(worked=load.worked + 5 * rank + 1, extra=load.extra + int(extra))

    def reads(self, rule: Rule) -> int:
        """Return the reads of V that the scale of the penalty takes: one, unless the curvature of the loss is 1."""
        return 0 if isinstance(rule, Quadratic) else 1

    def scale(self, model: Model, rule: Rule, engine: Engine) -> Vector:
        """Return the scale of the penalty of every component (r,), for the factor that is held."""
        totals = engine.one_pass(Weigh(rule.entries, engine.source.layout.work_dtype)) if self.reads(rule) else None
        curvature = curvature_of(rule, engine.source.layout.shape, totals)
        scale: Vector = self.weight * curvature * np.diag(model.gram).astype(np.float64)
        return scale

    def sums(self, layout: Layout) -> Factor:
        """Return the weighted sums of the neighbours of every new one, with the degrees below them."""
        return HeldSums(self.edges, self.fitted, layout.bounds)


@dataclasses.dataclass(frozen=True, slots=True)
class Weigh:
    """The work of a pass that validates V, and adds up its entries and their weights."""

    entries: Entries
    dtype: "np.dtype[Any]"

    def zero(self) -> Stats:
        """Return the sums of no block."""
        return Stats.zero(1, 1)

    def visit(self, block: int, V: Block, H: Float | None, sums: Stats, scratch: Scratch) -> None:
        """Add a block."""
        self.entries.square_sum(V, self.dtype, scratch)
        mass, weight = self.entries.totals(V, self.dtype, scratch)
        sums.mass += mass
        sums.weight += weight


class HeldSums(Factor):
    """The sums of neighbours that do not change (r + 1, n), computed block by block."""

    def __init__(self, edges: Any, fitted: Float, bounds: Sequence[int]) -> None:
        self._edges, self._fitted, self._bounds = edges, fitted, bounds

    def read(self, block: int) -> Float:
        """Compute a block."""
        own = self._edges[self._bounds[block] : self._bounds[block + 1]]
        sums = np.asarray(own @ self._fitted, np.float64)
        return np.ascontiguousarray(np.hstack([sums, np.asarray(own.sum(axis=1)).reshape(-1, 1)]).T)
