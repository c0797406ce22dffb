"""Consensus factors: what the components of many runs have in common, as in cNMF (Kotliar et al. 2019)."""

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dnmf.errors import DataError, SettingsError
from dnmf.survey.stability import PANEL_ROWS, cosines, silhouettes

# The neighbours of a component that say how dense it is around it, as a share of the runs, and how far they may be:
# what cNMF takes.
NEIGHBOURS = 0.3
DENSITY_THRESHOLD = 0.5

DROPPED = -1


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Consensus:
    """The consensus of the components of several runs.

    Attributes
    ----------
    components
        The median (m, r) of each cluster, scaled to the sum 1; the largest cluster comes first.
    labels
        The cluster (runs, r) of every component, or −1 where it was dropped as an outlier.
    densities
        The mean distance (runs, r) of every component to its nearest neighbours; infinite where it is 0 everywhere.
    silhouettes
        Of every component (runs, r) in its cluster by the distance 1 − cosine; NaN where it was dropped.
    threshold
        The densities from which on components were dropped.
    """

    components: NDArray[np.float64]
    labels: NDArray[np.intp]
    densities: NDArray[np.float64]
    silhouettes: NDArray[np.float64]
    threshold: float

    @property
    def dropped(self) -> int:
        """How many components were dropped."""
        return int((self.labels == DROPPED).sum())

    @property
    def sentence(self) -> str:
        """What was done, in words."""
        return (
            f"{self.dropped} of {self.labels.size} components were dropped, those with a mean distance of "
            f"{self.threshold:g} or more to their nearest neighbours; the medians of {self.components.shape[1]} "
            f"clusters are the consensus, with a mean silhouette of {np.nanmean(self.silhouettes):.2f}."
        )


def consensus(
    runs: Sequence[ArrayLike],
    density_threshold: float = DENSITY_THRESHOLD,
    neighbours: float = NEIGHBOURS,
    seed: int = 0,
) -> Consensus:
    """Cluster the components of several runs of one rank, without the outliers, and take the median of each cluster.

    The components are scaled to unit length. One whose mean distance to its nearest neighbours is the threshold or
    more is dropped, as is one that is 0 everywhere. There are 0.3 · runs neighbours, but at least one, and the
    threshold is 0.5: the choices of Kotliar et al. (2019). The others are clustered by k-means, whose clusters, unlike
    those of `stability`, may hold two components of one run or none.

    Parameters
    ----------
    runs
        The factors (m, r) whose columns are components, one for each run.
    density_threshold
        Distances between unit vectors that are not negative are at most √2, so that from 1.42 on none is dropped.
    neighbours
        How many there are to a component, as a share of the runs.
    seed
        Of the k-means.

    Raises
    ------
    SettingsError
        If threshold or neighbours are not above 0.
    DataError
        If there are fewer than two runs, if their shapes differ, or if fewer than r different components are left.

    Examples
    --------
    >>> W = np.array([[1.0, 0], [3, 0], [0, 2]])
    >>> found = consensus([W, 2 * W[:, ::-1], W])
    >>> found.components.tolist(), found.dropped
    ([[0.25, 0.0], [0.75, 0.0], [0.0, 1.0]], 0)
    """
    for name, value in (("density_threshold", density_threshold), ("neighbours", neighbours)):
        if not value > 0:
            raise SettingsError(f"{name}={value!r} is not allowed; give a number above 0.")
    gram = cosines(runs)
    count, rank = len(runs), np.shape(runs[0])[1]
    lengths = np.concatenate([np.linalg.norm(np.asarray(run, np.float64), axis=0) for run in runs])
    gram[:, lengths == 0] = gram[lengths == 0] = -np.inf  # at an infinite distance
    distances = np.sqrt(np.maximum(2 - 2 * gram, 0))
    densities = density(distances, max(1, int(neighbours * count)))
    kept = np.flatnonzero(densities < density_threshold)
    labels = np.full(len(gram), DROPPED, np.intp)
    labels[kept] = clusters(gram[np.ix_(kept, kept)], rank, seed, len(gram))
    each = np.full(len(gram), np.nan)
    each[kept] = silhouettes(1 - gram[np.ix_(kept, kept)], labels[kept])
    shape = (count, rank)
    return Consensus(
        medians(runs, lengths, labels, rank),
        labels.reshape(shape),
        densities.reshape(shape),
        each.reshape(shape),
        float(density_threshold),
    )


def density(distances: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """Return the mean distance (N,) of each of N points to so many others that are nearest to it.

    >>> density(np.array([[0.0, 1, 3], [1, 0, 2], [3, 2, 0]]), 2).tolist()
    [2.0, 1.5, 2.5]
    """
    others = distances.copy()
    np.fill_diagonal(others, np.inf)
    count = min(neighbours, len(others) - 1)
    return np.asarray(np.partition(others, count - 1, axis=1)[:, :count].mean(axis=1))


def clusters(gram: NDArray[np.float64], rank: int, seed: int, of: int) -> NDArray[np.intp]:
    """Return the cluster (N,) of every component by k-means, the largest first, from the cosines (N, N).

    K-means knows the distances alone, so that it is given points of these distances with N coordinates, and not m.
    """
    from sklearn.cluster import KMeans  # they take a second to import, which all else does without
    from sklearn.exceptions import ConvergenceWarning

    labels = np.empty(0, np.intp)
    if len(gram) >= rank:
        values, vectors = np.linalg.eigh(gram)
        points = (vectors * np.sqrt(np.maximum(values, 0))).round(7)  # beyond that the cosines have no digits
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer points than clusters: told below
            labels = KMeans(rank, n_init=10, random_state=seed % 2**32).fit_predict(points)
    sizes = np.bincount(labels, minlength=rank)
    if not sizes.all():
        raise DataError(
            f"{len(gram)} of {of} components are no outliers, and not {rank} of them are different; raise "
            "density_threshold, give more runs, or take a smaller rank."
        )
    places = np.empty(rank, np.intp)
    places[np.argsort(-sizes, kind="stable")] = np.arange(rank)
    return np.asarray(places[labels])


def medians(
    runs: Sequence[ArrayLike], lengths: NDArray[np.float64], labels: NDArray[np.intp], rank: int
) -> NDArray[np.float64]:
    """Return the median (m, r) of the components of each cluster at unit length, scaled to the sum 1."""
    arrays = [np.asarray(run) for run in runs]
    components = np.empty((len(arrays[0]), rank))
    scale = np.where(lengths > 0, lengths, 1)
    for start in range(0, len(components), PANEL_ROWS):
        panel = np.hstack([run[start : start + PANEL_ROWS] for run in arrays]) / scale
        for cluster in range(rank):
            components[start : start + PANEL_ROWS, cluster] = np.median(panel[:, labels == cluster], axis=1)
    sums = components.sum(axis=0)
    return components / np.where(sums > 0, sums, 1)
