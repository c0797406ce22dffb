"""One table of components as a CSV file."""

import os
from functools import partial
from pathlib import Path
from typing import Any

from dnmf.checkpoint.targets import appearing_here
from dnmf.errors import SettingsError, StoreError
from dnmf.storage.durable import explained
from dnmf.storage.open_location import full_path
from dnmf.storage.urls import is_url

# The beginning of a table, by which a file that may be overwritten is recognised.
FIRST = b"feature,NMF_1"


def free_table(path: str | Path, overwrite: bool) -> Path:
    """Return the full path of a table, or raise SettingsError or StoreError if it may not be written."""
    if is_url(path) or not str(path).endswith(".csv"):
        raise SettingsError(f"path={str(path)!r} is not allowed; give the path of a .csv file on this machine.")
    target = full_path(path)
    if os.path.lexists(target):
        if not overwrite:
            raise StoreError(f"{target} already exists; choose another path or pass overwrite=True (--overwrite).")
        if not is_table(target):
            raise StoreError(
                f"{target} is not a table of dnmf and is not overwritten; delete it or choose another path."
            )
    return target


def is_table(path: Path) -> bool:
    """Return whether a file is a table written by dnmf."""
    if not path.is_file() or path.is_symlink():
        return False
    with open(path, "rb") as file:
        return file.read(len(FIRST)) == FIRST


def write_table(frame: Any, path: str | Path, overwrite: bool = False) -> Path:
    """Write a frame of features × components, which appears as a whole or not at all."""
    target = free_table(path, overwrite)
    with explained(str(target)), appearing_here(target, partial(free_table, path, overwrite)) as draft:
        frame.to_csv(draft, index_label="feature")
    return target
