"""The pass of a deep factorisation: the H of all layers from one read of V, then a joint step of W₁ … W_L."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from dnmf.engine.factor import Factor, MappedFactor
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.optimality import promised_share
from dnmf.solvers.bundle import FusedUpdate, rows_of
from dnmf.solvers.iteration import Method, PassContext
from dnmf.solvers.layers.tower import Joint, Outcome, Tower
from dnmf.solvers.state import MethodState, State


def layered(joint: Joint, extrapolating: bool) -> Method:
    """Return the method that makes one pass for all layers of a state."""

    def step(context: PassContext, state: State) -> State:
        H = context.new_factor(state.W.shape[1])
        work = FusedUpdate.of(context, joint.rules, state.parts, None)
        sums: Sequence[Stats] = context.engine.one_pass(work, state.H, H).parts
        mixings = state.mixings if state.carry.mixings_trial is None else state.carry.mixings_trial
        outcome = joint.finish(Tower(state.parts[0].point, mixings), sums)
        loss = joint.objective(outcome.losses, outcome.penalty)
        if state.carry.mixings_trial is not None and loss > state.loss:
            H.drop()
            rejected = state.rejected(tuple(sums[0].norms), "layers")
            carry = dataclasses.replace(rejected.carry, mixings_trial=None)
            parts = tuple(dataclasses.replace(part, carry=MethodState()) for part in rejected.parts)
            return dataclasses.replace(rejected, carry=carry, parts=parts)
        return after(joint, state, sums, outcome, H, extrapolating)

    return step


def after(joint: Joint, state: State, sums: Sequence[Stats], outcome: Outcome, H: Factor, extrapolating: bool) -> State:
    """Return the state after a pass whose step is taken, with the point that the next pass starts from."""
    norm, dtype = sum(sums[0].norms), outcome.tower.first.dtype
    loss = joint.objective(outcome.losses, outcome.penalty)
    optimality = promised_share(outcome.gain, loss, joint.size(norm), dtype)
    momentum, trial = state.carry.momentum, None
    if extrapolating and math.isfinite(state.loss):
        momentum = momentum if state.carry.mixings_trial is None else momentum.grown()
        before = Tower(state.parts[0].W, state.mixings)
        trial = outcome.tower.beyond(before, momentum.step, joint.rules[0].least, joint.scaled)
    new = stacked(outcome.tower, H, state.passes + 1, tuple(sums[0].norms), trial)
    parts = tuple(
        dataclasses.replace(part, loss=own, relative_error=error_of(residual, norm), optimality=optimality)
        for part, own, residual in zip(new.parts, outcome.losses, outcome.residuals, strict=True)
    )
    carry = dataclasses.replace(new.carry, momentum=momentum)
    last = parts[-1].relative_error
    return dataclasses.replace(new, loss=loss, relative_error=last, optimality=optimality, carry=carry, parts=parts)


def error_of(residual: float, norm: float) -> float:
    """Return the relative error, given ½‖V − WH‖² and ‖V‖².

    >>> error_of(0.02, 4.0)
    0.1
    """
    return math.sqrt(2 * residual / norm) if norm > 0 else 0.0


def stacked(
    tower: Tower, H: Factor, passes: int, norms: tuple[float, ...] | None = None, trial: Tower | None = None
) -> State:
    """Return the state of all layers, whose parts are the layers and whose W and H are theirs stacked.

    `trial` has the factors that the next pass starts from, if these are others.
    """
    products = tower.products()
    trials = [None] * len(products) if trial is None else trial.products()
    points = zip(products, trials, strict=True)
    parts = [State(passes, W, H, norms, carry=MethodState(W_trial=point)) for W, point in points]
    parts = [
        dataclasses.replace(part, H=MappedFactor(H, rows)) for part, rows in zip(parts, rows_of(parts), strict=True)
    ]
    return State(
        passes,
        np.hstack(products),
        H,
        norms,
        method="layers",
        carry=MethodState(mixings_trial=None if trial is None else trial.mixings),
        parts=tuple(parts),
        mixings=tower.mixings,
    )
