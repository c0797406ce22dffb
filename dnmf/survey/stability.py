"""Stability: the agreement of the components of several runs of one rank."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from dnmf.engine import single_threaded_products
from dnmf.errors import DataError

# Rounds of matching; it converges in a few, since no round makes the match worse.
MOST_ROUNDS = 100

PANEL_ROWS = 4096


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Stability:
    """The match of the components of several runs.

    Attributes
    ----------
    labels
        Cluster (runs, r) of every component; each run has one component in every cluster. The clusters have the order
        of the components of the run that is most similar to the others.
    silhouettes
        Silhouette (runs, r) of every component, −1 … 1: how much nearer it is to its own cluster than to the nearest
        other one. A component of zeros has 0.
    clusters
        Mean silhouette (r,) of every cluster.
    """

    labels: NDArray[np.intp]
    silhouettes: NDArray[np.float64]
    clusters: NDArray[np.float64]

    @property
    def least(self) -> float:
        """Mean silhouette of the worst cluster, the criterion of NMFk."""
        return float(self.clusters.min())

    @property
    def mean(self) -> float:
        """Mean silhouette of all components."""
        return float(self.silhouettes.mean())


@single_threaded_products()
def stability(runs: Sequence[ArrayLike]) -> Stability:
    """Match the components of several runs of one rank, and measure their agreement.

    The components are clustered by their cosines, with one component of every run in each cluster (Alexandrov et al.
    2013; Nebgen et al. 2021): spherical k-means with exact assignments, started from the run that is most similar to
    the others. The result does not depend on the order of runs and components, or on their scale. The silhouettes are
    those of Rousseeuw (1987) with the distance 1 − cosine; the neighbour of a single cluster is taken at the distance
    1, the largest between non-negative directions.

    Parameters
    ----------
    runs
        Factors (m, r) of the runs, whose columns are components.

    Raises
    ------
    DataError
        If there are fewer than two runs, or if their shapes differ.

    Examples
    --------
    >>> W = np.array([[1.0, 0], [0, 1], [0, 1]])
    >>> found = stability([W, 3 * W[:, ::-1]])
    >>> found.labels.tolist(), round(found.least, 6)
    ([[0, 1], [1, 0]], 1.0)
    """
    gram = cosines(runs)
    count, rank = len(runs), np.shape(runs[0])[1]
    labels = matched(gram, count)
    each = silhouettes(1 - gram, labels.ravel()).reshape(count, rank)
    by_cluster = np.bincount(labels.ravel(), each.ravel()) / count
    return Stability(labels, each, by_cluster)


def cosines(runs: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Return the cosines (N, N) between the components of all runs, run by run; those of a component of zeros are 0.

    Products of panels of rows are summed, so that no array of the size of all runs is formed.
    """
    shapes = sorted({np.shape(run) for run in runs})
    if len(runs) < 2 or len(shapes) > 1 or len(shapes[0]) != 2 or 0 in shapes[0]:
        raise DataError(
            f"{len(runs)} run(s) with factors of the shapes {', '.join(map(str, shapes)) or 'none'} cannot be matched; "
            "give two or more factors (m, r) of one shape."
        )
    arrays = [np.asarray(run) for run in runs]
    peaks = np.concatenate([np.abs(run).max(axis=0).astype(np.float64) for run in arrays])
    scale = np.where(peaks > 0, peaks, 1)
    gram = np.zeros((len(scale), len(scale)))
    for start in range(0, len(arrays[0]), PANEL_ROWS):
        panel = np.hstack([run[start : start + PANEL_ROWS] for run in arrays]) / scale
        gram += panel.T @ panel
    length = np.sqrt(np.diag(gram))
    length[length == 0] = 1
    gram /= np.outer(length, length)
    np.fill_diagonal(gram, 1)
    return np.clip(gram, -1, 1)


def matched(gram: NDArray[np.float64], runs: int) -> NDArray[np.intp]:
    """Return the cluster (runs, r) of every component from the cosines (N, N)."""
    rank = len(gram) // runs
    similarity = gram.reshape(runs, rank, runs, rank).transpose(0, 2, 1, 3)
    start = max(range(runs), key=lambda one: sum(_assign(similarity[one, other])[1] for other in range(runs)))
    labels = np.array([_assign(similarity[run, start])[0] for run in range(runs)])
    best = -np.inf
    for _ in range(MOST_ROUNDS):
        members = np.zeros((len(gram), rank))
        members[np.arange(len(gram)), labels.ravel()] = 1
        towards = gram @ members
        length = np.sqrt(np.maximum((members * towards).sum(axis=0), 0))
        towards = (towards / np.where(length > 0, length, 1)).reshape(runs, rank, rank)
        found = [_assign(towards[run]) for run in range(runs)]
        total = sum(similarity for _, similarity in found)
        if total <= best * (1 + 1e-12):
            break
        labels, best = np.array([assigned for assigned, _ in found]), total
    return labels


def _assign(similarity: NDArray[np.float64]) -> tuple[NDArray[np.intp], float]:
    """Return the cluster of every component, one each, with the largest total similarity, and this total."""
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    return columns, float(similarity[rows, columns].sum())


def silhouettes(distances: NDArray[np.float64], labels: ArrayLike) -> NDArray[np.float64]:
    """Return the silhouette (N,) of every member of several clusters (Rousseeuw 1987).

    (b − a) / max(a, b), with a the mean distance to the other members of its own cluster and b that to the members of
    the nearest other cluster, or 1 without another cluster. The only member of a cluster has 0.

    >>> silhouettes(np.array([[0.0, 0.1, 1], [0.1, 0, 1], [1, 1, 0]]), [0, 0, 1]).round(3).tolist()
    [0.9, 0.9, 0.0]
    """
    _, own = np.unique(labels, return_inverse=True)
    sizes = np.bincount(own)
    members = np.zeros((len(own), len(sizes)))
    members[np.arange(len(own)), own] = 1
    sums = distances @ members
    each = np.arange(len(own))
    inside = sums[each, own] / np.maximum(sizes[own] - 1, 1)
    means = sums / sizes
    means[each, own] = np.inf
    outside = means.min(axis=1) if len(sizes) > 1 else np.ones(len(own))
    larger = np.maximum(inside, outside)
    value = (outside - inside) / np.where(larger > 0, larger, 1)
    return np.asarray(np.where(sizes[own] > 1, value, 0))
