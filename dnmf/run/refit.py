"""The other factor of a given one, and the loss of both, in one read of V."""

from typing import Any

import numpy as np

from dnmf.engine.factor import DiskFactor, MemoryFactor
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.registry import altered
from dnmf.run.home import copy_here
from dnmf.run.transform import solved
from dnmf.run.watcher import Watchers
from dnmf.settings import Settings
from dnmf.solvers.selection import rule_of
from dnmf.solvers.state import State
from dnmf.sources import Source
from dnmf.sources.weighted import is_weighted


def refit(source: Source, short: Float, settings: Settings, watchers: Watchers, client: Any = None) -> State:
    """Return the state with a given factor (m, r) along the axis of V that is held, and the best other factor.

    Its loss is that of both factors, penalties included. Its optimality is what one more step of every entry promises,
    those of the given factor included.
    """
    layout, rank = source.layout, settings.rank
    rule = rule_of(settings, layout, is_weighted(source))
    W = np.ascontiguousarray(short, layout.work_dtype)
    with solved(source, lambda: W, settings, watchers, client=client, summed=True) as (factor, stats):
        kept = isinstance(factor, MemoryFactor | DiskFactor)
        long = factor if kept else copy_here(factor, layout, rank)
        step = altered(rule, n_fixed_W=rank).finish(W, stats)
        optimality = rule.finish(W, stats).optimality
    return State(1, W, long, tuple(stats.norms), step.loss, step.relative_error, optimality)
