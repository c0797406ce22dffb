"""The entries of V that count, in every form of a block: all, those that are not missing, or weighted ones.

A block is a dense array, a sparse one, or `Weighted` with the weights of its entries. `Entries.panels` cuts it:

```
all entries            DensePanel without weights     SparsePanel whose other entries are zeros that count
missing or weighted    DensePanel with weights        SparsePanel whose other entries are missing
```
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.dense_panel import DensePanel
from dnmf.kernels.blocks.panels import Block, Panel, check_panels, panel_width, panels, part_width
from dnmf.kernels.blocks.sparse_panel import SparsePanel
from dnmf.kernels.blocks.tiles import kernel, slices
from dnmf.kernels.scale import limits
from dnmf.settings import Missing


class Weighted(NamedTuple):
    """A block with the weights of its entries, of the same shape."""

    values: Block
    weights: Block

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the block."""
        shape: tuple[int, int] = self.values.shape
        return shape


def columns_of(V: Block, chosen: NDArray[np.int64]) -> Block:
    """Return copies of some columns of a block, with their weights if it has any."""
    return Weighted(*(part[:, chosen] for part in V)) if isinstance(V, Weighted) else V[:, chosen]


@dataclasses.dataclass(frozen=True, slots=True)
class Entries:
    """Which entries count.

    Attributes
    ----------
    missing
        `"nan"`: NaN is missing. `"zeros"`: entries that a sparse block does not store are missing.
    weighted
        Whether blocks come with weights.
    positive
        Whether the loss needs entries above 0.
    dense
        Whether a sparse block whose zeros count is cut into dense panels.
    beta
        β of the loss, which bounds the entries.
    """

    missing: Missing = "none"
    weighted: bool = False
    positive: bool = False
    dense: bool = False
    beta: float = 2.0

    @property
    def all(self) -> bool:
        """Whether every entry counts, with weight 1."""
        return self.missing == "none" and not self.weighted

    def panels(
        self, V: Block, dtype: np.dtype[Any], scratch: Scratch, *, narrow: bool = False
    ) -> Iterator[tuple[slice, Panel]]:
        """Yield the panels of a block with their columns; a panel is valid until the next one.

        Panels with weights are always narrow.
        """
        values, weights = V if isinstance(V, Weighted) else (V, None)
        if scipy.sparse.issparse(values) and self.missing == "zeros":
            yield from _stored_panels(values, weights, dtype, scratch)
        elif scipy.sparse.issparse(values) and (self.dense or weights is not None):
            width = (part_width if narrow or weights is not None else panel_width)(values.shape[0], dtype)
            for columns in slices(values.shape[1], width):
                stored = values[:, columns].astype(dtype, copy=False)
                part = stored.toarray(out=scratch.array("panel", stored.shape, dtype))
                if weights is None:
                    yield columns, DensePanel.unweighted(part)
                else:
                    yield columns, _weighted(part, weights[:, columns], dtype, scratch)
        elif self.missing == "nan" or weights is not None:
            for columns, panel in panels(values, dtype, scratch, narrow=True):
                yield columns, _weighted(panel.values, None if weights is None else weights[:, columns], dtype, scratch)
        else:
            yield from panels(values, dtype, scratch, narrow=narrow)

    def square_sum(self, V: Block, dtype: np.dtype[Any], scratch: Scratch) -> float:
        """Return Σ m v² of a block in float64, after a check of its entries and weights.

        Raises
        ------
        BadEntry
            With row and column, within the block, of the first entry or weight that is not allowed.
        """
        cut = panels(V, dtype, scratch) if self.all and not self.positive else self.panels(V, dtype, scratch)
        return check_panels(cut, limits(dtype, self.beta)[1], positive=self.positive)

    def totals(self, V: Block, dtype: np.dtype[Any], scratch: Scratch) -> tuple[float, float]:
        """Return Σ m v and Σ m over the entries of a block that count."""
        mass, weight = 0.0, 0.0
        for _, panel in self.panels(V, dtype, scratch):
            if panel.weights.size:
                mass += float(np.sum(panel.values * panel.weights, dtype=np.float64))
                weight += float(np.sum(panel.weights, dtype=np.float64))
            else:
                mass += float(np.sum(panel.values, dtype=np.float64))
                weight += float(np.prod(panel.shape))
        return mass, weight


def _weighted(panel: Any, weights: Any, dtype: np.dtype[Any], scratch: Scratch) -> DensePanel:
    """Return a dense panel with its weights, without gaps in the memory order of the panel, and NaN as missing."""
    by_columns = panel.strides[0] < panel.strides[1]
    source = panel.T if by_columns else panel
    values, mask = (scratch.array(name, source.shape, dtype) for name in ("observed", "weights"))
    if weights is None:
        mask[...] = 1
    else:
        given = weights.toarray() if scipy.sparse.issparse(weights) else np.asarray(weights)
        mask[...] = given.T if by_columns else given
    values[...] = source
    _drop_missing(values, mask)
    return DensePanel(values.T, mask.T) if by_columns else DensePanel(values, mask)


@kernel
def _drop_missing(values, weights):  # type: ignore[no-untyped-def]
    """Set value and weight to 0 where one of them is missing."""
    zero = values.dtype.type(0)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            if np.isnan(values[i, j]) or weights[i, j] == zero:
                values[i, j] = zero
                weights[i, j] = zero


def _stored_panels(
    values: Any, weights: Any, dtype: np.dtype[Any], scratch: Scratch
) -> Iterator[tuple[slice, SparsePanel]]:
    """Yield the stored entries with their weights."""
    for columns, panel in panels(values, dtype, scratch, narrow=True):
        assert isinstance(panel, SparsePanel)
        if weights is None:
            given = np.ones_like(panel.values)
        elif scipy.sparse.issparse(weights):
            part = weights[:, columns]
            if not (np.array_equal(part.indptr, panel.starts) and np.array_equal(part.indices, panel.rows)):
                raise DataError(
                    "weights stores other entries than V; with missing='zeros', pass a sparse matrix of the same "
                    "entries, or a dense one."
                )
            given = part.data.astype(dtype, copy=False)
        else:
            given = np.asarray(weights[panel.rows, columns.start + panel.columns]).astype(dtype, copy=False)
        yield columns, dataclasses.replace(panel, weights=given, zeros=False)
