"""Extrapolation of W: the next pass starts at a point beyond W, and a step that raises the loss is undone.

After Ang & Gillis 2019, except that W alone is extrapolated: H is computed from W in the pass that reads V, so that no
second H is kept.
"""

import dataclasses
from typing import Self

import numpy as np

from dnmf.kernels.blocks.tiles import Float

# β₀, γ, γ̄ and η of the paper: the first step, the factors by which it and its bound grow after a step that lowers the
# loss, and its divisor after one that does not.
FIRST, GROWTH, BOUND_GROWTH, CUT = 0.5, 1.05, 1.01, 1.5


@dataclasses.dataclass(frozen=True, slots=True)
class Momentum:
    """The length of the extrapolation.

    Attributes
    ----------
    step
        The multiple of the last change that is added to the new point.
    bound
        Upper bound of the step.
    """

    step: float = FIRST
    bound: float = 1.0

    def grown(self) -> Self:
        """Return the momentum after a step that lowered the loss."""
        return type(self)(min(self.bound, GROWTH * self.step), min(1.0, BOUND_GROWTH * self.bound))

    def cut(self) -> Self:
        """Return the momentum after a step that did not."""
        return type(self)(self.step / CUT, self.step)


def extrapolate(new: Float, old: Float, step: float, least: float, scaled: bool) -> Float:
    """Return the point beyond `new` (m, r) on the line from `old`, in the dtype of `new`.

    Parameters
    ----------
    new, old
        W after the last two steps.
    step
        The multiple of the change that is added.
    least
        Lower bound of the entries, relative to `new`; positive for multiplicative rules, which cannot leave 0.
    scaled
        Whether to scale the columns of `old` to the lengths of those of `new` first. Without penalties, H compensates
        for the scale of a column.
    """
    wide, beyond = new.astype(np.float64, copy=False), old.astype(np.float64)
    if scaled:
        lengths, goal = (np.sqrt(np.einsum("ik,ik->k", X, X)) for X in (beyond, wide))
        beyond *= np.divide(goal, lengths, out=np.ones_like(goal), where=lengths > 0)
    np.subtract(wide, beyond, out=beyond)
    beyond *= step
    beyond += wide
    np.maximum(beyond, least * wide if least else 0, out=beyond)
    return np.ascontiguousarray(beyond, dtype=new.dtype)
