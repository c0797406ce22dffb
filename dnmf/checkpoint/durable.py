"""Files that are there, whole, after a power cut: or not there at all."""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from dnmf.errors import DiskError, DnmfError, StoreError
from dnmf.sources.urls import object_errors, told

# What an object store says that has no room left.
FULL = re.compile(r"(?i)quota|insufficient.?storage|storage.?full|\b507\b")


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
def explained(what: str, act: str = "written") -> Iterator[None]:
    """Turn an error of the disk, or of an object store, into a sentence that says what could not be written."""
    try:
        yield
    except DnmfError:
        raise
    except object_errors() as error:
        number = getattr(error, "errno", None)
        full = number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or FULL.search(str(error))
        reason = told(error) if number is None else os.strerror(number)
        origin, place = (error, "disk") if number else (None, "place")
        advice = "Free some room there" if full else f"Check that {place} and its permissions"
        whole = "" if act == "opened" else "; what was there before is whole"
        raise DiskError(f"{what} could not be {act} ({reason}){whole}. {advice}, and try again.") from origin
