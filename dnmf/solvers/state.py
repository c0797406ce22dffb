"""The state of a run after a pass."""

import dataclasses
import math
from typing import Protocol, Self

from dnmf.engine.factor import Factor
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.extrapolation import Momentum
from dnmf.kernels.rule import Step

# Passes over which the decrease of the loss is averaged: two, since the second one may refuse a proposal.
RECENT = 2
# The damping of the first second-order step of W.
DAMPING = 0.1


class Proposal(Protocol):
    """The trial point of the next pass, before it is known."""

    def __call__(self) -> tuple[Float, Factor | None]:
        """Return `W_trial` and `H_trial` of a `MethodState`."""

    def drop(self) -> None:
        """Free the factors that this would need."""


@dataclasses.dataclass(frozen=True, slots=True)
class MethodState:
    """The numbers and arrays that a method carries from pass to pass, besides the factors.

    Attributes
    ----------
    W_pending
        The W (m, r) after the last step, if only the next pass can evaluate its loss.
    W_trial
        The W (m, r) that the next pass starts from, if that is not the W after the last step.
    sketch_directions
        Directions (m, q) on which the next pass projects V.
    W_newton
        The W (m, r) after the last second-order step.
    H_trial
        The H that the next pass starts from, if that is not the H of the state.
    cross
        VHᵀ (m, r) in float64, if it is kept for the next pass.
    momentum
        Length of the extrapolation.
    rejections
        Number of consecutive trial points of a sketch that were rejected.
    damping
        Damping of the second-order step of W.
    mixings_trial
        The mixing matrices of layers that the next pass starts from, if those are not the ones of the state.
    losses
        Losses of up to `RECENT` passes before the last one, the earliest first, of a pass of the rule.
    propose
        Computes `W_trial` and `H_trial`, if the next pass needs them and they are not yet known.
    """

    W_pending: Float | None = None
    W_trial: Float | None = None
    sketch_directions: Float | None = None
    W_newton: Float | None = None
    H_trial: Factor | None = None
    cross: Float | None = None
    momentum: Momentum = dataclasses.field(default_factory=Momentum)
    rejections: int = 0
    damping: float = DAMPING
    mixings_trial: tuple[Float, ...] | None = None
    losses: tuple[float, ...] = ()
    propose: Proposal | None = None

    @property
    def proposal(self) -> Float | None:
        """The W (m, r) that the next pass evaluates, if that is not the one of the state."""
        return self.W_pending if self.W_trial is None else self.W_trial


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """The factors after a number of passes, with their loss.

    V (m, n) is streamed by columns; where the user's matrix is streamed by rows, this is the transposed problem.

    Attributes
    ----------
    passes
        Reads of V, including those of the initialisation.
    W
        The factor (m, r) that is held whole.
    H
        The long factor (r, n), in blocks.
    norms
        ‖V_j‖² of every block, once V has been read.
    loss, relative_error, optimality, unseen
        As in `Step`; infinite before the first pass.
    method
        Name of the method that made the last pass; empty for a pass of the rule alone.
    carry
        State of the method.
    parts
        States of the models in a bundle. W and H are then those of all parts stacked, loss and error those of the best
        part, and the optimality the largest.
    runs
        Losses of the runs that this one was chosen from in the order of their seeds, each after its last pass, and
        infinite if its numbers left the range of floats. In a bundle from which runs were dropped, None for those that
        are parts, in their order.
    mixings
        Of several layers, which are the parts then: the matrices W_2 (r₁, r₂), … in float64, so that W of each layer is
        that of the one before times its matrix. The loss is that of all layers together, the error that of the last.
    anchors
        Numbers of the columns, or rows, of V that the run started from, if it started from some.
    curvature
        Curvature of the loss at V, by which the weight of a graph is multiplied; 0 if it is not needed or known.
    volume
        λ and s of the penalty on the volume of W, once they are known.
    """

    passes: int
    W: Float
    H: Factor
    norms: tuple[float, ...] | None = None
    loss: float = math.inf
    relative_error: float | None = None
    optimality: float = math.inf
    unseen: tuple[int, int] = (0, 0)
    method: str = ""
    carry: MethodState = dataclasses.field(default_factory=MethodState)
    parts: tuple["State", ...] = ()
    runs: tuple[float | None, ...] = ()
    anchors: tuple[int, ...] = ()
    curvature: float = 0.0
    mixings: tuple[Float, ...] = ()
    volume: tuple[float, float] | None = None

    def after(self, step: Step, H: Factor, norms: tuple[float, ...]) -> "State":
        """Return the state after a pass whose step is taken."""
        return State(
            self.passes + 1,
            step.W if step.evaluated is None else step.evaluated,
            H,
            norms,
            step.loss,
            step.relative_error,
            step.optimality,
            step.unseen,
            carry=MethodState(W_pending=None if step.evaluated is None else step.W, losses=self.losses),
            runs=self.runs,
            anchors=self.anchors,
            curvature=self.curvature,
            volume=self.volume,
        )

    def rejected(self, norms: tuple[float, ...], method: str) -> "State":
        """Return the state after a pass whose step is not taken: the same factors, from which the next pass starts."""
        carry = dataclasses.replace(
            self.carry, W_trial=None, H_trial=None, momentum=self.carry.momentum.cut(), losses=self.losses
        )
        return dataclasses.replace(self, passes=self.passes + 1, norms=norms, method=method, carry=carry)

    def proposed(self) -> Self:
        """Return the state with the trial point that the next pass starts from."""
        if self.carry.propose is None:
            return self
        W_trial, H_trial = self.carry.propose()
        carry = dataclasses.replace(self.carry, W_trial=W_trial, H_trial=H_trial, propose=None)
        return dataclasses.replace(self, carry=carry)

    @property
    def losses(self) -> tuple[float, ...]:
        """Losses of up to `RECENT` passes, the last one of this state."""
        return (*self.carry.losses, self.loss)[-RECENT:] if math.isfinite(self.loss) else ()

    @property
    def latest(self) -> Float:
        """The W (m, r) after the last step."""
        return self.W if self.carry.W_pending is None else self.carry.W_pending

    @property
    def point(self) -> Float:
        """The W (m, r) that the next pass starts from."""
        return self.W if self.carry.proposal is None else self.carry.proposal

    @property
    def start(self) -> Factor:
        """The H that the next pass starts from."""
        return self.H if self.carry.H_trial is None else self.carry.H_trial

    def accepts(self, step: Step) -> bool:
        """Return whether to take a step: always without a trial point, and from one if the loss has not risen."""
        return self.carry.W_trial is None or not step.loss > self.loss
