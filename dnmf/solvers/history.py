"""The record of a pass, and why a run stopped."""

import dataclasses
from typing import Any


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


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """Why a run stopped; `converged` says whether it had arrived."""

    sentence: str
    converged: bool
