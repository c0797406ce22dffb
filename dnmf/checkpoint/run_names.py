"""Which names a run goes by: those that are given, those that its store keeps, and those of its matrix."""

from collections.abc import Mapping, Sequence
from typing import Any

from dnmf.checkpoint.names import read_names, write_names
from dnmf.checkpoint.store import Store
from dnmf.errors import DataError
from dnmf.sources.base import Layout
from dnmf.sources.names import NO_NAMES, Names, difference

AXES = ("rows", "columns")


def names_of(options: Mapping[str, Any], layout: Layout, kept: Names = NO_NAMES) -> Names:
    """Return the names that are given, or else were kept, or else are those of the matrix; one for each, or none."""
    given = Names.of(options.get("row_names"), options.get("column_names"))
    return given.filled(kept).filled(layout.names).checked(layout.user_shape)


def named_axes(options: Mapping[str, Any]) -> list[str]:
    """Return the axes whose names are given by options, and not by V."""
    return [axis for axis in AXES if options.get(f"{axis[:-1]}_names") is not None]


def named_in(header: Mapping[str, Any]) -> list[str]:
    """Return the axes whose names in a store were given, and are not those of V, as far as its header says."""
    told = header.get("named")
    return [axis for axis in AXES if isinstance(told, list) and axis in told]


def check_same_names(kept: Names, layout: Layout, skipped: Sequence[str] = (), *, others: Sequence[str] = ()) -> None:
    """Raise DataError where a matrix has the names that are kept in another order, which no other check may see.

    Parameters
    ----------
    kept
        The names of the matrix of a run.
    layout
        That of the matrix that is given again.
    skipped
        The axes that are not compared.
    others
        The axes along which other names are refused as well.
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
    """Return the names of a stored run, which keeps those that are new; V may be given again."""
    kept, now = read_names(store.place, layout.user_shape), named_axes(options)
    before = named_in(store.header)
    others = AXES if again and "named" in store.header else ()  # older stores do not say whose names they keep
    check_same_names(kept, layout, [*before, *now], others=others)
    store.amend({"named": [axis for axis in AXES if axis in (*before, *now)]} if now else {})
    names = names_of(options, layout, kept)
    if names.rows is not kept.rows or names.columns is not kept.columns:
        write_names(store.place, names)
    return names
