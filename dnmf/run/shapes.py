"""The shapes of the rows and columns of a matrix that an array of several axes was unfolded into."""

import dataclasses
from abc import ABC, abstractmethod

from dnmf.sources.unfolding import Unfolding


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Shapes(ABC):
    """The shapes of the rows and columns of V.

    Attributes
    ----------
    unfolding
        The array whose axes make the rows and columns of V, or None if V is a matrix.
    """

    unfolding: Unfolding | None = None

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns of V."""

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Lengths of the axes that make the rows of V; (m,) if V is a matrix.

        Examples
        --------
        >>> import dnmf, numpy as np
        >>> stack = np.random.default_rng(0).random((5, 4, 3))
        >>> result = dnmf.factorize(stack, rank=2)
        >>> result.row_shape, result.H.reshape(2, *result.column_shape).shape
        ((5,), (2, 4, 3))
        """
        return self.shape[:1] if self.unfolding is None else self.unfolding.row_shape

    @property
    def column_shape(self) -> tuple[int, ...]:
        """Lengths of the axes that make the columns of V; (n,) if V is a matrix."""
        return self.shape[1:] if self.unfolding is None else self.unfolding.column_shape
