"""From a path or a URL to a place, for a store or for an array that appears when it is whole."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from zarr.storage import StoreLike

from dnmf import drafts
from dnmf.checkpoint import durable
from dnmf.checkpoint.bucket import Bucket
from dnmf.checkpoint.folder import Folder
from dnmf.checkpoint.guarded import Guarded
from dnmf.checkpoint.header import RUN, SURVEY, find_header
from dnmf.checkpoint.targets import check_apart, check_free
from dnmf.errors import StoreError
from dnmf.sources.objects import open_objects
from dnmf.sources.paths import absolute
from dnmf.sources.urls import is_url


def place_at(given: str | Path) -> Guarded:
    """Return the place of a path or a URL."""
    return Guarded(Bucket(open_objects(str(given)), str(given)) if is_url(given) else Folder(full_path(given)))


def full_path(given: str | Path) -> Path:
    """Return an absolute path; links on the way to it are followed when it is used, and not before."""
    return Path(os.path.normpath(absolute(given)))


def check_target(target: str | Path, overwrite: bool, origins: Iterable[Any]) -> Guarded:
    """Return the place of a new matrix or factor, before any work is done for it.

    Raises
    ------
    StoreError
        If there is something that is not to be overwritten, or is not dnmf's; or if the target is, contains or lies in
        a place that it is made from.
    """
    place = place_at(target)
    check_apart(full_path(target) if isinstance(place.inner, Folder) else target, origins)
    with durable.explained(str(place), "opened"):
        if isinstance(place.inner, Folder) and place.inner.root.is_symlink():
            raise StoreError(f"{place} is a link; give the path that it leads to.")
        check_free(place, overwrite)
    return place


def inputs_in(store: str | Path | None) -> list[Any]:
    """Return the path of a store, and where the matrix and the weights of its run or survey lie."""
    if store is None:
        return []
    place = place_at(store)
    header = find_header(place, RUN) or find_header(place, SURVEY) or {}
    weights = header.get("weights")
    return [store, header.get("location"), weights.get("location") if isinstance(weights, dict) else None]


@contextlib.contextmanager
def appearing(target: str | Path, overwrite: bool = False, origins: Iterable[Any] = ()) -> Iterator[StoreLike]:
    """Give a place to write an array to that becomes `target` when all has gone well, and is deleted when not."""
    check = partial(check_target, target, overwrite, list(origins))
    place = check().inner
    with durable.explained(str(place)):
        if isinstance(place, Folder):
            with appearing_here(place.root, check) as draft:
                yield draft
        elif isinstance(place, Bucket):
            with _objects_appearing(place, check) as objects:
                yield objects


@contextlib.contextmanager
def appearing_here(target: Path, check: Callable[[], object]) -> Iterator[Path]:
    """Give a path for a file or a folder that takes the place of `target` when all has gone well.

    `check` raises where `target` may not be replaced; it is called at the end once more.
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
        drafts.remove(draft)


@contextlib.contextmanager
def working_folder(target: str | Path) -> Iterator[Path]:
    """Give a folder on the disk of a target, or for a URL one for temporary files, that lasts as long as this."""
    beside = Path(tempfile.gettempdir(), "convert") if is_url(target) else full_path(target)
    folder = beside.with_name(drafts.draft_name(beside.name))
    with durable.explained(f"A folder beside {beside}"):
        drafts.sweep(beside)
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
        bucket.remove_tree(draft)
