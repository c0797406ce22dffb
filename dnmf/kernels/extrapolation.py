"""Extrapolation of W: the next pass starts at a point beyond W, and a step that raises the loss is undone.

After Ang & Gillis 2019, except that W alone is extrapolated: H is computed from W in the pass that reads V, so that no
second H is kept.
"""

import dataclasses
from typing import Self

import numpy as np

from dnmf.kernels.blocks.tiles import Float, reordered

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
    out = np.empty_like(new, order="C")
    extrapolate_into(new, old, step, least, scaled, out)
    return out


@reordered
def extrapolate_into(new, old, step, least, scaled, out):  # type: ignore[no-untyped-def]
    """Write the point to `out` (m, r), in float64 up to its last rounding."""
    rows, rank = new.shape
    ratios = np.ones(rank)
    if scaled:
        goal, length = np.zeros(rank), np.zeros(rank)
        for i in range(rows):
            for k in range(rank):
                after, before = np.float64(new[i, k]), np.float64(old[i, k])
                goal[k] += after * after
                length[k] += before * before
        for k in range(rank):
            ratios[k] = np.sqrt(goal[k]) / np.sqrt(length[k]) if length[k] > 0.0 else 1.0
    for i in range(rows):
        for k in range(rank):
            after = np.float64(new[i, k])
            beyond = after + step * (after - np.float64(old[i, k]) * ratios[k])
            floor = least * after
            out[i, k] = beyond if beyond > floor else floor
