"""A store in a folder: what is written is synced, and the lock dies with its process, where there are locks."""

import os
import stat
from pathlib import Path
from typing import IO

from zarr.storage import StoreLike

from dnmf.storage import durable
from dnmf.storage.guarded import Guarded
from dnmf.storage.location import LOCK, Hold
from dnmf.storage.write_lock import NamedHold


class Folder:
    """A folder on a file system."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def zarr(self, name: str) -> StoreLike:
        """Return the path."""
        return self.root / name

    def exists(self) -> bool:
        """Say whether there is a folder or a file."""
        try:
            self.root.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def names(self, folder: str = "") -> list[str]:
        """List a folder, if it is there."""
        try:
            return sorted(os.listdir(self.root / folder))
        except FileNotFoundError:
            return []

    def files(self, folder: str = "") -> list[str]:
        """Walk through a folder."""

        def fail(error: OSError) -> None:
            raise error

        root = self.root / folder
        found = ((Path(place) / name for name in names) for place, _, names in os.walk(root, onerror=fail))
        return sorted(str(file.relative_to(root)) for some in found for file in some)

    def size(self, name: str) -> int:
        """Ask for the size of a file."""
        return (self.root / name).stat().st_size

    def read(self, name: str) -> bytes:
        """Read a file; a pipe, for whose bytes one would wait for ever, is a ValueError."""
        with open(self.root / name, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"{name} is no regular file")
            return file.read()

    def create(self, name: str, content: bytes) -> None:
        """Link a synced draft to its name."""
        path = self.root / name
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
            durable.sync(path.parent.parent)
        durable.write_once(path, content)

    def replace(self, name: str, content: bytes) -> None:
        """Rename a synced draft to its name."""
        durable.rewrite(self.root / name, content)

    def keep(self, name: str) -> None:
        """Sync the folder, and the one that it is in."""
        durable.sync_tree(self.root / name)
        durable.sync((self.root / name).parent)

    def remove(self, name: str) -> None:
        """Unlink, and sync its folder."""
        path = self.root / name
        path.unlink(missing_ok=True)
        if path.parent.exists():
            durable.sync(path.parent)

    def remove_tree(self, name: str) -> None:
        """Delete a folder."""
        durable.remove_tree(self.root / name)

    def publish(self, origin: str, name: str) -> None:
        """Link the same files, or copy them."""
        durable.link_tree(self.root / origin, self.root / name)

    def lock(self) -> Hold:
        """Lock a file, for as long as this process lives."""
        self.root.mkdir(parents=True, exist_ok=True)
        file = durable.lock(self.root / LOCK)
        return NamedHold(Guarded(self)) if file is None else FileHold(file)

    def scratch(self) -> Path | None:
        """Return a folder in the store."""
        return self.root / "scratch"

    def strange(self) -> str | None:
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
    """A lock that the system gives up with the process that has it, however that ends."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def check(self) -> None:
        """Do nothing: nobody else can have it."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()
