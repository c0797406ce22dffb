"""The callbacks of a run."""

from dnmf.engine.plan import Plan
from dnmf.solvers.history import Record, Verdict


class Watcher:
    """Told of a run as it goes; every method does nothing until a subclass says otherwise.

    `block_read` is called from the threads that do the work, the others from the one that started the run.

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
        """A run begins, or goes on after so many passes."""

    def workers(self, count: int, link: str) -> None:
        """The cluster has so many workers now; the link is that of its dashboard."""

    def block_read(self, count: int) -> None:
        """A block of so many bytes has been read and worked on."""

    def passed(self, record: Record) -> None:
        """A pass is over."""

    def modelled(self, done: int, total: int) -> None:
        """So many of the models of a survey are ready, which were made between two passes."""

    def saved(self, passes: int, store: str) -> None:
        """A checkpoint is on the disk."""

    def stopped(self, verdict: Verdict) -> None:
        """The run is over."""


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
