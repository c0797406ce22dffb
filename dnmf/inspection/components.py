"""Components: their strongest rows or columns of V, and the part of WH that each carries.

W and H share an arbitrary scale: a column of W may be doubled and the same row of H halved. Nothing here depends on it.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dnmf.choices import Axis, By
from dnmf.kernels.blocks.tiles import Float

# What the strongest features of a component are chosen by.
Parts = Callable[[Axis], Iterator["Part"]]


class Part(NamedTuple):
    """Consecutive rows of W, or of Hᵀ: their places, and their entries (w, r)."""

    places: slice
    numbers: Float


@dataclasses.dataclass(frozen=True, slots=True)
class Component:
    """One component of a factorisation.

    Attributes
    ----------
    name
        `"NMF_1"` for the first, as in exported tables.
    share
        Part of the sum of all entries of WH that it carries.
    top
        Its strongest rows or columns of V, the strongest first: for each its name, or its place without one, and its
        part of the sum of the component.
    """

    name: str
    share: float
    top: list[tuple[str | int, float]]


def component_names(rank: int) -> list[str]:
    """Return the names of the components.

    >>> component_names(2)
    ['NMF_1', 'NMF_2']
    """
    return [f"NMF_{k + 1}" for k in range(rank)]


def describe_components(
    parts: Parts, axis: Axis, others: Axis, names: NDArray[np.object_] | None, rank: int, most: int, by: By = "weight"
) -> list[Component]:
    """Return the components along an axis of V; `parts` yields the factor along either axis in parts."""
    sums = component_sums(parts(axis), rank) if by == "specificity" else None
    tops, sums = rank_entries(parts(axis), rank, most, sums)
    carried = shares(sums, component_sums(parts(others), rank))
    named = [[(place if names is None else names[place], weight) for place, weight in top] for top in tops]
    return list(map(Component, component_names(rank), carried.tolist(), named))


def component_sums(parts: Iterator[Part], rank: int) -> NDArray[np.float64]:
    """Return the sums (r,) of the components of a factor in parts, in float64."""
    return sum((np.ascontiguousarray(part.numbers.T).sum(axis=1, dtype=np.float64) for part in parts), np.zeros(rank))


def rank_entries(
    parts: Iterator[Part], rank: int, most: int, sums: NDArray[np.float64] | None = None
) -> tuple[list[list[tuple[int, float]]], NDArray[np.float64]]:
    """Return the places and weights of the strongest entries of each component, and the sums of the components (r,).

    Each part is dropped before the next is read. The weight of an entry is its part of the sum of the component. Of
    equal entries the first are taken, so that the result does not depend on the cut into parts; zeros are left out.

    Parameters
    ----------
    parts
        The factor, in parts.
    rank, most
        Number of components, and of entries of each.
    sums
        The sums of the components, to take the most specific entries and not the largest.

    Examples
    --------
    >>> parts = Part(slice(0, 2), np.array([[1.0], [4.0]])), Part(slice(2, 4), np.array([[0.0], [3.0]]))
    >>> rank_entries(iter(parts), rank=1, most=2)
    ([[(1, 0.5), (3, 0.375)]], array([8.]))
    """
    found_sums = np.zeros(rank)
    best = [(np.empty(0, np.int64), np.empty(0), np.empty(0)) for _ in range(rank)]
    for where, part in parts:
        found_sums += part.sum(axis=0, dtype=np.float64)
        scores = part if sums is None else specificity(part, sums)
        for k, kept in enumerate(best):
            found = _strongest(scores[:, k], most)
            new = where.start + found, scores[found, k], part[found, k]
            places, values, weights = (np.concatenate(pair) for pair in zip(kept, new, strict=True))
            order = np.argsort(-values, kind="stable")[:most]
            best[k] = places[order], values[order], weights[order]
    totals = np.where(found_sums > 0, found_sums, 1)
    tops = [
        list(zip(places.tolist(), (weights / total).tolist(), strict=True))
        for (places, _, weights), total in zip(best, totals, strict=True)
    ]
    return tops, found_sums


def specificity(part: Float, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p log(p / p̄) of the entries (w, r) of a factor, from the sums (r,) of its components.

    p is the part of an entry in the sum of its component, and p̄ the mean of p over the components: the sum over all
    entries of a component is its Kullback–Leibler divergence from the mean component.

    >>> specificity(np.array([[1.0, 1.0], [1.0, 0.0]]), np.array([2.0, 1.0])).round(3).tolist()
    [[-0.203, 0.288], [0.347, 0.0]]
    """
    p = part / np.where(sums > 0, sums, 1)
    mean = p.mean(axis=1, keepdims=True)
    return np.asarray(p * np.log(p / np.where(mean > 0, mean, 1), out=np.zeros_like(p), where=p > 0))


def _strongest(values: Float, most: int) -> NDArray[np.int64]:
    """Return the places of the `most` largest entries above 0, in their order, with all that equal the smallest."""
    least = np.partition(values, -most)[-most] if most < len(values) else 0
    return np.flatnonzero((values >= least) & (values > 0))


def shares(sums: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of the sum of WH that each component carries, from the sums (r,) of both factors.

    >>> shares(np.array([1.0, 2.0]), np.array([3.0, 0.5])).tolist()
    [0.75, 0.25]
    """
    carried = sums * others
    return np.asarray(carried / (carried.sum() or 1.0))


def sparsity(total: ArrayLike, squares: ArrayLike, count: int) -> Any:
    """Return the sparsity of vectors with `count` entries from their sums Σ|x| and Σx² (Hoyer 2004).

    (√n − Σ|x| / √Σx²) / (√n − 1) is 0 if all entries are equal and 1 if a single one is not 0. The sums may be taken
    block by block. The sparsity of a vector of zeros, or of a single entry, is 1.

    >>> sparsity([3.0, 4.0], [9.0, 4.0], 4).tolist()
    [1.0, 0.0]
    """
    total, squares = np.asarray(total, np.float64), np.asarray(squares, np.float64)
    if count == 1:
        return np.ones_like(total)[()]
    root = np.sqrt(count)
    ratio = np.divide(total, np.sqrt(squares), out=np.ones_like(total), where=squares > 0)
    return np.clip((root - ratio) / (root - 1), 0, 1)[()]
