"""The result of a run."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from dnmf.checkpoint.arrays import gather
from dnmf.engine.factor import DiskFactor, Factor
from dnmf.errors import SettingsError
from dnmf.inspection.components import Component, Part, describe_components
from dnmf.inspection.figures import plot_components, plot_history
from dnmf.inspection.html import card
from dnmf.inspection.summary import facts, feature_axis, other, view_components
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.floats import own_errors
from dnmf.kernels.preparation.steps import Step
from dnmf.settings import Settings
from dnmf.solvers.history import Record, Verdict
from dnmf.solvers.state import State
from dnmf.sources import Source
from dnmf.sources.base import Axis
from dnmf.sources.dask_array import factor_array
from dnmf.sources.names import Names
from dnmf.sources.weighted import steps_of

# Numbers in a part of a factor that is read in parts.
PART_NUMBERS = 2**20


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The factors of V ≈ WH, and the history of the run.

    The factor along the axis that V is cut along is a lazy Dask array; the other one is a NumPy array.

    Attributes
    ----------
    history
        One record for every pass.
    settings
        Settings of the run.
    verdict
        Why the run stopped, as a sentence.
    converged
        Whether the run stopped because the next pass promised a share of the loss of at most `tol`.
    short
        The factor that is held whole, one row for every row (or column) of V that is not streamed: W, or Hᵀ.
    long
        The other factor, in blocks: H, or Wᵀ.
    bounds
        Block j of the long factor holds the columns bounds[j] … bounds[j + 1].
    rows_streamed
        Whether V was cut along its rows, so that W is the long factor.
    names
        Names of V's rows and columns, where they have names.
    store
        Path of the store, or None.
    runs
        Losses of all runs where the best of several was kept, in the order of their seeds; those of a sketch of V
        where the runs were made on one.
    steps
        Steps of the preprocessing of V; `transform` applies them to new data.
    """

    history: tuple[Record, ...]
    settings: Settings
    verdict: str
    converged: bool
    short: Float
    long: Factor
    bounds: Sequence[int]
    rows_streamed: bool
    names: Names
    store: str | None
    runs: tuple[float, ...] = ()
    steps: tuple[Step, ...] = ()

    @classmethod
    def of(
        cls,
        source: Source,
        settings: Settings,
        state: State,
        history: Sequence[Record],
        verdict: Verdict,
        store: str | None,
    ) -> Self:
        """Return the result of a state."""
        layout = source.layout
        return cls(
            history=tuple(history),
            settings=settings,
            verdict=verdict.sentence,
            converged=verdict.converged,
            short=state.W,
            long=state.H,
            bounds=layout.bounds,
            rows_streamed=layout.transposed,
            names=layout.names,
            store=store,
            runs=state.runs,
            steps=steps_of(source),
        )

    @property
    def W(self) -> Any:
        """The left factor (m, r)."""
        return self._dask() if self.rows_streamed else self.short

    @property
    def H(self) -> Any:
        """The right factor (r, n)."""
        return np.ascontiguousarray(self.short.T) if self.rows_streamed else self._dask()

    @property
    def passes(self) -> int:
        """Reads of V."""
        return self.history[-1].passes if self.history else 0

    @property
    def loss(self) -> float:
        """The objective after the last pass, penalties included."""
        return self.history[-1].loss if self.history else float("inf")

    @property
    def relative_error(self) -> float | None:
        """‖V − WH‖/‖V‖ after the last pass; None for a loss other than Frobenius."""
        return self.history[-1].relative_error if self.history else None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns of V."""
        short, long = len(self.short), self.bounds[-1]
        return (long, short) if self.rows_streamed else (short, long)

    def parts(self, axis: Axis, most: int | None = None) -> Iterator[Part]:
        """Yield the factor along an axis of V in parts: W for `"rows"`, Hᵀ for `"columns"`.

        A part has at most `most` numbers, or a few megabytes.
        """
        width = max(1, (most or PART_NUMBERS) // self.short.shape[1])
        start = 0
        for part in self._cut(axis, width):
            yield Part(slice(start, start + len(part)), part)
            start += len(part)

    def _cut(self, axis: Axis, width: int) -> Iterator[Float]:
        if (axis == "rows") == self.rows_streamed:
            return (part.T for part in gather(self.long, self.bounds, width))
        return (self.short[start : start + width] for start in range(0, len(self.short), width))

    @own_errors
    def components(self, n: int = 10, axis: Axis | None = None) -> list[Component]:
        """Return the share of WH of each component, and its strongest features.

        Both are independent of the scale of W and H. The long factor is read once, part by part.

        Parameters
        ----------
        n
            Number of features of each component; features with weight 0 are left out.
        axis
            The axis of the features: the `"columns"` or `"rows"` of V. None is the columns, unless only the rows have
            names.

        Raises
        ------
        SettingsError
            If `n` is not a positive whole number, or `axis` is not one of these.

        Examples
        --------
        >>> import dnmf, numpy as np
        >>> V = np.outer([1, 2, 1], [1, 3, 0, 4])
        >>> dnmf.factorize(V, rank=1, column_names=["red", "green", "blue", "gold"]).components(2)
        [Component(name='NMF_1', share=1.0, top=[('gold', 0.5), ('green', 0.375)])]
        """
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise SettingsError(f"n={n!r} is not allowed; give a whole number of at least 1.")
        axis = feature_axis(self, axis)
        names = self.names.rows if axis == "rows" else self.names.columns
        return describe_components(self.parts(axis), self.parts(other(axis)), names, self.short.shape[1], n)

    @own_errors
    def top(self, n: int = 10, axis: Axis | None = None) -> list[list[tuple[str | int, float]]]:
        """Return the names and weights of the strongest features of each component; see `components`.

        A weight is the share of the feature in the sum of the component.

        Examples
        --------
        >>> import dnmf, numpy as np
        >>> dnmf.factorize(np.outer([1, 2, 1], [1, 3, 0, 4]), rank=1).top(2)
        [[(3, 0.5), (1, 0.375)]]
        """
        return [component.top for component in self.components(n, axis)]

    def plot_history(self) -> Any:
        """Plot the relative error, or the loss, and the optimality by pass; needs `pip install 'dnmf[plot]'`."""
        return plot_history(self.history, self.settings.tol)

    def plot_components(
        self, axis: Axis | None = None, *, shape: tuple[int, ...] | None = None, n: int = 8, most: int = 12
    ) -> Any:
        """Plot the components as images, as bars of their strongest features, or as curves.

        The factor is read once, part by part; of a long axis, the maxima of short runs are drawn.

        Parameters
        ----------
        axis
            The axis of the features, as for `components`; with a shape, the axis of its size.
        shape
            Rows and columns of an image, and 3 for colour channels.
        n
            Number of features of each component, if they have names.
        most
            Number of components to draw: those with the largest shares.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        SettingsError
            If no axis of V has the size of the shape.

        Examples
        --------
        >>> import dnmf, numpy as np
        >>> result = dnmf.factorize(np.outer([1, 2, 1, 0], [1, 3, 0, 4]), rank=1)
        >>> len(result.plot_components(shape=(2, 2)).axes)
        1
        """
        return plot_components(view_components(self, axis, shape, n, most))

    def _repr_html_(self) -> str:
        return card("Non-negative matrix factorization", facts(self))

    def __repr__(self) -> str:
        error = "" if self.relative_error is None else f", relative error {self.relative_error:.6g}"
        shape = f"W {self.W.shape}, H {self.H.shape}"
        return f"<dnmf.Result: {shape}, {self.passes} passes, loss {self.loss:.6g}{error}. {self.verdict}>"

    def _dask(self) -> Any:
        return as_dask(self.long, self.bounds, self.short.shape[1], self.short.dtype, self.rows_streamed)


def whole(result: Result, axis: Axis) -> Float:
    """Return the factor along an axis, (m, r) or (n, r), as one new array."""
    size = result.shape[0 if axis == "rows" else 1]
    factor = np.empty((size, result.settings.rank), result.short.dtype)
    for places, part in result.parts(axis):
        factor[places] = part
    return factor


def as_dask(long: Factor, bounds: Sequence[int], rank: int, dtype: np.dtype[Any], transposed: bool) -> Any:
    """Return a long factor as a Dask array that all schedulers of Dask can compute.

    Blocks in memory become part of its graph; blocks on a disk are read when they are computed.
    """
    now = not (long.shared or isinstance(long, DiskFactor))
    return factor_array(long.read, now, bounds, rank, dtype, transposed)
