"""Suggest a rank, with the reason as sentences."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError
from dnmf.survey.fold_errors import mean_and_error

# Components are stable if the silhouette of the worst cluster is at least this.
STABLE = 0.8

# A fall of the cophenetic correlation counts if it is at least this, and ends below this.
LEAST_FALL, COPHENETIC_BAR = 0.05, 0.98
# A held-out error is as good as the least if it is above it by no more than this share.
EQUAL = 0.02
# An elbow of the held-out error: a fall of the error by at least the first share, and no later one by the second.
ELBOW_FALL, ELBOW_REST = 0.3, 0.05

Column = Sequence[float | None] | None
# Numbers of every rank, or with one for every fold (ranks, folds).
Errors = Column | NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class Suggestion:
    """A suggested rank and the reason for it.

    Attributes
    ----------
    rank
        The rank, or None if no criterion distinguishes the ranks.
    reason
        Sentences: the result of each criterion, and advice if they disagree.
    agree
        Whether all criteria that suggest a rank suggest this one.
    """

    rank: int | None
    reason: str
    agree: bool

    def __str__(self) -> str:
        return self.reason


def suggest(
    ranks: Sequence[int],
    error: Errors = None,
    spread: Column = None,
    stability: Column = None,
    cophenetic: Column = None,
    bar: float = STABLE,
) -> Suggestion:
    """Suggest a rank by the held-out error, and compare it with the stability of the components.

    The rank is the smallest one whose held-out error is within one standard error of the least, or 2 % (Breiman et al.
    1984; Hastie et al. 2009, 7.10). Where the errors of the folds are given, it is that of the mean difference of both
    ranks, as they share the folds, some of which are harder to predict at every rank; else the larger one of both
    ranks. It is compared with the rank at the elbow of the held-out error, where it has one, with the largest rank
    whose components are stable (Nebgen et al. 2021), and with the rank after which the cophenetic correlation falls
    most (Brunet et al. 2004). Without a held-out error, the largest stable rank is suggested, or else the rank before
    the fall.

    Parameters
    ----------
    ranks
        The ranks in any order, each once.
    error, spread
        Held-out error of every rank, None or NaN if it is not known, and its standard error; or the errors of all
        folds (ranks, folds), without `spread`.
    stability
        Mean silhouette of the worst cluster of components of every rank, as `Stability.least`.
    cophenetic
        Cophenetic correlation of every rank.
    bar
        Least silhouette of stable components.

    Raises
    ------
    DataError
        If there is no rank, if a rank is repeated, or if a column has another length.

    Examples
    --------
    >>> found = suggest([2, 3, 4, 5], [9.0, 5.0, 4.0, 3.9], [0.2, 0.2, 0.2, 0.2], [1, 0.97, 0.95, 0.4])
    >>> found.rank, found.agree
    (4, True)
    >>> print(found)
    Rank 4 is the smallest whose held-out error, 4, is within one standard error (0.2) of the least, 3.9 at rank 5. \
