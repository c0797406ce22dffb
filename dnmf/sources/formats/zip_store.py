"""Zarr stores in ZIP files, which are only read."""

import zipfile
from pathlib import Path
from typing import Any

from zarr.abc.store import Store
from zarr.storage import ZipStore

from dnmf.errors import DataError
from dnmf.sources.addresses import Address
from dnmf.storage.objects import zarr_store
from dnmf.storage.urls import is_url

ENDING = ".zip"
# The files of the metadata of Zarr.
METADATA = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")


def store_at(place: str) -> Store | str:
    """Return the Zarr store at a path or URL, for a folder its path.

    Raises
    ------
    DataError
        If it is a ZIP file without a store at its root.
    """
    if is_url(place):
        return zarr_store(place)
    if not is_zip(Path(place)):
        return place
    check_root(place)
    return ZipStore(place, mode="r")


def is_zip(path: Path) -> bool:
    """Return whether a path is a ZIP file, by its name."""
    return path.name.lower().endswith(ENDING) and path.is_file()


def check_root(place: str) -> None:
    """Raise DataError if a ZIP file has no Zarr store at its root."""
    try:
        with zipfile.ZipFile(place) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise DataError(f"{place} is not a readable ZIP file ({error}); write it again from its origin.") from error
    if any(name in names for name in METADATA):
        return
    inner = [name.rpartition("/")[0] for name in names if name.rpartition("/")[2] in METADATA]
    folder = min(inner, key=len) if inner else None
    hint = (
        f"its store is in the folder {folder}: zip the content of that folder, and not the folder"
        if folder
        else "give a ZIP file with a Zarr store, or unpack it and give one of its files"
    )
    raise DataError(f"{place} has no Zarr store at its root; {hint}.")


def address_in_zip(node: Any) -> str | None:
    """Return the address of an array or a group that zarr has opened in a ZIP file, or None."""
    store = node.store
    return str(Address(str(store.path), node.path or None)) if isinstance(store, ZipStore) else None
