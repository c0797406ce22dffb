"""The long factor of new data, with the other factor held."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dnmf.checkpoint import appearing, write_long
from dnmf.engine import ThreadEngine, single_threaded_products
from dnmf.errors import DataError
from dnmf.factor import Factor, MemoryFactor
from dnmf.kernels.model import Model, Rule
from dnmf.kernels.panels import Block
from dnmf.kernels.rules import altered, make_rule
from dnmf.kernels.scratch import Scratch
from dnmf.kernels.stats import Stats
from dnmf.kernels.tiles import Float
from dnmf.result import Result, as_dask
from dnmf.settings import Settings
from dnmf.sources import Source
from dnmf.sources.preparing import open_prepared
from dnmf.sources.weighted import is_weighted
from dnmf.start import check_missing, crewed, plan_of
from dnmf.watch import Watcher


def transform_with(
    result: Result,
    V: Any,
    out: str | Path | None,
    overwrite: bool,
    memory_limit: int | str | None,
    threads: int | None,
    watchers: Sequence[Watcher],
    client: Any = None,
    weights: Any = None,
) -> Any:
    """Return the long factor of V for the short factor of a result; `dnmf.transform` describes it."""
    short, rows_streamed = result.short, result.rows_streamed
    source = open_prepared(V, result.steps, "rows" if rows_streamed else "columns", weights)
    settings = result.settings.replace({"memory_limit": memory_limit, "threads": threads})
    with solved(source, short, settings, watchers, client) as (room, _):
        bounds, rank, dtype = source.layout.bounds, settings.rank, source.layout.work_dtype
        if out is not None:
            with appearing(out, overwrite) as draft:
                write_long(draft, room, bounds, rank, dtype, rows_streamed)
        return as_dask(room, bounds, rank, dtype, rows_streamed)


@contextmanager
def solved(
    source: Source,
    short: Float,
    settings: Settings,
    watchers: Sequence[Watcher] = (),
    client: Any = None,
    *,
    kept: bool = True,
    measured: bool = False,
) -> Iterator[tuple[Factor, Stats]]:
    """Give the long factor of a matrix for a short one, in blocks, and the sums of the pass that solved for it.

    Blocks that are not to be kept are not there. The sums include the loss, without penalties, where it is to be
    measured. On a cluster, the blocks last as long as this.
    """
    layout = source.layout
    if layout.shape[0] != len(short):
        axis = "columns" if layout.transposed else "rows"
        raise DataError(
            f"V has shape {layout.user_shape}, and the factors were fitted to {len(short)} {axis}; give data with "
            f"{len(short)} {axis}."
        )
    weighted = is_weighted(source)
    rule = make_rule(settings, transposed=layout.transposed, weighted=weighted)
    check_missing(settings, layout)
    solve = Solve(rule, Model.of(np.ascontiguousarray(short, layout.work_dtype)), kept, measured)

    def read(count: int) -> None:
        for watcher in watchers:
            watcher.block_read(count)

    with crewed(client, source, watchers, None) as crew, single_threaded_products():
        plan = crew.plan(source, settings) if crew else plan_of(layout, settings, weighted)
        for watcher in watchers:
            watcher.started(plan, 0, 1)
        if crew is None:
            room: Factor = MemoryFactor(layout.blocks)
            yield room, ThreadEngine(source, plan.groups, plan.threads, read).one_pass(solve, room=room)
        else:
            engine = crew.engine(source, plan)
            engine.on_block, room = read, engine.room()
            yield room, engine.one_pass(solve, room=room)


@dataclasses.dataclass(frozen=True, slots=True)
class Solve:
    """The work of a pass that finds the best H with W held, and measures the loss where that is asked for."""

    rule: Rule
    model: Model
    kept: bool = True
    measured: bool = False

    def zero(self) -> Stats:
        """Return the statistics of no block."""
        rows, rank = self.model.W.shape if self.measured else (1, 1)  # each block is solved by itself
        return self.rule.zero(rows, rank) if self.measured else Stats.zero(rows, rank)

    def visit(self, block: int, V: Block, H: Float | None, stats: Stats, scratch: Scratch) -> Float | None:
        """Check a block and solve for its H (r, w)."""
        stats.norms.append(self.rule.entries.square_sum(V, self.model.W.dtype, scratch))
        best = self.rule.transform(V, self.model, scratch)
        if self.measured:
            altered(self.rule, sweeps=0).visit(V, best, self.model, stats, scratch, fresh=False)
        return best if self.kept else None
