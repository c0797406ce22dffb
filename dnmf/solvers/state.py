"""Where a run stands after a pass."""

import dataclasses
import math

from dnmf.engine.factor import Factor
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.rule import Step
from dnmf.solvers.extrapolation import Momentum

# The damping of the first second-order step of W.
DAMPING = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class MethodState:
    """What a method knows beside the factors.

    Attributes
    ----------
    W_pending
        The W (m, r) of the last step, where only the next pass can evaluate it; None where that is the state's own.
    W_trial
        The W (m, r) at which the next pass looks, where that is not the one of the last step.
    sketch_directions
        Directions (m, q) that the next pass projects V on; None where it does not.
    W_newton
        The W (m, r) that the last second-order step led to.
    cross
        VHᵀ (m, r) in float64, where it is kept from one pass to the next.
    momentum
        How far to extrapolate.
    rejections
        How many points of a sketch have been no better than what was there, one after another.
    damping
        Of the second-order step of W.
    """

    W_pending: Float | None = None
    W_trial: Float | None = None
    sketch_directions: Float | None = None
    W_newton: Float | None = None
    cross: Float | None = None
    momentum: Momentum = dataclasses.field(default_factory=Momentum)
    rejections: int = 0
    damping: float = DAMPING


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """The factors after a number of passes, as they are streamed: W (m, r) is the factor that is held whole.

    The loss, the error and the optimality are those of these factors.

    Attributes
    ----------
    passes
        Reads of V so far, those of the initialisation included.
    W, H
        The factors.
    norms
        ‖V_j‖² of every block, once V has been read.
    loss, relative_error, optimality, unseen
        As in `Step`; infinite before the first pass.
    method
        What made the last pass, where that was more than the rule alone.
    carry
        What the method knows.
    parts
        The states of the models that advance together, where there are several: W and H are then theirs side by side
        and on top of each other, the loss and the error are those of the best, and the optimality is the largest.
    runs
        The losses of the runs that this one was chosen from.
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
    runs: tuple[float, ...] = ()

    def after(self, step: Step, H: Factor, norms: tuple[float, ...]) -> "State":
        """Return the state that follows on this one by a pass."""
        return State(
            self.passes + 1,
            step.W if step.evaluated is None else step.evaluated,
            H,
            norms,
            step.loss,
            step.relative_error,
            step.optimality,
            step.unseen,
            carry=MethodState(W_pending=None if step.evaluated is None else step.W),
            runs=self.runs,
        )

    def rejected(self, norms: tuple[float, ...], method: str) -> "State":
        """Return the state after a pass that found nothing better: this one, and the next pass looks at it again."""
        carry = dataclasses.replace(self.carry, W_trial=None, momentum=self.carry.momentum.cut())
        return dataclasses.replace(self, passes=self.passes + 1, norms=norms, method=method, carry=carry)

    @property
    def latest(self) -> Float:
        """The W that the last step led to."""
        return self.W if self.carry.W_pending is None else self.carry.W_pending

    @property
    def point(self) -> Float:
        """The W at which the next pass looks."""
        return self.latest if self.carry.W_trial is None else self.carry.W_trial

    def accepts(self, step: Step) -> bool:
        """Say whether to take a step from the point: always from the last step's W, else if the loss has not risen."""
        return self.carry.W_trial is None or not step.loss > self.loss
