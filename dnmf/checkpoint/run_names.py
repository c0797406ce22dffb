"""Choose the names of a run: given ones, those in its store, or those of its matrix."""

from collections.abc import Mapping, Sequence
from typing import Any

from dnmf.checkpoint.names import read_names, write_names
from dnmf.checkpoint.store import Store
from dnmf.errors import DataError
from dnmf.sources.base import Layout
from dnmf.sources.names import NO_NAMES, Names, difference

AXES = ("rows", "columns")


def names_of(options: Mapping[str, Any], layout: Layout, kept: Names = NO_NAMES) -> Names:
    """Return the given names, else the stored ones, else those of the matrix, for each axis."""
    given = Names.of(options.get("row_names"), options.get("column_names"))
    return given.filled(kept).filled(layout.names).checked(layout.user_shape)


def named_axes(options: Mapping[str, Any]) -> list[str]:
    """Return the axes whose names are given as options."""
    return [axis for axis in AXES if options.get(f"{axis[:-1]}_names") is not None]


def named_in(header: Mapping[str, Any]) -> list[str]:
    """Return the axes whose names in a store were given as options, by its header."""
    given = header.get("named")
    return [axis for axis in AXES if isinstance(given, list) and axis in given]


def check_same_names(kept: Names, layout: Layout, skipped: Sequence[str] = (), *, others: Sequence[str] = ()) -> None:
    """Raise DataError if a matrix has the stored names in another order, which other checks may miss.

    Parameters
    ----------
    kept
        The names of the matrix of a run.
    layout
        The layout of the matrix that is given again.
    skipped
        Axes that are not compared.
    others
        Axes along which different names are refused as well.
    """
    for axis in AXES:
        wanted, known = getattr(layout.names, axis), getattr(kept, axis)
        if axis in skipped or wanted is None or known is None or (wanted == known).all():
            continue
        if axis in others or sorted(wanted) == sorted(known):
            raise DataError(
                f"{difference(wanted, known, axis, 'the matrix of the run')}Give the matrix that the run was started "
                f"on, in its order, or names for its {axis} as {axis[:-1]}_names= (--{axis[:-1]}-names)."
            )


def kept_names(store: Store, options: Mapping[str, Any], layout: Layout, again: bool) -> Names:
    """Return the names of a stored run, after storing new ones; `again` if V was given again."""
    kept, now = read_names(store.place, layout.user_shape), named_axes(options)
    before = named_in(store.header)
    others = AXES if again and "named" in store.header else ()  # older stores do not record whether names were given
    check_same_names(kept, layout, [*before, *now], others=others)
    store.amend({"named": [axis for axis in AXES if axis in (*before, *now)]} if now else {})
    names = names_of(options, layout, kept)
    if names.rows is not kept.rows or names.columns is not kept.columns:
        write_names(store.place, names)
    return names
