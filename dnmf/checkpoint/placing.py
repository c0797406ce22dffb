"""From a path or a URL to a place, for a store or for an array that appears when it is whole."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from zarr.storage import StoreLike

from dnmf.checkpoint import durable
from dnmf.checkpoint.bucket import Bucket
from dnmf.checkpoint.folder import Folder
from dnmf.errors import StoreError
from dnmf.sources.objects import open_objects
from dnmf.sources.urls import is_url


def place_at(given: str | Path) -> "Folder | Bucket":
    """Return the place of a path or a URL."""
    return Bucket(open_objects(str(given)), str(given)) if is_url(given) else Folder(full_path(given))


def full_path(given: str | Path) -> Path:
    """Return an absolute path; links on the way to it are followed when it is used, and not before."""
    return Path(os.path.abspath(Path(given).expanduser()))


@contextlib.contextmanager
def appearing(target: str | Path, overwrite: bool = False) -> Iterator[StoreLike]:
    """Give a place to write an array to that becomes `target` when all has gone well, and is deleted when not."""
    place = place_at(target)
    with durable.explained(str(place)):
        if place.exists() and not overwrite:
            raise StoreError(f"{place} exists already; give another path, or say overwrite.")
        with appearing_here(place.root) if isinstance(place, Folder) else _objects_appearing(place) as draft:
            yield draft


@contextlib.contextmanager
def appearing_here(target: Path) -> Iterator[Path]:
    """Give a path for a file or a folder that takes the place of `target` when all has gone well."""
    draft = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        if draft.is_dir():
            durable.sync_tree(draft)
            shutil.rmtree(target, ignore_errors=True)
        else:
            durable.sync(draft)
        os.replace(draft, target)
        durable.sync(target.parent)
    finally:
        if draft.is_file():
            draft.unlink()
        durable.remove_tree(draft)


@contextlib.contextmanager
def _objects_appearing(bucket: Bucket) -> Iterator[StoreLike]:
    draft = f".draft-{uuid.uuid4().hex}"
    try:
        yield bucket.zarr(draft)
        bucket.remove("zarr.json")
        for name in bucket.names():
            if name != draft:
                bucket.remove_tree(name)
        bucket.copy_tree(draft, "")
    finally:
        bucket.remove_tree(draft)
