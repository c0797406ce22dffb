"""Factors as the arrays of a user: Dask arrays, NumPy arrays, frames."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from dnmf.engine.factor import DiskFactor, Factor
from dnmf.kernels.blocks.tiles import Float
from dnmf.sources.base import Axis
from dnmf.sources.dask_array import factor_array


@dataclasses.dataclass(frozen=True, slots=True)
class Rescaled:
    """Reorders the rows of a block and multiplies them, for a `MappedFactor`."""

    order: Any
    scale: Float

    def __call__(self, block: int, H: Float) -> Float:
        """Return the new rows."""
        return np.asarray(H[self.order] * self.scale[:, None])


def as_dask(long: Factor, bounds: Sequence[int], rank: int, dtype: np.dtype[Any], transposed: bool) -> Any:
    """Return a long factor as a Dask array that all schedulers of Dask can compute.

    Blocks in memory become part of its graph; blocks on a disk are read when they are computed.
    """
    now = not (long.shared or isinstance(long, DiskFactor))
    return factor_array(long.read, now, bounds, rank, dtype, transposed)


def as_numpy(long: Factor, bounds: Sequence[int], rank: int, dtype: np.dtype[Any], transposed: bool) -> Float:
    """Return a long factor as one array: (r, n), or (n, r) if rows were streamed."""
    array = np.empty((bounds[-1], rank) if transposed else (rank, bounds[-1]), dtype)
    for block, (start, stop) in enumerate(itertools.pairwise(bounds)):
        part = long.read(block)
        if transposed:
            array[start:stop] = part.T
        else:
            array[:, start:stop] = part
    return array


def whole(factors: Any, axis: Axis) -> Float:
    """Return the factor along an axis, (m, r) or (n, r), as one new array."""
    size = factors.shape[0 if axis == "rows" else 1]
    factor = np.empty((size, factors.rank), factors.short.dtype)
    for places, part in factors.parts(axis):
        factor[places] = part
    return factor


def named_factors(factors: Any) -> tuple[Any, Any]:
    """Return W and H, as frames where V has names, so that they can be brought into another order."""
    W, H = (
        whole(factors, axis) if getattr(factors.names, axis) is None else factors.to_frame(axis)
        for axis in get_args(Axis)
    )
    return W, H.T
