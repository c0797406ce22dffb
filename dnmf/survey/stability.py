"""Whether the runs of one rank find the same components."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from dnmf.errors import DataError

# Rounds of matching; it comes to rest after a few, since none makes the match worse.
MOST_ROUNDS = 100

PANEL_ROWS = 4096


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Stability:
    """How the components of several runs match.

    Attributes
    ----------
    labels
        The cluster (runs, r) of every component; each run has one component in every cluster. The clusters are in the
        order of the components of the run that is most like the others.
    silhouettes
        Of every component (runs, r), −1 … 1: by how much it is nearer to those it is matched with than to the nearest
        other cluster. A component that is 0 everywhere is like no other and has 0.
    clusters
        Mean silhouette (r,) of every cluster.
    """

    labels: NDArray[np.intp]
    silhouettes: NDArray[np.float64]
    clusters: NDArray[np.float64]

    @property
    def least(self) -> float:
        """The mean silhouette of the worst cluster, by which NMFk judges a rank."""
        return float(self.clusters.min())

    @property
    def mean(self) -> float:
        """The mean silhouette of all components."""
        return float(self.silhouettes.mean())


def stability(runs: Sequence[ArrayLike]) -> Stability:
    """Match the components of several runs of one rank, and say how well they match.

    The components are clustered by their cosines, with one component of every run in each cluster (Alexandrov et al.
    2013; Nebgen et al. 2021): spherical k-means whose assignments are solved exactly, from the run that is most like
    the others. Neither the order of the runs nor that of their components matters, nor the scale of a component. The
    silhouettes are those of Rousseeuw (1987) of the distance 1 − cosine; where there is one cluster only, the nearest
    other one is taken to be as far as non-negative directions can be, at 1.

    Parameters
    ----------
    runs
        The factors (m, r) whose columns are components, one for each run.

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
    """Return the cosines (N, N) between the components of all runs, one run after the other; 0 has the cosine 0.

    Panels of rows are added up, so that nothing of the size of all runs is formed.
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
    """Return the cluster (runs, r) of every component, by the cosines of `cosines`."""
    rank = len(gram) // runs
    likeness = gram.reshape(runs, rank, runs, rank).transpose(0, 2, 1, 3)
    start = max(range(runs), key=lambda one: sum(_assign(likeness[one, other])[1] for other in range(runs)))
    labels = np.array([_assign(likeness[run, start])[0] for run in range(runs)])
    best = -np.inf
    for _ in range(MOST_ROUNDS):
        members = np.zeros((len(gram), rank))
        members[np.arange(len(gram)), labels.ravel()] = 1
        towards = gram @ members
        length = np.sqrt(np.maximum((members * towards).sum(axis=0), 0))
        towards = (towards / np.where(length > 0, length, 1)).reshape(runs, rank, rank)
        found = [_assign(towards[run]) for run in range(runs)]
        total = sum(likeness for _, likeness in found)
        if total <= best * (1 + 1e-12):
            break
        labels, best = np.array([assigned for assigned, _ in found]), total
    return labels


def _assign(likeness: NDArray[np.float64]) -> tuple[NDArray[np.intp], float]:
    """Return the cluster of every component, one each, that makes them most alike, and how much they are."""
    rows, columns = linear_sum_assignment(likeness, maximize=True)
    return columns, float(likeness[rows, columns].sum())


def silhouettes(distances: NDArray[np.float64], labels: ArrayLike) -> NDArray[np.float64]:
    """Return the silhouette (N,) of every member of some clusters (Rousseeuw 1987).

    (b − a) / max(a, b), with a the mean distance to its own cluster's other members and b that to the members of the
    nearest other cluster, or 1 where there is none. It is 0 for a member that is alone in its cluster.

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
