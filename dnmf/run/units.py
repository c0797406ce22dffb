"""Factors in the units of V: where V was scaled by the weights of joined matrices, they are divided by the scale."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dnmf.engine.factor import Factor, MappedFactor
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.preparation.steps import Step
from dnmf.solvers.initialise import Fixed
from dnmf.sources.base import Axis
from dnmf.sources.emphasis import scale_along


@dataclasses.dataclass(frozen=True, slots=True)
class ScaledColumns:
    """Multiplies the columns of the blocks of H, for a `MappedFactor`."""

    scale: NDArray[np.float64]
    bounds: Sequence[int]

    def __call__(self, block: int, H: Float) -> Float:
        """Return a scaled block."""
        H *= self.scale[self.bounds[block] : self.bounds[block + 1]].astype(H.dtype)
        return H


def in_units(
    short: Float,
    long: Factor,
    steps: tuple[Step, ...],
    rows_streamed: bool,
    bounds: Sequence[int],
    *,
    back: bool = False,
) -> tuple[Float, Factor]:
    """Return the factors of the scaled V in the units of V; with `back`, the other way round."""
    axes: tuple[Axis, Axis] = ("columns", "rows") if rows_streamed else ("rows", "columns")
    held, streamed = (scale_along(steps, axis) for axis in axes)
    if held is not None:
        short = short * (held if back else 1 / held).astype(short.dtype)[:, None]
    if streamed is not None:
        long = MappedFactor(long, ScaledColumns(streamed if back else 1 / streamed, bounds))
    return short, long


def scaled(factor: Float, steps: tuple[Step, ...], axis: Axis) -> Float:
    """Return a factor along an axis (m, r), given in the units of V, in those of the scaled V."""
    scale = scale_along(steps, axis)
    if scale is None:
        return factor
    found: Float = factor * scale.astype(np.result_type(factor.dtype, np.float32))[:, None]
    return found


def in_scale(
    given: tuple[Float, Float] | None, fixed: Fixed, steps: tuple[Step, ...]
) -> tuple[tuple[Float, Float] | None, Fixed]:
    """Return given factors (W, H), and known columns of W and rows of H, of V as those of the scaled V."""
    if given is not None:
        given = scaled(given[0], steps, "rows"), scaled(given[1].T, steps, "columns").T
    W = None if fixed.W is None else scaled(fixed.W, steps, "rows")
    H = None if fixed.H is None else scaled(fixed.H.T, steps, "columns").T
    return given, Fixed(W, H)
