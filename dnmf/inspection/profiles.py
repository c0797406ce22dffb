"""Profiles: a factor along an axis, summarised in a few hundred bins by one read."""

import dataclasses
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import SettingsError
from dnmf.inspection.components import Part, sparsity


class Bins(Protocol):
    """A map from the places of an axis to bins."""

    @property
    def count(self) -> int:
        """Number of bins."""

    def of(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the bin of each place."""


@dataclasses.dataclass(frozen=True, slots=True)
class Runs:
    """An axis of `size` places, cut into at most `most` even runs.

    >>> Runs(10, most=4).of(np.arange(10)).tolist()
    [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    """

    size: int
    most: int

    @property
    def count(self) -> int:
        """Number of runs."""
        return min(self.size, self.most)

    @property
    def longest(self) -> int:
        """Places of the longest run."""
        return -(-self.size // self.count)

    def of(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the run of each place."""
        return places * self.count // self.size


@dataclasses.dataclass(frozen=True, slots=True)
class Pixels:
    """An axis that is an image (h, w) or (h, w, 3), reduced to at most `most` pixels along its longer side.

    There are `images` of them one after another, as the layers of a volume, which fall into the same pixels.

    >>> Pixels((4, 6), most=3).image
    (2, 3)
    """

    shape: tuple[int, ...]
    most: int
    images: int = 1

    @property
    def _step(self) -> int:
        return -(-max(self.shape[:2]) // self.most)

    @property
    def image(self) -> tuple[int, ...]:
        """Shape of the reduced image."""
        return (-(-self.shape[0] // self._step), -(-self.shape[1] // self._step), *self.shape[2:])

    @property
    def count(self) -> int:
        """Number of entries of the reduced image."""
        return int(np.prod(self.image))

    def of(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the entry of the reduced image for each place."""
        _, down, across, *colour = np.unravel_index(places, (self.images, *self.shape))
        return np.ravel_multi_index((down // self._step, across // self._step, *colour), self.image)


@dataclasses.dataclass(frozen=True, slots=True)
class Profile:
    """Statistics of a factor along an axis.

    Attributes
    ----------
    size
        Length of the axis.
    totals, squares, nonzero
        Sum, sum of squares, and number of entries above 0, for each component (r,).
    most, means
        Largest entry and mean of each component in each bin (r, b).
    """

    size: int
    totals: NDArray[np.float64]
    squares: NDArray[np.float64]
    nonzero: NDArray[np.int64]
    most: NDArray[np.float64]
    means: NDArray[np.float64]

    @property
    def longest(self) -> int:
        """Places of the longest run, where the bins are runs."""
        return -(-self.size // int(self.most.shape[1]))

    @property
    def sparsity(self) -> NDArray[np.float64]:
        """Hoyer's sparsity of every component (r,): 0 if all entries are equal, 1 if a single one is not 0."""
        return np.asarray(sparsity(self.totals, self.squares, self.size))


def profile(parts: Iterator[Part], rank: int, bins: Bins) -> Profile:
    """Return the profile of a factor given in parts, each of which is dropped before the next is read.

    >>> parts = Part(slice(0, 2), np.array([[1.0], [3.0]])), Part(slice(2, 3), np.array([[0.0]]))
    >>> found = profile(iter(parts), 1, Runs(3, most=2))
    >>> found.most.tolist(), found.means.tolist(), found.nonzero.tolist()
    ([[3.0, 0.0]], [[2.0, 0.0]], [2])
    """
    totals, squares, nonzero = np.zeros(rank), np.zeros(rank), np.zeros(rank, np.int64)
    most, sums = np.zeros((rank, bins.count)), np.zeros((rank, bins.count))
    counts = np.zeros(bins.count, np.int64)
    size = 0
    for where, part in parts:
        place = bins.of(np.arange(where.start, where.start + len(part)))
        size += len(part)
        counts += np.bincount(place, minlength=bins.count)
        totals += part.sum(axis=0, dtype=np.float64)
        squares += np.square(part, dtype=np.float64).sum(axis=0)
        nonzero += np.count_nonzero(part, axis=0)
        for k in range(rank):
            np.maximum.at(most[k], place, part[:, k])
            sums[k] += np.bincount(place, weights=part[:, k], minlength=bins.count)
    return Profile(size, totals, squares, nonzero, most, sums / np.maximum(counts, 1))


def check_image(shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    """Raise SettingsError if no axis of V has the length of an image of this shape.

    >>> check_image((3, 5), {"rows": 12, "columns": 15})
    """
    if len(shape) not in (2, 3) or min(shape) < 1 or (len(shape) == 3 and shape[2] != 3):
        raise SettingsError(f"shape={shape} is not an image; give rows and columns, and 3 after them for colours.")
    if int(np.prod(shape)) not in sizes.values():
        given = " and ".join(f"{size} {axis}" for axis, size in sizes.items())
        raise SettingsError(
            f"shape={shape} is an image of {int(np.prod(shape))} numbers, and V has {given}; give a shape whose "
            "product is one of these."
        )
