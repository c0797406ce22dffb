"""Files that are there, whole, after a power cut: or not there at all."""

import contextlib
import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from dnmf.errors import DiskError, StoreError


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until a folder and all that is in it are on the disk."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(place) / name)
        sync(Path(place))


def write_once(path: Path, content: bytes) -> None:
    """Create a file with its content, durably and all at once; fail with FileExistsError where there is one."""
    with _draft(path, content) as draft:
        os.link(draft, path)
    sync(path.parent)


def rewrite(path: Path, content: bytes) -> None:
    """Replace a file, durably and all at once."""
    with _draft(path, content) as draft:
        os.replace(draft, path)
    sync(path.parent)


@contextlib.contextmanager
def _draft(path: Path, content: bytes) -> Iterator[Path]:
    draft = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        with open(draft, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def link_tree(origin: Path, target: Path) -> None:
    """Let `target` appear at once as a folder of the same files as `origin`, in place of what was there."""
    draft = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    shutil.copytree(origin, draft, copy_function=os.link)
    shutil.rmtree(target, ignore_errors=True)
    os.rename(draft, target)
    sync(target.parent)


@contextlib.contextmanager
def appearing(target: Path, overwrite: bool = False) -> Iterator[Path]:
    """Give a folder to write to that becomes `target` when all has gone well, and is deleted when not."""
    if target.exists() and not overwrite:
        raise StoreError(f"{target} exists already; give another path, or say overwrite.")
    draft = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    try:
        with explained(str(target)):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield draft
            sync_tree(draft)
            shutil.rmtree(target, ignore_errors=True)
            os.rename(draft, target)
            sync(target.parent)
    finally:
        remove_tree(draft)


def remove_tree(folder: Path) -> None:
    """Delete a folder, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)


def lock(path: Path) -> IO[bytes]:
    """Take the lock of a store; it is released when the file is closed or the process ends, however it ends."""
    file = open(path, "ab")  # noqa: SIM115 - it stays open for as long as the lock is held
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise StoreError(
            f"{path.parent} is in use by another run; wait for it to end, or give another store."
        ) from error
    return file


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn an error of the disk into a sentence that says what could not be written."""
    try:
        yield
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        advice = "Free some room there" if full else "Check that disk and its permissions"
        raise DiskError(
            f"{what} could not be written ({error.strerror or error}); "
            f"what was there before is whole. {advice}, and try again."
        ) from error
