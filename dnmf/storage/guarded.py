"""A place whose errors are sentences: the one boundary between dnmf and the disk or object store of a store."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from zarr.storage import StoreLike

from dnmf.errors import DiskError, DnmfError
from dnmf.storage import retries
from dnmf.storage.location import Hold, Place
from dnmf.storage.retries import PlaceError, patiently
from dnmf.storage.urls import object_errors

Found = TypeVar("Found")


class Guarded:
    """A place that reads again where a read failed, and raises `PlaceError` where it goes on failing.

    What is not there is not there only if it is not listed either: object stores have answered otherwise. What a read
    finds (`FileNotFoundError`, `NotADirectoryError`, `IsADirectoryError`) is raised as it is, and so is
    `FileExistsError` where `create` finds another file.
    """

    def __init__(self, inner: Place) -> None:
        self.inner = inner

    def __str__(self) -> str:
        return str(self.inner)

    def zarr(self, name: str) -> StoreLike:
        """Return what Zarr knows a name by."""
        return self.inner.zarr(name)

    def exists(self) -> bool:
        """Say whether there is anything."""
        return patiently(self.inner.exists, str(self))

    def names(self, folder: str = "") -> list[str]:
        """Return the names directly below a folder; NotADirectoryError where it is a file."""
        return patiently(partial(self.inner.names, folder), self._at(folder))

    def files(self, folder: str = "") -> list[str]:
        """Return the paths of all files below a folder."""
        return patiently(partial(self.inner.files, folder), self._at(folder))

    def size(self, name: str) -> int:
        """Return the bytes of a file; FileNotFoundError where there is none."""
        return self._unless_listed(self.inner.size, name)

    def read(self, name: str) -> bytes:
        """Return the content of a file; FileNotFoundError where there is none."""
        return self._unless_listed(self.inner.read, name)

    def create(self, name: str, content: bytes) -> None:
        """Write a file that lasts; FileExistsError where there is another one."""
        self._doing(name, partial(self.inner.create, name, content))

    def replace(self, name: str, content: bytes) -> None:
        """Write a file that lasts, in place of what was there."""
        self._doing(name, partial(self.inner.replace, name, content))

    def keep(self, name: str) -> None:
        """See that a folder, and all that is in it, lasts."""
        self._doing(name, partial(self.inner.keep, name))

    def remove(self, name: str) -> None:
        """Delete a file, if it is there, so that it stays deleted."""
        self._doing(name, partial(self.inner.remove, name))

    def remove_tree(self, name: str) -> None:
        """Delete a folder, if it is there."""
        self._doing(name, partial(self.inner.remove_tree, name))

    def clear(self, name: str) -> None:
        """Delete a file or folder, and see that it is gone: nothing new can begin over what is left of it."""
        self.remove_tree(name)
        folder, _, base = name.rpartition("/")
        if base in self.names(folder):
            raise DiskError(
                f"{self._at(name)} could not be deleted, and nothing new is begun over it; delete {self} yourself, or "
                "give another path."
            )

    def publish(self, origin: str, name: str) -> None:
        """Let an array appear under another name too, in place of what was there."""
        self._doing(name, partial(self.inner.publish, origin, name))

    def lock(self) -> Hold:
        """Take the right to write; StoreError where a run has it that is alive."""
        return patiently(self.inner.lock, str(self))

    def scratch(self) -> Path | None:
        """Return a folder for what need not last, if there is room for one here."""
        return self.inner.scratch()

    def strange(self) -> str | None:
        """Return the name of something that no run puts there and that leads elsewhere, or None."""
        return patiently(self.inner.strange, str(self))

    def _at(self, name: str) -> str:
        return f"{self}/{name}" if name else str(self)

    def _unless_listed(self, read: Callable[[str], Found], name: str) -> Found:
        for delay in (*retries.DELAYS, None):
            try:
                return patiently(partial(read, name), self._at(name))
            except FileNotFoundError as error:
                if not self._lists(name):
                    raise
                if delay is None:
                    raise PlaceError.of(self._at(name), "read", error) from None
                retries.wait(delay)
        raise AssertionError

    def _lists(self, name: str) -> bool:
        folder, _, base = name.rpartition("/")
        try:
            return base in self.names(folder)
        except NotADirectoryError:
            return False

    def _doing(self, name: str, act: Callable[[], Found]) -> Found:
        try:
            return act()
        except (FileExistsError, DnmfError):
            raise
        except object_errors() as error:
            number = getattr(error, "errno", None)
            raise PlaceError.of(self._at(name), "written", error) from (error if number else None)
