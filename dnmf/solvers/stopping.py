"""The stopping rule of a run."""

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import NamedTuple, Self

from dnmf.errors import DataError
from dnmf.settings import Settings
from dnmf.solvers.history import Record, Verdict
from dnmf.solvers.state import RECENT, State


@dataclasses.dataclass(frozen=True, slots=True)
class Allowed:
    """The number of passes allowed, as the interface in use calls it: a count, a noun and an option."""

    count: int
    noun: str = "passes"
    option: str = "max_passes"

    @property
    def spent(self) -> str:
        """The beginning of a verdict.

        >>> Allowed(1).spent, Allowed(4).spent
        ('The one pass allowed was spent', 'The 4 passes allowed were spent')
        """
        if self.count == 1:
            return f"The one {'pass' if self.noun == 'passes' else self.noun.removesuffix('s')} allowed was spent"
        return f"The {self.count} {self.noun} allowed were spent"

    def exceeded(self, passes: int) -> str:
        """The beginning of a verdict after more passes: a run makes one after its start, and resumes none.

        >>> Allowed(1).exceeded(2)
        '2 passes were made, and max_passes=1'
        """
        return f"{passes} {self.noun} were made, and {self.option}={self.count}"


class Promise(NamedTuple):
    """What the next pass promises a model.

    It is γ, what steps of single entries promise (`State.optimality`), or the mean decrease over the last passes where
    that is larger and γ is not the whole promise: under a divergence, whose steps of W are proposals that the next pass
    may refuse, and with mini-batches, since γ is measured after the last of many updates of W. There, a decrease must
    be known.

    Attributes
    ----------
    share
        As a share of the loss.
    known
        Whether as many passes were made as it takes to know that.
    passes, decrease
        The number of the last passes, and their mean decrease.
    """

    share: float
    known: bool
    passes: int
    decrease: float

    @classmethod
    def of(cls, optimality: float, losses: Sequence[float], proposed: bool) -> Self:
        """Return the promise after passes with these losses; `proposed` says whether γ is not the whole promise.

        >>> Promise.of(0.01, [120.0, 110.0, 100.0], proposed=True).share, Promise.of(0.01, [1.0], proposed=True).known
        (0.1, False)
        """
        passes, decrease = mean_decrease(losses[-RECENT - 1 :])
        share = max(optimality, decrease) if proposed else optimality
        return cls(share, len(losses) > 1 or not proposed, passes, decrease)

    def within(self, tol: float) -> bool:
        """Return whether it is known to be at most `tol`."""
        return self.known and self.share <= tol


def converged(states: Sequence[State], settings: Settings) -> bool:
    """Return whether the next pass promises every one of some models a share of its loss of at most `tol`."""
    proposed = settings.beta != 2
    return all(
        Promise.of(state.optimality, (*state.carry.losses, state.loss), proposed).within(settings.tol)
        for state in states
    )


class Stopping:
    """Stops a run when it has converged, or when its passes or seconds are spent.

    A run has converged when the next pass promises a share of the loss of at most `tol`; see `Promise`.

    Parameters
    ----------
    settings
        Those of the run.
    allowed
        The passes that are allowed, as the interface in use calls them.
    history
        The records of the run, to which the run appends.
    batches
        Whether W is updated several times in a pass.
    """

    def __init__(
        self, settings: Settings, allowed: Allowed, history: Sequence[Record] = (), *, batches: bool = False
    ) -> None:
        self._settings, self._allowed, self._history, self._batches = settings, allowed, history, batches
        self._start = time.perf_counter()

    def verdict(self, state: State) -> Verdict | None:
        """Return why the run stops after this state, or None if it goes on."""
        settings = self._settings
        losses = [record.loss for record in self._history]
        promise = Promise.of(state.optimality, losses, self._batches or settings.beta != 2)
        promised, _, count, decrease = promise
        brought = f"lowered it by a share of {decrease:.2g}"
        last = f"; the last {count} passes {brought} each" if count > 1 else f"; the last one {brought}" * count
        at = f"The next one promises {promised:.2g} of the loss{last}"
        if promise.within(settings.tol):
            return Verdict(
                f"Converged: the next pass promises {promised:.2g} of the loss, at most tol={settings.tol:g}{last}.",
                True,
            )
        if state.passes >= settings.max_passes:
            spent = self._allowed.spent if state.passes == settings.max_passes else self._allowed.exceeded(state.passes)
            return Verdict(
                f"{spent}. {at}; raise {self._allowed.option} or tol if that is not enough.",
                False,
            )
        if settings.max_seconds is not None and time.perf_counter() - self._start >= settings.max_seconds:
            return Verdict(
                f"The {settings.max_seconds:g} seconds allowed were spent after pass {state.passes}. {at}; raise "
                "max_seconds or tol if that is not enough.",
                False,
            )
        return None


def mean_decrease(losses: Sequence[float]) -> tuple[int, float]:
    """Return the number of passes between some losses, and the mean decrease of a pass as a share of the last loss.

    >>> mean_decrease([120.0, 110.0, 100.0])
    (2, 0.1)
    """
    count = len(losses) - 1
    if count < 1 or not losses[-1] > 0:
        return 0, 0.0
    return count, max((losses[0] - losses[-1]) / (count * losses[-1]), 0.0)


def in_range(state: State) -> bool:
    """Return whether the loss and the optimality of a pass are finite."""
    return math.isfinite(state.loss) and math.isfinite(state.optimality)


def check_range(state: State) -> None:
    """Raise DataError if the loss or the optimality of a pass is not finite; such a state is not saved."""
    if not in_range(state):
        raise DataError(
            f"The loss after pass {state.passes} is {state.loss:g}: sums of V's entries leave the range of "
            f"{state.W.dtype}, or WH is 0 where V is not. Divide V by a constant, or start from factors without zeros."
        )
