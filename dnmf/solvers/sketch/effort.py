"""How much to compute on a surrogate, by the cost of a pass over V.

Both are known from the layout of V alone, never from a clock, so that the bits of a run do not depend on the machine.
Where V is on a disk or behind a URL, a pass costs far more than any work on a surrogate. In memory it costs a few
rounds, so that fewer starts are tried, on a smaller sample, and the rounds end at the tolerance of the run; unless the
settings name the sketch, which means the same everywhere.
"""

import dataclasses
from typing import Self

from dnmf.settings import Settings
from dnmf.solvers.sketch.basis import PILOT_ROUNDS
from dnmf.sources.base import Layout

# Random starts on the first surrogate: their number, the rounds of each, and the rows and columns they use at most.
STARTS, TRIAL_ROUNDS, TRIAL_SIZE = 8, 16, 4000
# The same where V is in memory: for a dense V, and for a sparse one, whose samples are poor in entries.
DENSE_EFFORT, SPARSE_EFFORT = (4, 8, 250), (2, 8, 2000)
# Products in a pass over a sparse V in memory, below which it costs no more than a round on a surrogate.
SPARSE_CHEAP = 2 * 10**5
# Columns of the first basis for every component. Where a dense V is in memory, fewer columns and at least so many more
# than components.
WIDTH, DENSE_WIDTH, MORE = 3, 2, 8
# Rounds of products for the first basis in memory under Frobenius, and columns of a dense V that are used for each of
# its columns: later bases have the directions that one misses.
LIGHT_PILOT_ROUNDS, DENSE_PILOT_SHARE = 1, 8
# Columns of the first surrogate in memory that its first rounds use, if V is dense and if it is sparse; or as many for
# every row of the surrogate, if that is more. Rounds over all columns that follow.
DENSE_FEW, SPARSE_FEW, COLUMNS_PER_ROW, LAST_ROUNDS = 1000, 2000, 8, 8
# Rounds of updates on a surrogate, in this process and over all columns.
ROUNDS, ALL_ROUNDS = 200, 4
# The rounds end when one lowers the loss by less than the `tol` of the run, between these shares of it.
TOLERANCE, LOOSEST = 1e-6, 1e-4
# Losses of two starts are tied if they differ by less than CLOSE times their size plus TIE times ‖V̂‖².
CLOSE, TIE = 1e-3, 1e-6
# A component that vanished in a start may come back if the loss is more than this share of ‖V̂‖².
EXACT = 1e-6
# Bytes of the row number of a stored entry of a sparse matrix.
INDEX_BYTES = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Effort:
    """How much to compute on a surrogate.

    Attributes
    ----------
    starts
        Starts on the first surrogate, of which the best one continues.
    trial_rounds
        Rounds of every start; the better half goes on with twice the rounds.
    trial_size
        Rows and columns of the surrogate that they use at most.
    rounds
        Rounds of updates, in this process and over all columns.
    tolerance
        The share of the loss by which a round must lower it for the next one to follow.
    width
        Columns of the first basis under Frobenius for every component; see `basis_width`.
    pilot_rounds, pilot_share
        Rounds of products for it, and columns of V for each of its columns, or 0 for as many as fit.
    singular
        Whether the first of several starts is that of singular vectors, and not random.
    few
        Columns that the first rounds on the first surrogate use, or 0 for all.
    """

    starts: int = STARTS
    trial_rounds: int = TRIAL_ROUNDS
    trial_size: int = TRIAL_SIZE
    rounds: tuple[int, int] = (ROUNDS, ALL_ROUNDS)
    tolerance: float = TOLERANCE
    width: int = WIDTH
    pilot_rounds: int = PILOT_ROUNDS
    pilot_share: int = 0
    singular: bool = False
    few: int = 0

    def basis_width(self, rank: int) -> int:
        """Return the number of columns of the first basis.

        >>> [FULL_EFFORT.basis_width(rank) for rank in (1, 10)]
        [3, 30]
        >>> [Effort(width=2).basis_width(rank) for rank in (1, 5, 10)]
        [3, 13, 20]
        """
        return min(WIDTH * rank, max(self.width * rank, rank + MORE))

    @classmethod
    def of_start(cls, layout: Layout, settings: Settings) -> Self:
        """Return the effort on the first surrogate. To be more exact than the `tol` of the run would not pay."""
        tolerance = min(max(TOLERANCE, settings.tol), LOOSEST)
        if not is_light(layout, settings):
            return cls(tolerance=tolerance)
        trials = SPARSE_EFFORT if layout.sparse else DENSE_EFFORT
        few = SPARSE_FEW if layout.sparse else DENSE_FEW
        light = cls(*trials, tolerance=tolerance, pilot_rounds=LIGHT_PILOT_ROUNDS, few=few)
        if layout.sparse:
            return dataclasses.replace(light, singular=True)
        return dataclasses.replace(light, width=DENSE_WIDTH, pilot_share=DENSE_PILOT_SHARE)

    @classmethod
    def of_correction(cls, layout: Layout, settings: Settings) -> Self:
        """Return the effort on a later surrogate: a pass over a dense V in memory costs little more than its rounds."""
        light = is_light(layout, settings) and not layout.sparse
        return cls(tolerance=min(max(TOLERANCE, settings.tol), LOOSEST) if light else TOLERANCE)


FULL_EFFORT = Effort()


def is_light(layout: Layout, settings: Settings) -> bool:
    """Return whether to compute less: if V is in memory, and the settings do not name the sketch."""
    return layout.in_memory and "sketch" not in (settings.solver, settings.init)


def products(layout: Layout, rank: int) -> int:
    """Return the products of an entry of V and one of W in a pass.

    >>> import numpy as np
    >>> layout = Layout((200, 500), np.dtype("f4"), (0, 500), False, 0, 400_000, False, False, "NumPy array")
    >>> products(layout, rank=5)
    500000
    """
    return rank * (layout.stored_bytes // (layout.dtype.itemsize + layout.sparse * INDEX_BYTES))
