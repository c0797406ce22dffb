"""What the rows and the columns of a matrix are called, where whoever made it gave them names."""

import dataclasses
from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Names:
    """Names along both axes of the matrix that the user gave: by custom, rows are samples and columns are features.

    They stay in the process that opened the matrix: what is pickled for a worker has none.

    Attributes
    ----------
    rows, columns
        One text for each (m,) and (n,), or None where the axis has no names.

    Examples
    --------
    >>> Names.of(None, ["red", "green"]).columns.tolist()
    ['red', 'green']
    """

    rows: NDArray[Any] | None = None
    columns: NDArray[Any] | None = None

    @classmethod
    def of(cls, rows: Iterable[Any] | None, columns: Iterable[Any] | None) -> Self:
        """Return the names that are given as anything that can be told as texts."""
        return cls(_texts(rows), _texts(columns))

    def __reduce__(self) -> tuple[Any, ...]:
        return (Names, ())

    def checked(self, shape: tuple[int, int]) -> Self:
        """Return the names, or raise DataError where there are not as many as the axis is long."""
        for names, size, axis in ((self.rows, shape[0], "rows"), (self.columns, shape[1], "columns")):
            if names is not None and len(names) != size:
                raise DataError(f"V has {size} {axis} and {len(names)} names for them; give one name for each.")
        return self


NO_NAMES = Names()


def _texts(names: Iterable[Any] | None) -> NDArray[Any] | None:
    if names is None:
        return None
    return np.array([name.decode() if isinstance(name, bytes) else str(name) for name in names], dtype=object)
