"""Check targets: a new matrix, factor or store replaces only files of dnmf, and never its own inputs."""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from zarr.storage import StoreLike

from dnmf.checkpoint.cleanup import is_begun
from dnmf.checkpoint.header import NAME, RUN, SURVEY, find_header, read_json, results_at
from dnmf.errors import StoreError
from dnmf.sources.addresses import Address
from dnmf.sources.collection import places_in
from dnmf.sources.file_kinds import opener_of_name
from dnmf.sources.formats.zarr_array import NAMES, UNFOLDED
from dnmf.storage import drafts, durable
from dnmf.storage.bucket import Bucket
from dnmf.storage.folder import Folder
from dnmf.storage.location import Location
from dnmf.storage.objects import SCHEMES
from dnmf.storage.open_location import full_path, location_at
from dnmf.storage.urls import is_url
from dnmf.storage.zarr_tasks import finish_tasks

ARRAY = re.compile(r"zarr\.json|c(/[0-9]+){0,2}")
GROUP = re.compile(
    rf"zarr\.json|(data|indices|indptr)/({ARRAY.pattern})|(obs|var)/(zarr\.json|_index/({ARRAY.pattern}))"
)
COMPRESSED = {"encoding-type", "encoding-version", "shape"}


def check_apart(target: str | Path, origins: Iterable[Any]) -> None:
    """Raise StoreError if a target is, contains, or lies in one of its inputs.

    Origins are addresses of matrices, also of joins, and paths of stores; other objects are ignored.

    >>> check_apart("s3://bucket/V.zarr/new", ["s3a://bucket/V.zarr::part", None])
    Traceback (most recent call last):
        ...
    dnmf.errors.StoreError: s3://bucket/V.zarr/new lies in an input, s3a://bucket/V.zarr; give another path.
    """
    for origin in (place for given in origins for place in places_in(given)):
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
    """Return the identities of a place and its parents; on a disk, with links resolved."""
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


def check_free(place: Location, overwrite: bool) -> None:
    """Raise StoreError if a new matrix or factor may not replace the content of a place."""
    if not _there(place):
        check_name(place)
        return
    if not overwrite:
        raise StoreError(f"{place} already exists; choose another path or pass overwrite=True (--overwrite).")
    foreign = _foreign(place)
    if foreign is not None:
        raise StoreError(
            f"{place} {foreign}, and is not overwritten; delete it, or give another path. Only a Zarr array or sparse "
            "matrix such as dnmf writes is replaced."
        )


def check_name(place: Location) -> None:
    """Raise StoreError if a new folder would have the name of a file, which other programs would not open."""
    name = str(place).rpartition("/")[2]
    if opener_of_name(name) is not None:
        raise StoreError(
            f"{place} has the name of a file, and dnmf writes a folder in the format Zarr; give another name, as "
            f"{name.partition('.')[0] or 'new'}.zarr."
        )


def _there(place: Location) -> bool:
    try:
        names = place.names()
    except NotADirectoryError:
        return True
    return any(not drafts.DRAFT.fullmatch(name) for name in names) or (not names and place.exists())


def _foreign(place: Location) -> str | None:
    """Describe content of a place that dnmf does not write as a matrix or a factor, or return None."""
    try:
        names = place.names()
    except NotADirectoryError:
        return "is a file"
    found = results_at(place)
    if found is not None:
        return f"is {found}"
    link = place.find_symlink()
    if link is not None:
        return f"holds {link}"
    written = _pattern(place, names)
    if names and written is None:
        return "is not a Zarr array or sparse matrix"
    for file in place.files():
        base = file.partition("/")[0]
        inner = file[len(base) + 1 :] if drafts.DRAFT.fullmatch(base) else file
        if written is None or not written.fullmatch(inner):
            return f"holds {file[:80]}, which dnmf did not write"
    return None


def _pattern(place: Location, names: list[str]) -> re.Pattern[str] | None:
    """Return the pattern of the files of the Zarr node at a place, or of its draft; None without a node."""
    for name in (NAME, *(f"{name}/{NAME}" for name in names if drafts.DRAFT.fullmatch(name))):
        try:
            node = json.loads(read_json(place, name))
            attributes = node.get("attributes") or {}
            if node["zarr_format"] == 3 and node["node_type"] == "array" and set(attributes) <= {*NAMES, UNFOLDED}:
                return ARRAY
            if node["node_type"] == "group" and set(attributes) == COMPRESSED:
                return GROUP
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
    return None


