"""Check that a path can be read before it is opened, and advise how to read other files."""

import os
import stat
from pathlib import Path
from typing import Any

from dnmf.errors import DataError, ReadError
from dnmf.sources.addresses import KNOWN, convert_command
from dnmf.sources.file_kinds import opener_of_name
from dnmf.storage.objects import WRITABLE
from dnmf.storage.paths import similar
from dnmf.storage.urls import is_url, redacted

# Schemes from which Zarr is read through fsspec.
WEB = ("http", "https")
# Calls that read files of other kinds, by their endings.
OTHERS = {
    (".mat",): "scipy.io.loadmat({path})[name]",
    (".feather", ".arrow"): "pandas.read_feather({path})",
    (".xlsx", ".xls", ".ods"): "pandas.read_excel({path}, index_col=0)",
}


def check_readable(path: Path, given: str) -> None:
    """Raise an error if a path cannot be read; opening a FIFO would block.

    Raises
    ------
    DataError
        If it does not exist, or is neither a file nor a folder.
    ReadError
        If the system refuses to read it.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            os.scandir(path).close()
        elif stat.S_ISREG(mode):
            with open(path, "rb", buffering=0) as file:
                file.read(1)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise DataError(f"{given} does not exist; give {KNOWN}.{similar(path)}") from None
    except OSError as error:
        why = "check its permissions" if isinstance(error, PermissionError) else "check the disk it lies on"
        raise ReadError(f"{path} could not be read ({error.strerror}); {why}.") from error
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise DataError(f"{path} is neither a file nor a folder, but a pipe, a socket or a device; give {KNOWN}.")


def unknown_kind(path: Path, given: str) -> DataError:
    """Return the error for a file of an unknown kind, with a call that reads it if there is one."""
    calls = [call for endings, call in OTHERS.items() if path.name.lower().endswith(endings)]
    hint = f" Or read it with {calls[0].format(path=repr(str(path)))} and give that as V." if calls else ""
    return DataError(f"{given} is a file of unknown kind; give {KNOWN}.{hint}")


def no_zarr(place: str, error: BaseException) -> DataError:
    """Return the error for a place that holds no Zarr array or group, given that of Zarr."""
    reason = f"{type(error).__name__}: {redacted(error)}"
    scheme = place.partition("://")[0].lower() if is_url(place) else ""
    if scheme and scheme not in (*WRITABLE, *WEB) and "Protocol not known" in str(error):
        known = ", ".join(f"{name}://" for name in (*WRITABLE, *WEB))
        return DataError(f"{place} has a scheme that is not known; give a path, or a URL of {known}.")
    if scheme in WEB:
        return DataError(
            f"{place} is not a Zarr array that can be reached ({reason}); check the address and the connection, or "
            "download it and give the path of the copy."
        )
    if scheme or not Path(place).is_dir():
        return DataError(f"{place} is not a Zarr array ({reason}); give {KNOWN}.")
    names = sorted(os.listdir(place))
    if not names:
        return DataError(f"{place} is an empty folder, which is not a Zarr array; give {KNOWN}.")
    held = [name for name in names if opener_of_name(name) is not None or name.endswith(".zarr")]
    several = f", or several to be joined, as '{place}/*{Path(held[0]).suffix}'" if len(held) > 1 else ""
    advice = f"give a matrix in it, as {place}/{held[0]}{several}" if held else f"give {KNOWN}"
    why = "" if type(error).__name__ == "GroupNotFoundError" else f" ({reason})"
    return DataError(f"{place} is not a Zarr array or group, but another folder{why}; {advice}.")


def in_store(place: str, name: str) -> DataError:
    """Return the error for a file behind a URL."""
    if place.partition("://")[0].lower() in WEB:
        return DataError(
            f"{place} is a file on the web, where only Zarr is read; download it, as by `curl -LO {place}`, and "
            "give the path of the copy."
        )
    return DataError(
        f"{place} lies in an object store, where only Zarr is read; copy it to a disk, and rewrite it with: "
        f"{convert_command(name)}"
    )


def refuse_texts(V: Any) -> None:
    """Raise DataError for documents in place of their counts, whose texts would be taken for paths."""
    texts = [V] if isinstance(V, str) else V if isinstance(V, (list, tuple)) else []
    if texts and all(isinstance(text, str) and _is_document(text) for text in texts):
        given = "a text" if len(texts) == 1 else f"a list of {len(texts)} texts"
        raise DataError(
            f"V is {given}, not a path that exists; count the words first, as by "
            "sklearn.feature_extraction.text.CountVectorizer().fit_transform(texts)."
        )


def _is_document(text: str) -> bool:
    """Return whether a text has several lines, or words as no address has them."""
    several = len(text.split()) > 2 and not any(sign in text for sign in ("/", "::", "*", "?", "["))
    return ("\n" in text.strip() or several) and not os.path.lexists(text)
