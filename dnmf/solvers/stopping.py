"""The stopping rule of a run."""

import dataclasses
import math
import time

from dnmf.errors import DataError
from dnmf.settings import Settings
from dnmf.solvers.history import Verdict
from dnmf.solvers.state import State


@dataclasses.dataclass(frozen=True, slots=True)
class Allowed:
    """The number of passes allowed, as the interface in use calls it: a count, a noun and an option."""

    count: int
    noun: str = "passes"
    option: str = "max_passes"


class Stopping:
    """Stops a run at the optimality `tol`, or when its passes or seconds are spent."""

    def __init__(self, settings: Settings, allowed: Allowed) -> None:
        self._settings, self._allowed = settings, allowed
        self._start = time.perf_counter()

    def verdict(self, state: State) -> Verdict | None:
        """Return why the run stops after this state, or None if it goes on."""
        settings = self._settings
        if state.optimality <= settings.tol:
            return Verdict(
                f"Converged: the relative optimality {state.optimality:.3g} is at most tol={settings.tol:g}.",
                True,
            )
        if state.passes >= settings.max_passes:
            return Verdict(
                f"The {self._allowed.count} {self._allowed.noun} allowed were spent, at a relative optimality of "
                f"{state.optimality:.3g}; raise {self._allowed.option} or tol if that is not enough.",
                False,
            )
        if settings.max_seconds is not None and time.perf_counter() - self._start >= settings.max_seconds:
            return Verdict(
                f"The {settings.max_seconds:g} seconds allowed were spent after pass {state.passes}, at a relative "
                f"optimality of {state.optimality:.3g}; raise max_seconds or tol if that is not enough.",
                False,
            )
        return None


def check_range(state: State) -> None:
    """Raise DataError if the loss or the optimality of a pass is not finite; such a state is not saved."""
    if not (math.isfinite(state.loss) and math.isfinite(state.optimality)):
        raise DataError(
            f"The loss after pass {state.passes} is {state.loss:g}: sums of V's entries leave the range of "
            f"{state.W.dtype}, or WH is 0 where V is not. Divide V by a constant, or start from factors without zeros."
        )
