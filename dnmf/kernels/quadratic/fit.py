"""The quadratic loss of a block, and its change by a step of W."""

import numpy as np
import scipy.sparse

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block, panels
from dnmf.kernels.blocks.tiles import Float, MapFunction, slices
from dnmf.kernels.rule import PART_ROWS, Model


def block_fit(V: Block, H: Float, model: Model, norm: float, crossed: float, gram: Float, scratch: Scratch) -> float:
    """Return ½‖V − WH‖² of a block: ½‖V‖² − ⟨C, H⟩ + ½⟨G, HHᵀ⟩ where that is precise, else from the residual."""
    fit = 0.5 * norm - crossed + 0.5 * float(np.vdot(model.gram, gram))
    if fit > 0.5 * norm * precision(H.dtype):
        return fit
    residual = 0.0
    for columns, panel in panels(V, H.dtype, scratch):
        residual += panel.square_residual(model.W, np.ascontiguousarray(H[:, columns]), scratch)
    if scipy.sparse.issparse(V):
        residual += float(np.vdot(model.gram, gram))
    return 0.5 * max(residual, 0.0)


def precision(dtype: "np.dtype[np.floating]") -> float:
    """Return the share of ‖V‖² below which the loss is lost in the rounding of the expanded square."""
    return 3 * float(np.sqrt(np.finfo(dtype).eps))


def change(old: Float, new: Float, cross: Float, gram: Float, each: MapFunction = map) -> float:
    """Return the change of ½ tr(WBWᵀ) − tr(AWᵀ) from an old W (m, r) to a new one, given A and B.

    The function is quadratic, so its change is that of W times the slope half-way, without cancellation.
    """

    def change_of(rows: slice) -> float:
        moved, middle = new[rows].astype(np.float64), old[rows].astype(np.float64)
        moved -= middle
        middle += 0.5 * moved
        slope = middle @ gram
        slope -= cross[rows]
        return float(np.vdot(moved, slope))

    return sum(each(change_of, slices(len(old), PART_ROWS)))
