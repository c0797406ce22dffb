"""W of new rows of X with H held fixed, row by row: a lazy W and its tasks."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import scipy.sparse
from dask.delayed import delayed

from dnmf.engine import single_threaded_products
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import BadEntry, Block, panels, work_dtype
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.floats import own_errors
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.registry import make_rule
from dnmf.kernels.rule import Model
from dnmf.settings import Missing, Settings
from dnmf.sources import Source
from dnmf.sources.bad_entries import entry_error, hint_at_missing
from dnmf.sources.blocks import read_block
from dnmf.sources.dask_array import beside, declared, factor_array
from dnmf.sources.memory import as_columns
from dnmf.sources.preparing import open_along


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Solve for rows of W.

    Attributes
    ----------
    components
        H (r, n_features).
    settings
        Settings from `for_rows`.
    """

    components: Float
    settings: Settings

    @property
    def by_products(self) -> bool:
        """Whether XHᵀ determines W."""
        return isinstance(make_rule(self.settings, transposed=True), Quadratic)

    @own_errors
    @single_threaded_products()
    def of(self, V: Block) -> Float:
        """Return W (w, r) for rows of X, given as the columns of V (n_features, w)."""
        rule = make_rule(self.settings, transposed=True)
        scratch, dtype = Scratch(), work_dtype(V.dtype)
        _check(V, rule.entries.square_sum, dtype, scratch)
        return rule.transform(V, Model.of(np.ascontiguousarray(self.components.T, dtype)), scratch).T

    def of_block(self, source: Source, block: int) -> Float:
        """Return Wᵀ (r, w) for a block of a source that is streamed by rows."""
        return self.of(read_block(source, block, Scratch())).T


def lazy_rows(matrix: Any, rows: Rows) -> Any:
    """Return W (n_samples, r) of a matrix as a lazy Dask array with the row chunks of X.

    The chunks of a row are joined, unless their products with H are sufficient.
    """
    rank = len(rows.components)
    if not isinstance(matrix, da.Array):
        source = open_along(matrix, "rows")
        layout = source.layout
        return factor_array(partial(rows.of_block, source), False, layout.bounds, rank, layout.work_dtype, True)
    dtype = work_dtype(matrix.dtype)
    common: dict[str, Any] = {"dtype": dtype, "meta": np.empty((0, 0), dtype), "concatenate": False}
    common["rows"] = delayed(rows, pure=False)
    heights, widths = matrix.chunks
    tall, wide = matrix.numblocks
    places = da.from_array(np.column_stack([np.arange(tall), heights]).ravel(), chunks=2)
    cut = {"align_arrays": False, **common}
    if wide == 1 or not rows.by_products:
        new = {"k": rank}
        return da.blockwise(solve_rows, "ik", matrix, "ij", places, "i", new_axes=new, widths=list(widths), **cut)
    across = np.stack([np.arange(wide), np.cumsum([0, *widths])[:-1], widths])
    panels = da.from_array(across, chunks=(3, 1)), "uj"
    narrow = {"j": lambda width: rank}
    parts = da.blockwise(products, "ij", matrix, "ij", *panels, places, "i", adjust_chunks=narrow, **cut)
    return da.blockwise(solve_products, "ik", parts, "ij", new_axes={"k": rank}, **common)


@own_errors
def solve_rows(panels_of_rows: Sequence[Any], place: Any, rows: Rows, widths: Sequence[int]) -> Float:
    """Return W (w, r) for rows of X, given as panels of columns and their place (number of the chunk, height)."""
    return rows.of(_columns(panels_of_rows, place, range(len(widths)), widths, rows.settings.missing))


@own_errors
@single_threaded_products()
def products(panel: Any, across: Any, place: Any, rows: Rows) -> Float:
    """Return XHᵀ (w, r) for a panel of columns of X; `across` is its number, its first column of X and its width."""
    number, first, width = np.asarray(across).ravel().tolist()
    V = _columns([panel], place, [number], [width], rows.settings.missing)
    rule = make_rule(rows.settings, transposed=True)
    scratch, dtype = Scratch(), work_dtype(V.dtype)
    _check(V, rule.entries.square_sum, dtype, scratch)
    W = np.ascontiguousarray(rows.components[:, first : first + V.shape[0]].T, dtype)
    C = np.empty((W.shape[1], V.shape[1]), dtype)
    for columns, part in panels(V, dtype, scratch):
        C[:, columns] = part.cross(W, scratch)
    return C.T


@own_errors
@single_threaded_products()
def solve_products(parts: Sequence[Float], rows: Rows) -> Float:
    """Return W (w, r) for rows of X, given the products of all their panels."""
    rule = make_rule(rows.settings, transposed=True)
    assert isinstance(rule, Quadratic)
    dtype = parts[0].dtype
    C = np.ascontiguousarray(np.sum(parts, axis=0).T, dtype)
    return rule.best(C, Model.of(np.ascontiguousarray(rows.components.T, dtype)).gram).T


def _columns(
    parts: Sequence[Any], place: Any, numbers: Sequence[int], widths: Sequence[int], missing: Missing
) -> Block:
    """Check the panels of rows, join them, and transpose the result."""
    row, height = np.asarray(place).ravel().tolist()
    found = [
        declared(part, (height, width), f"chunk ({row:.0f}, {number}) of X", missing, "X")
        for part, number, width in zip(parts, numbers, widths, strict=True)
    ]
    whole = beside(found, axis=1)
    return as_columns(whole.T, "X") if scipy.sparse.issparse(whole) else whole.T


def _check(V: Block, square_sum: Any, dtype: np.dtype[Any], scratch: Scratch) -> None:
    try:
        square_sum(V, dtype, scratch)
    except BadEntry as error:
        place = f"An entry of X, in feature {error.row} of the row {error.column} of one of its chunks,"
        hint = hint_at_missing(scipy.sparse.issparse(V), by="NMF")
        raise entry_error(place, "X", error.value, dtype, hint) from None
