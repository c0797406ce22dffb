"""Layers one after another: each factorises the H of the one before, by any loss, without a read of V.

The multilayer factorisation of Cichocki, Zdunek & Amari 2006: V ≈ W₁ H₁, H₁ ≈ W₂ H₂, and so on. The rows of each H are
scaled by the lengths of the columns of Ψ_l = W₁ … W_l first (by their sums, for a loss other than Frobenius), so that
components count by what they contribute to V.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dnmf.engine import H_ALONE, Engine, Scope
from dnmf.engine.factor import Factor, MappedFactor, Scaled, StackedFactor
from dnmf.engine.passes import WHOLE, Work
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.registry import altered
from dnmf.kernels.rule import Rule
from dnmf.settings import Settings
from dnmf.solvers.bundle import FusedUpdate, bundle, bundled
from dnmf.solvers.initialise import random_state
from dnmf.solvers.iteration import Follow, PassContext, iterate
from dnmf.solvers.layers.method import stacked
from dnmf.solvers.layers.tower import Tower
from dnmf.solvers.several_runs import alone
from dnmf.solvers.shared_scale import sharing
from dnmf.solvers.state import State
from dnmf.solvers.stopping import converged
from dnmf.sources.base import Layout

S = TypeVar("S")
# Makes the rule of a layer, and what follows its passes, given its settings and the layout of what it factorises.
Resolve = Callable[[Settings, Layout], tuple[Rule, Follow]]
# Random starts of each layer after the first one, which share every pass over the H of the one before.
STARTS = 4


@dataclasses.dataclass(frozen=True, slots=True)
class OnFactor:
    """The work of a pass whose blocks of V are the first `rows` rows of the factor that is read."""

    work: Any
    rows: int

    def zero(self) -> Any:
        """Return the sums of no block."""
        return self.work.zero()

    def visit(self, block: int, V: Block, H: Float | None, sums: Any, scratch: Scratch) -> Float | None:
        """Do the work on the block of V above the block of H."""
        assert H is not None
        own = H[self.rows :].copy() if len(H) > self.rows else None  # a view would keep the rows of V, too
        found: Float | None = self.work.visit(block, np.ascontiguousarray(H[: self.rows]), own, sums, scratch)
        return found


class FactorEngine:
    """An engine whose matrix is a long factor (r, n), in the blocks of V."""

    def __init__(self, engine: Engine, factor: Factor, rows: int) -> None:
        self._engine, self._factor, self._rows = engine, factor, rows
        layout = engine.source.layout
        self.source: Any = FactorSource(
            dataclasses.replace(
                layout,
                shape=(rows, layout.shape[1]),
                dtype=layout.work_dtype,
                stored_bytes=rows * layout.shape[1] * layout.work_dtype.itemsize,
                sparse=False,
            )
        )
        self.on_block: Callable[[int], None] = lambda count: None

    @property
    def groups(self) -> Sequence[range]:
        """The blocks of every task."""
        return self._engine.groups

    def one_pass(
        self, work: Work[Any], H: Factor | None = None, output: Factor | None = None, scope: Scope = WHOLE
    ) -> Any:
        """Visit every block of the factor, without a read of V."""
        if not scope.reading:
            return self._engine.one_pass(work, H, output, scope)
        given = self._factor if H is None else StackedFactor(self._factor, H)
        return self._engine.one_pass(OnFactor(work, self._rows), given, output, H_ALONE)

    def place(self, factor: Factor) -> Factor:
        """Return a factor that many passes read."""
        return self._engine.place(factor)

    def here(self) -> Engine:
        """Return the engine of this process with the same groups, for passes over factors alone."""
        return self._engine.here()

    def fetch(self, block: int, columns: NDArray[np.int64] | None = None) -> Block:
        """Return a block of the factor, or some of its columns."""
        found = self._factor.read(block)
        return found if columns is None else found[:, columns]


@dataclasses.dataclass(frozen=True, slots=True)
class FactorSource:
    """The layout of a factor that is factorised."""

    layout: Layout


def deepened(context: PassContext, state: State, settings: Settings, resolve: Resolve) -> State:
    """Return the state of all layers, given the first one, after one more pass that measures them.

    Parameters
    ----------
    context, state
        Of the finished run of the first layer.
    settings
        Of all layers.
    resolve
        Makes the rule of a layer, and what follows its passes.
    """
    layout, mixings = context.layout, list[Float]()
    W, factor, factors = state.W.astype(np.float64), state.H, [state.H]
    for index in range(1, len(settings.layers)):
        own = settings.of_layer(index).replace({"seed": settings.seed + index, "missing": "none", "init": "random"})
        lengths = np.linalg.norm(W, axis=0) if own.beta == 2 else W.sum(axis=0)
        engine = FactorEngine(
            context.engine, MappedFactor(factor, Scaled(lengths.astype(layout.work_dtype))), W.shape[1]
        )
        rule, follow = resolve(own, engine.source.layout)
        last = _fitted(dataclasses.replace(context, engine=engine, rule=rule, settings=own), own, follow)
        mixings.append(np.divide(last.W, lengths[:, None], out=np.zeros(last.W.shape), where=lengths[:, None] > 0))
        W, factor = W @ mixings[-1], last.H
        factors.append(factor)
    tower, H = Tower(state.W, tuple(mixings)), StackedFactor(*factors)
    return _measured(context, state.optimality, stacked(tower, H, state.passes + 1, state.norms))


def _fitted(context: PassContext, settings: Settings, follow: Follow) -> State:
    """Return the factors of a long factor from the best of several starts, after passes over it until all converge."""
    seeds = range(settings.seed, settings.seed + STARTS)
    first = (random_state(settings.replace({"seed": seed}), context.layout) for seed in seeds)
    state = bundle(sharing(context, *first))
    states = iterate(context, state, bundled(follow))
    while state.passes < settings.max_passes and not converged(state.parts, settings):
        state = next(states)
    best = alone(context, state)
    state.H.drop()
    return best


def _measured(context: PassContext, optimality: float, state: State) -> State:
    """Return a state with loss and error of every layer, without penalties, from a pass that changes nothing."""
    plain = altered(context.rule, sweeps=0, penalty_W=Penalty(), penalty_H=Penalty())
    ranks = [part.W.shape[1] for part in state.parts]
    rules = [altered(plain, n_fixed_W=rank, n_fixed_H=rank) for rank in ranks]
    H = context.new_factor(state.W.shape[1])
    sums = context.engine.one_pass(FusedUpdate.of(context, rules, state.parts, None), state.H, H)
    steps = [rule.finish(part.W, stats) for rule, part, stats in zip(rules, state.parts, sums.parts, strict=True)]
    state.H.drop()
    new = stacked(Tower(state.parts[0].W, state.mixings), H, state.passes, state.norms)
    parts = tuple(
        dataclasses.replace(part, loss=step.loss, relative_error=step.relative_error, optimality=optimality)
        for part, step in zip(new.parts, steps, strict=True)
    )
    last = parts[-1]
    return dataclasses.replace(
        new, loss=last.loss, relative_error=last.relative_error, optimality=optimality, parts=parts
    )
