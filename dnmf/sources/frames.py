"""Data frames of pandas, polars and Dask: their columns are those of V, and their labels become names."""

import decimal
import numbers
from typing import Any

import dask
import dask.array as da
import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError
from dnmf.sources.base import Axis, Source, relabelled
from dnmf.sources.dask_array import DaskSource
from dnmf.sources.memory import ArraySource, sparse_source
from dnmf.sources.names import Names


def open_pandas(frame: Any, streamed: Axis | None = None) -> Source:
    """Open a pandas DataFrame; columns of a sparse dtype are never made dense.

    Raises
    ------
    DataError
        If a column is not numeric, or only some columns are sparse.
    """
    frame = _with_numbers(frame)
    _check_dtypes(list(zip(map(str, frame.columns), frame.dtypes, strict=True)))
    kinds = {hasattr(dtype, "fill_value") for dtype in frame.dtypes}
    if len(kinds) > 1:
        raise DataError("V is a DataFrame with sparse and dense columns; make all of them one or the other.")
    source: Source
    if kinds == {True}:
        if any(dtype.fill_value != 0 for dtype in frame.dtypes):
            raise DataError(
                "V is a sparse DataFrame whose fill value is not 0; entries that V does not store must be 0."
            )
        if any(dtype.subtype == np.float16 for dtype in frame.dtypes):  # SciPy lacks it
            frame = frame.astype(type(frame.dtypes.iloc[0])(np.float64, 0))
        source = sparse_source(frame.sparse.to_coo(), streamed)
    else:
        source = ArraySource(numbers_of(frame), streamed)
    return _named(source, Names.of(labels_of(frame.index), labels_of(frame.columns)), "pandas DataFrame")


def open_polars(frame: Any, streamed: Axis | None = None) -> Source:
    """Open a polars DataFrame; null becomes NaN.

    Raises
    ------
    DataError
        If a column is not numeric, or the frame is lazy.
    """
    if not hasattr(frame, "to_numpy"):
        raise DataError("V is a polars LazyFrame, which has no rows yet; give V.collect().")
    wrong = [name for name, dtype in frame.schema.items() if not (dtype.is_numeric() or str(dtype) == "Boolean")]
    if wrong:
        raise _no_numbers(wrong, "give the others, as V.drop(…), and names of the rows with row_names=")
    flags = [name for name, dtype in frame.schema.items() if str(dtype) == "Boolean"]
    mixed = flags and (len(flags) < frame.width or any(frame[name].null_count() for name in flags))
    if mixed or any(dtype.is_decimal() for dtype in frame.dtypes):
        # booleans among numbers, and decimals, would become objects
        frame = frame.select(frame[name].cast(float) for name in frame.columns)
    return _named(ArraySource(frame.to_numpy(), streamed), Names.of(None, frame.columns), "polars DataFrame")


def open_dask_frame(frame: Any, streamed: Axis | None = None) -> Source:
    """Open a Dask DataFrame, whose partitions are blocks of rows. Their labels are computed at once.

    Raises
    ------
    DataError
        If a column is not numeric.
    """
    _check_dtypes([(str(name), dtype) for name, dtype in frame.dtypes.items()])
    parts = frame.to_delayed()
    labels = dask.compute(*(dask.delayed(_labels_of_part)(part) for part in parts))
    dtype, width = numbers_of(frame._meta).dtype, len(frame.columns)
    blocks = [
        da.from_delayed(dask.delayed(numbers_of)(part), (size, width), dtype)
        for part, (size, _) in zip(parts, labels, strict=True)
        if size
    ]
    if not blocks:
        raise DataError("V is a Dask DataFrame without rows; V needs at least one row and column.")
    rows = None if any(names is None for _, names in labels) else np.concatenate([names for _, names in labels])
    source = DaskSource(da.concatenate(blocks), streamed)
    return _named(source, Names.of(rows, labels_of(frame.columns)), "Dask DataFrame")


def numbers_of(frame: Any) -> Any:
    """Return the numbers of a pandas DataFrame, NaN for missing ones."""
    nullable = any(hasattr(dtype, "na_value") and not isinstance(dtype, np.dtype) for dtype in frame.dtypes)
    if nullable:
        return frame.to_numpy(dtype=np.float64, na_value=np.nan)
    # pandas has no common dtype for booleans and numbers
    return frame.to_numpy(dtype=np.result_type(*frame.dtypes)) if len(frame.columns) else frame.to_numpy()


def labels_of(index: Any) -> Any:
    """Return the labels of an axis, or None if they only count."""
    counts = type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1
    return None if counts else index


def _labels_of_part(part: Any) -> tuple[int, Any]:
    """Return the number of rows of a partition, and their labels or None if these only count."""
    return len(part), None if type(part.index).__name__ == "RangeIndex" else np.asarray(part.index, dtype=object)


def _with_numbers(frame: Any) -> Any:
    """Return a frame after converting columns of objects that are all numbers."""
    objects = [place for place, dtype in enumerate(frame.dtypes) if dtype.kind == "O" and dtype.name != "category"]
    found = {place: _numbers_in(frame.iloc[:, place]) for place in objects}
    if all(values is None for values in found.values()):
        return frame
    columns = [frame.iloc[:, place] if found.get(place) is None else found[place] for place in range(frame.shape[1])]
    made = type(frame)(dict(enumerate(columns)), index=frame.index)
    made.columns = frame.columns
    return made


def _numbers_in(column: Any) -> NDArray[Any] | None:
    """Return the numbers in a column of objects, NaN for missing ones; None if one is not a number or not exact."""
    missing = column.isna().to_numpy()
    values = column.to_numpy(dtype=object)
    given = [value for value, none in zip(values, missing, strict=True) if not none]
    if not given or not all(isinstance(value, (numbers.Real, decimal.Decimal, np.bool_)) for value in given):
        return None
    made = np.full(len(values), np.nan)
    made[~missing] = [float(value) for value in given]
    whole = (value for value in given if isinstance(value, numbers.Integral))
    return made if all(int(float(value)) == value for value in whole) else None


def _check_dtypes(dtypes: list[tuple[str, Any]]) -> None:
    wrong = [name for name, dtype in dtypes if getattr(dtype, "subtype", dtype).kind not in "buif"]
    if wrong:
        raise _no_numbers(wrong)


def _no_numbers(names: list[str], way: str = "drop them, or make them the index") -> DataError:
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return DataError(f"V is a DataFrame whose column(s) {shown} hold no numbers; {way}.")


def _named(source: Source, names: Names, what: str) -> Source:
    """Return a source with names, described as made of a frame."""
    layout = source.layout
    return relabelled(source, names=names.checked(layout.user_shape), kind=f"{what}, {layout.kind}")