def check_target(target: str | Path, overwrite: bool, origins: Iterable[Any]) -> Location:
    """Return the place of a new matrix or factor, after checking that it may be written.

    Raises
    ------
    StoreError
        If it exists and may not be overwritten, or is not dnmf's; or if it is, contains or lies in one of its inputs.
    """
    place = location_at(target)
    check_apart(full_path(target) if isinstance(place, Folder) else target, origins)
    with durable.explained(str(place), "opened"):
        if isinstance(place, Folder) and place.root.is_symlink():
            raise StoreError(f"{place} is a link; give the path that it leads to.")
        check_free(place, overwrite)
    return place


def inputs_in(store: str | Path | None) -> list[Any]:
    """Return the path of a store, and the locations of the matrix and the weights of its run or survey."""
    if store is None:
        return []
    place = location_at(store)
    header = find_header(place, RUN) or find_header(place, SURVEY) or {}
    weights = header.get("weights")
    return [store, header.get("location"), weights.get("location") if isinstance(weights, dict) else None]


@contextlib.contextmanager
def appearing(target: str | Path, overwrite: bool = False, origins: Iterable[Any] = ()) -> Iterator[StoreLike]:
    """Yield a draft for an array, which replaces `target` on success, and is deleted after an error."""
    check = partial(check_target, target, overwrite, list(origins))
    place = check()
    with durable.explained(str(place)):
        if isinstance(place, Folder):
            with appearing_here(place.root, check) as draft:
                yield draft
        elif isinstance(place, Bucket):
            with _objects_appearing(place, check) as objects:
                yield objects


@contextlib.contextmanager
def appearing_here(target: Path, check: Callable[[], object]) -> Iterator[Path]:
    """Yield a draft for a file or a folder, which replaces `target` on success, and is deleted after an error.

    `check` raises an error if `target` may not be replaced; it is called before and after the writing.
    """
    check()
    target.parent.mkdir(parents=True, exist_ok=True)
    drafts.sweep(target)
    draft = target.with_name(drafts.draft_name(target.name))
    try:
        yield draft
        (durable.sync_tree if draft.is_dir() else durable.sync)(draft)
        check()
        durable.take_place(draft, target, target.with_name(drafts.draft_name(target.name)))
    finally:
        finish_tasks()
        drafts.remove(draft)


@contextlib.contextmanager
def working_folder(target: str | Path) -> Iterator[Path]:
    """Yield a temporary folder on the disk of a target, or in the system's temporary folder for a URL."""
    path = Path(tempfile.gettempdir(), "convert") if is_url(target) else full_path(target)
    folder = path.with_name(drafts.draft_name(path.name))
    with durable.explained(f"A temporary folder for {path}"):
        drafts.sweep(path)
        folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        drafts.remove(folder)


@contextlib.contextmanager
def _objects_appearing(bucket: Bucket, check: Callable[[], object]) -> Iterator[StoreLike]:
    draft = drafts.draft_name("")
    for name in bucket.names():
        if drafts.is_abandoned(name, ""):
            bucket.remove_tree(name)
    try:
        yield bucket.zarr(draft)
        check()
        bucket.remove("zarr.json")
        for name in bucket.names():
            if not drafts.DRAFT.fullmatch(name):
                bucket.remove_tree(name)
        bucket.copy_tree(draft, "")
    finally:
        finish_tasks()
        bucket.remove_tree(draft)


def check_new(path: str | Path, overwrite: bool, origins: Sequence[Any] = ()) -> None:
    """Raise StoreError if a new store may not replace the content of a path or URL, or lies in one of the origins."""
    place = location_at(path)
    check_apart(str(place), origins)
    with durable.explained(f"The store {place}"):
        refuse_existing(place, overwrite)


def refuse_existing(place: Location, overwrite: bool) -> None:
    """Raise StoreError if a new store may not replace the content of a place."""
    if not place.exists():
        check_name(place)
        return
    with contextlib.suppress(NotADirectoryError):
        if not is_begun(place.names()):
            return  # a run was killed here before it had a header
    if find_header(place) is None:
        raise StoreError(
            f"{place} already exists, is not a store of dnmf, and is not overwritten; delete it, or give another path."
        )
    if not overwrite:
        raise StoreError(
            f"{place} already exists; resume it, choose another path, or pass overwrite=True (--overwrite)."
        )
