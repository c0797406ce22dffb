"""Both factors of a matrix with the names of its rows and columns, and quantities derived from them."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any, Self, get_args

import numpy as np

from dnmf.checkpoint.arrays import gather
from dnmf.checks import integer
from dnmf.choices import Axis, By
from dnmf.engine.factor import ArrayFactor, Factor
from dnmf.errors import needed, unknown
from dnmf.inspection.components import Component, Part, component_names, component_sums, describe_components
from dnmf.inspection.figures import plot_components
from dnmf.inspection.summary import feature_axis, other, view_components
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.floats import own_errors
from dnmf.run.arrays import as_dask, as_numpy, rescaled, whole
from dnmf.run.shapes import Shapes
from dnmf.sources.dask_array import lazy_product
from dnmf.sources.names import Names

# Numbers in a part of a factor that is read in parts, and in a chunk of WH.
PART_NUMBERS = 2**20
CHUNK_NUMBERS = 2**23


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)  # without slots: the long factor in memory is kept
class Factors(Shapes):
    """The factors of V ≈ WH.

    If V is in memory, both are NumPy arrays. Otherwise that along the axis that V is cut along is a lazy Dask array.

    Attributes
    ----------
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
    in_memory
        Whether V is in memory.
    """

    short: Float
    long: Factor
    bounds: Sequence[int]
    rows_streamed: bool
    names: Names
    in_memory: bool = False

    @property
    def W(self) -> Any:
        """The left factor (m, r)."""
        return self._long() if self.rows_streamed else self.short

    @property
    def H(self) -> Any:
        """The right factor (r, n)."""
        return np.ascontiguousarray(self.short.T) if self.rows_streamed else self._long()

    def __iter__(self) -> Iterator[Any]:
        """Yield W and H, as in `W, H = result`."""
        yield self.W
        yield self.H

    @property
    def rank(self) -> int:
        """Number of components r."""
        return int(self.short.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns of V."""
        short, long = len(self.short), self.bounds[-1]
        return (long, short) if self.rows_streamed else (short, long)

    def _long(self) -> Any:
        """Return the long factor as the user's array: in memory, or lazy."""
        return self._held if self.in_memory else self._lazy()

    @functools.cached_property
    def _held(self) -> Float:
        """The long factor as one array, which replaces its blocks."""
        array = as_numpy(self.long, self.bounds, self.rank, self.short.dtype, self.rows_streamed)
        object.__setattr__(self, "long", ArrayFactor(array.T if self.rows_streamed else array, self.bounds))
        return array

    def _lazy(self) -> Any:
        return as_dask(self.long, self.bounds, self.rank, self.short.dtype, self.rows_streamed)

    def parts(self, axis: Axis, most: int | None = None) -> Iterator[Part]:
        """Yield the factor along an axis of V in parts: W for `"rows"`, Hᵀ for `"columns"`.

        A part has at most `most` numbers, or a few megabytes.
        """
        width = max(1, (most or PART_NUMBERS) // self.rank)
        start = 0
        for part in self._cut(axis, width):
            yield Part(slice(start, start + len(part)), part)
            start += len(part)

    def _cut(self, axis: Axis, width: int) -> Iterator[Float]:
        if (axis == "rows") == self.rows_streamed:
            return (part.T for part in gather(self.long, self.bounds, width))
        return (self.short[start : start + width] for start in range(0, len(self.short), width))

    def _along(self, axis: Axis) -> Any:
        """Return the factor along an axis with a row for each row or column of V: W, or Hᵀ."""
        return self.W if axis == "rows" else self.H.T

    @own_errors
    def components(self, n: int = 10, axis: Axis | None = None, *, by: By = "weight") -> list[Component]:
        """Return the share of WH of each component, and its strongest features.

        Both are independent of the scale of W and H. The factors are read part by part.

        Parameters
        ----------
        n
            Number of features of each component; features with weight 0 are left out.
        axis
            The axis of the features: the `"columns"` or `"rows"` of V. None is the columns, unless only the rows have
            names.
        by
            `"weight"` takes the features with the largest part p of the component. `"specificity"` takes those with the
            largest p log(p / p̄), where p̄ is the mean of p over all components: the largest terms of the divergence
            of the component from the mean component.

        Raises
        ------
        SettingsError
            If `n` is not a positive whole number, or `axis` or `by` is not one of these.

        Examples
        --------
        >>> import dnmf, numpy as np
        >>> V = np.outer([1, 2, 1], [1, 3, 0, 4])
        >>> colours = ["red", "green", "blue", "gold"]
        >>> dnmf.factorize(V, rank=1, solver="hals", column_names=colours).components(2)
        [Component(name='NMF_1', share=1.0, top=[('gold', 0.5), ('green', 0.375)])]
        """
        n = integer("n", n, 1)
        if by not in get_args(By):
            raise unknown("by", by, get_args(By))
        axis = feature_axis(self, axis)
        names = self.names.rows if axis == "rows" else self.names.columns
        return describe_components(self.parts, axis, other(axis), names, self.rank, n, by)

    @own_errors
    def top(self, n: int = 10, axis: Axis | None = None, *, by: By = "weight") -> list[list[tuple[str | int, float]]]:
        """Return the names of the strongest features of each component and their shares; see `components`.

        The share of a feature is its part of the sum of the component.

        Examples
        --------
        >>> import dnmf, numpy as np
        >>> dnmf.factorize(np.outer([1, 2, 1], [1, 3, 0, 4]), rank=1, solver="hals").top(2)
        [[(3, 0.5), (1, 0.375)]]
        """
        return [component.top for component in self.components(n, axis, by=by)]

    @own_errors
    def usage(self, axis: Axis = "rows") -> Any:
        """Return the share of each component in each sample, with rows that sum to 1.

        Entry (i, k) is W[i, k] · Σⱼ H[k, j] divided by the sum of row i of WH, or 0 for a row of zeros. It does not
        depend on the scale of W and H.

        Parameters
        ----------
        axis
            The axis of the samples: the `"rows"` or the `"columns"` of V.

        Returns
        -------
        numpy.ndarray or dask.array.Array
            Of shape (m, r) or (n, r), lazy where the factor is.

        Examples
        --------
        >>> import dnmf, numpy as np
        >>> start = np.array([[1.0, 1], [3, 0]]), np.array([[1.0, 1, 0], [0, 0, 2]])
        >>> dnmf.factorize(start[0] @ start[1], rank=2, init=start, max_passes=1).usage().round(3).tolist()
        [[0.5, 0.5], [1.0, 0.0]]
        """
        axis = feature_axis(self, axis)
        carried = self._along(axis) * component_sums(self.parts(other(axis)), self.rank).astype(self.short.dtype)
        sums = carried.sum(axis=1, keepdims=True)
        return carried / np.where(sums > 0, sums, 1)

    @own_errors
    def scaled(self, axis: Axis = "columns") -> Self:
        """Return the same product WH with components that sum to 1 along an axis, the largest share first.

        Parameters
        ----------
        axis
            `"columns"`: every row of H sums to 1, and W has the scale. `"rows"`: every column of W sums to 1, and H has
            the scale. A component of zeros stays as it is.

        Examples
        --------
        >>> import dnmf, numpy as np
        >>> W, H = dnmf.factorize(np.outer([1, 2, 1], [1, 3, 0, 4]), rank=1).scaled("columns")
        >>> W.ravel().round(3).tolist(), H.ravel().round(3).tolist()
        ([8.0, 16.0, 8.0], [0.125, 0.375, 0.0, 0.5])
        """
        axis = feature_axis(self, axis)
        own, others = (component_sums(self.parts(one), self.rank) for one in (axis, other(axis)))
        order = np.argsort(-(own * others), kind="stable")
        short, long = rescaled(self.short, self.long, own, order, (axis == "rows") == self.rows_streamed)
        return dataclasses.replace(self, short=short, long=long)

    def reconstruct(self) -> Any:
        """Return WH (m, n) as a lazy Dask array, in chunks of at most 8 million numbers.

        Of a V that was prepared by `dnmf.preprocessing`, this is an approximation after the preparation.

        Examples
        --------
        >>> import dnmf, numpy as np
        >>> V = np.outer([1, 2, 1], [1.0, 3, 0, 4])
        >>> dnmf.factorize(V, rank=1).reconstruct()[1].compute().round(3).tolist()
        [2.0, 6.0, 0.0, 8.0]
        """
        return lazy_product(self.short, self._lazy(), self.rows_streamed, CHUNK_NUMBERS)

    def to_frame(self, axis: Axis = "rows") -> Any:
        """Return the factor along an axis of V as a pandas DataFrame in memory, with a column for each component.

        Parameters
        ----------
        axis
            `"rows"` for W (m, r), `"columns"` for Hᵀ (n, r). The index has the names of V along this axis, or
            positions.

        Examples
        --------
        >>> import dnmf, numpy as np
        >>> result = dnmf.factorize(np.outer([1, 2], [2, 1, 1]), rank=1, row_names=["a", "b"])
        >>> frame = result.scaled("rows").to_frame()
        >>> frame.index.tolist(), frame.columns.tolist()
        (['a', 'b'], ['NMF_1'])
        """
        pandas, axis = needed("pandas", "to_frame"), feature_axis(self, axis)
        names = getattr(self.names, axis)
        return pandas.DataFrame(whole(self, axis), names, component_names(self.rank), copy=False)

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
            Rows and columns of an image, and 3 for colours. None is the last two axes of an array, if several make V's.
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
