"""Read bytes of a file into existing memory."""

import itertools
import math
import operator
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import ReadError
from dnmf.sources.slabs import Box

# A run of fewer bytes is read with those around it, in parts of at most the second size.
SHORT_RUN, PART = 4096, 2**22
# More runs are not announced to the system.
MOST_RUNS = 10_000


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a file for reading and yield its descriptor; an error of the system meanwhile becomes a ReadError."""
    try:
        with open(path, "rb", buffering=0) as file:
            yield file.fileno()
    except OSError as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"{path} could not be read ({error.strerror}); check the disk it lies on.") from error


def fill(descriptor: int, path: Path, offset: int, target: NDArray[np.uint8]) -> None:
    """Fill `target`, flat bytes, from an open file; a file that ends too early is a ReadError."""
    view = memoryview(target.data)
    done = 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done : done + 2**30]], offset + done)
        if count == 0:
            raise ReadError(
                f"{path} is truncated: it ends at byte {offset + done}, and {offset + len(view)} were "
                "expected. Write it again from its origin."
            )
        done += count


def fill_box(descriptor: int, path: Path, offset: int, shape: Sequence[int], box: Box, out: NDArray[Any]) -> None:
    """Fill `out` with a box of an array in C order whose numbers begin at `offset` in an open file.

    Contiguous runs are read directly into `out`. Short ones are read with all that is between them, and then copied.
    """
    axis = _run_axis(shape, box)
    start, stop = box[axis]
    inner = math.prod(shape[axis + 1 :])
    if axis > 0 and (stop - start) * inner * out.itemsize < SHORT_RUN and shape[axis] * inner * out.itemsize < PART:
        (low, high), full = box[axis - 1], (*box[:axis], (0, shape[axis]), *box[axis + 1 :])
        step = max(1, PART // (shape[axis] * inner * out.itemsize))
        for places in itertools.product(*(range(*edges) for edges in box[: axis - 1]), range(low, high, step)):
            near = (*((place, place + 1) for place in places[:-1]), (places[-1], min(places[-1] + step, high)))
            part = np.empty([end - first for first, end in (*near, *full[axis:])], out.dtype)
            fill_box(descriptor, path, offset, shape, (*near, *full[axis:]), part)
            wanted = tuple(slice(first - low, end - low) for (first, end), (low, _) in zip(near, box, strict=False))
            out[wanted] = part[(slice(None),) * axis + (slice(start, stop),)]
        return
    for places, first, _ in _runs(shape, box):
        target = out[tuple(place - low for place, (low, _) in zip(places, box, strict=False))]
        run = target if target.flags.c_contiguous else np.empty(target.shape, target.dtype)
        fill(descriptor, path, offset + first * out.itemsize, run.reshape(-1).view(np.uint8))
        if run is not target:
            target[...] = run


def expect_box(path: Path, offset: int, shape: Sequence[int], box: Box, itemsize: int) -> None:
    """Ask the system to read a box of an array ahead, if it supports that and the box consists of few long runs."""
    if not hasattr(os, "posix_fadvise") or not path.exists():
        return
    axis = _run_axis(shape, box)
    count = math.prod(stop - start for start, stop in box[:axis])
    length = (box[axis][1] - box[axis][0]) * math.prod(shape[axis + 1 :]) * itemsize
    if count > MOST_RUNS or (count > 1 and length < SHORT_RUN):
        return
    with opened(path) as descriptor:
        for _, first, _ in _runs(shape, box):
            os.posix_fadvise(descriptor, offset + first * itemsize, length, os.POSIX_FADV_WILLNEED)


def _runs(shape: Sequence[int], box: Box) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Yield the contiguous runs of a box: their places along the outer axes, first number and length.

    >>> list(_runs((3, 4), ((1, 3), (0, 2))))
    [((1,), 4, 2), ((2,), 8, 2)]
    """
    axis = _run_axis(shape, box)
    start, stop = box[axis]
    inner = math.prod(shape[axis + 1 :])
    steps = [math.prod(shape[k + 1 :]) for k in range(axis)]
    for places in itertools.product(*(range(*edges) for edges in box[:axis])):
        yield places, start * inner + sum(map(operator.mul, places, steps)), (stop - start) * inner


def _run_axis(shape: Sequence[int], box: Box) -> int:
    """Return the first axis from which on a box is contiguous in an array.

    >>> _run_axis((9, 8, 7), ((0, 9), (2, 4), (0, 7))), _run_axis((9, 8, 7), ((3, 5), (0, 8), (0, 7)))
    (1, 0)
    """
    axis = len(shape) - 1
    while axis > 0 and box[axis] == (0, shape[axis]):
        axis -= 1
    return axis


def read_into(path: Path, offset: int, target: NDArray[np.uint8]) -> None:
    """Fill `target`, flat bytes, from a file.

    Raises
    ------
    ReadError
        If the file ends too early or cannot be read.
    """
    with opened(path) as descriptor:
        fill(descriptor, path, offset, target)


def expect_file(path: Path, offset: int, size: int) -> None:
    """Ask the system to read a part of a file ahead, if it supports that."""
    if not hasattr(os, "posix_fadvise"):
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.posix_fadvise(descriptor, offset, size, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(descriptor)
