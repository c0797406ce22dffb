"""Newton's method for the Kullback–Leibler divergence on dense columns of V, side by side.

The steps are those of `joint_steps`, for a tile of columns at once. Zeros of V take part, which costs less than to list
the other entries as long as those are many. In a pass, a column whose step is refused is left to `newton_columns`; up
to the rank of joint steps, dense and sparse data so take the same steps. Where the minimum is wanted, a refused step is
drawn halfway to that of the multiplicative update, which never raises the objective, and again, and is in the end
replaced by it. The arithmetic of a column does not depend on its neighbours: one that is done stays while the others go
on.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.dense_panel import DensePanel
from dnmf.kernels.blocks.products import add_outer_product, power_of_two
from dnmf.kernels.blocks.tiles import LANES, Float, kernel, load_tile
from dnmf.kernels.divergence.beta import lone_minimum
from dnmf.kernels.divergence.dense_steps import set_slopes, settle, take_steps
from dnmf.kernels.divergence.dense_tiles import load_columns, scale_tile, tile_entries, tile_work
from dnmf.kernels.divergence.elementwise import set_bends
from dnmf.kernels.divergence.exact_columns import minimise_columns
from dnmf.kernels.divergence.joint_steps import JOINT_RANK
from dnmf.kernels.divergence.newton_columns import JOINT_ENOUGH
from dnmf.kernels.penalty import Penalty

EXACT_STEPS = 30  # of a column to its minimum, at most; the others are listed
# The largest ranks of steps side by side, with the shares of the entries of a column that are not 0 from which on it is
# dense; and the rows of the longest columns: the products of the rows of W take a few MB. Beyond the rank of joint
# steps, other columns take steps of single entries, whose work grows with the rank alone.
LEAST_SHARES, MOST_ROWS = ((JOINT_RANK, 0.25), (20, 0.7)), 2**13


def split_panel(columns: slice, panel: Any, rank: int, by_totals: bool) -> Iterator[tuple[Any, Any, bool]]:
    """Yield the parts of a panel with the numbers of their columns, and whether to take their steps side by side.

    That depends on a column alone, so that its result does not depend on its neighbours. `by_totals` states whether
    Kullback–Leibler is the loss and every entry counts, which steps side by side need.
    """
    dense: NDArray[np.bool] = np.zeros(panel.shape[1], np.bool_)
    least = next((share for most, share in LEAST_SHARES if rank <= most), np.inf)
    if by_totals and isinstance(panel, DensePanel) and least < np.inf and len(panel.values) <= MOST_ROWS:
        _mark_dense(*_in_order(panel.values), least * len(panel.values), dense)
    if dense.all() or not dense.any():
        yield columns, panel, bool(dense.any())
        return
    for side_by_side, own in ((True, dense), (False, ~dense)):
        part = DensePanel.unweighted(panel.values[:, own])
        yield columns.start + np.flatnonzero(own), part, side_by_side


def add_dense_curvature(values: Float, ratios: Float, H: Float, grams: Float, scratch: Scratch) -> None:
    """Add the Hessians of the rows of W, Σ v/y² h hᵀ, to their lower triangles (m, r(r+1)/2), given the ratios v/y."""
    by_columns = values.strides[0] < values.strides[1]
    squares = scratch.array("squares", values.shape[::-1] if by_columns else values.shape, ratios.dtype)
    bends = squares.T if by_columns else squares
    size = power_of_two(float(H.max(initial=0)))  # its squares may leave the range of floats
    set_bends(values.ravel("K"), ratios.ravel("K"), ratios.dtype.type(size), bends.ravel("K"))
    scaled = H * H.dtype.type(1 / size)
    pairs = scratch.array("pairs", (grams.shape[1], H.shape[1]), H.dtype)
    place = 0
    for k in range(len(H)):
        np.multiply(scaled[k], scaled[: k + 1], out=pairs[place : place + k + 1])
        place += k + 1
    add_outer_product(bends, pairs, grams, scratch)


def descend_dense(
    values: Float, W: Float, totals: Float, H: Float, penalty: Penalty, options: tuple[int, int, bool, bool]
) -> tuple[float, NDArray[np.bool]]:
    """Update H (r, p) in place by Newton's method for V (m, p) and W (m, r), and return what the last steps promised.

    Return as well the columns of which a step was refused, which stay as they were.

    `options` are the number of steps, that of fixed rows, whether what the first steps promised is returned instead,
    and whether the columns have no scale yet. `totals` are the sums of the columns of W.
    """
    sums, refused = np.zeros(1), np.zeros(H.shape[1], np.bool_)
    _descend(*_in_order(values), np.ascontiguousarray(W), totals, H, penalty.arrays(H.shape), options, sums, refused)
    return float(sums[0]), refused


def minimise_dense(panel: DensePanel, W: Float, penalty: Penalty, scratch: Scratch) -> Float:
    """Return the H (r, p), in float64, that minimises the objective for the columns of a panel (m, p) and W (m, r)."""
    H, found = np.empty((W.shape[1], panel.shape[1])), np.zeros(panel.shape[1], np.bool_)
    wide = W.astype(np.float64, order="C")
    _minimise(*_in_order(panel.values), wide, wide.sum(axis=0), penalty.arrays(H.shape), H, found)
    for j in np.flatnonzero(~found).tolist():
        own = slice(j, j + 1)
        rest = DensePanel.unweighted(panel.values[:, own]).listed(scratch)
        H[:, own] = minimise_columns(rest, W, 1.0, penalty.columns(own))
    return H


def _in_order(values: Float) -> tuple[Float, bool]:
    """Return V (m, p) or its transpose in C order, and which it is, so that functions are compiled for one order."""
    by_columns = values.strides[0] < values.strides[1]
    return np.ascontiguousarray(values.T if by_columns else values), by_columns


@kernel
def _mark_dense(values, by_columns, least, dense):  # type: ignore[no-untyped-def]
    """Mark the columns with at least so many entries above 0."""
    counts = np.zeros(len(dense), np.int32)
    for i in range(values.shape[0]):
        if by_columns:
            for j in range(values.shape[1]):
                counts[i] += values[i, j] > 0
        else:
            for j in range(values.shape[1]):
                counts[j] += values[i, j] > 0
    for j in range(len(dense)):
        dense[j] = counts[j] >= least


@kernel
def _descend(values, by_columns, W, totals, H, penalties, options, sums, refused):  # type: ignore[no-untyped-def]
    sweeps, fixed, measured, fresh = options
    entries, work = tile_entries(W, H), tile_work(W.shape[1], H)
    h, push, bend, going, gained = work[0], work[1], work[2], work[3], work[4]
    first = np.zeros(LANES)
    for start in range(0, H.shape[1], entries[2].shape[1]):
        width = load_columns(values, by_columns, H.shape[1], start, entries[2])
        load_tile(H, start, h)
        load_tile(penalties[0], start, push)
        load_tile(penalties[1], start, bend)
        if fresh:
            scale_tile(entries, h, totals, fixed)
        first[:] = 0.0
        gained[:] = 0.0
        for j in range(LANES):
            going[j] = j < width
        for sweep in range(sweeps):
            set_slopes(entries, totals, fixed, work)
            for j in range(LANES):
                first[j] = gained[j] if sweep == 0 else first[j]
                going[j] = going[j] and (sweep == 0 or gained[j] > JOINT_ENOUGH * first[j])
            if not going.any():
                break
            take_steps(entries, totals, fixed, work, False)
            for j in range(width):
                refused[start + j] = refused[start + j] or work[12][3][j]
                going[j] = going[j] and not refused[start + j]
        for j in range(width):
            if refused[start + j]:
                continue
            sums[0] += first[j] if measured else gained[j]
            for k in range(H.shape[0]):
                H[k, start + j] = h[k, j]


@kernel
def _minimise(values, by_columns, W, totals, penalties, H, found):  # type: ignore[no-untyped-def]
    entries, work = tile_entries(W, H), tile_work(W.shape[1], H)
    h, push, bend, going = work[0], work[1], work[2], work[3]
    before = np.zeros(LANES)
    for start in range(0, H.shape[1], entries[2].shape[1]):
        width = load_columns(values, by_columns, H.shape[1], start, entries[2])
        load_tile(penalties[0], start, push)
        load_tile(penalties[1], start, bend)
        for k in range(len(h)):
            h[k] = 1.0 if totals[k] > 0.0 else 0.0
        scale_tile(entries, h, totals, 0)
        for k in range(len(h)):
            for j in range(LANES):
                h[k, j] = h[k, j] if totals[k] > 0.0 else lone_minimum(totals[k] + push[k, j], bend[k, j])
        before[:] = 0.0
        for j in range(LANES):
            going[j] = j < width
        for _ in range(EXACT_STEPS):
            set_slopes(entries, totals, 0, work)
            take_steps(entries, totals, 0, work, True)
            settle(totals, before, found[start : start + width], work)
            if not going.any():
                break
        for j in range(width):
            for k in range(len(h)):
                H[k, start + j] = h[k, j]
