"""Residuals of V by row and by column in one read: the largest by name, the others as a distribution."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dnmf.engine import single_threaded_products
from dnmf.engine.plan import Load
from dnmf.engine.session import open_session
from dnmf.inspection.profiles import Runs
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import Entries
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.sparse_panel import SparsePanel
from dnmf.kernels.blocks.sums import Summable
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.divergence.residuals import panel_residuals, unstored
from dnmf.kernels.rule import Model
from dnmf.run.open import matrix_of
from dnmf.run.result import Result
from dnmf.run.units import in_units
from dnmf.run.watcher import Watcher, Watchers
from dnmf.solvers.selection import rule_of
from dnmf.sources.weighted import is_weighted

# The largest residuals that are kept by place, and the runs into which an axis is cut.
WORST, RUNS = 12, 240
# Relative residuals are counted in bins of their logarithm, which are finer than the bars of a chart.
LOW, HIGH, PER_DECADE = -6, 3, 400


@dataclasses.dataclass(frozen=True, slots=True)
class TopK:
    """Places (k,) with the largest residuals by some measure, and these residuals (2, k); of equal ones the first."""

    places: NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    residuals: Float = dataclasses.field(default_factory=lambda: np.zeros((2, 0)))

    def merge(self, later: "TopK", measure: Callable[[Float], Float]) -> "TopK":
        """Return the largest of these and of those at later places."""
        places = np.concatenate([self.places, later.places])
        residuals = np.concatenate([self.residuals, later.residuals], axis=1)
        first = np.argsort(-measure(residuals), kind="stable")[:WORST]
        return TopK(places[first], residuals[:, first])


@dataclasses.dataclass(slots=True)
class AxisResiduals:
    """The residuals along an axis, in bounded memory.

    The residual of a place is a pair, Σ w d(v, y) and Σ w v^β over its entries.

    Attributes
    ----------
    beta
        β of the loss.
    runs, sums
        The axis in runs, and the sum of the residuals of each run (2, b).
    counts
        Number of places with a relative residual in each bin.
    empty
        Number of places where V is 0.
    worst, heaviest
        Places with the largest relative residuals, and with the largest parts of the loss.
    """

    beta: float
    runs: Runs
    sums: Float
    counts: NDArray[np.int64]
    empty: int = 0
    worst: TopK = dataclasses.field(default_factory=TopK)
    heaviest: TopK = dataclasses.field(default_factory=TopK)

    @classmethod
    def zero(cls, size: int, beta: float) -> Self:
        """Return the residuals of no place of an axis."""
        runs = Runs(size, RUNS)
        return cls(beta, runs, np.zeros((2, runs.count)), np.zeros((HIGH - LOW) * PER_DECADE, np.int64))

    def add_places(self, start: int, residuals: Float) -> None:
        """Add the residuals (2, p) of the places from `start` on."""
        places = np.arange(start, start + residuals.shape[1])
        run = self.runs.of(places)
        for total, values in zip(self.sums, residuals, strict=True):
            total += np.bincount(run, weights=values, minlength=self.runs.count)
        known = residuals[1] > 0
        self.empty += int((~known).sum())
        sizes = relative(residuals[:, known], self.beta)
        bins = np.floor((np.log10(np.maximum(sizes, 10.0**LOW)) - LOW) * PER_DECADE)
        self.counts += np.bincount(np.minimum(bins, len(self.counts) - 1).astype(np.int64), minlength=len(self.counts))
        self._merge(TopK(places[known], residuals[:, known]), TopK(places, residuals))

    def _merge(self, worst: TopK, heaviest: TopK) -> None:
        self.worst = self.worst.merge(worst, partial(relative, beta=self.beta))
        self.heaviest = self.heaviest.merge(heaviest, itemgetter(0))

    def add(self, other: Self) -> Self:
        """Return the residuals of these places and of others."""
        sums, counts, empty = self.sums + other.sums, self.counts + other.counts, self.empty + other.empty
        both = dataclasses.replace(self, sums=sums, counts=counts, empty=empty)
        both._merge(other.worst, other.heaviest)
        return both

    @property
    def by_run(self) -> Float:
        """Relative residual of every run (b,), NaN where V is 0."""
        return np.where(self.sums[1] > 0, relative(self.sums, self.beta), np.nan)

    def quantile(self, part: float) -> float:
        """Return a quantile of the relative residuals, to the width of a bin."""
        total = np.cumsum(self.counts)
        if not len(total) or total[-1] == 0:
            return float("nan")
        return float(10 ** (LOW + (np.searchsorted(total, part * total[-1]) + 0.5) / PER_DECADE))

    def histogram(self, bars: int = 32) -> tuple[list[float], list[int]]:
        """Return edges (bars + 1,) and counts of a histogram of the relative residuals."""
        known = np.flatnonzero(self.counts)
        if not len(known):
            return [0.0, 1.0], [0]
        edges = 10 ** (LOW + np.arange(len(self.counts) + 1) / PER_DECADE)
        low, high = edges[known[0]], edges[known[-1] + 1]
        new = np.linspace(low, high, bars + 1)
        middles = np.sqrt(edges[:-1] * edges[1:])
        counts = np.histogram(middles, new, weights=self.counts)[0]
        return new.tolist(), counts.round().astype(int).tolist()


@dataclasses.dataclass(slots=True)
class ResidualSums(Summable):
    """Residuals of the rows (2, m) and of the columns, with HHᵀ and the row sums of H for entries not stored."""

    rows: Float
    columns: AxisResiduals
    gram: Float
    mass: Float


@dataclasses.dataclass(frozen=True, slots=True)
class Compare:
    """Compare V with WH, panel by panel."""

    entries: Entries
    beta: float
    W: Float
    gram: Float
    bounds: tuple[int, ...]

    def zero(self) -> ResidualSums:
        """Return the sums of no block."""
        rows, rank = self.W.shape
        columns = AxisResiduals.zero(self.bounds[-1], self.beta)
        return ResidualSums(np.zeros((2, rows)), columns, np.zeros((rank, rank)), np.zeros(rank))

    def visit(self, block: int, V: Block, H: Float | None, sums: ResidualSums, scratch: Scratch) -> None:
        """Check a block, and add its residuals."""
        assert H is not None
        self.entries.square_sum(V, self.W.dtype, scratch)
        for columns, panel in self.entries.panels(V, self.W.dtype, scratch, narrow=True):
            h = np.ascontiguousarray(H[:, columns])
            rows, residuals = panel_residuals(panel, self.W, h, self.beta, scratch)
            if isinstance(panel, SparsePanel) and panel.zeros:
                wide = h.astype(np.float64)
                sums.gram += wide @ wide.T
                sums.mass += wide.sum(axis=1)
                residuals[0] += unstored(h.T, self.gram, self.W.sum(axis=0, dtype=np.float64), self.beta)
                np.maximum(residuals[0], 0, out=residuals[0])
            sums.rows += rows
            sums.columns.add_places(self.bounds[block] + columns.start, residuals)


@dataclasses.dataclass(frozen=True, slots=True)
class Residuals:
    """Residuals of V along both axes, and their total Σ w d(v, y) and Σ w v^β (2,)."""

    rows: AxisResiduals
    columns: AxisResiduals
    total: Float

    @property
    def relative(self) -> float:
        """Relative residual of V."""
        return float(relative(self.total, self.rows.beta))


@single_threaded_products()
def measure_residuals(
    result: Result,
    V: Any = None,
    weights: Any = None,
    memory_limit: int | str | None = None,
    threads: int | None = None,
    watchers: Sequence[Watcher] = (),
    client: Any = None,
) -> Residuals:
    """Compare V with the factors of a result in one read of V, which is not needed if the store records its location.

    Raises
    ------
    DnmfError
        If V is missing, or if it is not the matrix that was factorised.
    """
    source = matrix_of(result, V, weights)
    settings = result.settings.replace({"memory_limit": memory_limit, "threads": threads})
    layout = source.layout
    short, long = in_units(result.short, result.long, result.steps, layout.transposed, layout.bounds, back=True)
    W = np.ascontiguousarray(short, layout.work_dtype)
    entries = rule_of(settings, layout, is_weighted(source)).entries
    work = Compare(entries, settings.beta, W, Model.of(W).gram, layout.bounds)
    load = Load(sums=4, worked=settings.rank, held=0, kept=2 * settings.rank, panels=6)

    watchers = Watchers.of(watchers)
    with open_session(client, source, watchers.workers) as session:
        plan = session.plan(settings, load)
        watchers.started(plan, 0, 1)
        sums = session.engine(plan, watchers.block_read).one_pass(work, H=long)
    sums.rows[0] = np.maximum(sums.rows[0] + unstored(W, sums.gram, sums.mass, settings.beta), 0)
    held = AxisResiduals.zero(len(W), settings.beta)
    held.add_places(0, sums.rows)
    rows, columns = (sums.columns, held) if layout.transposed else (held, sums.columns)
    return Residuals(rows, columns, sums.rows.sum(axis=1))


def relative(residuals: Float, beta: float) -> Float:
    """Return relative residuals from pairs (2, …): ‖v − y‖/‖v‖ for β = 2, else D(v, y) / Σ v^β; 0 where V is 0.

    >>> relative(np.array([[2.0, 0.0], [4.0, 0.0]]), 2.0).tolist()
    [1.0, 0.0]
    """
    known = np.asarray(residuals[1]) > 0
    ratio = np.divide(residuals[0], residuals[1], out=np.zeros(np.shape(residuals[0])), where=known)
    return np.asarray(np.sqrt(2 * ratio) if beta == 2 else ratio)
