"""Where a store lies: what a folder and the objects below a URL have in common.

A name is a path below the store. What is created is there whole or not at all, and once, whoever else tries; on a disk
it is synced. A group of files is made to last by `keep` before a record speaks of it.
"""

from pathlib import Path
from typing import Protocol

from zarr.storage import StoreLike

LOCK = ".lock"


class Hold(Protocol):
    """The right to write to a store."""

    def check(self) -> None:
        """Raise StoreError if another run has taken it."""

    def close(self) -> None:
        """Give it up."""


class Place(Protocol):
    """Where a store lies."""

    def zarr(self, name: str) -> StoreLike:
        """Return what Zarr knows a name by."""

    def exists(self) -> bool:
        """Say whether there is anything."""

    def names(self, folder: str = "") -> list[str]:
        """Return the names directly below a folder; NotADirectoryError where it is a file."""

    def size(self, name: str) -> int:
        """Return the bytes of a file; FileNotFoundError where there is none."""

    def read(self, name: str) -> bytes:
        """Return the content of a file; FileNotFoundError where there is none."""

    def files(self, folder: str = "") -> list[str]:
        """Return the paths of all files below a folder, from there on."""

    def create(self, name: str, content: bytes) -> None:
        """Write a file that lasts; FileExistsError where there is another one."""

    def replace(self, name: str, content: bytes) -> None:
        """Write a file that lasts, in place of what was there."""

    def keep(self, name: str) -> None:
        """See that a folder, and all that is in it, lasts."""

    def remove(self, name: str) -> None:
        """Delete a file, if it is there, so that it stays deleted."""

    def remove_tree(self, name: str) -> None:
        """Delete a folder, if it is there."""

    def publish(self, origin: str, name: str) -> None:
        """Let an array appear under another name too, in place of what was there."""

    def lock(self) -> Hold:
        """Take the right to write; StoreError where a run has it that is alive."""

    def scratch(self) -> Path | None:
        """Return a folder for what need not last, if there is room for one here."""

    def strange(self) -> str | None:
        """Return the name of something that no run puts there and that leads elsewhere, or None."""
