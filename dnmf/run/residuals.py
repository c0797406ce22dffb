"""What a run leaves of V, by row and by column, in one read: the worst by name, the rest as a distribution."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dnmf.checkpoint import Store
from dnmf.checkpoint.run_names import check_same_names, named_in
from dnmf.engine import single_threaded_products
from dnmf.engine.plan import Load
from dnmf.engine.session import open_session
from dnmf.errors import DataError, StoreError
from dnmf.inspection.profiles import Runs
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import Entries
from dnmf.kernels.blocks.panels import Block, Columns
from dnmf.kernels.blocks.sums import FieldSums
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.divergence.residuals import panel_residuals, unstored
from dnmf.kernels.registry import make_rule
from dnmf.kernels.rule import Model
from dnmf.run.open import check_missing, reopen
from dnmf.run.result import Result
from dnmf.run.watcher import Watcher, Watchers
from dnmf.sources import Source
from dnmf.sources.base import Axis
from dnmf.sources.preparing import open_prepared
from dnmf.sources.weighted import is_weighted

# How many of the worst are named, and in how many runs an axis is drawn.
WORST, RUNS = 12, 240
# Relative residuals are counted in bins of a logarithm, finer than a chart shows.
LOW, HIGH, PER_DECADE = -6, 3, 400


@dataclasses.dataclass(frozen=True, slots=True)
class TopK:
    """The places with the largest of some sizes, and their residuals (2, k); of equal ones the first."""

    places: NDArray[np.int64]
    found: Float

    @classmethod
    def none(cls) -> Self:
        """Return no place."""
        return cls(np.zeros(0, np.int64), np.zeros((2, 0)))

    def with_more(self, more: "TopK", size: Callable[[Float], Float]) -> "TopK":
        """Return the largest of these and those that follow."""
        places, found = np.concatenate([self.places, more.places]), np.concatenate([self.found, more.found], axis=1)
        first = np.argsort(-size(found), kind="stable")[:WORST]
        return TopK(places[first], found[:, first])


@dataclasses.dataclass(slots=True)
class AxisResiduals:
    """The residuals along an axis, in bounded memory.

    Attributes
    ----------
    beta
        Of the loss.
    runs
        The axis in runs.
    parts
        Σ w d(v, y) above Σ w v^β of every run (2, b).
    counts
        How many places have a relative residual in each bin.
    empty
        Places where V is 0.
    worst, heaviest
        The places with the largest relative residuals, and those that carry most of the loss.
    """

    beta: float
    runs: Runs
    parts: Float
    counts: NDArray[np.int64]
    empty: int
    worst: TopK
    heaviest: TopK

    @classmethod
    def zero(cls, size: int, beta: float) -> Self:
        """Return the residuals of no place of an axis."""
        runs = Runs(size, RUNS)
        bins = (HIGH - LOW) * PER_DECADE
        return cls(beta, runs, np.zeros((2, runs.count)), np.zeros(bins, np.int64), 0, TopK.none(), TopK.none())

    def take(self, start: int, found: Float) -> None:
        """Take the residuals (2, p) of the places from `start` on."""
        places = np.arange(start, start + found.shape[1])
        run = self.runs.of(places)
        for part, values in zip(self.parts, found, strict=True):
            part += np.bincount(run, weights=values, minlength=self.runs.count)
        there = found[1] > 0
        self.empty += int((~there).sum())
        sizes = relative(found[:, there], self.beta)
        bins = np.floor((np.log10(np.maximum(sizes, 10.0**LOW)) - LOW) * PER_DECADE)
        self.counts += np.bincount(np.minimum(bins, len(self.counts) - 1).astype(np.int64), minlength=len(self.counts))
        self._keep(TopK(places[there], found[:, there]), TopK(places, found))

    def _keep(self, worst: TopK, heaviest: TopK) -> None:
        self.worst = self.worst.with_more(worst, partial(relative, beta=self.beta))
        self.heaviest = self.heaviest.with_more(heaviest, itemgetter(0))

    def add(self, other: Self) -> Self:
        """Return these residuals and the others."""
        both = dataclasses.replace(
            self,
            parts=self.parts + other.parts,
            counts=self.counts + other.counts,
            empty=self.empty + other.empty,
        )
        both._keep(other.worst, other.heaviest)
        return both

    @property
    def along(self) -> Float:
        """The relative residual of every run (b,), NaN where V is 0."""
        return np.where(self.parts[1] > 0, relative(self.parts, self.beta), np.nan)

    def quantile(self, part: float) -> float:
        """Return the relative residual below which a part of the places is, to the width of a bin."""
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
class ResidualSums(FieldSums):
    """The residuals of every row (2, m), those of the columns, and HHᵀ and the sums of H for what is not stored."""

    rows: Float
    columns: AxisResiduals
    gram: Float
    mass: Float


@dataclasses.dataclass(frozen=True, slots=True)
class Compare:
    """The work of the pass that compares V with WH, panel by panel."""

    entries: Entries
    beta: float
    W: Float
    gram: Float
    bounds: tuple[int, ...]

    def zero(self) -> ResidualSums:
        """Return the sums of no block."""
        rows, rank = self.W.shape
        spread = AxisResiduals.zero(self.bounds[-1], self.beta)
        return ResidualSums(np.zeros((2, rows)), spread, np.zeros((rank, rank)), np.zeros(rank))

    def visit(self, block: int, V: Block, H: Float | None, sums: ResidualSums, scratch: Scratch) -> None:
        """Check a block and compare it."""
        assert H is not None
        self.entries.square_sum(V, self.W.dtype, scratch)
        for columns, panel in self.entries.panels(V, self.W.dtype, scratch, narrow=True):
            h = np.ascontiguousarray(H[:, columns])
            rows, found = panel_residuals(panel, self.W, h, self.beta, scratch)
            if isinstance(panel, Columns) and panel.every:
                wide = h.astype(np.float64)
                sums.gram += wide @ wide.T
                sums.mass += wide.sum(axis=1)
                found[0] += unstored(h.T, self.gram, self.W.sum(axis=0, dtype=np.float64), self.beta)
                np.maximum(found[0], 0, out=found[0])
            sums.rows += rows
            sums.columns.take(self.bounds[block] + columns.start, found)


@dataclasses.dataclass(frozen=True, slots=True)
class Residuals:
    """What a run leaves of V along both of its axes, and in all: Σ w d(v, y) above Σ w v^β (2,)."""

    rows: AxisResiduals
    columns: AxisResiduals
    total: Float

    @property
    def relative(self) -> float:
        """The relative residual of V."""
        return float(relative(self.total, self.rows.beta))


def measure_residuals(
    result: Result,
    V: Any = None,
    weights: Any = None,
    memory_limit: int | str | None = None,
    threads: int | None = None,
    watchers: Sequence[Watcher] = (),
    client: Any = None,
) -> Residuals:
    """Compare V with the factors of a result in one read of V, which may be left out where a store knows its place.

    Raises
    ------
    DnmfError
        If V is not there, or is not what was factorised.
    """
    source = _source(result, V, weights)
    settings = result.settings.replace({"memory_limit": memory_limit, "threads": threads})
    check_missing(settings, source.layout)
    layout = source.layout
    W = np.ascontiguousarray(result.short, layout.work_dtype)
    entries = make_rule(settings, transposed=layout.transposed, weighted=is_weighted(source)).entries
    work = Compare(entries, settings.beta, W, Model.of(W).gram, layout.bounds)
    load = Load(sums=4, worked=settings.rank, held=0, kept=2 * settings.rank, panels=6)

    watchers = Watchers(watchers)
    with open_session(client, source, watchers.workers) as session, single_threaded_products():
        plan = session.plan(settings, load)
        watchers.started(plan, 0, 1)
        sums = session.engine(plan, watchers.block_read).one_pass(work, H=result.long)
    sums.rows[0] = np.maximum(sums.rows[0] + unstored(W, sums.gram, sums.mass, settings.beta), 0)
    short = AxisResiduals.zero(len(W), settings.beta)
    short.take(0, sums.rows)
    streamed, held = sums.columns, short
    rows, columns = (streamed, held) if layout.transposed else (held, streamed)
    return Residuals(rows, columns, sums.rows.sum(axis=1))


def _source(result: Result, V: Any, weights: Any) -> Source:
    """Open the matrix of a result, which must be cut as its factor is."""
    if result.store is not None:
        store = Store.open(result.store)
        source = reopen(store, V, weights)
        check_same_names(result.names, source.layout, named_in(store.header))
        return source
    if V is None:
        raise StoreError("The run kept no store, so that its matrix is not known; give V.")
    streamed: Axis = "rows" if result.rows_streamed else "columns"
    source = open_prepared(V, result.steps, streamed, weights, missing=result.settings.missing)
    if source.layout.user_shape != result.shape or source.layout.bounds != tuple(result.bounds):
        raise DataError(
            f"V has shape {source.layout.user_shape} in {source.layout.blocks} blocks, and what was factorised had "
            f"shape {result.shape} in {len(result.bounds) - 1}; give the matrix that was factorised, cut as it was."
        )
    check_same_names(result.names, source.layout)
    return source


def relative(found: Float, beta: float) -> Float:
    """Return the residuals (2, …) as one number each: ‖v − y‖/‖v‖ for β = 2, else D(v, y) / Σ v^β; 0 where V is 0.

    >>> relative(np.array([[2.0, 0.0], [4.0, 0.0]]), 2.0).tolist()
    [1.0, 0.0]
    """
    ratio = np.divide(found[0], found[1], out=np.zeros(np.shape(found[0])), where=np.asarray(found[1]) > 0)
    return np.asarray(np.sqrt(2 * ratio) if beta == 2 else ratio)
