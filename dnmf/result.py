"""What comes back from a run."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from dnmf.factor import DiskFactor, Factor
from dnmf.kernels.steps import Step
from dnmf.kernels.tiles import Float
from dnmf.settings import Settings
from dnmf.sources.dask_array import factor_array
from dnmf.watch import Record


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The factors of V ≈ WH and how they came about.

    The factor along the axis that V is cut along is a Dask array, read when it is computed; the other one is NumPy.

    Attributes
    ----------
    history
        One record a pass.
    settings
        What was asked.
    converged
        Whether the run stopped because the optimality reached `tol`.
    store
        Path of the store, if there is one.
    steps
        What prepared V, if it was; `transform` prepares new data by the same.
    """

    history: tuple[Record, ...]
    settings: Settings
    converged: bool
    store: str | None
    _verdict: str
    _short: Float
    _long: Factor
    _bounds: Sequence[int]
    _transposed: bool
    steps: tuple[Step, ...] = ()

    @property
    def W(self) -> Any:
        """The left factor (m, r)."""
        return self._dask() if self._transposed else self._short

    @property
    def H(self) -> Any:
        """The right factor (r, n)."""
        return np.ascontiguousarray(self._short.T) if self._transposed else self._dask()

    @property
    def short(self) -> Float:
        """The factor that is held whole, one row to every row (or column) of V that is not streamed: W, or Hᵀ."""
        return self._short

    @property
    def rows_streamed(self) -> bool:
        """Whether V was cut along its rows, so that W is the long factor."""
        return self._transposed

    @property
    def verdict(self) -> str:
        """Why the run stopped, as a sentence."""
        return self._verdict

    @property
    def passes(self) -> int:
        """Reads of V."""
        return self.history[-1].passes if self.history else 0

    @property
    def loss(self) -> float:
        """The objective after the last pass, penalties included."""
        return self.history[-1].loss if self.history else float("inf")

    @property
    def relative_error(self) -> float | None:
        """‖V − WH‖/‖V‖ after the last pass; None for a loss other than Frobenius."""
        return self.history[-1].relative_error if self.history else None

    def __repr__(self) -> str:
        error = "" if self.relative_error is None else f", relative error {self.relative_error:.6g}"
        shape = f"W {self.W.shape}, H {self.H.shape}"
        return f"<dnmf.Result: {shape}, {self.passes} passes, loss {self.loss:.6g}{error}. {self.verdict}>"

    def _dask(self) -> Any:
        return as_dask(self._long, self._bounds, self._short.shape[1], self._short.dtype, self._transposed)


def as_dask(long: Factor, bounds: Sequence[int], rank: int, dtype: np.dtype[Any], transposed: bool) -> Any:
    """Return a long factor as a Dask array that any of Dask's schedulers can compute.

    What is in memory goes into its graph, block by block; what is on a disk is read when it is computed.
    """
    now = not (long.everywhere or isinstance(long, DiskFactor))
    return factor_array(long.read, now, bounds, rank, dtype, transposed)
