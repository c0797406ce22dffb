"""Check that a path can be read before it is opened, and advise how to read other files."""

import os
import stat
from pathlib import Path

from dnmf.errors import DataError, ReadError
from dnmf.sources.addresses import KNOWN

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
        raise DataError(f"{given} does not exist; give {KNOWN}.") from None
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
