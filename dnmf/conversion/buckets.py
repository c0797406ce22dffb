"""Sort more entries than fit into memory: distribute them into buckets on disk, and sort each bucket.

    entries in any order ──► bucket of rows 0 … 9 ──► sorted by row, then column ──► written
                        └──► bucket of rows 10 … 17 ──► …

The number of entries in each row is known beforehand, so that every bucket fits into memory.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Bytes of an entry while its bucket is sorted: the entry as read, its keys, their order, and the sorted entry.
ENTRY_BYTES = 96


class Part(NamedTuple):
    """Entries with their indices along the axis to sort by and along the other one, and the share read so far."""

    major: NDArray[np.int64]
    minor: NDArray[np.int64]
    values: NDArray[Any]
    share: float


Parts = Callable[[], Iterator[Part]]


def sort_entries(
    parts: Parts, counts: NDArray[np.int64], memory: int, folder: Path
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]]:
    """Yield sorted entries by bucket: the number of entries of each major index, their minor indices and values.

    Values at the same place are added in the order of the input. About `memory` bytes are held at once, or the entries
    of one major index if they are more.

    Parameters
    ----------
    parts
        Function that returns an iterator of the entries in small parts.
    counts
        Number of entries of each major index.
    memory
        Bytes to hold at once.
    folder
        Folder for the buckets.
    """
    starts = np.concatenate([[0], np.cumsum(counts)])
    bounds = bucket_bounds(starts, max(1, memory // ENTRY_BYTES))
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
    """Cut major indices into ranges of at most `entries` entries, or of one index with more.

    >>> bucket_bounds(np.array([0, 2, 4, 5, 20, 21]), 5)
    [0, 3, 4, 5]
    """
    bounds, last = [0], len(starts) - 1
    while bounds[-1] < last:
        reach = int(np.searchsorted(starts, starts[bounds[-1]] + entries, side="right")) - 1
        bounds.append(max(reach, bounds[-1] + 1))
    return bounds


def _distribute(part: Part, bounds: list[int], record: np.dtype[Any], folder: Path) -> None:
    """Append entries to their buckets, in the order of the input."""
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
    """Return the sorted entries of a bucket, with values at the same place added."""
    order = np.lexsort((entries["minor"], entries["major"]))
    major, minor, values = (entries[name][order] for name in ("major", "minor", "value"))
    distinct = np.ones(len(order), bool)
    distinct[1:] = (np.diff(major) != 0) | (np.diff(minor) != 0)
    if not distinct.all():
        values = np.add.reduceat(values, np.flatnonzero(distinct))
        major, minor = major[distinct], minor[distinct]
    return np.bincount(major - first, minlength=last - first), minor, values
