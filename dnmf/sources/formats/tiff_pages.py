"""Stacks of pages in TIFF files, read page by page."""

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import missing_extra
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.sources.addresses import Address
from dnmf.sources.formats.raw_array import Plain
from dnmf.sources.formats.raw_bytes import PART, expect_box, fill_box, opened
from dnmf.sources.slabs import Box

# Bytes of what tifffile keeps for a page, and for each strip or tile of it.
PAGE_BYTES, SEGMENT_BYTES = 400, 48


class PlainPages:
    """Pages of which each has its numbers in one piece, and of which any box can be read.

    Parameters
    ----------
    path
        The file.
    shape, dtype
        Those of the stack, with the byte order of the file.
    page
        Shape of a page, which is the end of that of the stack.
    offsets
        The first byte of each page, in C order.
    """

    anywhere, fortran, in_memory = True, False, False

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], page: tuple[int, ...], offsets: Sequence[int]
    ) -> None:
        self.path, self.shape, self.dtype, self.page, self.offsets = path, shape, dtype, page, tuple(offsets)
        self.chunks = (1,) * len(shape)
        Plain(path, max(self.offsets), page, dtype, False).check_size()

    def read(self, box: Box, scratch: Scratch) -> NDArray[Any]:
        """Read a box, page by page."""
        out = scratch.array("block", tuple(stop - start for start, stop in box), self.dtype)
        with opened(self.path) as descriptor:
            for number, place, inner in pages_of(box, self.shape, self.page):
                fill_box(descriptor, self.path, self.offsets[number], self.page, inner, out[place])
        return out

    def expect(self, box: Box) -> None:
        """Ask the system to read a box ahead."""
        for number, _, inner in pages_of(box, self.shape, self.page):
            expect_box(self.path, self.offsets[number], self.page, inner, self.dtype.itemsize)

    def read_bytes(self, extent: Sequence[int]) -> int:
        """Return the memory of a box."""
        return math.prod(extent) * self.dtype.itemsize + PART


class PackedPages:
    """Pages that tifffile decodes, each as a whole; their file has a lock and stays open.

    `held_bytes` is the memory of their places in the file.
    """

    anywhere = fortran = in_memory = False

    def __init__(
        self, address: Address, pages: list[Any], shape: tuple[int, ...], dtype: np.dtype[Any], page: tuple[int, ...]
    ) -> None:
        self.address, self.pages, self.shape, self.dtype, self.page = address, pages, shape, dtype, page
        self.chunks = (1,) * (len(shape) - len(page)) + page
        self.held_bytes = len(pages) * (PAGE_BYTES + SEGMENT_BYTES * len(pages[0].dataoffsets))
        decoded(pages[0], address, maxworkers=1)  # so that an unknown compression is reported now

    def read(self, box: Box, scratch: Scratch) -> NDArray[Any]:
        """Decode the pages of a box."""
        out = scratch.array("block", tuple(stop - start for start, stop in box), self.dtype)
        for number, place, inner in pages_of(box, self.shape, self.page):
            values = decoded(self.pages[number], self.address, maxworkers=1).reshape(self.page)
            out[place] = values[tuple(slice(*edges) for edges in inner)]
        return out

    def expect(self, box: Box) -> None:
        """Do nothing."""

    def read_bytes(self, extent: Sequence[int]) -> int:
        """Return the memory of a box, and of a page as it is stored, decompressed and put together."""
        return int((math.prod(extent) + 3 * math.prod(self.page)) * self.dtype.itemsize)


def pages_of(box: Box, shape: Sequence[int], page: Sequence[int]) -> Iterator[tuple[int, tuple[int, ...], Box]]:
    """Yield the number of each page in a box of a stack, its place in the box, and the part of the page in the box.

    >>> list(pages_of(((1, 3), (0, 4)), (5, 6), (6,)))
    [(1, (0,), ((0, 4),)), (2, (1,), ((0, 4),))]
    """
    count = len(shape) - len(page)
    for places in itertools.product(*(range(*edges) for edges in box[:count])):
        number = 0
        for place, size in zip(places, shape, strict=False):
            number = number * size + place
        yield number, tuple(place - start for place, (start, _) in zip(places, box, strict=False)), box[count:]


def page_shape(shape: tuple[int, ...], size: int) -> tuple[int, ...] | None:
    """Return the shape of a page with some numbers, as the end of the shape of a stack; None if it is not one.

    >>> page_shape((9, 2, 4, 5), 20), page_shape((9, 2, 4, 5), 10)
    ((4, 5), None)
    """
    ends = (shape[axis:] for axis in range(len(shape), -1, -1))
    return next((end for end in ends if math.prod(end) == size), None)


def decoded(image: Any, address: Address, **options: Any) -> NDArray[Any]:
    """Return the numbers of a page or a stack."""
    try:
        values: NDArray[Any] = image.asarray(**options)
    except ValueError as error:
        if "imagecodecs" in str(error):
            raise missing_extra("imagecodecs", f"The compression of {address}") from error
        raise
    return values
