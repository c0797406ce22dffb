"""Places behind a URL: how an object store is opened, and the bytes that lie in it.

Amazon S3, Google Cloud Storage and Azure are reached through obstore, which takes a third to two thirds of the
processor time that fsspec does for the same bytes (`benchmarks/objects.py`); `memory://` is fsspec's. Credentials come
from where those libraries look for them. They never travel: a place is pickled as its URL, and whoever unpickles it
finds credentials of its own.
"""

import contextlib
import functools
import importlib
import os
from collections.abc import Callable
from typing import Any, Protocol

from zarr.abc.store import Store as ZarrStore
from zarr.storage import FsspecStore, ObjectStore

from dnmf.errors import DataError, MissingExtraError, StoreError
from dnmf.storage.urls import REACHED, check_url

# The schemes of object stores, each with the extra that brings what reads it and the name that obstore knows it by.
SCHEMES = {
    "s3": ("s3", "s3"),
    "s3a": ("s3", "s3"),
    "gs": ("gs", "gs"),
    "gcs": ("gs", "gs"),
    "az": ("az", "az"),
    "abfs": ("az", "abfs"),
    "abfss": ("az", "abfss"),
}
WRITABLE = (*SCHEMES, "memory")
TRIES = 5


class Objects(Protocol):
    """The bytes below a URL. A key is a path of names with `/` between them."""

    zarr: ZarrStore

    def get(self, key: str) -> bytes:
        """Return what lies at a key; FileNotFoundError where nothing does."""

    def size(self, key: str) -> int:
        """Return how many bytes lie at a key; FileNotFoundError where nothing does."""

    def put(self, key: str, content: bytes) -> None:
        """Let bytes lie at a key, in place of what was there."""

    def create(self, key: str, content: bytes) -> None:
        """Let bytes lie at a key where nothing does; FileExistsError where other bytes do."""

    def names(self, folder: str) -> list[str]:
        """Return the names directly below a folder."""

    def keys(self, folder: str) -> list[str]:
        """Return all keys below a folder."""

    def remove(self, keys: list[str]) -> None:
        """Delete what lies at some keys, if it does."""

    def copy(self, key: str, target: str) -> None:
        """Let what lies at a key lie at another one too."""


def open_objects(url: str) -> Objects:
    """Return the bytes below a URL that can be written to.

    Raises
    ------
    StoreError
        If it is no URL of an object store.
    MissingExtraError
        If the package that reaches it is not installed.
    """
    scheme, _, rest = check_url(url).partition("://")
    if scheme not in WRITABLE:
        listed = ", ".join(f"{name}://" for name in WRITABLE)
        raise StoreError(f"{url} is at no place that can be written to; give a path, or a URL of {listed}.")
    if scheme == "memory":
        return MemoryObjects(url)
    if not rest.partition("/")[0]:
        raise DataError(f"{url} names no bucket; give one, as in {scheme}://bucket/run.zarr.")
    return BucketObjects(url)


def zarr_store(url: str) -> ZarrStore | str:
    """Return what Zarr reads the things below a URL from."""
    scheme = check_url(url).partition("://")[0]
    return open_objects(url).zarr if scheme in WRITABLE else url


class Bucket(ObjectStore[Any]):
    """A Zarr store in an object store that is pickled as its URL."""

    url: str

    def __reduce__(self) -> tuple[Any, ...]:
        return zarr_store, (self.url,)

    def with_read_only(self, read_only: bool = False) -> "Bucket":
        """Return the store with or without leave to write."""
        return Bucket.at(self.url, self.store, read_only)

    @classmethod
    def at(cls, url: str, store: Any, read_only: bool = False) -> "Bucket":
        """Return the Zarr store at a URL."""
        bucket = cls(store, read_only=read_only)
        bucket.url = url
        return bucket

    def __str__(self) -> str:
        return self.url


