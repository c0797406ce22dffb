"""The loop: an endless, silent iterator over the states of a run."""

import dataclasses
from collections.abc import Callable, Iterator

from dnmf.engine import Engine, single_threaded_products
from dnmf.errors import DataError
from dnmf.factor import Factor
from dnmf.kernels.model import Model, Rule
from dnmf.kernels.panels import Block
from dnmf.kernels.scratch import Scratch
from dnmf.kernels.stats import Stats
from dnmf.kernels.tiles import Float
from dnmf.sources.layout import Layout
from dnmf.state import State


def iterate(engine: Engine, rule: Rule, state: State, make_room: Callable[[], Factor]) -> Iterator[State]:
    """Yield the state after every pass, for ever; each pass reads V once.

    The blocks are checked in the first pass, against what is allowed and against what the state knows of them.
    """
    check = True
    while True:
        with single_threaded_products():
            H = make_room()
            stats = one_pass(engine, rule, state, H, check)
            step = rule.finish(state.W, stats)
        previous, state = state, state.after(step, H, tuple(stats.norms))
        previous.H.drop()
        check = False
        yield state


def one_pass(engine: Engine, rule: Rule, state: State, H: Factor, check: bool) -> Stats:
    """Update every block of the state's H into another room, and return the sums that update W."""
    update = Update(rule, Model.of(state.W), state.H.fresh, state.norms, check, engine.source.layout)
    return engine.one_pass(update, state.H, H)


@dataclasses.dataclass(frozen=True, slots=True)
class Update:
    """The work of a pass: check the block, update its H, add up what updates W."""

    rule: Rule
    model: Model
    fresh: bool
    norms: tuple[float, ...] | None
    check: bool
    layout: Layout

    def zero(self) -> Stats:
        """Return the statistics of no block."""
        rows, rank = self.model.W.shape
        return self.rule.zero(rows, rank)

    def visit(self, block: int, V: Block, H: Float | None, stats: Stats, scratch: Scratch) -> Float | None:
        """Update a block (r, w) of H in place."""
        assert H is not None
        known = self.norms[block] if self.norms else None
        norm = self.rule.entries.square_sum(V, H.dtype, scratch) if self.check or known is None else known
        if known not in (None, norm):
            raise DataError(
                f"{self.layout.name(block)} of V is not what it was: the sum of its squares is {norm!r} and "
                f"was {known!r}. Give the matrix that the run was started on, or start a new run."
            )
        stats.norms.append(norm)
        self.rule.visit(V, H, self.model, stats, scratch, fresh=self.fresh)
        return H
