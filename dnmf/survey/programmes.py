"""The consensus of the runs of a rank as a result: programmes, as cNMF calls them (Kotliar et al. 2019)."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.registry import make_rule
from dnmf.run.refit import refit
from dnmf.run.result import Result
from dnmf.run.watcher import Watchers
from dnmf.settings import Settings
from dnmf.solvers.history import Record, Verdict
from dnmf.sources import Source
from dnmf.sources.names import Names
from dnmf.survey.consensus import Consensus, at_scale_of_runs


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ConsensusResult(Result):
    """The consensus of the runs of a rank of a survey, with all that a result has.

    The components are the medians of clusters, the largest cluster first, each scaled to the sum 1; or to the median
    length of its cluster where the runs have penalties or constraints, which depend on the scale. The other factor is
    the best one given them, with the same penalties and constraints. `save` writes a store for `dnmf.load` and the
    commands.

    Attributes
    ----------
    clusters
        The clusters, the densities and silhouettes of the components of all runs, and those that were dropped.
    survey
        Path of the store of the survey, or None.
    """

    clusters: Consensus
    survey: str | None

    @property
    def dropped(self) -> int:
        """Number of components that were dropped as outliers."""
        return self.clusters.dropped

    def _origin(self) -> dict[str, Any]:
        return {
            "survey": self.survey,
            "density_threshold": self.clusters.threshold,
            "neighbours": self.clusters.neighbours,
        }


def refit_consensus(
    found: Consensus,
    runs: Sequence[Float],
    source: Source,
    settings: Settings,
    before: Record,
    names: Names,
    survey: str | None,
    header: Any,
    watchers: Watchers,
    client: Any,
) -> ConsensusResult:
    """Find the other factor of a consensus, and its loss, in one read of V.

    Parameters
    ----------
    found, runs
        The consensus, and the factors that it is of.
    source, settings
        The matrix, and the settings of the runs.
    before
        Record of the survey, whose passes and seconds are added to.
    names
        Names of the rows and columns of V.
    survey, header
        Path and header of the survey.
    watchers, client
        As for `transform`.
    """
    start = time.perf_counter()
    free = make_rule(settings).scaled
    components = found.components if free else at_scale_of_runs(found, runs)
    state = refit(source, components, settings, watchers, client)
    record = Record(
        passes=before.passes + 1,
        loss=state.loss,
        relative_error=state.relative_error,
        optimality=state.optimality,
        seconds=before.seconds + time.perf_counter() - start,
        bytes_read=before.bytes_read + source.layout.stored_bytes,
        solver="consensus",
    )
    verdict = Verdict(found.sentence, False)
    watchers.stopped(verdict)
    result = Result.of(source, settings, state, [record], verdict, None)
    known = {field.name: getattr(result, field.name) for field in dataclasses.fields(Result)}
    matrix = {name: header[name] for name in result.matrix} | {"named": header.get("named", [])}
    known |= {"names": names, "matrix": matrix}
    return ConsensusResult(**known, clusters=found, survey=survey)
