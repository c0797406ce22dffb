"""The likelihood of counts under a factorisation as a topic model, in one read."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from dnmf.aliases import names_options
from dnmf.engine import single_threaded_products
from dnmf.engine.plan import Load
from dnmf.engine.session import open_session
from dnmf.errors import SettingsError, unknown
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import Entries
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.sums import Summable
from dnmf.kernels.blocks.tiles import Float, Vector
from dnmf.kernels.divergence.likelihood import cross_entropy
from dnmf.kernels.floats import own_errors
from dnmf.run.display import showing
from dnmf.run.open import matrix_of
from dnmf.run.result import Result
from dnmf.run.stored import fitted_result
from dnmf.run.units import in_units
from dnmf.run.watcher import Watch
from dnmf.solvers.selection import rule_of
from dnmf.sources.base import Axis
from dnmf.sources.weighted import is_weighted


class Likelihood(NamedTuple):
    """The likelihood of the entries of V as counts.

    Attributes
    ----------
    log_likelihood
        Σ v log p, with the natural logarithm.
    perplexity
        exp(−Σ v log p / Σ v): 1 if every count was certain, and the number of features if all are equally probable.
    """

    log_likelihood: float
    perplexity: float


@names_options()
@own_errors
@single_threaded_products()
def likelihood(
    fitted: Result | str | Path,
    V: Any = None,
    *,
    samples: Axis = "rows",
    memory_limit: int | str | None = None,
    threads: int | None = None,
    watchers: Watch = (),
    progress: bool | None = None,
    client: Any = None,
) -> Likelihood:
    """Return the log-likelihood and the perplexity of the fitted V as counts, in one read of V.

    The probability of a feature in a sample is its share of the sum of WH over the sample, as in probabilistic latent
    semantic analysis (Hofmann 1999), which the Kullback–Leibler divergence fits (Ding, Li & Peng 2008).

    Parameters
    ----------
    fitted
        A result, or the path or URL of a store.
    V
        The matrix that was factorised, if it has moved or was in memory.
    samples
        Whether the `"rows"` or the `"columns"` of V are the samples, as documents are.
    memory_limit, threads, watchers, progress, client
        As for `factorize`.

    Returns
    -------
    Likelihood

    Raises
    ------
    SettingsError
        If entries are missing or weighted.
    DataError
        If V is not the matrix that was factorised.

    Examples
    --------
    >>> import dnmf, numpy as np
    >>> V = np.outer([1, 2, 1], [1, 1, 1, 1])
    >>> result = dnmf.factorize(V, rank=1, loss="kullback-leibler", rows_H="simplex")
    >>> round(dnmf.likelihood(result, V).perplexity, 6)
    4.0
    """
    if samples not in get_args(Axis):
        raise unknown("samples", samples, get_args(Axis))
    result = fitted_result(fitted)
    source = matrix_of(result, V, None)
    settings, layout = result.settings.replace({"memory_limit": memory_limit, "threads": threads}), source.layout
    entries = rule_of(settings, layout, is_weighted(source)).entries
    if not entries.all:
        raise SettingsError("A likelihood needs every entry of V with the same weight; some are missing or weighted.")
    short, long = in_units(result.short, result.long, result.steps, layout.transposed, layout.bounds, back=True)
    W = np.ascontiguousarray(short, layout.work_dtype)
    work = CountEntries(entries, W)
    load = Load(sums=1, worked=settings.rank, held=0, kept=2 * settings.rank, panels=6)
    with showing(watchers, progress) as seen, open_session(client, source, seen.workers) as session:
        plan = session.plan(settings, load)
        seen.started(plan, 0, 1)
        sums: LikelihoodSums = session.engine(plan, seen.block_read).one_pass(work, H=long)
    whole = float(sums.rows.sum())
    along = (samples == "rows") == layout.transposed
    total = sums.total - (sums.streamed if along else weighted_logs(sums.rows, W.astype(np.float64) @ sums.mass))
    return Likelihood(total, float(np.exp(-total / whole)) if whole > 0 else 1.0)


def weighted_logs(weights: Float, sums: Float) -> float:
    """Return Σ n log s, where n log s is 0 for n = 0."""
    return float(np.sum(weights * np.log(sums, out=np.zeros_like(sums), where=(weights > 0) & (sums > 0))))


@dataclasses.dataclass(slots=True)
class LikelihoodSums(Summable):
    """Sums over the blocks.

    Attributes
    ----------
    total
        Σ v log y.
    rows
        Sums of the rows of V (m,).
    mass
        Sums of the rows of H (r,).
    streamed
        Σ n log s over the sums n of the columns of V, and s of those of WH.
    """

    total: float
    rows: Vector
    mass: Vector
    streamed: float


@dataclasses.dataclass(frozen=True, slots=True)
class CountEntries:
    """Add up the logarithms of WH at the entries of V, panel by panel."""

    entries: Entries
    W: Float

    def zero(self) -> LikelihoodSums:
        """Return the sums of no block."""
        rows, rank = self.W.shape
        return LikelihoodSums(0.0, np.zeros(rows), np.zeros(rank), 0.0)

    def visit(self, block: int, V: Block, H: Float | None, sums: LikelihoodSums, scratch: Scratch) -> None:
        """Check a block, and add its entries."""
        assert H is not None
        self.entries.square_sum(V, self.W.dtype, scratch)
        mass = self.W.sum(axis=0, dtype=np.float64)
        for columns, panel in self.entries.panels(V, self.W.dtype, scratch, narrow=True):
            h = H[:, columns].astype(np.float64)
            total, rows, counts = cross_entropy(panel.listed(scratch, zeros=False), self.W, h)
            sums.total += total
            sums.rows += rows
            sums.mass += h.sum(axis=1)
            sums.streamed += weighted_logs(counts, mass @ h)
