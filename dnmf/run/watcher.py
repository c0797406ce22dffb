"""The callbacks of a run."""

from dnmf.engine.plan import Plan
from dnmf.solvers.history import Record, Verdict


class Watcher:
    """Callbacks of a run; every method is a no-op by default.

    `block_read` is called from the threads that read V, the others from the thread that started the run.

    Examples
    --------
    >>> class Losses(Watcher):
    ...     def passed(self, record):
    ...         print(f"{record.passes}: {record.relative_error:.3f}")
    >>> import dnmf, numpy as np
    >>> _ = dnmf.factorize(np.outer([1, 2, 3], [1, 1, 2, 2]), rank=1, watchers=[Losses()])
    1: 0.000
    2: 0.000
    """

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


class Watchers(list[Watcher]):
    """Watchers that are called as one, in their order."""

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
