"""Consensus factors: medians of the components of many runs, as in cNMF (Kotliar et al. 2019)."""

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dnmf.choices import DENSITY_THRESHOLD, NEIGHBOURS
from dnmf.engine import single_threaded_products
from dnmf.errors import DataError, SettingsError
from dnmf.survey.stability import PANEL_ROWS, cosines, silhouettes

DROPPED = -1


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Consensus:
    """The consensus of the components of several runs.

    Attributes
    ----------
    components
        The median (m, r) of each cluster, scaled to the sum 1; the largest cluster comes first.
    labels
        Cluster (runs, r) of every component, −1 if it was dropped as an outlier.
    densities
        Mean distance (runs, r) of every component to its nearest neighbours; infinite for a component of zeros.
    silhouettes
        Silhouette (runs, r) of every component by the distance 1 − cosine; NaN if it was dropped.
    threshold, neighbours
        Components of this density or more were dropped; the number of neighbours that it was measured by, as a part of
        the runs.
    """

    components: NDArray[np.float64]
    labels: NDArray[np.intp]
    densities: NDArray[np.float64]
    silhouettes: NDArray[np.float64]
    threshold: float
    neighbours: float = NEIGHBOURS

    @property
    def dropped(self) -> int:
        """Number of components that were dropped."""
        return int((self.labels == DROPPED).sum())

    @property
    def sentence(self) -> str:
        """Summary of the consensus."""
        runs = f"The consensus of {len(self.labels)} runs at rank {self.components.shape[1]}: "
        return (
            f"{runs}{self.dropped} of {self.labels.size} components were dropped, those with a mean distance of "
            f"{self.threshold:g} or more to their nearest neighbours; the medians of {self.components.shape[1]} "
            f"clusters are the consensus, with a mean silhouette of {np.nanmean(self.silhouettes):.2f}."
        )


@single_threaded_products()
def consensus(
    runs: Sequence[ArrayLike],
    density_threshold: float = DENSITY_THRESHOLD,
    neighbours: float = NEIGHBOURS,
    seed: int = 0,
) -> Consensus:
    """Cluster the components of several runs of one rank without the outliers, and return the median of each cluster.

    The components are scaled to unit length. A component is dropped if its mean distance to its nearest neighbours is
    at least the threshold, or if it is zero. The defaults, 0.3 · runs neighbours (at least one) and a threshold of 0.5,
    are those of Kotliar et al. (2019). The others are clustered by k-means; unlike in `stability`, a cluster may hold
    no component of a run, or several.

    Parameters
    ----------
    runs
        Factors (m, r) of the runs, whose columns are components.
    density_threshold
        Least mean distance of an outlier. Distances of non-negative unit vectors are at most √2: from 1.42 on no
        component is dropped.
    neighbours
        Number of neighbours of a component, as a part of the runs.
    seed
        Seed of the k-means.

    Raises
    ------
    SettingsError
        If `density_threshold` or `neighbours` is not above 0.
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
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
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
        float(neighbours),
    )


def at_scale_of_runs(found: Consensus, runs: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Return the components (m, r) of a consensus, each as long as the components of its cluster in the median.

    >>> W = np.array([[1.0, 0], [3, 0], [0, 2]])
    >>> sorted(at_scale_of_runs(consensus([W, W[:, ::-1]]), [W, W[:, ::-1]]).sum(axis=0).round(12).tolist())
    [2.0, 4.0]
    """
    lengths = np.array([np.linalg.norm(np.asarray(run, np.float64), axis=0) for run in runs])
    wanted = [np.median(lengths[found.labels == cluster]) for cluster in range(found.components.shape[1])]
    own = np.linalg.norm(found.components, axis=0)
    return np.asarray(found.components * np.divide(wanted, own, out=np.ones_like(own), where=own > 0))


def density(distances: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """Return the mean distance (N,) of each of N points to its nearest neighbours, `neighbours` of them.

    >>> density(np.array([[0.0, 1, 3], [1, 0, 2], [3, 2, 0]]), 2).tolist()
    [2.0, 1.5, 2.5]
    """
    others = distances.copy()
    np.fill_diagonal(others, np.inf)
    count = min(neighbours, len(others) - 1)
    return np.asarray(np.partition(others, count - 1, axis=1)[:, :count].mean(axis=1))


def clusters(gram: NDArray[np.float64], rank: int, seed: int, of: int) -> NDArray[np.intp]:
    """Return the cluster (N,) of every component by k-means, the largest first, from the cosines (N, N).

    K-means depends on distances only, and is given points with N coordinates, and not m, that have the same distances.
    """
    from sklearn.cluster import KMeans  # imported here, since it takes a second
    from sklearn.exceptions import ConvergenceWarning

    labels = np.empty(0, np.intp)
    if len(gram) >= rank:
        values, vectors = np.linalg.eigh(gram)
        points = (vectors * np.sqrt(np.maximum(values, 0))).round(7)  # beyond that the cosines have no digits
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer points than clusters: an error below
            labels = KMeans(rank, n_init=10, random_state=seed % 2**32).fit_predict(points)
    sizes = np.bincount(labels, minlength=rank)
    if not sizes.all():
        raise DataError(
            f"{len(gram)} of {of} components are not outliers, and fewer than {rank} of them are different; raise "
            "density_threshold, give more runs, or choose a smaller rank."
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
