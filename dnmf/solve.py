"""The loop: an endless, silent iterator over the states of a run."""

import dataclasses
from collections.abc import Callable, Iterator

from dnmf.accelerate import EASED, LEAST_DAMPING, TIGHTENED, extrapolate
from dnmf.engine import Engine, single_threaded_products
from dnmf.errors import DataError
from dnmf.factor import Factor
from dnmf.kernels.divergence import Divergence
from dnmf.kernels.model import Model, Rule
from dnmf.kernels.panels import Block
from dnmf.kernels.scratch import Scratch
from dnmf.kernels.stats import Stats
from dnmf.kernels.tiles import Float
from dnmf.sources.layout import Layout
from dnmf.state import State

MakeRoom = Callable[[int], Factor]


@dataclasses.dataclass(frozen=True, slots=True)
class Bench:
    """What passes are made with.

    Attributes
    ----------
    engine, rule
        Who reads V, and what is done with it.
    make_room
        Makes room for a long factor of so many rows.
    check
        Whether the blocks are checked: against what is allowed, and against what the state knows of them.
    """

    engine: Engine
    rule: Rule
    make_room: MakeRoom
    check: bool = True


# Makes the state that follows on a state by a pass.
Method = Callable[[Bench, State], State]


def iterate(bench: Bench, state: State, method: Method) -> Iterator[State]:
    """Yield the state after every pass, for ever; each pass reads V once. The first one checks the blocks."""
    while True:
        with single_threaded_products():
            previous, state = state, method(bench, state)
        if state.H is not previous.H:
            previous.H.drop()
        bench = dataclasses.replace(bench, check=False)
        yield state


def plain(bench: Bench, state: State) -> State:
    """Make a pass of the rule alone."""
    H = bench.make_room(state.W.shape[1])
    update = Update.of(bench, state)
    stats = bench.engine.one_pass(update, state.H, H)
    return state.after(bench.rule.finish(state.W, stats), H, tuple(stats.norms))


def extrapolated(bench: Bench, state: State) -> State:
    """Make a pass of the rule from a point beyond W, and choose the next one; W and H stay where that was no better."""
    rule = bench.rule
    H = bench.make_room(state.W.shape[1])
    stats = bench.engine.one_pass(Update.of(bench, state), state.H, H)
    step = rule.finish(state.point, stats)
    norms = tuple(stats.norms)
    if not state.accepts(step):
        H.drop()
        return state.refused(norms, "extrapolated")
    momentum = state.guide.momentum if state.guide.ahead is None else state.guide.momentum.grown()
    ahead = extrapolate(step.W, state.W, momentum.step, rule.least, rule.scaled) if state.loss < float("inf") else None
    guide = dataclasses.replace(state.guide, ahead=ahead, momentum=momentum)
    return dataclasses.replace(state.after(step, H, norms), method="extrapolated", guide=guide)


def second_order(bench: Bench, state: State) -> State:
    """Make a pass of the Kullback–Leibler rule, and look next where a second-order step of W leads, and beyond.

    What is kept is the majorised step, which cannot raise the loss, as long as the next pass has not found the other
    one to be better.
    """
    rule = bench.rule
    assert isinstance(rule, Divergence)
    H = bench.make_room(state.W.shape[1])
    stats = bench.engine.one_pass(Update.of(bench, state), state.H, H)
    step = rule.finish(state.point, stats)
    norms, guide = tuple(stats.norms), state.guide
    if not state.accepts(step):
        H.drop()
        new = state.refused(norms, "newton")
        damping = min(TIGHTENED * guide.damping, 1.0)
        return dataclasses.replace(new, guide=dataclasses.replace(new.guide, damping=damping, bold=None))
    damping = guide.damping if guide.ahead is None else max(EASED * guide.damping, LEAST_DAMPING)
    bold = rule.second_order(state.point, stats, damping)
    ahead, momentum = bold, guide.momentum
    if guide.bold is not None:
        momentum = momentum.grown()
        ahead = extrapolate(bold, guide.bold, momentum.step, rule.least, rule.scaled)
    guide = dataclasses.replace(guide, ahead=ahead, bold=bold, momentum=momentum, damping=damping)
    return dataclasses.replace(state.after(step, H, norms), method="newton", guide=guide)


@dataclasses.dataclass(frozen=True, slots=True)
class Update:
    """The work of a pass: check the block, update its H, add up what updates W."""

    rule: Rule
    model: Model
    fresh: bool
    norms: tuple[float, ...] | None
    check: bool
    layout: Layout

    @classmethod
    def of(cls, bench: Bench, state: State) -> "Update":
        """Return the work of the pass that follows on a state."""
        layout = bench.engine.source.layout
        return cls(bench.rule, Model.of(state.point), state.H.fresh, state.norms, bench.check, layout)

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
