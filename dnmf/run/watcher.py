"""The callbacks of a run."""

import logging
from collections.abc import Callable, Iterable
from typing import Any, Self

from dnmf.engine.plan import Plan
from dnmf.errors import SettingsError
from dnmf.settings import Settings
from dnmf.solvers.history import Record, Verdict

LOGGER = logging.getLogger("dnmf")


class Watcher:
    """Callbacks of a run; every method is a no-op by default.

    `block_read` is called from the threads that read V, the others from the thread that started the run.

    Examples
    --------
    >>> class Losses(Watcher):
    ...     def passed(self, record):
    ...         print(f"{record.passes}: {record.relative_error:.3f}")
    >>> import dnmf, numpy as np
    >>> _ = dnmf.factorize(np.outer([1, 2, 3], [1, 1, 2, 2]), rank=1, solver="hals", watchers=[Losses()])
    1: 0.000
    2: 0.000
    """

    def opened(self, settings: Settings) -> None:
        """A run with these settings is about to be planned."""

    def started(self, plan: Plan, passes: int, max_passes: int) -> None:
        """The run starts, or resumes after a number of passes."""

    def workers(self, count: int, link: str) -> None:
        """The number of workers of the cluster has changed; `link` is the address of its dashboard."""

    def block_read(self, count: int) -> None:
        """A block of V with a number of bytes has been processed."""

    def passed(self, record: Record) -> None:
        """A pass has ended."""

    def modelled(self, done: int, total: int) -> None:
        """A number of the models that a survey fits between two passes are done."""

    def saved(self, passes: int, store: str) -> None:
        """A checkpoint has been written."""

    def stopped(self, verdict: Verdict) -> None:
        """The run has ended."""


class FunctionWatcher(Watcher):
    """Call a function with the record of every pass."""

    def __init__(self, function: Callable[[Record], Any]) -> None:
        self.function = function

    def passed(self, record: Record) -> None:
        """Call the function."""
        self.function(record)


class LogWatcher(Watcher):
    """Log the plan, every pass, checkpoints and the verdict at level INFO of the logger `dnmf`."""

    def started(self, plan: Plan, passes: int, max_passes: int) -> None:
        """Log the plan."""
        LOGGER.info("%s", str(plan).replace("\n", "; "))

    def passed(self, record: Record) -> None:
        """Log a pass."""
        error = "" if record.relative_error is None else f", relative error {record.relative_error:.6f}"
        figures = (record.passes, record.loss, error, record.optimality)
        LOGGER.info("pass %d: loss %.6g%s, optimality %.1e", *figures)

    def saved(self, passes: int, store: str) -> None:
        """Log a checkpoint."""
        LOGGER.info("checkpoint after pass %d in %s", passes, store)

    def stopped(self, verdict: Verdict) -> None:
        """Log the verdict."""
        LOGGER.info("%s", verdict.sentence)


# What `watchers` may be.
Watch = Watcher | Callable[[Record], Any] | Iterable[Watcher | Callable[[Record], Any]]


class Watchers(list[Watcher]):
    """Watchers that are called as one, in their order."""

    @classmethod
    def of(cls, given: Watch) -> Self:
        """Return given watchers, and one for the log if it is enabled.

        Parameters
        ----------
        given
            A `Watcher`, a function of a `Record`, or a sequence of these.

        Raises
        ------
        SettingsError
            If it is something else.
        """
        if isinstance(given, cls):
            return given
        several = given if isinstance(given, Iterable) and not isinstance(given, (str, bytes)) else [given]
        found = cls(LogWatcher() for _ in range(LOGGER.isEnabledFor(logging.INFO)))
        for one in several:
            if not isinstance(one, Watcher) and not callable(one):
                raise SettingsError(
                    f"watchers has {one!r}, which is not a watcher; give functions of a record, as watchers=[print], "
                    "or objects of a subclass of dnmf.Watcher."
                )
            found.append(one if isinstance(one, Watcher) else FunctionWatcher(one))
        return found

    def opened(self, settings: Settings) -> None:
        """Call `Watcher.opened` of each."""
        for watcher in self:
            watcher.opened(settings)

    def started(self, plan: Plan, passes: int, max_passes: int) -> None:
        """Call `Watcher.started` of each."""
        for watcher in self:
            watcher.started(plan, passes, max_passes)

    def workers(self, count: int, link: str) -> None:
        """Call `Watcher.workers` of each."""
        for watcher in self:
            watcher.workers(count, link)

    def block_read(self, count: int) -> None:
        """Call `Watcher.block_read` of each."""
        for watcher in self:
            watcher.block_read(count)

    def passed(self, record: Record) -> None:
        """Call `Watcher.passed` of each."""
        for watcher in self:
            watcher.passed(record)

    def modelled(self, done: int, total: int) -> None:
        """Call `Watcher.modelled` of each."""
        for watcher in self:
            watcher.modelled(done, total)

    def saved(self, passes: int, store: str) -> None:
        """Call `Watcher.saved` of each."""
        for watcher in self:
            watcher.saved(passes, store)

    def stopped(self, verdict: Verdict) -> None:
        """Call `Watcher.stopped` of each."""
        for watcher in self:
            watcher.stopped(verdict)
