"""Factors as the arrays of a user: Dask arrays, NumPy arrays, frames."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from dnmf.engine.factor import DiskFactor, Factor, MappedFactor
from dnmf.kernels.blocks.tiles import Float, Vector
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


def rescaled(short: Float, long: Factor, sums: Vector, order: NDArray[np.int64], of_long: bool) -> tuple[Float, Factor]:
    """Return the components of both factors in an order, so that those of one of them sum to 1; WH stays the same.

    Parameters
    ----------
    short, long
        The factor that is held whole, and the other one.
    sums
        Sums of the components of one of them (r,). A component whose sum is 0 stays as it is.
    order
        Numbers of the components.
    of_long
        Whether the sums are those of the long factor.
    """
    up, dtype = np.where(sums > 0, sums, 1)[order], short.dtype
    held, streamed = (up, 1 / up) if of_long else (1 / up, up)
    return (short[:, order] * held).astype(dtype), MappedFactor(long, Rescaled(order, streamed.astype(dtype)))


def as_dask(long: Factor, bounds: Sequence[int], rank: int, dtype: np.dtype[Any], transposed: bool) -> Any:
    """Return a long factor as a Dask array that all schedulers of Dask can compute.

    Blocks in memory become part of its graph; blocks on a disk are read when they are computed.
    """
    origin = long
    while isinstance(origin, MappedFactor):
        origin = origin.origin
    now = not (long.shared or isinstance(origin, DiskFactor))
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
