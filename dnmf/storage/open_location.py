"""Open the place behind a path or a URL."""

import os
from pathlib import Path

from dnmf.errors import SettingsError
from dnmf.storage.bucket import open_bucket
from dnmf.storage.folder import Folder
from dnmf.storage.location import Location
from dnmf.storage.paths import absolute
from dnmf.storage.urls import is_url


def location_at(given: str | Path) -> Location:
    """Return the place of a path or a URL."""
    if not isinstance(given, (str, os.PathLike)):
        raise SettingsError(f"{given!r} is not a path; give the path or the URL of a folder.")
    if not str(given).strip():
        raise SettingsError("The path is an empty text; give the path or the URL of a folder.")
    return open_bucket(str(given)) if is_url(given) else Folder(full_path(given))


def full_path(given: str | Path) -> Path:
    """Return an absolute path, in which symbolic links are not resolved."""
    return Path(os.path.normpath(absolute(given)))
