"""The results of a survey."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError
from dnmf.inspection.figures import plot_consensus, plot_silhouettes, plot_survey
from dnmf.inspection.html import card
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.floats import own_errors
from dnmf.run.result import Result
from dnmf.run.stored import stored_result
from dnmf.run.transform import transform
from dnmf.run.units import in_units
from dnmf.settings import Settings
from dnmf.sources.collection import shown_location
from dnmf.survey.columns import consensus_matrix, cophenetic, dispersion, order, tree
from dnmf.survey.consensus import DENSITY_THRESHOLD, Consensus, consensus
from dnmf.survey.costs import Costs
from dnmf.survey.stability import Stability, stability
from dnmf.survey.suggest import Suggestion, suggest


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class SurveyModel:
    """One run at one rank.

    Attributes
    ----------
    rank, seed
        Rank and seed of the run.
    W
        The factor held in memory, with one row for every row (or column) of V that is not streamed.
    loss, relative_error, optimality
        As in `Record`; the error is NaN for a loss other than Frobenius.
    labels
        Strongest component (s,) in each column of a sample, −1 for a column of zeros.
    sparsity
        Sparsity of W and of H (Hoyer 2004), 0 … 1.
    """

    rank: int
    seed: int
    W: Float
    loss: float
    relative_error: float
    optimality: float
    labels: NDArray[np.intp]
    sparsity: tuple[float, float]


@dataclasses.dataclass(frozen=True, eq=False)  # without slots: the rows of the table are kept
class RankSurvey:
    """Models of many ranks, seeds and folds, and the criteria for the rank.

    Attributes
    ----------
    ranks
        Ranks in rising order.
    models
        Models of every rank and seed.
    held_out
        Held-out error of every rank (ranks, folds): ‖V − WH‖²/‖V‖² over the entries that a fold held out for the
        Frobenius loss, else the mean divergence of an entry.
    holdout
        `"bicross"` (Owen & Perry 2009) or `"speckled"`.
    places
        Columns (s,), as streamed, on which the runs are compared.
    passes, seconds
        Costs of the survey; `table()` has those of each rank.
    settings
        Settings of all models, at the largest rank.
    store
        Path of the store, if there is one.
    """

    ranks: tuple[int, ...]
    models: tuple[SurveyModel, ...]
    held_out: Float
    holdout: str
    places: NDArray[np.int64]
    passes: int
    seconds: float
    settings: Settings
    store: str | None
    location: str | None
    _transposed: bool
    _best: Mapping[int, Result | str]
    _costs: Costs = dataclasses.field(default_factory=Costs, repr=False)

    def of(self, rank: int) -> tuple[SurveyModel, ...]:
        """Return the models of a rank.

        Raises
        ------
        DataError
            If the survey has no such rank.
        """
        if rank not in self.ranks:
            raise DataError(f"The survey has no rank {rank}; it has {', '.join(map(str, self.ranks))}.")
        return tuple(model for model in self.models if model.rank == rank)

    @own_errors
    def stability(self, rank: int) -> Stability | None:
        """Return the match of the components of all runs of a rank, or None for a single run."""
        models = self.of(rank)
        return stability([model.W for model in models]) if len(models) > 1 else None

    @own_errors
    def connectivity(self, rank: int) -> NDArray[np.float32]:
        """Return the part (s, s) of the runs in which two columns share their component (Brunet et al. 2004)."""
        return consensus_matrix([model.labels for model in self.of(rank)])

    @own_errors
    def table(self) -> dict[str, list[Any]]:
        """Return the criteria of the survey by their names, each with a value for every rank.

        `loss`, `relative_error` (best), `relative_error_median`, `explained` (1 − ‖V − WH‖²/‖V‖² of the best),
        `held_out` with its standard error `held_out_se`, `stability` (mean silhouette of the worst cluster of
        components) and `stability_mean`, `cophenetic`, `dispersion`, and `sparsity_W`, `sparsity_H` of the best run;
        None if a value is not known.

        `passes` are the reads of V that models of the rank took part in, folds included. `seconds` are its share of the
        time: of a pass that models make together, in proportion to its components; of the fits on a sketch, the time of
        its own, divided by the number that ran at once. Time between these steps belongs to no rank, so that the column
        adds up to less than the seconds of the survey. Both are None if a part of the survey was made by an earlier
        dnmf, which did not record them.
        """
        return {name: [row[name] for row in self._rows] for name in self._rows[0]}

    @functools.cached_property
    def _rows(self) -> list[dict[str, Any]]:
        return [self._row(index, rank) for index, rank in enumerate(self.ranks)]

    def _row(self, index: int, rank: int) -> dict[str, Any]:
        models, held = self.of(rank), self.held_out[index]
        best = min(models, key=lambda model: model.loss)
        found = self.stability(rank)
        C = self.connectivity(rank) if len(models) > 1 and len(self.places) > 1 else None
        sparsity = best.sparsity[::-1] if self._transposed else best.sparsity
        passes, seconds = self._costs.of(rank) or (None, None)
        return {
            "rank": rank,
            "loss": best.loss,
            "loss_median": float(np.median([model.loss for model in models])),
            "relative_error": known(best.relative_error),
            "relative_error_median": known(float(np.median([model.relative_error for model in models]))),
            "explained": known(1 - best.relative_error**2),
            "held_out": float(held.mean()) if held.size else None,
            "held_out_se": float(held.std(ddof=1) / np.sqrt(held.size)) if held.size else None,
            "stability": None if found is None else found.least,
            "stability_mean": None if found is None else found.mean,
            "cophenetic": None if C is None else cophenetic(C),
            "dispersion": None if C is None else dispersion(C),
            "sparsity_W": sparsity[0],
            "sparsity_H": sparsity[1],
            "passes": passes,
            "seconds": seconds,
        }

    @own_errors
    def suggest(self) -> Suggestion:
        """Return the suggested rank, with the reason as sentences, and whether the criteria agree."""
        table = self.table()
        return suggest(table["rank"], table["held_out"], table["held_out_se"], table["stability"], table["cophenetic"])

    def best(self, rank: int) -> Result:
        """Return the best run of a rank, ready for `transform` and, as `init=(W, H)`, for more passes."""
        self.of(rank)
        found = self._best[rank]
        return stored_result(found) if isinstance(found, str) else found

    @own_errors
    def consensus(self, rank: int, V: Any = None, density_threshold: float = DENSITY_THRESHOLD) -> "ConsensusResult":
        """Return the consensus of the runs of a rank, with the other factor refitted in one read of V.

        Components that are far from all others are dropped, the rest are clustered, and the median of each cluster is
        the consensus (Kotliar et al. 2019).

        Parameters
        ----------
        rank
            A rank of the survey, with two runs or more.
        V
            The matrix, if the survey does not record its location.
        density_threshold
            Least mean distance of an outlier to its nearest neighbours.

        Raises
        ------
        DataError
            If V was in memory and is not given, or if too few components are left.
        """
        found = consensus([model.W for model in self.of(rank)], density_threshold, seed=self.settings.seed)
        if V is None and self.location is None:
            raise DataError("The survey was of a matrix in memory; give V to find the other factor of the consensus.")
        short = found.components.astype(self.models[0].W.dtype)
        best = self.best(rank)
        short, _ = in_units(short, best.long, best.steps, self._transposed, best.bounds)
        fitted = dataclasses.replace(best, short=short)
        long = transform(fitted, self.location if V is None else V, axis="rows" if self._transposed else "columns")
        W, H = (long, fitted.H) if self._transposed else (fitted.W, long)
        return ConsensusResult(W, H, found)

    def plot(self) -> Any:
        """Return a figure with the curves of the survey and the suggested rank; needs `pip install 'dnmf[plot]'`."""
        return plot_survey(self.table(), suggested=self.suggest().rank)

    def plot_consensus(self, rank: int) -> Any:
        """Return a heat map of the connectivity at a rank, ordered by clusters."""
        C = self.connectivity(rank)
        return plot_consensus(C, order(C, tree(C)), f"Consensus of {len(self.of(rank))} runs at rank {rank}")

    def plot_silhouettes(self, rank: int) -> Any:
        """Return a plot of the silhouettes of the components of all runs at a rank."""
        found = self.stability(rank)
        if found is None:
            raise DataError("Silhouettes compare several runs, and the survey has one for each rank; raise n_runs.")
        return plot_silhouettes(found.silhouettes.ravel(), found.labels.ravel(), f"Components of rank {rank}")

    def facts(self) -> dict[str, str]:
        """Return the facts of the survey in a few lines."""
        runs = len(self.models) // len(self.ranks)
        return {
            "matrix": shown_location(self.location) or "given in memory",
            "ranks": ", ".join(map(str, self.ranks)),
            "models": f"{len(self.models)}, {runs} {'run' if runs == 1 else 'runs'} of each rank",
            "took": f"{self.passes} passes, {self.seconds:.1f} s",
            "suggestion": str(self.suggest()),
        }

    def _repr_html_(self) -> str:
        return card("Survey of ranks", self.facts() | ({"store": self.store} if self.store else {}))

    def __str__(self) -> str:
        table = self.table()
        shown = [name for name in HEADS if any(value is not None for value in table[name])]
        columns = [[HEADS[name], *map(figure, table[name])] for name in shown]
        widths = [max(map(len, column)) for column in columns]
        lines = [
            "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
            for row in zip(*columns, strict=True)
        ]
        return "\n".join([*lines, str(self.suggest()), f"{self.passes} passes, {self.seconds:.1f} s"])


HEADS = {
    "rank": "rank",
    "relative_error": "error",
    "loss": "loss",
    "held_out": "held out",
    "held_out_se": "± SE",
    "stability": "stability",
    "cophenetic": "cophenetic",
    "dispersion": "dispersion",
    "sparsity_W": "sparsity W",
    "sparsity_H": "sparsity H",
    "passes": "passes",
    "seconds": "seconds",
}


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ConsensusResult:
    """The consensus of many runs.

    Attributes
    ----------
    W, H
        Factors; the long one is a Dask array.
    found
        The clusters, their silhouettes, and the components that were dropped.
    """

    W: Any
    H: Any
    found: Consensus


def figure(value: Any) -> str:
    """Format a value of the table."""
    return "–" if value is None else str(value) if isinstance(value, int) else f"{value:.5g}"


def known(value: float) -> float | None:
    """Return a number, or None for NaN."""
    return None if np.isnan(value) else float(value)
