"""Buffers that a thread uses again and again, so that a loop over blocks allocates nothing large."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Scratch:
    """Named buffers of one thread; each grows to the largest size that was asked of it.

    >>> scratch = Scratch()
    >>> first = scratch.array("panel", (3, 4), np.dtype("float32"))
    >>> scratch.array("panel", (2, 2), np.dtype("float32")).base is first.base
    True
    """

    __slots__ = ("_beside", "_buffers")

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[np.uint8]] = {}
        self._beside: Scratch | None = None

    def beside(self) -> "Scratch":
        """Return other buffers of the same thread, for what is read beside a block."""
        self._beside = self._beside or Scratch()
        return self._beside

    def array(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array of this shape in C order, its content undefined, aligned to 64 bytes."""
        size = math.prod(shape) * dtype.itemsize
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name] = aligned(size)
        return buffer[:size].view(dtype).reshape(shape)


def aligned(size: int) -> NDArray[np.uint8]:
    """Return `size` bytes whose address is a multiple of 64, so that the vector code always takes the same path."""
    room = np.empty(size + 64, np.uint8)
    offset = -room.ctypes.data % 64
    return room[offset : offset + size]
