"""Extrapolation: the next pass looks at a point beyond W, and a step that does not pay is taken back.

After Ang & Gillis 2019, with W alone extrapolated: H follows from W in the pass that reads V, so that no second H is
kept.
"""

import dataclasses
from typing import Self

import numpy as np

from dnmf.kernels.blocks.tiles import Float

# The step at the start, by how much it and its bound grow with every step that pays, and shrink with one that does not.
FIRST, GROWTH, BOUND_GROWTH, CUT = 0.5, 1.05, 1.01, 1.5


# The damping of a second-order step: how much less after one that paid, how much more after one that did not.
EASED, TIGHTENED, LEAST_DAMPING = 0.5, 4.0, 1e-3


@dataclasses.dataclass(frozen=True, slots=True)
class Momentum:
    """How far to extrapolate.

    Attributes
    ----------
    step
        The share of the last change that is added to the new point.
    bound
        What the step may grow to.
    """

    step: float = FIRST
    bound: float = 1.0

    def grown(self) -> Self:
        """Return the momentum after a step that paid."""
        return type(self)(min(self.bound, GROWTH * self.step), min(1.0, BOUND_GROWTH * self.bound))

    def cut(self) -> Self:
        """Return the momentum after one that did not."""
        return type(self)(self.step / CUT, self.step)


def extrapolate(new: Float, old: Float, step: float, least: float, scaled: bool) -> Float:
    """Return the point beyond `new` (m, r) on the line from `old`, in the dtype of `new`.

    Parameters
    ----------
    new, old
        W after the last two steps.
    step
        The share of the change that is added.
    least
        The share of `new` below which no entry falls: 0 where an entry can leave 0 again, more where it cannot.
    scaled
        Whether the columns of `old` are brought to the lengths of `new`'s first: the scale of a column means nothing
        where H can make up for it, and something where a penalty sees it.
    """
    wide, before = new.astype(np.float64), old.astype(np.float64)
    if scaled:
        lengths, goal = np.linalg.norm(before, axis=0), np.linalg.norm(wide, axis=0)
        before *= np.divide(goal, lengths, out=np.ones_like(goal), where=lengths > 0)
    beyond = np.maximum(wide + step * (wide - before), least * wide)
    return np.ascontiguousarray(beyond, dtype=new.dtype)
