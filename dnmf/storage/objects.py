"""Object stores behind a URL, and the Zarr stores in them.

Amazon S3, Google Cloud Storage and Azure are reached through obstore, which takes a third to two thirds of the
processor time of fsspec for the same bytes (`benchmarks/objects.py`); `memory://` is fsspec's. Credentials come from
the places where those libraries look for them. They are never sent: a store is pickled as its URL, and the process that
unpickles it finds its own credentials.
"""

import functools
import importlib
import os
from collections.abc import Callable
from typing import Any

from zarr.abc.store import Store as ZarrStore
from zarr.storage import FsspecStore, ObjectStore

from dnmf.errors import DataError, needed
from dnmf.storage.urls import REACHED, check_url

# The schemes of object stores, each with the extra that installs its reader and the scheme that obstore knows it by.
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


def scheme_of(url: str) -> str:
    """Return the scheme of a URL without secrets."""
    return check_url(url).partition("://")[0]


def zarr_store(url: str) -> ZarrStore | str:
    """Return the Zarr store at a URL; a URL that dnmf cannot write to is left to Zarr."""
    scheme = scheme_of(url)
    if scheme == "memory":
        return FsspecStore.from_url(url)
    return UrlStore.at(url, reach(url)[1]) if scheme in SCHEMES else url


class UrlStore(ObjectStore[Any]):
    """A Zarr store in an object store, pickled as its URL."""

    url: str

    def __reduce__(self) -> tuple[Any, ...]:
        return zarr_store, (self.url,)

    def with_read_only(self, read_only: bool = False) -> "UrlStore":
        """Return the store with or without permission to write."""
        return UrlStore.at(self.url, self.store, read_only)

    @classmethod
    def at(cls, url: str, store: Any, read_only: bool = False) -> "UrlStore":
        """Return the Zarr store at a URL."""
        made = cls(store, read_only=read_only)
        made.url = url
        return made

    def __str__(self) -> str:
        return self.url


def reach(url: str) -> tuple[Any, Any]:
    """Return the module obstore, and its store at a URL.

    Raises
    ------
    DataError
        If the URL names no bucket.
    MissingExtraError
        If obstore is not installed.
    """
    scheme, _, rest = url.partition("://")
    if not rest.partition("/")[0]:
        raise DataError(f"{url} names no bucket; give one, as in {scheme}://bucket/run.zarr.")
    return _reach(url, frozenset(item for item in os.environ.items() if REACHED.match(item[0])))


@functools.lru_cache(maxsize=64)
def _reach(url: str, reached: frozenset[tuple[str, str]]) -> tuple[Any, Any]:
    """Return obstore and its store at a URL; a changed environment gives a new store."""
    scheme, _, rest = url.partition("://")
    extra, known = SCHEMES[scheme]
    obstore = needed("obstore", f"{scheme}://", extra)
    options = _s3_options(reached) if extra == "s3" else {}
    store = importlib.import_module("obstore.store").from_url(f"{known}://{rest}", **options)
    return obstore, store


@functools.lru_cache(maxsize=8)
def _s3_options(reached: frozenset[tuple[str, str]]) -> dict[str, Any]:
    """Return the options for S3: with the credentials, profiles and roles of boto3, or unsigned if boto3 finds none.

    Without boto3, obstore looks in the environment and at the roles of Amazon's machines.
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
