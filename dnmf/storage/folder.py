"""A store in a folder: files are synced as they are written, and the lock ends with its process, if there are locks."""

import os
import stat
from pathlib import Path
from typing import IO

from zarr.storage import StoreLike

from dnmf.storage import durable
from dnmf.storage.location import LOCK, WriteLock
from dnmf.storage.retries import repeated, repeated_if_listed, reported
from dnmf.storage.write_lock import NamedLock


class Folder:
    """A folder on a file system; `Location` describes the methods."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def zarr(self, name: str) -> StoreLike:
        """Return the path."""
        return self.root / name

    @repeated
    def exists(self) -> bool:
        """Return whether there is a folder or a file."""
        try:
            self.root.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    @repeated
    def names(self, folder: str = "") -> list[str]:
        """List a folder, if it exists."""
        try:
            return sorted(os.listdir(self.root / folder))
        except FileNotFoundError:
            return []

    @repeated
    def files(self, folder: str = "") -> list[str]:
        """Walk through a folder."""

        def fail(error: OSError) -> None:
            raise error

        root = self.root / folder
        found = ((Path(place) / name for name in names) for place, _, names in os.walk(root, onerror=fail))
        return sorted(str(file.relative_to(root)) for some in found for file in some)

    @repeated_if_listed
    def read(self, name: str, most: int | None = None) -> bytes:
        """Read a file; ValueError for a pipe, whose first byte may never come."""
        with open(self.root / name, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ValueError(f"{name} is not a regular file")
            if most is not None and found.st_size > most:
                raise ValueError(f"{name} has {found.st_size} bytes")
            return file.read()

    @reported
    def create(self, name: str, content: bytes) -> None:
        """Link a synced draft to its name."""
        path = self.root / name
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
            durable.sync(path.parent.parent)
        durable.write_once(path, content)

    @reported
    def replace(self, name: str, content: bytes) -> None:
        """Rename a synced draft to its name."""
        durable.rewrite(self.root / name, content)

    @reported
    def keep(self, name: str) -> None:
        """Sync the folder, and its parent."""
        durable.sync_tree(self.root / name)
        durable.sync((self.root / name).parent)

    @reported
    def remove(self, name: str) -> None:
        """Unlink, and sync the folder."""
        path = self.root / name
        path.unlink(missing_ok=True)
        if path.parent.exists():
            durable.sync(path.parent)

    @reported
    def remove_tree(self, name: str) -> None:
        """Delete a folder."""
        durable.remove_tree(self.root / name)

    @reported
    def publish(self, origin: str, name: str) -> None:
        """Link the same files, or copy them."""
        durable.link_tree(self.root / origin, self.root / name)

    @repeated
    def lock(self) -> WriteLock:
        """Lock a file until this process ends."""
        self.root.mkdir(parents=True, exist_ok=True)
        file = durable.lock(self.root / LOCK)
        return NamedLock(self) if file is None else FileHold(file)

    def scratch(self) -> Path | None:
        """Return a folder in the store."""
        return self.root / "scratch"

    @repeated
    def find_symlink(self) -> str | None:
        """Look for symbolic links, pipes and devices."""
        for folder, below, files in os.walk(self.root):
            for name in (*below, *files):
                mode = (Path(folder) / name).lstat().st_mode
                if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                    kind = "link" if stat.S_ISLNK(mode) else "special file"
                    return f"the {kind} {(Path(folder) / name).relative_to(self.root)}"
        return None


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


class FileHold:
    """A lock that the system releases when the process ends, in whatever way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def check(self) -> None:
        """Do nothing: no other process can have it."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()
