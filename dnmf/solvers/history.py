"""Records of passes, and the verdict at the end of a run."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One pass in the history of a run. Counts and seconds are totals from its start, interruptions excluded.

    Attributes
    ----------
    passes
        Reads of V, including those of the initialisation.
    loss
        The objective after the pass, including penalties.
    relative_error
        ‖V − WH‖/‖V‖; None for a loss other than Frobenius.
    optimality
        The decrease of the loss that is predicted for one more step of every single entry, as a share of the loss;
        `tol` bounds it. It does not depend on the scale of V, W and H, and is measured before the step of W, with the
        new H.
    seconds
        Wall-clock time.
    bytes_read
        Bytes of V that were read, uncompressed.
    solver
        Name of the solver that made the pass.
    """

    passes: int
    loss: float
    relative_error: float | None
    optimality: float
    seconds: float
    bytes_read: int
    solver: str

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a dictionary of plain values."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """Why a run stopped, as a sentence, and whether it had converged."""

    sentence: str
    converged: bool
