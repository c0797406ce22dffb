"""What a new matrix, factor or store may take the place of: only what dnmf wrote, and never what it is made from."""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dnmf.checkpoint.header import NAME, attributes_of, read_json
from dnmf.checkpoint.place import Place
from dnmf.drafts import DRAFT
from dnmf.errors import StoreError
from dnmf.sources.addresses import Address
from dnmf.sources.objects import SCHEMES
from dnmf.sources.urls import is_url
from dnmf.sources.zarr_array import NAMES

ARRAY = re.compile(r"zarr\.json|c(/[0-9]+){0,2}")
GROUP = re.compile(
    rf"zarr\.json|(data|indices|indptr)/({ARRAY.pattern})|(obs|var)/(zarr\.json|_index/({ARRAY.pattern}))"
)
COMPRESSED = {"encoding-type", "encoding-version", "shape"}


def check_apart(target: str | Path, origins: Iterable[Any]) -> None:
    """Raise StoreError where a target is, contains, or lies in one of those places that it is made from.

    Origins are addresses of matrices and paths of stores; what is none of these lies nowhere.

    >>> check_apart("s3://bucket/V.zarr/new", ["s3a://bucket/V.zarr::part", None])
    Traceback (most recent call last):
        ...
    dnmf.errors.StoreError: s3://bucket/V.zarr/new lies in an input, s3a://bucket/V.zarr; give another path.
    """
    for origin in origins:
        if not isinstance(origin, (str, Path)):
            continue
        place = Address.of(origin).place
        line, other = _line(target), _line(place)
        if not line or not other:
            continue
        if line[0] == other[0]:
            raise StoreError(f"{target} is an input itself; give another path.")
        if line[0] in other or other[0] in line:
            words = "contains" if line[0] in other else "lies in"
            raise StoreError(f"{target} {words} an input, {place}; give another path.")


def _line(given: str | Path) -> list[Any]:
    """Return what identifies a place, and all that it lies in: on a disk, also through links."""
    text = str(given)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    if is_url(text):
        scheme, _, rest = text.partition("://")
        parts = [part for part in rest.split("/") if part]
        known = SCHEMES.get(scheme, (scheme, scheme))[1]
        return [(known, *parts[:count]) for count in range(len(parts), 0, -1)]
    path = Path(os.path.realpath(Path(text).expanduser()))
    return [_identity(place) for place in (path, *path.parents)]


def _identity(path: Path) -> Any:
    try:
        found = path.stat()
    except OSError:
        return str(path)
    return found.st_dev, found.st_ino


def check_free(place: Place, overwrite: bool) -> None:
    """Raise StoreError if there is something at a place that a new matrix or factor may not take the place of."""
    if not _there(place):
        return
    if not overwrite:
        raise StoreError(f"{place} exists already; give another path, or say overwrite.")
    foreign = _foreign(place)
    if foreign is not None:
        raise StoreError(
            f"{place} {foreign}, and is not overwritten; delete it, or give another path. Only a Zarr array or sparse "
            "matrix such as dnmf writes is replaced."
        )


def _there(place: Place) -> bool:
    try:
        names = place.names()
    except NotADirectoryError:
        return True
    return any(not DRAFT.fullmatch(name) for name in names) or (not names and place.exists())


def _foreign(place: Place) -> str | None:
    """Return what is at a place that dnmf does not write as a matrix or a factor, in words, or None."""
    try:
        names = place.names()
    except NotADirectoryError:
        return "is a file"
    for kind, word in (("dnmf", "the store of a run"), ("dnmf_survey", "a survey of ranks")):
        if attributes_of(place, kind) is not None:
            return f"is {word}"
    link = place.strange()
    if link is not None:
        return f"holds the link {link}"
    written = _pattern(place, names)
    if names and written is None:
        return "is no Zarr array or sparse matrix"
    for file in place.files():
        base = file.partition("/")[0]
        inner = file[len(base) + 1 :] if DRAFT.fullmatch(base) else file
        if written is None or not written.fullmatch(inner):
            return f"holds {file[:80]}, which dnmf did not write"
    return None


def _pattern(place: Place, names: list[str]) -> re.Pattern[str] | None:
    """Return how the files of the Zarr node at a place, or of its draft, are called; None where there is none."""
    for name in (NAME, *(f"{name}/{NAME}" for name in names if DRAFT.fullmatch(name))):
        try:
            node = json.loads(read_json(place, name))
            attributes = node.get("attributes") or {}
            if node["zarr_format"] == 3 and node["node_type"] == "array" and set(attributes) <= set(NAMES):
                return ARRAY
            if node["node_type"] == "group" and set(attributes) == COMPRESSED:
                return GROUP
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
    return None
