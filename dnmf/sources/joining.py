"""Open several matrices as one, joined along an axis."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dnmf.errors import DataError
from dnmf.settings import Missing
from dnmf.sources.addresses import Address
from dnmf.sources.alignment import aligned_weights
from dnmf.sources.axes import other
from dnmf.sources.base import Axis, Layout, Source
from dnmf.sources.beside import Beside
from dnmf.sources.collection import SCHEME, SEPARATOR, Collection, collection_in
from dnmf.sources.joined import Joined
from dnmf.sources.joined_axes import check_alike
from dnmf.sources.matching import Along, match, warn_of_dropped
from dnmf.sources.names import Names
from dnmf.sources.pieces import Join
from dnmf.sources.prepared import Prepared
from dnmf.sources.turning import open_along
from dnmf.sources.unfolding import Axes, Unfolding
from dnmf.sources.weighted import MemoryWeights, WeightedSource

OpenOne = Callable[..., Source]


def open_join(collection: Collection, open_one: OpenOne, streamed: Axis | None, missing: Missing) -> Source:
    """Open matrices as one.

    A join along the rows is streamed along its rows by default, so that its blocks are those of its matrices. A join
    along the columns is streamed along the axis that most of its bytes are cut along.

    Parameters
    ----------
    collection
        The matrices, and the way of joining.
    open_one
        Opens a matrix, as `open_matrix` does.
    streamed
        The axis to cut into blocks, or None.
    missing
        With `"nan"`, absent entries of an outer join are NaN, which is missing; else they are 0.

    Raises
    ------
    DataError
        If a matrix cannot be opened or read along the axis, or they cannot be matched.
    """
    axis, shared = collection.axis, other(collection.axis)
    places = range(len(collection.matrices))
    if streamed is None and axis == "rows":
        streamed = axis
    elif streamed is None:
        streamed = _natural([_opened(collection, place, open_one, None, missing) for place in places])
    given = [_opened(collection, place, open_one, streamed, missing) for place in places]
    steps = _common_steps(given)
    sources = [
        open_along(open_one, source.source, streamed, missing) if isinstance(source, Prepared) else source
        for source in given
    ]
    layouts = [source.layout for source in sources]
    _check(collection, sources, missing)
    labels = collection.described()
    check_alike(layouts, axis, labels)
    along = [
        Along(label, getattr(layout.names, shared), layout.user_shape[1 if axis == "rows" else 0], layout.stored_bytes)
        for label, layout in zip(labels, layouts, strict=True)
    ]
    matched = match(along, shared, collection.join == "outer")
    if not collection.recorded:
        warn_of_dropped(matched, along, shared)
    names = Names(**{axis: _labelled(collection, layouts), shared: matched.names})
    if getattr(names, axis) is not None:  # so that matrices that are given again from elsewhere have the same names
        collection = dataclasses.replace(collection, keys=collection.labels())
    location = collection.address(
        [_location(one, source) for one, source in zip(collection.matrices, sources, strict=True)]
    )
    kind: type[Joined] | type[Beside] = Joined if streamed == axis else Beside
    join = kind(sources, matched.takes, collection, names, np.nan if missing == "nan" else 0.0, location)
    join.missing, join.dropped, join.absent = missing, matched.dropped(along), matched.absent()
    return Prepared(join, steps) if steps else join


def open_several(
    V: Any, open_one: OpenOne, streamed: Axis | None, missing: Missing, axes: Axes | Unfolding | None = None
) -> Source | None:
    """Open several matrices as one, or a join again if it is to be cut along another axis; None for anything else.

    Arrays are unfolded by the axes, which are those of an earlier join.

    Raises
    ------
    DataError
        If axes are chosen for a join.
    """
    open_one, joined = functools.partial(open_one, axes=axes), isinstance(V, Join)
    collection = None if joined else collection_in(V)
    if isinstance(axes, Axes) and (joined or collection is not None):
        raise DataError(
            "V is a join of several matrices; give dnmf.unfold of each, as [dnmf.unfold(first, 0), second]."
        )
    if isinstance(V, Join):
        now: Axis = "rows" if V.layout.transposed else "columns"
        if streamed in (None, now) and missing in ("none", V.missing):
            return V
        recorded = dataclasses.replace(V.collection, recorded=True)
        return open_join(recorded, open_one, streamed or now, V.missing if missing == "none" else missing)
    if isinstance(V, Prepared):
        _check_missing(V, missing)
        return None
    return None if collection is None else open_join(collection, open_one, streamed, missing)


def join_in(source: Any) -> Join | None:
    """Return the join in a source, which may be prepared; None for any other source."""
    raw = source.source if isinstance(source, Prepared) else source
    return raw if isinstance(raw, Join) else None


def with_weights(values: Source, weights: Any, names: Names, open_one: OpenOne) -> WeightedSource:
    """Return a matrix with the weights of its entries: one matrix of them, or for a join also a list of such."""
    if isinstance(weights, Number):
        raise DataError(f"weights={weights!r} is one number; give an array of the shape of V.")
    like, join, several = values.layout, join_in(values), collection_in(weights, distinct=False)
    if join is not None and several is not None:
        return WeightedSource(values, _join_weights(join, several, open_one))
    if several is None and (isinstance(weights, (np.ndarray, list, tuple)) or scipy.sparse.issparse(weights)):
        return WeightedSource(values, MemoryWeights(weights, like))
    opened = open_one(weights, "rows" if like.transposed else "columns", axes=like.unfolding)
    return WeightedSource(values, aligned_weights(opened, like, names))


def _join_weights(join: Join, collection: Collection, open_one: OpenOne) -> Source:
    """Open the weights of the entries of each matrix of a join, in the order of the join; absent entries have none.

    Raises
    ------
    DataError
        If there is not one for each matrix, or they do not fit it.
    """
    if len(collection.matrices) != len(join.sources):
        raise DataError(
            f"weights is a list of {len(collection.matrices)}, and V is a join of {len(join.sources)} matrices; give "
            "the weights of each, or those of the whole join."
        )
    weights = [
        open_one(source, weights=one).weights  # type: ignore[attr-defined]
        for source, one in zip(join.sources, collection.matrices, strict=True)
    ]
    locations = [_location(one, source) for one, source in zip(collection.matrices, weights, strict=True)]
    location, like = collection.address(locations), join.layout
    if isinstance(join, Joined):
        return Joined(weights, join.takes, collection, like.names, 0.0, location)
    return Beside(weights, join.takes, collection, like.names, 0.0, location, like)


def _check_missing(prepared: Prepared, missing: Missing) -> None:
    """Raise DataError if a join was prepared with absent entries as 0, and they are to be missing."""
    join = join_in(prepared)
    if join is not None and missing == "nan" != join.missing and any(join.absent):
        raise DataError(
            "The join was prepared with its absent entries as 0, and missing='nan' takes them as missing; join the "
            "matrices with join='inner', or factorise them without missing='nan'."
        )


def parts_described(join: Join) -> dict[str, str]:
    """Describe the matrices of a join, by their labels: their shape, and the names that are dropped or absent."""
    shared = other(join.collection.axis)
    found = {}
    for label, source, dropped, absent in zip(
        join.collection.labels(), join.sources, join.dropped, join.absent, strict=True
    ):
        rows, columns = source.layout.user_shape
        size = columns if shared == "columns" else rows
        more = [f"{dropped} of {size} {shared} dropped"] if dropped else []
        more += [f"lacks {absent} {shared} of others"] if absent else []
        found[label] = ", ".join([f"{rows} × {columns}", *more])
    return found


def _opened(collection: Collection, place: int, open_one: OpenOne, axis: Axis | None, missing: Missing) -> Source:
    """Open one matrix; an error names it."""
    given = collection.matrices[place]
    if isinstance(given, Collection) and collection.recorded:
        given = dataclasses.replace(given, recorded=True)
    try:
        if axis is None or isinstance(given, Prepared):
            return open_one(given, missing=missing)
        return open_along(open_one, given, axis, missing)
    except DataError as error:
        if isinstance(given, (str, Path)):
            raise
        raise DataError(f"Matrix {place} of the list: {error}") from error


def _natural(sources: Sequence[Source]) -> Axis:
    """Return the axis that most bytes of some matrices are cut along."""
    by_rows = sum(source.layout.stored_bytes for source in sources if source.layout.transposed)
    return "rows" if 2 * by_rows >= sum(source.layout.stored_bytes for source in sources) else "columns"


def _common_steps(sources: Sequence[Source]) -> tuple[Any, ...]:
    """Return the steps that all matrices were prepared by, which must not have been fitted to one of them."""
    steps = {source.steps if isinstance(source, Prepared) else () for source in sources}
    if len(steps) > 1 or any(step.factors is not None for some in steps for step in some):
        raise DataError(
            "The matrices of the list were prepared in different ways, or by statistics of their own; join them first "
            "and prepare the join, as dnmf.preprocessing.log_normalize(dnmf.concat(matrices))."
        )
    return steps.pop()


def _check(collection: Collection, sources: Sequence[Source], missing: Missing) -> None:
    """Raise DataError if matrices do not go together."""
    if missing == "zeros" and len({source.layout.sparse for source in sources}) > 1:
        raise DataError(
            "missing='zeros' takes the entries that a sparse matrix does not store as missing, and the list has sparse "
            "and dense matrices; give all of them sparse."
        )
    inner = [join_in(source) for source in sources]
    if any(one is not None and one.collection.weights is not None for one in inner):
        raise DataError(
            "A matrix of the list is itself a join with weights; join the matrices without weights first, and give the "
            "weights to the outer join, as dnmf.concat([dnmf.concat(rna), dnmf.concat(adt)], axis='columns', "
            "weights=[1, 5])."
        )


def _labelled(collection: Collection, layouts: Sequence[Layout]) -> NDArray[Any] | None:
    """Return the names along the axis of the join: those of each matrix, or its numbers, after its label."""
    axis = collection.axis
    own = [getattr(layout.names, axis) for layout in layouts]
    if collection.keys is None and all(names is None for names in own):
        return None
    found = list[str]()
    for label, names, layout in zip(collection.labels(), own, layouts, strict=True):
        size = layout.user_shape[0 if axis == "rows" else 1]
        found += [f"{label}{SEPARATOR}{name}" for name in (range(size) if names is None else names)]
    return np.array(found, object)


def _location(given: Any, source: Source) -> str | None:
    """Return the address from which a matrix can be opened again, or None."""
    if isinstance(given, (str, Path)):
        return str(given) if str(given).startswith(SCHEME) else str(Address.of(given))
    return source.layout.location
