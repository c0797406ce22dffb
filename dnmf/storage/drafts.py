"""Names of unfinished files and folders, next to their targets, and the deletion of those whose process has ended.

`.dnmf-<target>-<machine>-<process>-<since>-<id>`: the first two are digests, so that the name is short even if the name
of the target is as long as a file system allows.
"""

import contextlib
import hashlib
import os
import re
import shutil
import socket
import uuid
from pathlib import Path

import psutil

DRAFT = re.compile(r"\.dnmf-([0-9a-f]{8})-([0-9a-f]{8})-([0-9]{1,10})-([0-9]{1,12})-[0-9a-f]{8}")
# The start of a process is known to seconds, as it is counted from that of the machine.
SECONDS = 2


def draft_name(target: str) -> str:
    """Return a unique name for a draft of a target.

    >>> bool(DRAFT.fullmatch(draft_name("V.zarr"))), len(draft_name("V" * 255)) < 64
    (True, True)
    """
    process = psutil.Process()
    owner = f"{_digest(_machine())}-{process.pid}-{int(process.create_time())}"
    return f".dnmf-{_digest(target)}-{owner}-{uuid.uuid4().hex[:8]}"


def is_abandoned(name: str, target: str) -> bool:
    """Return whether a name is that of a draft of a target that an ended process of this machine left."""
    match = DRAFT.fullmatch(name)
    if match is None or match[1] != _digest(target) or match[2] != _digest(_machine()):
        return False
    try:
        process = psutil.Process(int(match[3]))
        same = abs(process.create_time() - int(match[4])) <= SECONDS
        return not same or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, OverflowError):
        return False


def sweep(target: Path) -> None:
    """Delete the drafts of a target that ended processes left."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(target.parent):
            if is_abandoned(name, target.name):
                remove(target.with_name(name))


def remove(path: Path) -> None:
    """Delete a file or a folder, and ignore errors."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _machine() -> str:
    """Return the machine and namespace in which a process number is unique."""
    with contextlib.suppress(OSError):
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
