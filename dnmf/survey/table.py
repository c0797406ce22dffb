"""The results of a survey."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.checkpoint.run_names import check_same_names, named_in
from dnmf.choices import DENSITY_THRESHOLD, NEIGHBOURS, Axis
from dnmf.errors import DataError
from dnmf.inspection.figures import plot_consensus, plot_silhouettes, plot_survey
from dnmf.inspection.html import card
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.floats import own_errors
from dnmf.run.display import showing
from dnmf.run.open import open_again
from dnmf.run.result import Result
from dnmf.run.stored import stored_result
from dnmf.run.watcher import Watch
from dnmf.settings import Settings
from dnmf.sources.collection import shown_location
from dnmf.survey.columns import consensus_matrix, order, tree
from dnmf.survey.consensus import consensus
from dnmf.survey.costs import Costs
from dnmf.survey.criteria import lines_of, row_of
from dnmf.survey.fold_errors import defined_folds
from dnmf.survey.programmes import ConsensusResult, refit_consensus
from dnmf.survey.stability import Stability, stability
from dnmf.survey.suggest import Suggestion, suggest

# Added to a suggestion if no rank predicts the held-out entries better than zeros do, whose error is 1.
NO_PREDICTION = (
    "But at no rank are the held-out entries predicted better than by zeros, whose error is 1, so that this means "
    "nothing: a few entries may have most of the squares of V; clip or scale them, or give another loss."
)


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
    W: Float = dataclasses.field(repr=False)
    loss: float
    relative_error: float
    optimality: float
    labels: NDArray[np.intp] = dataclasses.field(repr=False)
    sparsity: tuple[float, float]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)  # without slots: the rows of the table are kept
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
        Frobenius loss, else the mean divergence of an entry; NaN for a fold that holds out nothing but zeros.
    holdout
        `"bicross"` (Owen & Perry 2009), `"speckled"`, or `"given"` for entries that were given.
    places
        Columns (s,) of V on which the runs are compared, or rows; see `compared`.
    passes, seconds
        Costs of the survey; `table()` has those of each rank.
    settings
        Settings of all models, at the largest rank.
    store
        Path of the store, if there is one.
    rmse, mae
        Root mean square and mean absolute error of the predictions of single entries that a fold held out (ranks,
        folds), in the units of V; NaN for `"bicross"`.
    """

    ranks: tuple[int, ...]
    models: tuple[SurveyModel, ...]
    held_out: NDArray[np.float64]
    holdout: str
    places: NDArray[np.int64]
    passes: int
    seconds: float
    settings: Settings
    store: str | None
    location: str | None
    _transposed: bool
    _best: Mapping[int, Result | str]
    _costs: Costs = dataclasses.field(default_factory=Costs)
    _header: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rmse: Float = dataclasses.field(default_factory=lambda: np.zeros((0, 0)))
    mae: Float = dataclasses.field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def compared(self) -> Axis:
        """The axis of V that `places` are on: `"columns"`, or `"rows"` if V is cut along its rows."""
        return "rows" if self._transposed else "columns"

    def models_of(self, rank: int) -> tuple[SurveyModel, ...]:
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
        models = self.models_of(rank)
        return stability([model.W for model in models]) if len(models) > 1 else None

    @own_errors
    def connectivity(self, rank: int) -> NDArray[np.float32]:
        """Return the part (s, s) of the runs in which two of `places` share their component (Brunet et al. 2004)."""
        return consensus_matrix([model.labels for model in self.models_of(rank)])

    @own_errors
    def table(self) -> dict[str, list[Any]]:
        """Return the criteria of the survey by their names, each with a value for every rank.

        `loss`, `relative_error` (best), `relative_error_median`, `explained` (1 − ‖V − WH‖²/‖V‖² of the best),
        `held_out` with its standard error `held_out_se`, `rmse` and `mae` of the entries held out in the units of V,
        `stability` (mean silhouette of the worst cluster of components) and `stability_mean`, `cophenetic`,
        `dispersion`, and `sparsity_W`, `sparsity_H` of the best run; None if a value is not known. `rmse` and `mae` are
        known where entries are missing, have weights, or were given to be held out.

        `passes` are the reads of V that models of the rank took part in, folds included. `seconds` are its share of the
        time: of a pass that models make together, in proportion to its components; of the fits on a sketch, the time of
        its own, divided by the number that ran at once. Time between these steps belongs to no rank, so that the column
        adds up to less than the seconds of the survey. Both are None if a part of the survey was made by an earlier
        dnmf, which did not record them.
        """
        return {name: [row[name] for row in self._rows] for name in self._rows[0]}

    @functools.cached_property
    def _rows(self) -> list[dict[str, Any]]:
        return [row_of(self, index, rank) for index, rank in enumerate(self.ranks)]

    @own_errors
    def suggest(self) -> Suggestion:
        """Return the suggested rank, with the reason as sentences, and whether the criteria agree."""
        table, errors = self.table(), defined_folds(self.held_out)
        found = suggest(table["rank"], errors, None, table["stability"], table["cophenetic"])
        if self.settings.beta == 2 and errors.size and errors.mean(axis=1).min() >= 1:
            return dataclasses.replace(found, reason=f"{found.reason} {NO_PREDICTION}", agree=False)
        return found

    def best(self, rank: int) -> Result:
        """Return the best run of a rank, ready for `transform` and, as `init=(W, H)`, for more passes."""
        self.models_of(rank)
        found = self._best[rank]
        return stored_result(found) if isinstance(found, str) else found

    @own_errors
    def consensus(
        self,
        rank: int,
        V: Any = None,
        density_threshold: float = DENSITY_THRESHOLD,
        *,
        neighbours: float = NEIGHBOURS,
        weights: Any = None,
        memory_limit: int | str | None = None,
        threads: int | None = None,
        watchers: Watch = (),
        progress: bool | None = None,
        client: Any = None,
    ) -> ConsensusResult:
        """Return the consensus of the runs of a rank, with the other factor refitted in one read of V.

        Components that are far from all others are dropped, the rest are clustered, and the median of each cluster is
        the consensus (Kotliar et al. 2019). The same read measures its loss.

        Parameters
        ----------
        rank
            A rank of the survey, with two runs or more.
        V, weights
            The matrix and its weights, if the survey does not record their locations.
        density_threshold
            Least mean distance of an outlier to its nearest neighbours.
        neighbours
            Number of neighbours, as a part of the runs.
        memory_limit, threads, watchers, progress, client
            Options for the read of V, as for `factorize`.

        Returns
        -------
        ConsensusResult
            A result that can be transformed, exported, reported and saved; `found` has the clusters and the densities.

        Raises
        ------
        StoreError
            If V or its weights were in memory and are not given, or if V is another matrix.
        DataError
            If too few components are left.

        Examples
        --------
        >>> import dnmf, numpy as np
        >>> V = np.outer([1, 2, 0, 0], [1, 1, 0, 0]) + np.outer([0, 0, 3, 1], [0, 0, 1, 2.0])
        >>> found = dnmf.select_rank(V, [2], n_runs=3, cv=0).consensus(2, V)
        >>> found.relative_error < 1e-5, found.dropped
        (True, 0)
        """
        runs = [model.W for model in self.models_of(rank)]
        found = consensus(runs, density_threshold, neighbours, self.settings.seed)
        whose = "survey" if self.store is None else f"survey in {self.store}"
        source, best = open_again(self._header, whose, V, weights), self.best(rank)
        check_same_names(best.names, source.layout, named_in(self._header))
        settings = best.settings.replace({"seed": self.settings.seed, "memory_limit": memory_limit, "threads": threads})
        read = self.passes * source.layout.stored_bytes
        spent = dataclasses.replace(best.history[-1], passes=self.passes, seconds=self.seconds, bytes_read=read)
        with showing(watchers, progress) as seen:
            return refit_consensus(
                found, runs, source, settings, spent, best.names, self.store, self._header, seen, client
            )

    def plot(self) -> Any:
        """Return a figure with the curves of the survey and the suggested rank; needs `pip install 'dnmf[plot]'`."""
        return plot_survey(self.table(), suggested=self.suggest().rank)

    def plot_consensus(self, rank: int) -> Any:
        """Return a heat map of the connectivity at a rank, ordered by clusters."""
        C = self.connectivity(rank)
        return plot_consensus(
            C, order(C, tree(C)), f"Consensus of {len(self.models_of(rank))} runs at rank {rank}", self.compared
        )

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

    def __repr__(self) -> str:
        ranks, models = ", ".join(map(str, self.ranks)), len(self.models)
        return f"<dnmf.RankSurvey: ranks {ranks}, {models} models, {self.passes} passes. {self.suggest()}>"

    def __str__(self) -> str:
        return "\n".join([*lines_of(self.table()), str(self.suggest()), f"{self.passes} passes, {self.seconds:.1f} s"])
