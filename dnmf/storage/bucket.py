"""A store of objects below a URL: a record is written on condition that there is none."""

import contextlib
import importlib
from pathlib import Path

from zarr.storage import StoreLike

from dnmf.errors import StoreError
from dnmf.storage.location import WriteLock
from dnmf.storage.objects import WRITABLE, reach, scheme_of, zarr_store
from dnmf.storage.retries import repeated, repeated_if_listed, reported
from dnmf.storage.urls import check_url
from dnmf.storage.write_lock import NamedLock

TRIES = 5


def open_bucket(url: str) -> "Bucket":
    """Return the objects below a URL that can be written to.

    Raises
    ------
    StoreError
        If it is not the URL of an object store.
    MissingExtraError
        If the package that reaches it is not installed.
    """
    scheme = scheme_of(url)
    if scheme not in WRITABLE:
        listed = ", ".join(f"{name}://" for name in WRITABLE)
        raise StoreError(f"{url} is at no place that can be written to; give a path, or a URL of {listed}.")
    return MemoryBucket(url) if scheme == "memory" else Bucket(url)


class Bucket:
    """Objects below a URL of S3, Google Cloud Storage or Azure, through obstore; `Location` describes the methods.

    The key of an object is a path of names with `/` between them.
    """

    def __init__(self, url: str) -> None:
        self.url = check_url(url)
        self._open()

    def _open(self) -> None:
        self._obstore, self._store = reach(self.url)

    def __str__(self) -> str:
        return self.url

    def zarr(self, name: str) -> StoreLike:
        """Return a Zarr store that begins at the name: in one above it, Zarr would make groups on the way."""
        return zarr_store(f"{self.url}/{name}")

    def exists(self) -> bool:
        """Return whether there are objects."""
        return bool(self.names())

    @repeated
    def names(self, folder: str = "") -> list[str]:
        """List one level."""
        found = self._obstore.list_with_delimiter(self._store, folder or None)
        below = [*found["common_prefixes"], *(thing["path"] for thing in found["objects"])]
        return [path.rstrip("/").rpartition("/")[2] for path in below]

    @repeated
    def files(self, folder: str = "") -> list[str]:
        """List all levels."""
        start = f"{folder}/" if folder else ""
        return [key.removeprefix(start) for key in self._keys(folder)]

    @repeated_if_listed
    def read(self, name: str, most: int | None = None) -> bytes:
        """Read an object."""
        found = self._obstore.get(self._store, name)
        if most is not None and found.meta["size"] > most:
            raise ValueError(f"{name} has {found.meta['size']} bytes")
        return bytes(found.bytes())

    @reported
    def create(self, name: str, content: bytes) -> None:
        """Write an object if there is none: If-None-Match on S3 and Azure, ifGenerationMatch on Google.

        A request may succeed although its reply is lost. So the object is read after an error: it may be ours.
        """
        for remaining in reversed(range(TRIES)):
            try:
                self._obstore.put(self._store, name, content, mode="create", use_multipart=False)
                return
            except self._obstore.exceptions.BaseError:
                try:
                    found = bytes(self._obstore.get(self._store, name).bytes())
                except FileNotFoundError:
                    if remaining:
                        continue
                    found = None
                if found == content:
                    return
                if found is not None:
                    raise FileExistsError(name) from None
                raise

    @reported
    def replace(self, name: str, content: bytes) -> None:
        """Write an object."""
        self._obstore.put(self._store, name, content)

    def keep(self, name: str) -> None:
        """Do nothing: an object is durable when the store has answered."""

    @reported
    def remove(self, name: str) -> None:
        """Delete an object."""
        self._delete([name])

    @reported
    def remove_tree(self, name: str) -> None:
        """Delete all objects below a name, first those without which there is no array."""
        keys = self._keys(name)
        self._delete([key for key in keys if key.endswith("zarr.json")])
        self._delete([key for key in keys if not key.endswith("zarr.json")])

    @reported
    def publish(self, origin: str, name: str) -> None:
        """Copy all objects."""
        self.remove_tree(name)
        self.copy_tree(origin, f"{name}/")

    def copy_tree(self, origin: str, target: str) -> None:
        """Copy the objects below a name to keys that begin with `target`, last those that make an array of them."""
        for key in sorted(self._keys(origin), key=lambda key: key.endswith("zarr.json")):
            self._copy(key, target + key.removeprefix(f"{origin}/"))

    @repeated
    def lock(self) -> WriteLock:
        """Claim the store; the last writer to claim it wins."""
        return NamedLock(self)

    def scratch(self) -> Path | None:
        """Return None: a remote store is too slow for temporary files."""
        return None

    def find_symlink(self) -> str | None:
        """Return None: an object is never a link."""
        return None

    def _keys(self, folder: str) -> list[str]:
        return [thing["path"] for some in self._obstore.list(self._store, folder) for thing in some]

    def _delete(self, keys: list[str]) -> None:
        """Delete objects; some stores raise an error for one that does not exist."""
        try:
            if keys:
                self._obstore.delete(self._store, keys)
        except FileNotFoundError:
            for key in keys:
                with contextlib.suppress(FileNotFoundError):
                    self._obstore.delete(self._store, key)

    def _copy(self, key: str, target: str) -> None:
        """Copy an object within the store."""
        self._obstore.copy(self._store, key, target)


class MemoryBucket(Bucket):
    """Objects in the memory of this process, as fsspec keeps them."""

    def _open(self) -> None:
        self._files = importlib.import_module("fsspec").filesystem("memory")
        self._root = self._files._strip_protocol(self.url)

    @repeated
    def names(self, folder: str = "") -> list[str]:
        """List one level."""
        place = f"{self._root}/{folder}".rstrip("/")
        if not self._files.isdir(place):
            return []
        return [path.rpartition("/")[2] for path in self._files.ls(place, detail=False)]

    @repeated_if_listed
    def read(self, name: str, most: int | None = None) -> bytes:
        """Read an object."""
        content = bytes(self._files.cat_file(f"{self._root}/{name}"))
        if most is not None and len(content) > most:
            raise ValueError(f"{name} has {len(content)} bytes")
        return content

    @reported
    def create(self, name: str, content: bytes) -> None:
        """Write an object if there is none."""
        self._files.pipe_file(f"{self._root}/{name}", content, mode="create")

    @reported
    def replace(self, name: str, content: bytes) -> None:
        """Write an object."""
        self._files.pipe_file(f"{self._root}/{name}", content)

    def _keys(self, folder: str) -> list[str]:
        return [path.removeprefix(f"{self._root}/") for path in self._files.find(f"{self._root}/{folder}")]

    def _delete(self, keys: list[str]) -> None:
        for key in keys:
            if self._files.exists(f"{self._root}/{key}"):
                self._files.rm_file(f"{self._root}/{key}")

    def _copy(self, key: str, target: str) -> None:
        self._files.pipe_file(f"{self._root}/{target}", self._files.cat_file(f"{self._root}/{key}"))
