"""The quadratic loss of a block."""

import functools

import numpy as np
import scipy.sparse

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block, panels
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.rule import Model


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


@functools.cache
def precision(dtype: "np.dtype[np.floating]") -> float:
    """Return the share of ‖V‖² below which the loss is lost in the rounding of the expanded square."""
    return 3 * float(np.sqrt(np.finfo(dtype).eps))
