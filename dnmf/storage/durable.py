"""Durable writes: after a power cut a file is complete, or does not exist."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from dnmf.errors import DiskError, DnmfError, StoreError, seen
from dnmf.storage import drafts
from dnmf.storage.retries import Failure, LocationError
from dnmf.storage.urls import object_errors

# Errors of a file system that has no hard links, or no locks.
NOT_KNOWN = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
NO_LINKS = NOT_KNOWN | {errno.EACCES, errno.EINVAL, errno.EMLINK}
NO_LOCKS = NOT_KNOWN | {errno.ENOLCK, errno.EINVAL}


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk; some file systems cannot do so for a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until a folder and everything in it are on the disk."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(place) / name)
        sync(Path(place))


def write_once(path: Path, content: bytes) -> None:
    """Create a file with its content, durably and atomically; FileExistsError if there is one.

    Without hard links a draft is renamed if its name is free: the lock keeps other processes from taking it meanwhile.
    """
    with _draft(path, content) as draft:
        if not _linked(draft, path):
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            os.rename(draft, path)
    sync(path.parent)


def rewrite(path: Path, content: bytes) -> None:
    """Replace a file, durably and atomically."""
    with _draft(path, content) as draft:
        os.replace(draft, path)
    sync(path.parent)


@contextlib.contextmanager
def _draft(path: Path, content: bytes) -> Iterator[Path]:
    draft = _beside(path)
    try:
        with open(draft, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def link_tree(origin: Path, target: Path) -> None:
    """Replace `target` atomically by a folder of hard links to the files of `origin`, or of copies of them."""
    draft, copied = _beside(target), []

    def link(file: str, other: str) -> None:
        if not _linked(Path(file), Path(other)):
            copied.append(shutil.copyfile(file, other))

    shutil.copytree(origin, draft, copy_function=link)
    if copied:
        sync_tree(draft)
    take_place(draft, target, _beside(target))


def take_place(draft: Path, target: Path, aside: Path) -> None:
    """Rename a draft to `target`; a folder of that name is moved aside first, and deleted afterwards."""
    there = target.is_dir()
    if there:
        os.rename(target, aside)
    try:
        os.replace(draft, target) if draft.is_file() else os.rename(draft, target)
    except OSError:
        if there:
            os.rename(aside, target)
        raise
    sync(target.parent)
    if there:
        drafts.remove(aside)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}-{uuid.uuid4().hex}")


def _linked(file: Path, path: Path) -> bool:
    """Link a file to another name; return False if the file system has no hard links."""
    try:
        os.link(file, path)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in NO_LINKS:
            return False
        raise
    return True


def remove_tree(folder: Path) -> None:
    """Delete a folder, if it exists."""
    shutil.rmtree(folder, ignore_errors=True)


def lock(path: Path) -> IO[bytes] | None:
    """Lock a store until the file is closed or the process ends; None if the file system has no locks.

    The file names the machine and the process, for the message of another one.
    """
    file = open(path, "ab")  # noqa: SIM115 - it stays open while the lock is held
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno in NO_LOCKS:
            return None
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise StoreError(
            f"{path.parent} is in use by another run{_owner(path)}; wait for it to end, or give another store."
        ) from error
    with contextlib.suppress(OSError):
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "process": os.getpid()}).encode())
        file.flush()
    return file


def _owner(path: Path) -> str:
    """Return the machine and the process that a locked file names, or nothing."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        owner = json.loads(path.read_bytes())
        here = owner["host"] == socket.gethostname()
        return seen(f", process {int(owner['process'])} of {'this machine' if here else owner['host']}")
    return ""


@contextlib.contextmanager
def explained(what: str, act: str = "written") -> Iterator[None]:
    """Turn an error of the disk or of an object store into a DiskError that names the thing and the act."""
    try:
        yield
    except LocationError as error:
        raise DiskError(error.failure.sentence(what, act)) from error.__cause__
    except DnmfError:
        raise
    except object_errors() as error:
        failure = Failure.of(error)
        raise DiskError(failure.sentence(what, act)) from (error if failure.number else None)
