"""The loop: an endless, silent iterator over the states of a run."""

from collections.abc import Callable, Iterator

from dnmf.engine import Engine, single_threaded_products
from dnmf.errors import DataError
from dnmf.factor import Room
from dnmf.kernels.model import Model, Rule
from dnmf.kernels.panels import Block, square_sum
from dnmf.kernels.scratch import Scratch
from dnmf.kernels.stats import Stats
from dnmf.state import State


def iterate(engine: Engine, rule: Rule, state: State, make_room: Callable[[], Room]) -> Iterator[State]:
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


def one_pass(engine: Engine, rule: Rule, state: State, H: Room, check: bool) -> Stats:
    """Update every block of the state's H into another room, and return the sums that update W."""
    model = Model.of(state.W)

    def visit(block: int, V: Block, stats: Stats, scratch: Scratch) -> None:
        known = state.norms[block] if state.norms else None
        norm = square_sum(V, state.W.dtype, scratch) if check or known is None else known
        if known not in (None, norm):
            raise DataError(
                f"{engine.source.layout.name(block)} of V is not what it was: the sum of its squares is {norm!r} and "
                f"was {known!r}. Give the matrix that the run was started on, or start a new run."
            )
        h = state.H.read(block)
        stats.norms.append(norm)
        rule.visit(V, h, model, stats, scratch, fresh=state.H.fresh)
        H.write(block, h)

    return engine.one_pass(visit, lambda: Stats.zero(*state.W.shape))