The held-out error has an elbow at rank 4: it falls by 20% to it, and by less than 5% at every larger rank. \
Rank 4 is the largest whose components are stable over the runs (silhouette 0.95, at least 0.8 is required).
    """
    columns = (error, spread, stability, cophenetic)
    lengths = [len(column) for column in columns if column is not None]
    if not len(ranks) or len(set(ranks)) < len(ranks) or any(length != len(ranks) for length in lengths):
        raise DataError(
            f"ranks={list(ranks)} and columns of the lengths {lengths} are not a table; give every rank once, and a "
            "number or None for each."
        )
    sizes = np.asarray(ranks, np.int64)
    by_size = np.argsort(sizes)
    values = [np.full(len(sizes), np.nan) if c is None else np.array(c, np.float64)[by_size] for c in columns]
    sizes, errors = sizes[by_size], values[0]
    held_out = errors if errors.ndim == 1 else mean_and_error(errors)[0]
    named = [
        found
        for found in (
            _by_error(sizes, errors, held_out, values[1]),
            _by_elbow(sizes, held_out),
            _by_stability(sizes, values[2], bar),
            _by_fall(sizes, values[3]),
        )
        if found is not None
    ]
    if not named:
        return Suggestion(
            None,
            "No criterion distinguishes the ranks: there is no held-out error, no stability and no fall of the "
            "cophenetic correlation. Hold out entries, in two folds or more, or make several runs of every rank.",
            False,
        )
    rank = named[0][0]
    agree = all(other == rank for other, _ in named)
    sentences = [sentence for _, sentence in named]
    predicts = bool(np.isfinite(held_out).any())
    if not predicts:
        sentences.insert(0, "There is no held-out error.")
    if not agree:
        sentences.append(_advice(rank, named, float(values[2][sizes == rank][0]), predicts, bar))
    if rank == sizes[-1] and len(sizes) > 1:
        sentences.append(f"Rank {rank} is the largest that was tried: try larger ones.")
    return Suggestion(rank, " ".join(sentences), agree)


Criterion = tuple[int, str] | None
Sizes = NDArray[np.int64]
Figures = NDArray[np.float64]


def _by_error(ranks: Sizes, errors: Figures, error: Figures, spread: Figures) -> Criterion:
    """Return the smallest rank within one standard error of the least held-out error, given those of folds or not."""
    if not np.isfinite(error).any():
        return None
    best = int(np.nanargmin(np.where(np.isfinite(error), error, np.nan)))
    paired = errors.ndim == 2
    spread = mean_and_error(errors - errors[best])[1] if paired else spread
    known = np.where(np.isfinite(spread), spread, 0.0)
    margins, close = known if paired else np.maximum(known, known[best]), EQUAL * float(error[best])
    place = int(np.argmax(error <= error[best] + np.maximum(margins, close)))
    margin, words = float(margins[place]), f"one standard error{' of the difference' if paired else ''}"
    margin, words = (margin, words) if margin >= close else (close, f"{EQUAL:.0%}")
    rank, least = int(ranks[place]), f"{error[best]:.4g}"
    unknown = "" if np.isfinite(spread[best]) else "; no standard error is known"
    if place == best:
        return rank, (
            f"Rank {rank} has the least held-out error, {least}, and no smaller rank is within {words} "
            f"({margin:.2g}) of it{unknown}."
        )
    return rank, (
        f"Rank {rank} is the smallest whose held-out error, {error[place]:.4g}, is within {words} "
        f"({margin:.2g}) of the least, {least} at rank {ranks[best]}{unknown}."
    )


def _by_elbow(ranks: Sizes, error: Figures) -> Criterion:
    """Return the rank after which the held-out error no longer falls, if it fell much before."""
    known = np.flatnonzero(np.isfinite(error) & (error > 0))
    falls = 1 - error[known][1:] / error[known][:-1]
    if len(falls) < 2 or falls.max() < ELBOW_FALL or falls[-1] >= ELBOW_REST:
        return None
    last = int(np.flatnonzero(falls >= ELBOW_REST)[-1])
    rank = int(ranks[known[last + 1]])
    return rank, (
        f"The held-out error has an elbow at rank {rank}: it falls by {falls[last]:.0%} to it, and by less than "
        f"{ELBOW_REST:.0%} at every larger rank."
    )


def _by_stability(ranks: Sizes, stability: Figures, bar: float) -> Criterion:
    """Return the largest rank whose components are stable, or the one where they are most stable."""
    if not np.isfinite(stability).any():
        return None
    stable = np.flatnonzero(stability >= bar)
    if len(stable):
        place = int(stable[-1])
        return int(ranks[place]), (
            f"Rank {ranks[place]} is the largest whose components are stable over the runs (silhouette "
            f"{stability[place]:.2f}, at least {bar:g} is required)."
        )
    place = int(np.nanargmax(stability))
    return int(ranks[place]), (
        f"At no rank are the components stable over the runs (a silhouette of at least {bar:g} is required); they are "
        f"most so at rank {ranks[place]} ({stability[place]:.2f})."
    )


def _by_fall(ranks: Sizes, cophenetic: Figures) -> Criterion:
    """Return the rank after which the cophenetic correlation falls most, and is never as high again."""
    known = np.flatnonzero(np.isfinite(cophenetic))
    values = cophenetic[known]
    later = np.maximum.accumulate(values[::-1])[::-1][1:]  # the highest from the next rank on
    falls = np.where(values[:-1] > later, values[:-1] - values[1:], -np.inf)
    falls[values[1:] >= COPHENETIC_BAR] = -np.inf
    if not len(falls) or falls.max() < LEAST_FALL:
        return None
    place = int(np.argmax(falls))
    before, after = known[place], known[place + 1]
    return int(ranks[before]), (
        f"The cophenetic correlation falls most after rank {ranks[before]}, from {cophenetic[before]:.3f} to "
        f"{cophenetic[after]:.3f} at rank {ranks[after]}."
    )


def _advice(rank: int, named: Sequence[tuple[int, str]], silhouette: float, predicts: bool, bar: float) -> str:
    """Return sentences on the disagreement of the criteria, with advice."""
    *others, last = sorted({other for other, _ in named})
    state = ""
    if np.isfinite(silhouette):
        how = "are" if silhouette >= bar else "are not"
        state = f" The components of rank {rank} {how} stable (silhouette {silhouette:.2f})."
    hint = f"take rank {rank} to predict or to fill in, and" if predicts else "hold out entries to settle it, or"
    return (
        f"The criteria disagree: they suggest the ranks {', '.join(map(str, others))} and {last}.{state} So {hint} "
        "compare the components of these ranks to interpret them; more runs, and more passes for each, make the "
        "criteria more certain."
    )
