"""The axis along which new data are solved for: by their shape, or by their names if both axes fit."""

from typing import Any, NamedTuple, get_args

from dnmf.errors import DataError
from dnmf.sources.base import Axis
from dnmf.sources.names import Names, difference

FITTED = "the fitted factor"


class Fitted(NamedTuple):
    """The shape and the names of a factorised matrix, and whether its rows were streamed."""

    shape: tuple[int, int]
    names: Names
    rows_streamed: bool

    @property
    def axis(self) -> Axis:
        """The axis that was streamed."""
        return "rows" if self.rows_streamed else "columns"


def advice_on(held: Axis, *, also_new: bool) -> str:
    """Return the advice for names that differ along the axis of the held factor, which may be the new axis."""
    one = held[:-1]
    more = f" Where the {held} of V are new, give axis={held!r} (--axis {held})." if also_new else ""
    return (
        f"Give V with the {held} that were fitted, in any order; if they are the same under other names, give those "
        f"of the fit as {one}_names= (--{one}-names).{more}"
    )


def axis_for(fitted: Fitted, shape: tuple[int, int], names: Names, axis: Axis | None) -> Axis:
    """Return the axis of new data to solve for: the requested one, or else the only one that fits.

    Data of the fitted shape fit both ways. Then names decide if they agree along one axis alone; otherwise the axis
    that was streamed in the fit, if the matrix is not square.

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
    """Raise DataError if data with the fitted number of rows share column names with the fit."""
    wanted, known = names.columns, fitted.names.columns
    if wanted is not None and known is not None and not set(wanted).isdisjoint(known):
        raise DataError(f"{difference(wanted, known, 'columns', FITTED)}{advice_on('columns', also_new=True)}")


def axis_of_fit(fitted: Fitted, names: Names) -> Axis:
    """Return the axis to solve for in data of the fitted shape.

    New rows are recognised by the names of their columns. If the names of the rows alone agree, V holds new columns, or
    the fitted rows with other columns: a square matrix, or columns without names, leaves no doubt.
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
            f"V has shape {fitted.shape}, like the factorised matrix, so that its rows or its columns may be new; "
            "give axis='rows' (--axis rows) to find W of new rows, or axis='columns' to find H of new columns."
        )
    return possible[0] if square and possible else fitted.axis


def lacking(fitted: Fitted, names: Names, held: Axis | None = None) -> str:
    """Return a sentence on the first name in which data of another shape differ, or "" without names to compare.

    It is about the axis along which V is closer to the fit.
    """
    differing = list[tuple[int, str]]()
    for axis in get_args(Axis) if held is None else (held,):
        wanted, known = getattr(names, axis), getattr(fitted.names, axis)
        if wanted is not None and known is not None and not set(wanted).isdisjoint(known):
            sentence = difference(wanted, known, axis, FITTED).strip() if set(wanted) != set(known) else ""
            differing.append((abs(len(wanted) - len(known)), f" {sentence}".rstrip()))
    return min(differing)[1] if differing else ""


def same_set(names: Any, others: Any) -> bool | None:
    """Return whether names are the same in any order; None without names to compare."""
    if names is None or others is None:
        return None
    return bool(len(names) == len(others) and set(names) == set(others))


def other(axis: Axis) -> Axis:
    """Return the other axis."""
    return "columns" if axis == "rows" else "rows"
