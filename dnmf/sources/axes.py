"""Along which axis new data are solved for: by their shape, and by their names where they fit both ways."""

from typing import Any, NamedTuple, get_args

from dnmf.errors import DataError
from dnmf.sources.base import Axis
from dnmf.sources.names import Names, difference

FITTED = "the fitted factor"


class Fitted(NamedTuple):
    """The shape and the names of a matrix that was factorised, and whether it was read along its rows."""

    shape: tuple[int, int]
    names: Names
    rows_streamed: bool

    @property
    def axis(self) -> Axis:
        """The axis that it was read along."""
        return "rows" if self.rows_streamed else "columns"


def advice_on(held: Axis, *, also_new: bool) -> str:
    """Return what to do where the names along the axis of the held factor are others; that axis may be the new one."""
    one = held[:-1]
    more = f" Where the {held} of V are new, give axis={held!r} (--axis {held})." if also_new else ""
    return (
        f"Give V with the {held} that were fitted, in any order; where they are the same under other names, give those "
        f"of the fit as {one}_names= (--{one}-names).{more}"
    )


def axis_for(fitted: Fitted, shape: tuple[int, int], names: Names, axis: Axis | None) -> Axis:
    """Return the axis of new data that is to be solved for: the one that is asked for, or else the only one that fits.

    Data of the shape that was fitted fit both ways: then names decide, where they are those of the fit along one axis
    alone, or else the axis that the fit read along, where the matrix is not square.

    Raises
    ------
    DataError
        If V does not fit, or fits both ways and nothing decides.
    """
    rows, columns = fitted.shape
    fits: dict[Axis, bool] = {"rows": shape[1] == columns, "columns": shape[0] == rows}
    if axis is None and all(fits.values()):
        return axis_of_fit(fitted, names)
    found = axis or next((name for name in fits if fits[name]), None)
    if found is not None and fits[found]:
        if axis is None and found == "columns" and fitted.rows_streamed:
            check_new_columns(fitted, names)
        return found
    needs: dict[Axis, str] = {
        "rows": f"{columns} columns, to find W of new rows",
        "columns": f"{rows} rows, to find H of new columns",
    }
    sentence = f"V has shape {shape}, and the factors were fitted to {rows} rows and {columns} columns; give data with "
    if found is None:
        both = f"{needs[fitted.axis]}, or with {needs[other(fitted.axis)]}"
        raise DataError(f"{sentence}{both}.{lacking(fitted, names)}")
    way = other(found)
    hint = f", or take axis={way!r} (--axis {way}), which V fits" if fits[way] else ""
    raise DataError(f"{sentence}{needs[found]}{hint}.{lacking(fitted, names, other(found))}")


def check_new_columns(fitted: Fitted, names: Names) -> None:
    """Raise DataError where data with as many rows as were fitted have some of the columns that were."""
    wanted, known = names.columns, fitted.names.columns
    if wanted is not None and known is not None and not set(wanted).isdisjoint(known):
        raise DataError(f"{difference(wanted, known, 'columns', FITTED)}{advice_on('columns', also_new=True)}")


def axis_of_fit(fitted: Fitted, names: Names) -> Axis:
    """Return the axis to solve for of data of the shape that was fitted.

    New rows are known by the names of their columns. Where the names of the rows alone agree, V holds new columns, or
    the rows that were fitted with columns that were not: what the fit read along, or a square matrix, leaves no doubt.
    """
    columns, rows = (same_set(getattr(names, axis), getattr(fitted.names, axis)) for axis in ("columns", "rows"))
    square = fitted.shape[0] == fitted.shape[1]
    if columns and not rows:
        return "rows"
    if rows and not columns and (square or columns is None):
        return "columns"
    alike: dict[Axis, bool | None] = {"rows": columns, "columns": rows}
    possible = [axis for axis in alike if alike[axis] is not False]
    if square and len(possible) == 2:
        raise DataError(
            f"V has shape {fitted.shape}, as what was factorised, so that its rows or its columns may be the new ones; "
            "give axis='rows' (--axis rows) to find W of new rows, or axis='columns' to find H of new columns."
        )
    return possible[0] if square and possible else fitted.axis


def lacking(fitted: Fitted, names: Names, held: Axis | None = None) -> str:
    """Return a sentence on the first name in which data of another shape differ, where both have some, or nothing.

    It is on the axis along which V is the more like what was fitted.
    """
    differing = list[tuple[int, str]]()
    for axis in get_args(Axis) if held is None else (held,):
        wanted, known = getattr(names, axis), getattr(fitted.names, axis)
        if wanted is not None and known is not None and not set(wanted).isdisjoint(known):
            sentence = difference(wanted, known, axis, FITTED).strip() if set(wanted) != set(known) else ""
            differing.append((abs(len(wanted) - len(known)), f" {sentence}".rstrip()))
    return min(differing)[1] if differing else ""


def same_set(names: Any, others: Any) -> bool | None:
    """Say whether names are others in some order; None where there are none to compare."""
    if names is None or others is None:
        return None
    return bool(len(names) == len(others) and set(names) == set(others))


def other(axis: Axis) -> Axis:
    """Return the other axis."""
    return "columns" if axis == "rows" else "rows"
