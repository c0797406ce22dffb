"""Buffers that a thread reuses, so that a loop over blocks allocates nothing large."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.kernels.blocks.tiles import MapFunction


class Scratch:
    """Named buffers of one thread; each grows to the largest size requested.

    `each` maps a function over parts of a panel, on the threads that share the sums of a pass.

    >>> scratch = Scratch()
    >>> first = scratch.array("panel", (3, 4), np.dtype("float32"))
    >>> scratch.array("panel", (2, 2), np.dtype("float32")).base is first.base
    True
    """

    __slots__ = ("_beside", "_buffers", "each")

    def __init__(self, each: MapFunction = map) -> None:
        self.each = each
        self._buffers: dict[str, NDArray[np.uint8]] = {}
        self._beside: Scratch | None = None

    @property
    def shared(self) -> bool:
        """Whether several threads work on each panel."""
        return self.each is not map

    def beside(self) -> "Scratch":
        """Return a second set of buffers of the same thread, for data that are read along with a block."""
        self._beside = self._beside or Scratch()
        return self._beside

    def array(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array in C order with undefined content, aligned to 64 bytes."""
        size = math.prod(shape) * dtype.itemsize
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name] = aligned(size)
        return buffer[:size].view(dtype).reshape(shape)


def aligned(size: int) -> NDArray[np.uint8]:
    """Return `size` bytes at a multiple of 64, so that vector code always takes the same path."""
    room = np.empty(size + 64, np.uint8)
    offset = -room.ctypes.data % 64
    return room[offset : offset + size]
