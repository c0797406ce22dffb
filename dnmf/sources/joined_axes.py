"""The axes of arrays that are joined: those of the other side stay if all arrays have them."""

from collections.abc import Sequence

from dnmf.errors import DataError
from dnmf.sources.axes import other
from dnmf.sources.base import Axis, Layout
from dnmf.sources.names import Order
from dnmf.sources.unfolding import Unfolding


def check_alike(layouts: Sequence[Layout], axis: Axis, labels: Sequence[str]) -> None:
    """Raise DataError if the side that arrays share has other axes in one of them; with names, these decide."""
    shared = other(axis)
    known = [
        (label, layout.unfolding)
        for label, layout in zip(labels, layouts, strict=True)
        if layout.unfolding is not None and getattr(layout.names, shared) is None
    ]
    for label, unfolding in known[1:]:
        if unfolding.differs(known[0][1], shared):
            raise DataError(
                f"The {shared} of {label} are made by {unfolding}, and those of {known[0][0]} by {known[0][1]}; give "
                f"arrays with the same axes for the {shared} in the same order, as by dnmf.unfold."
            )


def joined_unfolding(layouts: Sequence[Layout], takes: Sequence[Order | None], axis: Axis) -> Unfolding | None:
    """Return the array that a join along an axis is like, if all have the same axes on the other side, else None.

    An axis that alone makes the joined side keeps its position and its name; several become one.
    """
    shared, found = other(axis), [layout.unfolding for layout in layouts]
    first = found[0]
    if first is None or len(getattr(first, shared)) < 2 or any(take is not None for take in takes):
        return None
    alike = [one for one in found if one is not None and not one.differs(first, shared)]
    if len(alike) < len(found):
        return None
    total = sum(layout.user_shape[0 if axis == "rows" else 1] for layout in layouts)
    along = getattr(first, axis)
    if len(along) == 1 and all((one.rows, one.columns) == (first.rows, first.columns) for one in alike):
        shape = tuple(total if place == along[0] else size for place, size in enumerate(first.shape))
        same = all(one.names == first.names for one in alike)
        return Unfolding(shape, first.rows, first.columns, first.names if same else None)
    inner = first.column_shape if axis == "rows" else first.row_shape
    count = len(inner)
    if axis == "rows":
        return Unfolding((total, *inner), (0,), tuple(range(1, count + 1)))
    return Unfolding((*inner, total), tuple(range(count)), (count,))
