"""The long factor of new data, with the other factor held."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnmf.checkpoint import appearing, write_long
from dnmf.engine import ThreadEngine, single_threaded_products
from dnmf.errors import DataError
from dnmf.factor import Factor, MemoryFactor
from dnmf.kernels.model import Model, Rule
from dnmf.kernels.panels import Block
from dnmf.kernels.rules import make_rule
from dnmf.kernels.scratch import Scratch
from dnmf.kernels.stats import Stats
from dnmf.kernels.tiles import Float
from dnmf.result import Result, as_dask
from dnmf.sources.opening import open_prepared
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
    layout = source.layout
    if layout.shape[0] != len(short):
        axis = "columns" if rows_streamed else "rows"
        raise DataError(
            f"V has shape {layout.user_shape}, and the factors were fitted to {len(short)} {axis}; give data with "
            f"{len(short)} {axis}."
        )
    settings = result.settings.replace({"memory_limit": memory_limit, "threads": threads})
    rule = make_rule(settings, transposed=rows_streamed, weighted=weights is not None)
    check_missing(settings, layout)
    solve = Solve(rule, Model.of(np.ascontiguousarray(short, layout.work_dtype)))

    def read(count: int) -> None:
        for watcher in watchers:
            watcher.block_read(count)

    with crewed(client, source, watchers, None) as crew, single_threaded_products():
        plan = crew.plan(source, settings) if crew else plan_of(layout, settings, weights is not None)
        for watcher in watchers:
            watcher.started(plan, 0, 1)
        room: Factor = MemoryFactor(layout.blocks)
        if crew is None:
            ThreadEngine(source, plan.groups, plan.threads, read).one_pass(solve, room=room)
        else:
            engine = crew.engine(source, plan)
            engine.on_block, room = read, engine.room()
            engine.one_pass(solve, room=room)
        rank, dtype = settings.rank, layout.work_dtype
        if out is not None:
            with appearing(out, overwrite) as draft:
                write_long(draft, room, layout.bounds, rank, dtype, rows_streamed)
        return as_dask(room, layout.bounds, rank, dtype, rows_streamed)


@dataclasses.dataclass(frozen=True, slots=True)
class Solve:
    """The work of a pass that finds the best H with W held."""

    rule: Rule
    model: Model

    def zero(self) -> Stats:
        """Return the statistics of no block."""
        return Stats.zero(1, 1)  # each block is solved by itself

    def visit(self, block: int, V: Block, H: Float | None, stats: Stats, scratch: Scratch) -> Float:
        """Check a block and solve for its H (r, w)."""
        stats.norms.append(self.rule.entries.square_sum(V, self.model.W.dtype, scratch))
        return self.rule.transform(V, self.model, scratch)
