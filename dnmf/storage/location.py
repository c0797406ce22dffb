"""Where a store lies: a folder, or the objects below a URL.

A name is a path below the store. A file is created whole or not at all, and once: the second process that tries fails.
On a disk it is synced; `keep` syncs a group of files before a record refers to it.

This is the one boundary between dnmf and a disk or an object store. A read that fails is repeated, and ends in
`LocationError`; so does a write that fails. The results of a read (`FileNotFoundError`, `NotADirectoryError`,
`IsADirectoryError`) are raised as they are, and so is `FileExistsError` where `create` finds another file.
"""

from pathlib import Path
from typing import Protocol

from zarr.storage import StoreLike

from dnmf.errors import DiskError

LOCK = ".lock"


class WriteLock(Protocol):
    """The right to write to a store."""

    def check(self) -> None:
        """Raise StoreError if another run has taken it."""

    def close(self) -> None:
        """Release it."""


class Location(Protocol):
    """A folder or the objects below a URL."""

    def zarr(self, name: str) -> StoreLike:
        """Return the path or Zarr store of a name."""

    def exists(self) -> bool:
        """Return whether there is a file, a folder or an object."""

    def names(self, folder: str = "") -> list[str]:
        """Return the names directly below a folder; NotADirectoryError if it is a file."""

    def files(self, folder: str = "") -> list[str]:
        """Return the paths of all files below a folder, relative to it."""

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return the content of a file: FileNotFoundError if there is none, ValueError if it has more bytes."""

    def create(self, name: str, content: bytes) -> None:
        """Write a file durably; FileExistsError if there is another one."""

    def replace(self, name: str, content: bytes) -> None:
        """Write a file durably, in place of one of the same name."""

    def keep(self, name: str) -> None:
        """Make a folder and everything in it durable."""

    def remove(self, name: str) -> None:
        """Delete a file durably, if there is one."""

    def remove_tree(self, name: str) -> None:
        """Delete a folder, if there is one."""

    def publish(self, origin: str, name: str) -> None:
        """Make an array appear under another name as well, in place of one that was there."""

    def lock(self) -> WriteLock:
        """Take the right to write; StoreError if a living run has it."""

    def scratch(self) -> Path | None:
        """Return a folder for temporary files, if there is room for one here."""

    def find_symlink(self) -> str | None:
        """Return a link or special file in the store, in words, or None."""


def clear(place: Location, name: str) -> None:
    """Delete a file or folder, and check that it is gone, so that nothing new is written over its remains."""
    place.remove_tree(name)
    folder, _, base = name.rpartition("/")
    if base in place.names(folder):
        raise DiskError(
            f"{place}/{name} could not be deleted, and nothing new is begun over it; delete {place} yourself, or give "
            "another path."
        )
