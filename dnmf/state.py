"""Where a run stands after a pass."""

import dataclasses
import math

from dnmf.factor import Factor
from dnmf.kernels.model import Step
from dnmf.kernels.tiles import Float


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """The factors after a number of passes, as they are streamed: W (m, r) is the factor that is held whole.

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
    """

    passes: int
    W: Float
    H: Factor
    norms: tuple[float, ...] | None = None
    loss: float = math.inf
    relative_error: float | None = None
    optimality: float = math.inf
    unseen: tuple[int, int] = (0, 0)

    def after(self, step: Step, H: Factor, norms: tuple[float, ...]) -> "State":
        """Return the state that follows on this one by a pass."""
        return State(self.passes + 1, step.W, H, norms, step.loss, step.relative_error, step.optimality, step.unseen)