class BucketObjects:
    """Objects below a URL of S3, Google Cloud Storage or Azure, through obstore."""

    def __init__(self, url: str) -> None:
        reached = frozenset(item for item in os.environ.items() if REACHED.match(item[0]))
        self._obstore, self._store = _reach(url, reached)
        self.zarr: ZarrStore = Bucket.at(url, self._store)

    def get(self, key: str) -> bytes:
        """Return what lies at a key."""
        return bytes(self._obstore.get(self._store, key).bytes())

    def size(self, key: str) -> int:
        """Return how many bytes lie at a key."""
        return int(self._obstore.head(self._store, key)["size"])

    def put(self, key: str, content: bytes) -> None:
        """Write."""
        self._obstore.put(self._store, key, content)

    def create(self, key: str, content: bytes) -> None:
        """Write, if nobody has: If-None-Match on S3 and Azure, ifGenerationMatch on Google.

        A request may succeed though its reply is lost. So what is there after an error is read: it may be ours.
        """
        for remaining in reversed(range(TRIES)):
            try:
                self._obstore.put(self._store, key, content, mode="create", use_multipart=False)
                return
            except self._obstore.exceptions.BaseError:
                try:
                    found = self.get(key)
                except FileNotFoundError:
                    if remaining:
                        continue
                    found = None
                if found == content:
                    return
                if found is not None:
                    raise FileExistsError(key) from None
                raise

    def names(self, folder: str) -> list[str]:
        """List, one level deep."""
        found = self._obstore.list_with_delimiter(self._store, folder or None)
        below = [*found["common_prefixes"], *(thing["path"] for thing in found["objects"])]
        return [path.rstrip("/").rpartition("/")[2] for path in below]

    def keys(self, folder: str) -> list[str]:
        """List, all the way down."""
        return [thing["path"] for some in self._obstore.list(self._store, folder) for thing in some]

    def remove(self, keys: list[str]) -> None:
        """Delete; some stores say where there was nothing."""
        try:
            if keys:
                self._obstore.delete(self._store, keys)
        except FileNotFoundError:
            for key in keys:
                with contextlib.suppress(FileNotFoundError):
                    self._obstore.delete(self._store, key)

    def copy(self, key: str, target: str) -> None:
        """Copy, without the bytes coming here."""
        self._obstore.copy(self._store, key, target)


class MemoryObjects:
    """Objects in the memory of this process, as fsspec keeps them."""

    def __init__(self, url: str) -> None:
        self.zarr: ZarrStore = FsspecStore.from_url(url)
        self._files = importlib.import_module("fsspec").filesystem("memory")
        self._root = self._files._strip_protocol(url)

    def get(self, key: str) -> bytes:
        """Return what lies at a key."""
        return bytes(self._files.cat_file(f"{self._root}/{key}"))

    def size(self, key: str) -> int:
        """Return how many bytes lie at a key."""
        return int(self._files.size(f"{self._root}/{key}"))

    def put(self, key: str, content: bytes) -> None:
        """Write."""
        self._files.pipe_file(f"{self._root}/{key}", content)

    def create(self, key: str, content: bytes) -> None:
        """Write, if nobody has."""
        self._files.pipe_file(f"{self._root}/{key}", content, mode="create")

    def names(self, folder: str) -> list[str]:
        """List, one level deep."""
        place = f"{self._root}/{folder}".rstrip("/")
        if not self._files.isdir(place):
            return []
        return [path.rpartition("/")[2] for path in self._files.ls(place, detail=False)]

    def keys(self, folder: str) -> list[str]:
        """List, all the way down."""
        return [path.removeprefix(f"{self._root}/") for path in self._files.find(f"{self._root}/{folder}")]

    def remove(self, keys: list[str]) -> None:
        """Delete."""
        for key in keys:
            if self._files.exists(f"{self._root}/{key}"):
                self._files.rm_file(f"{self._root}/{key}")

    def copy(self, key: str, target: str) -> None:
        """Copy."""
        self._files.pipe_file(f"{self._root}/{target}", self.get(key))


@functools.lru_cache(maxsize=64)
def _reach(url: str, reached: frozenset[tuple[str, str]]) -> tuple[Any, Any]:
    """Return obstore and its store at a URL, anew where the environment that it looks at has changed."""
    scheme, _, rest = url.partition("://")
    extra, known = SCHEMES[scheme]
    try:
        obstore = importlib.import_module("obstore")
    except ImportError as error:
        raise MissingExtraError(
            f"{scheme}:// needs the package obstore; install it with: pip install 'dnmf[{extra}]'"
        ) from error
    options = _s3_options(reached) if extra == "s3" else {}
    store = importlib.import_module("obstore.store").from_url(f"{known}://{rest}", **options)
    return obstore, store


@functools.lru_cache(maxsize=8)
def _s3_options(reached: frozenset[tuple[str, str]]) -> dict[str, Any]:
    """Return how S3 is reached: with boto3's credentials, profiles and roles included, or with none where it has none.

    Without boto3, obstore's own ways are left: the variables of the environment, and the roles of Amazon's machines.
    """
    given = dict(reached)
    endpoint = given.get("AWS_ENDPOINT_URL_S3") or given.get("AWS_ENDPOINT_URL") or given.get("AWS_ENDPOINT", "")
    options: dict[str, Any] = {"client_options": {"allow_http": True}} if endpoint.startswith("http://") else {}
    if {"AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE"} & set(given):
        return options
    try:
        boto3 = importlib.import_module("boto3")
        provider: Callable[..., Any] = importlib.import_module("obstore.auth.boto3").Boto3CredentialProvider
    except ImportError:
        return options
    session = boto3.Session()
    if session.get_credentials() is None:
        return options | {"config": {"skip_signature": True}}
    return options | {"credential_provider": provider(session)}
