"""The way of joining in the header of a store, and the matrices of a stored run given again."""

import dataclasses
from pathlib import Path
from typing import Any

from dnmf.errors import DataError, StoreError
from dnmf.sources.base import Source
from dnmf.sources.collection import SCHEME, Collection, collection_in
from dnmf.sources.joining import join_in
from dnmf.sources.weighted import WeightedSource


def joined_form(source: Source) -> dict[str, Any] | None:
    """Return the way in which matrices were joined, with their shapes and bytes, in a JSON form, or None."""
    join = join_in(source.values if isinstance(source, WeightedSource) else source)
    if join is None:
        return None
    layouts = [one.layout for one in join.sources]
    sizes = {"shapes": [list(one.user_shape) for one in layouts], "bytes": [one.stored_bytes for one in layouts]}
    return {**join.collection.form(), **sizes}


def again(V: Any, form: dict[str, Any] | None) -> Any:
    """Return matrices that are given again as a list or a pattern, to be joined as those of a stored run.

    Raises
    ------
    DataError
        If their number is another one.
    """
    plain = isinstance(V, (str, Path, list, tuple)) and not str(V).startswith(SCHEME)
    found = collection_in(V) if plain and form else None
    if found is None or form is None:
        return V
    if len(found.matrices) != len(form["shapes"]):
        raise DataError(
            f"V is a list of {len(found.matrices)} matrices, and the run is of {len(form['shapes'])}; give those that "
            "it was started on."
        )
    way = {name: value for name, value in form.items() if name not in ("shapes", "bytes")}
    return dataclasses.replace(Collection.of(list(found.matrices), **way), recorded=True)


def check_matrices(source: Source, form: dict[str, Any] | None, whose: str) -> None:
    """Raise StoreError for the first matrix of a join whose shape or number of bytes is not the stored one."""
    join = join_in(source.values if isinstance(source, WeightedSource) else source)
    if join is None or form is None:
        return
    shapes = [tuple(shape) for shape in form["shapes"]]
    if len(shapes) != len(join.sources):
        raise StoreError(f"{whose} is of {len(shapes)} joined matrices, and V is a join of {len(join.sources)}.")
    for place, (label, shape, one) in enumerate(zip(join.collection.described(), shapes, join.sources, strict=True)):
        if one.layout.user_shape != shape:
            raise StoreError(
                f"{whose} was started when {label} had shape {shape}, and it has "
                f"{one.layout.user_shape}; put it back as it was, or start a new run."
            )
        if one.layout.stored_bytes != form["bytes"][place]:
            raise StoreError(
                f"{whose} was started when {label} stored {form['bytes'][place]} bytes of "
                f"entries, and it stores {one.layout.stored_bytes}; put it back as it was, or start a new run."
            )
