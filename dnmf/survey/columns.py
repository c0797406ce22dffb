"""Connectivity: how often runs of one rank assign two columns to the same component, on a sample of the columns."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.cluster.hierarchy
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import squareform

from dnmf.engine import single_threaded_products
from dnmf.errors import DataError
from dnmf.kernels.blocks.hashing import mix

# The largest sample of columns, whose consensus matrix takes 100 MB.
MOST_COLUMNS = 5000


def hashed_sample(n: int, size: int = 1000, seed: int = 0) -> NDArray[np.int64]:
    """Return a sample of n columns, sorted, which depends on the arguments only.

    The columns are cut into `size` even runs, and one column is taken from each by a hash (SplitMix64, Steele et al.
    2014), so that the cost does not grow with n, and the sample covers the matrix.

    Raises
    ------
    DataError
        If the sample is empty or larger than `MOST_COLUMNS`.

    Examples
    --------
    >>> hashed_sample(5, size=10).tolist(), len(hashed_sample(10**12, size=200))
    ([0, 1, 2, 3, 4], 200)
    """
    if n < 1 or not 1 <= size <= MOST_COLUMNS:
        raise DataError(
            f"A sample of {size} of {n} columns cannot be taken; give from 1 to {MOST_COLUMNS} of at least 1 column."
        )
    count = min(n, size)
    edges = np.array([n * place // count for place in range(count + 1)], np.int64)
    hashed = mix(mix(np.uint64(seed % 2**64)) ^ np.arange(count, dtype=np.uint64))
    return np.asarray(edges[:-1] + (hashed % np.diff(edges).astype(np.uint64)).astype(np.int64))


def strongest(H: ArrayLike, lengths: ArrayLike) -> NDArray[np.intp]:
    """Return the strongest component (s,) of every column of H (r, s), −1 for a column of zeros.

    Parameters
    ----------
    H
        Columns of the factor.
    lengths
        Euclidean lengths (r,) of the columns of W, by which the components are weighted, since runs divide the scale of
        a component between W and H differently.

    Examples
    --------
    >>> strongest([[0.5, 0, 2], [0.1, 0, 3]], lengths=[2, 1]).tolist()
    [0, -1, 0]
    """
    contribution = np.asarray(H) * np.asarray(lengths, np.float64)[:, None]
    return np.where(contribution.any(axis=0), contribution.argmax(axis=0), -1)


def consensus_matrix(labels: Iterable[ArrayLike]) -> NDArray[np.float32]:
    """Return the share (s, s) of the runs in which two columns have the same label (Brunet et al. 2004).

    Parameters
    ----------
    labels
        Labels (s,) of the same columns for every run, as from `strongest`.

    Raises
    ------
    DataError
        If there is no run, or if the runs label different numbers of columns.

    Examples
    --------
    >>> consensus_matrix([[0, 0, 1], [1, 1, 1]]).tolist()
    [[1.0, 1.0, 0.5], [1.0, 1.0, 0.5], [0.5, 0.5, 1.0]]
    """
    runs = [np.asarray(run) for run in labels]
    shapes = sorted({run.shape for run in runs})
    if len(shapes) != 1 or len(shapes[0]) != 1 or not 1 <= shapes[0][0] <= MOST_COLUMNS:
        raise DataError(
            f"{len(runs)} run(s) with labels of the shapes {', '.join(map(str, shapes)) or 'none'} have no consensus; "
            f"give labels of the same columns, from 1 to {MOST_COLUMNS}, for each run."
        )
    together = np.zeros((len(runs[0]), len(runs[0])), np.float32)
    for run in runs:
        together += run[:, None] == run
    together /= np.float32(len(runs))
    return together


def tree(C: ArrayLike) -> NDArray[np.float64]:
    """Return the average linkage of the distances 1 − C, in the form of SciPy."""
    return np.asarray(scipy.cluster.hierarchy.linkage(_distances(C), "average"))


@single_threaded_products()
def cophenetic(C: ArrayLike, linkage: Any = None) -> float:
    """Return the cophenetic correlation of a consensus matrix C (s, s), which is 1 if all runs agree.

    It is the Pearson correlation of the distances 1 − C with those at which average linkage joins two columns (Brunet
    et al. 2004). If all distances are equal, and there is no correlation, it is 1 if the runs agree and 0 otherwise.

    Parameters
    ----------
    C
        Consensus matrix, as from `consensus_matrix`.
    linkage
        Its `tree`, if it is known.

    Examples
    --------
    >>> cophenetic(consensus_matrix([[0, 0, 1, 1], [1, 1, 0, 0]]))
    1.0
    """
    distances = _distances(C)
    if len(distances) == 0 or np.ptp(distances) == 0:
        return float(np.isin(distances, (0, 1)).all())
    joined = scipy.cluster.hierarchy.cophenet(tree(C) if linkage is None else linkage)
    return float(np.clip(np.corrcoef(distances, joined)[0, 1], -1, 1)) if np.ptp(joined) > 0 else 0.0


@single_threaded_products()
def dispersion(C: ArrayLike) -> float:
    """Return the mean of 4(C − ½)² (Kim & Park 2007): 1 if all runs agree, 0 if all entries are ½.

    >>> dispersion([[1, 0.5], [0.5, 1]])
    0.5
    """
    off = np.asarray(C, np.float64) - 0.5
    return float(4 * np.vdot(off, off) / off.size)


def order(C: ArrayLike, linkage: Any = None) -> NDArray[np.intp]:
    """Return the columns (s,) in the order of the leaves of the tree of C, which puts clusters together.

    >>> order(consensus_matrix([[0, 1, 0, 1]])).tolist()
    [0, 2, 1, 3]
    """
    if np.shape(C) == (1, 1):
        return np.zeros(1, np.intp)
    return np.asarray(scipy.cluster.hierarchy.leaves_list(tree(C) if linkage is None else linkage), np.intp)


def _distances(C: ArrayLike) -> NDArray[np.float64]:
    """Return 1 − C for the pairs of columns, in the order of SciPy."""
    return np.asarray(squareform(1 - np.asarray(C, np.float64), checks=False))
