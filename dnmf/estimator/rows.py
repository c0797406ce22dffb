"""W of new rows of X with H held, row by row: what the tasks of a lazy W do."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse

from dnmf.errors import DataError
from dnmf.kernels.model import Model
from dnmf.kernels.panels import BadEntry, Block, panels, work_dtype
from dnmf.kernels.products import cross_product
from dnmf.kernels.quadratic import Quadratic
from dnmf.kernels.rules import make_rule
from dnmf.kernels.scratch import Scratch
from dnmf.kernels.tiles import Float
from dnmf.settings import Settings
from dnmf.sources import Source
from dnmf.sources.memory import as_columns


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Solves for the rows of W.

    Attributes
    ----------
    components
        H (r, n_features).
    settings
        Those of `for_rows`.
    """

    components: Float
    settings: Settings

    @property
    def by_products(self) -> bool:
        """Whether XHᵀ is all that is needed of X."""
        return isinstance(make_rule(self.settings, transposed=True), Quadratic)

    def of(self, V: Block) -> Float:
        """Return W (w, r) of some rows, given as the columns of V (n_features, w)."""
        rule = make_rule(self.settings, transposed=True)
        scratch, dtype = Scratch(), work_dtype(V.dtype)
        _check(V, rule.entries.square_sum, dtype, scratch)
        return rule.transform(V, Model.of(np.ascontiguousarray(self.components.T, dtype)), scratch).T

    def of_block(self, source: Source, block: int) -> Float:
        """Return Wᵀ (r, w) of a block of a source that is streamed by rows."""
        return self.of(source.read(block, Scratch())).T


def solve_rows(panels_of_rows: Sequence[Any], rows: Rows) -> Float:
    """Return W (w, r) of some rows of X, given as their panels of columns."""
    return rows.of(_columns(panels_of_rows))


def products(panel: Any, start: Any, rows: Rows) -> Float:
    """Return XHᵀ (w, r) of a panel of columns of X that begins at a column of X."""
    V, first = _columns([panel]), int(np.asarray(start).ravel()[0])
    rule = make_rule(rows.settings, transposed=True)
    scratch, dtype = Scratch(), work_dtype(V.dtype)
    _check(V, rule.entries.square_sum, dtype, scratch)
    W = np.ascontiguousarray(rows.components[:, first : first + V.shape[0]].T, dtype)
    C = np.empty((W.shape[1], V.shape[1]), dtype)
    for columns, part in panels(V, dtype, scratch):
        C[:, columns] = cross_product(part, W, scratch)
    return C.T


def solve_products(parts: Sequence[Float], rows: Rows) -> Float:
    """Return W (w, r) of some rows, given the products of all their panels."""
    rule = make_rule(rows.settings, transposed=True)
    assert isinstance(rule, Quadratic)
    dtype = parts[0].dtype
    C = np.ascontiguousarray(np.sum(parts, axis=0).T, dtype)
    return rule.best(C, Model.of(np.ascontiguousarray(rows.components.T, dtype)).gram).T


def _columns(parts: Sequence[Any]) -> Block:
    """Lay panels of some rows together, and turn them so that the rows are columns."""
    if scipy.sparse.issparse(parts[0]):
        return as_columns(scipy.sparse.hstack(parts).T)
    arrays = [np.asarray(part) for part in parts]
    return (arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)).T


def _check(V: Block, square_sum: Any, dtype: np.dtype[Any], scratch: Scratch) -> None:
    try:
        square_sum(V, dtype, scratch)
    except BadEntry as error:
        raise DataError(
            f"X holds {error.value:g}, in feature {error.row} of the row {error.column} of one of its chunks; X must "
            "hold finite numbers of at least 0. Clip, fill or drop such entries first."
        ) from None
