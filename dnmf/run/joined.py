"""Edges between new rows or columns and those of a fit, which do not change."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from dnmf.engine.factor import Factor
from dnmf.engine.plan import Load
from dnmf.errors import SettingsError
from dnmf.kernels.blocks.tiles import Float, Vector
from dnmf.kernels.preparation.steps import WEIGHT
from dnmf.kernels.rule import Model
from dnmf.run.arrays import whole
from dnmf.run.result import Result
from dnmf.sources import Source
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
            If the loss is not that of Frobenius, whose scale alone is known without a pass over V.
        """
        settings = result.settings
        if settings.beta != 2:
            raise SettingsError(
                f"edges pull as hard as the data for loss='frobenius', and the fit has loss={settings.loss!r}; leave "
                "edges out."
            )
        if any(step.name == WEIGHT for step in result.steps):
            raise SettingsError(
                "edges need factors of one scale, and the fit is of a join with weights; leave edges out."
            )
        count = source.layout.user_shape[0 if axis == "rows" else 1]
        matrix = open_edges(edges, (count, result.shape[0 if axis == "rows" else 1]))
        degree = float(matrix.sum()) / count
        return cls(matrix, whole(result, axis), settings.graph_weight / degree if degree > 0 else 0.0)

    def load(self, load: Load, rank: int) -> Load:
        """Return the load with the fitted factor, the edges, and the rows that a block needs."""
        extra = self.fitted.nbytes + self.edges.data.nbytes + self.edges.indices.nbytes
        return load._replace(worked=load.worked + 5 * rank + 1, extra=load.extra + int(extra))

    def scale(self, model: Model) -> Vector:
        """Return the scale of the penalty of every component (r,), for the factor that is held."""
        scale: Vector = self.weight * np.diag(model.gram).astype(np.float64)
        return scale

    def sums(self, layout: Layout) -> Factor:
        """Return the weighted sums of the neighbours of every new one, with the degrees below them."""
        return HeldSums(self.edges, self.fitted, layout.bounds)


class HeldSums(Factor):
    """The sums of neighbours that do not change (r + 1, n), computed block by block."""

    def __init__(self, edges: Any, fitted: Float, bounds: Sequence[int]) -> None:
        self._edges, self._fitted, self._bounds = edges, fitted, bounds

    def read(self, block: int) -> Float:
        """Compute a block."""
        own = self._edges[self._bounds[block] : self._bounds[block + 1]]
        sums = np.asarray(own @ self._fitted, np.float64)
        return np.ascontiguousarray(np.hstack([sums, np.asarray(own.sum(axis=1)).reshape(-1, 1)]).T)
