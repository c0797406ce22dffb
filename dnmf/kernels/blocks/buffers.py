"""Buffers that a thread reuses, so that a loop over blocks allocates nothing large."""

import math
from collections import deque
from contextlib import suppress
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dnmf.kernels.blocks.tiles import MapFunction

# Bytes of arrays whose memory is used again, at least and at most, and how many of them are kept: some 16 MB.
LEASED, KEPT = (2**17, 2**22), 4
FLOAT64 = np.dtype(np.float64).str


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


def zeros(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return an array of zeros, of which the memory is used again once neither it nor a view of it is left."""
    size = 8 * math.prod(shape)
    if not LEASED[0] <= size <= LEASED[1]:
        return np.zeros(shape)
    array = np.asarray(Lease(Lease.kept(size), shape))
    array[...] = 0
    return array


class Lease:
    """Memory of an array of float64, which is kept for the next one of its size.

    A system takes longer to give new memory to a process than a pass over a small matrix to add up its sums.
    """

    __slots__ = ("__array_interface__", "_memory")

    _free: ClassVar[deque[NDArray[np.uint8]]] = deque(maxlen=KEPT)

    def __init__(self, memory: NDArray[np.uint8], shape: tuple[int, int]) -> None:
        self._memory = memory
        place = memory.ctypes.data, False
        self.__array_interface__ = {"shape": shape, "typestr": FLOAT64, "data": place, "version": 3}

    def __del__(self) -> None:
        self._free.append(self._memory)

    @classmethod
    def kept(cls, size: int) -> NDArray[np.uint8]:
        """Return memory of a size that was kept, or else new one."""
        for _ in range(len(cls._free)):
            with suppress(IndexError):  # other threads take some, too
                memory = cls._free.popleft()
                if memory.size == size:
                    return memory
                cls._free.append(memory)
        return aligned(size)
