"""A store of objects below a URL: records are written on condition that there is none."""

import json
import socket
import uuid
from pathlib import Path
from typing import Any

import psutil
from zarr.storage import StoreLike

from dnmf.checkpoint.place import LOCK, Hold
from dnmf.errors import StoreError
from dnmf.sources.objects import Objects, zarr_store


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
        return ObjectHold(self)

    def scratch(self) -> Path | None:
        """Return nothing: a store far away is no place for what is read again in the next pass."""
        return None

    def strange(self) -> str | None:
        """Return nothing: objects lead nowhere."""
        return None


# Names of the runs of this process that are over.
_given_up: set[str] = set()


class ObjectHold:
    """The right to write to objects: it belongs to the run whose name was written last.

    An object store has no lock that ends with its process. So a run that starts takes the right, unless the one that
    has it is seen to live on this machine; and the other one ends at its next checkpoint, which it does not write.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        process = psutil.Process()
        before = self._found()
        if before.get("host") == socket.gethostname() and _lives(before) and before.get("run") not in _given_up:
            raise StoreError(
                f"{bucket} is in use by another run, process {before['process']} of this machine; wait for it to end, "
                "or give another store."
            )
        mine = {"host": socket.gethostname(), "process": process.pid, "since": process.create_time()}
        self._name = uuid.uuid4().hex
        bucket.replace(LOCK, json.dumps({"run": self._name, **mine}).encode())

    def _found(self) -> dict[str, Any]:
        try:
            found = json.loads(self._bucket.read(LOCK))
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def check(self) -> None:
        """Raise StoreError if another run has started here."""
        found = self._found()
        if found.get("run") != self._name:
            raise StoreError(
                f"Another run took over {self._bucket} (on {found.get('host', 'an unknown machine')}), and this one "
                "wrote no more to it; let one run at a time use a store."
            )

    def close(self) -> None:
        """Take the name away, if it is ours; this process remembers that it may go, if the store cannot be reached."""
        _given_up.add(self._name)
        if self._found().get("run") == self._name:
            self._bucket.remove(LOCK)


def _lives(owner: dict[str, Any]) -> bool:
    """Say whether a process of this machine is the one that it was, and runs."""
    try:
        return bool(psutil.Process(int(owner["process"])).create_time() == owner["since"])
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False
