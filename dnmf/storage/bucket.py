"""A store of objects below a URL: records are written on condition that there is none."""

from pathlib import Path

from zarr.storage import StoreLike

from dnmf.storage.guarded import Guarded
from dnmf.storage.location import Hold
from dnmf.storage.objects import Objects, zarr_store
from dnmf.storage.write_lock import NamedHold


class Bucket:
    """Objects below a URL."""

    def __init__(self, objects: Objects, url: str) -> None:
        self.objects, self.url = objects, url.rstrip("/")

    def __str__(self) -> str:
        return self.url

    def zarr(self, name: str) -> StoreLike:
        """Return a Zarr store that begins at the name: from one above it, Zarr would make groups on the way."""
        return zarr_store(f"{self.url}/{name}")

    def exists(self) -> bool:
        """Say whether there are objects."""
        return bool(self.objects.names(""))

    def names(self, folder: str = "") -> list[str]:
        """List."""
        return self.objects.names(folder)

    def size(self, name: str) -> int:
        """Ask for the size of an object."""
        return self.objects.size(name)

    def read(self, name: str) -> bytes:
        """Read an object."""
        return self.objects.get(name)

    def files(self, folder: str = "") -> list[str]:
        """List, all the way down."""
        start = f"{folder}/" if folder else ""
        return [key.removeprefix(start) for key in self.objects.keys(folder)]

    def create(self, name: str, content: bytes) -> None:
        """Write an object on condition that there is none."""
        self.objects.create(name, content)

    def replace(self, name: str, content: bytes) -> None:
        """Write an object."""
        self.objects.put(name, content)

    def keep(self, name: str) -> None:
        """Do nothing: what was answered for lasts."""

    def remove(self, name: str) -> None:
        """Delete an object."""
        self.objects.remove([name])

    def remove_tree(self, name: str) -> None:
        """Delete all objects below a name, those first without which there is no array."""
        keys = self.objects.keys(name)
        self.objects.remove([key for key in keys if key.endswith("zarr.json")])
        self.objects.remove([key for key in keys if not key.endswith("zarr.json")])

    def publish(self, origin: str, name: str) -> None:
        """Copy all objects."""
        self.remove_tree(name)
        self.copy_tree(origin, f"{name}/")

    def copy_tree(self, origin: str, target: str) -> None:
        """Copy what is below a name to names that begin with `target`; what makes it an array comes last."""
        for key in sorted(self.objects.keys(origin), key=lambda key: key.endswith("zarr.json")):
            self.objects.copy(key, target + key.removeprefix(f"{origin}/"))

    def lock(self) -> Hold:
        """Say that the store is ours; whoever says so last has it."""
        return NamedHold(Guarded(self))

    def scratch(self) -> Path | None:
        """Return nothing: a store far away is no place for what is read again in the next pass."""
        return None

    def strange(self) -> str | None:
        """Return nothing: objects lead nowhere."""
        return None
