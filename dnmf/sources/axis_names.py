"""Names along the axes of an array, as names of the rows and columns that these make."""

from collections.abc import Sequence
from typing import Any

from dnmf.sources.names import Names
from dnmf.sources.unfolding import Unfolding


def names_along(labels: Sequence[Any], unfolding: Unfolding | None) -> Names:
    """Return the names of the rows and columns from those along the axes of an array, for sides that one axis makes.

    >>> names_along([["a", "b"], ["x"]], Unfolding((2, 1), (1,), (0,))).columns.tolist()
    ['a', 'b']
    """
    if unfolding is None:
        return Names.of(*labels)
    known = dict(enumerate(labels))
    return Names.of(*(known.get(side[0]) if len(side) == 1 else None for side in (unfolding.rows, unfolding.columns)))
