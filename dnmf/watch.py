"""Who watches a run: what they are told, and the record of a pass."""

import dataclasses
from typing import Any

from dnmf.plan import Plan
from dnmf.stopping import Verdict


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One pass, in the history of a run. All counts run from its start, over every interruption.

    Attributes
    ----------
    passes
        Reads of V, those of the initialisation included.
    loss
        The objective that is minimised, penalties included: of the factors that the pass has led to.
    relative_error
        ‖V − WH‖/‖V‖; None for a loss other than Frobenius.
    optimality
        The relative violation of the optimality conditions, free of the scale of V, W and H: what `tol` bounds. It
        is measured before the step of W, with the new H.
    seconds
        Time spent.
    bytes_read
        Bytes of V that were read, as stored and not compressed.
    solver
        The solver that made the pass.
    """

    passes: int
    loss: float
    relative_error: float | None
    optimality: float
    seconds: float
    bytes_read: int
    solver: str

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a mapping of plain values."""
        return dataclasses.asdict(self)


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
