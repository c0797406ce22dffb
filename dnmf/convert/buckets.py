"""Sort more entries than fit into memory: distribute them into buckets on a disk, and sort each bucket.

    entries in any order ──► bucket of rows 0 … 9 ──► sorted by row, then column ──► written
                        └──► bucket of rows 10 … 17 ──► …

How many entries each row has is known before, so that every bucket is made to fit.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# What an entry takes while its bucket is sorted, in bytes: as it is read, its keys, their order, and as it is given on.
ENTRY_BYTES = 96


class Part(NamedTuple):
    """Some entries: their place along the axis to sort by, that along the other one, and the share read with them."""

    major: NDArray[np.int64]
    minor: NDArray[np.int64]
    values: NDArray[Any]
    share: float


Parts = Callable[[], Iterator[Part]]


def sort_entries(
    parts: Parts, counts: NDArray[np.int64], room: int, folder: Path
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]]:
    """Yield entries in order, a bucket at a time: how many each major index has, and minor indices and values.

    Values at one place are added up, in the order in which they came. About `room` bytes are held at once, or what the
    entries of one major index take, if that is more.

    Parameters
    ----------
    parts
        Gives the entries, in parts that are small.
    counts
        How many of them each major index has.
    room
        Bytes.
    folder
        Where the buckets may lie for a while.
    """
    starts = np.concatenate([[0], np.cumsum(counts)])
    bounds = bucket_bounds(starts, max(1, room // ENTRY_BYTES))
    record: Any = None
    for part in parts():
        record = record or np.dtype([("major", np.int64), ("minor", np.int64), ("value", part.values.dtype)])
        _distribute(part, bounds, record, folder)
    for bucket, (first, last) in enumerate(itertools.pairwise(bounds)):
        path = folder / f"{bucket}.bucket"
        if starts[first] == starts[last]:
            yield (
                np.zeros(last - first, np.int64),
                np.zeros(0, np.int64),
                np.zeros(0, record["value"] if record else float),
            )
            continue
        yield _sorted(np.fromfile(path, record), first, last)
        path.unlink()


def bucket_bounds(starts: NDArray[np.int64], entries: int) -> list[int]:
    """Cut major indices into runs of at most so many entries, or of one index that has more.

    >>> bucket_bounds(np.array([0, 2, 4, 5, 20, 21]), 5)
    [0, 3, 4, 5]
    """
    bounds, last = [0], len(starts) - 1
    while bounds[-1] < last:
        reach = int(np.searchsorted(starts, starts[bounds[-1]] + entries, side="right")) - 1
        bounds.append(max(reach, bounds[-1] + 1))
    return bounds


def _distribute(part: Part, bounds: list[int], record: np.dtype[Any], folder: Path) -> None:
    """Append entries to the buckets that they belong to, in the order in which they come."""
    bucket = np.searchsorted(bounds, part.major, side="right") - 1
    order = np.argsort(bucket, kind="stable")
    entries = np.empty(len(order), record)
    for name, values in zip(("major", "minor", "value"), part[:3], strict=True):
        entries[name] = values[order]
    edges = np.flatnonzero(np.diff(bucket[order], prepend=-1))
    for first, last in zip(edges, [*edges[1:], len(order)], strict=True):
        with open(folder / f"{bucket[order[first]]}.bucket", "ab") as file:
            entries[first:last].tofile(file)


def _sorted(entries: NDArray[Any], first: int, last: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """Return the entries of a bucket in order, those at one place as one."""
    order = np.lexsort((entries["minor"], entries["major"]))
    major, minor, values = (entries[name][order] for name in ("major", "minor", "value"))
    fresh = np.ones(len(order), bool)
    fresh[1:] = (np.diff(major) != 0) | (np.diff(minor) != 0)
    if not fresh.all():
        values = np.add.reduceat(values, np.flatnonzero(fresh))
        major, minor = major[fresh], minor[fresh]
    return np.bincount(major - first, minlength=last - first), minor, values
