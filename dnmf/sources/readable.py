"""Check that a path can be read at all, before anything looks into it; say how other files can be given."""

import os
import stat
from pathlib import Path

from dnmf.errors import DataError, ReadError
from dnmf.sources.addresses import KNOWN

# How files of other kinds are brought here, by their endings.
OTHERS = {
    (".mat",): "scipy.io.loadmat({path})[name]",
    (".feather", ".arrow"): "pandas.read_feather({path})",
    (".xlsx", ".xls", ".ods"): "pandas.read_excel({path}, index_col=0)",
    (
        ".txt",
        ".tab",
        ".dat",
    ): ("pandas.read_csv({path}, sep=None, engine='python'), with index_col=0 where its first column names the rows,"),
    (".loom",): "anndata.read_loom({path})",
    (".zip",): "zarr.open_group(zarr.storage.ZipStore({path}), mode='r', use_consolidated=False)",
}


def check_readable(path: Path, given: str) -> None:
    """Raise an error where a path leads to nothing that can be read: a FIFO would be waited for, for ever.

    Raises
    ------
    DataError
        If there is nothing, or neither a file nor a folder.
    ReadError
        If the system does not let it be read.
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
    """Return the error for a file that is none of those that are read, with the call that reads it where one does."""
    calls = [call for endings, call in OTHERS.items() if path.name.lower().endswith(endings)]
    hint = f" Or read it with {calls[0].format(path=repr(str(path)))} and give that as V." if calls else ""
    return DataError(f"{given} is a file of unknown kind; give {KNOWN}.{hint}")


def folder_of_counts(path: Path) -> DataError | None:
    """Return the error for a folder of counts as Cell Ranger writes it, with the file in it that is read."""
    found = {
        word: sorted(file for file in path.glob(f"*{word}*") if not file.is_dir())
        for word in ("matrix.mtx", "features.tsv", "genes.tsv", "barcodes.tsv")
    }
    rows, columns = found["features.tsv"] or found["genes.tsv"], found["barcodes.tsv"]
    if not (len(found["matrix.mtx"]) == len(rows) == len(columns) == 1):
        return None
    matrix = found["matrix.mtx"][0]
    return DataError(
        f"{path} is a folder of counts, features × barcodes; give {matrix} as V, with row_names={str(rows[0])!r} and "
        f"column_names={str(columns[0])!r} (--row-names {rows[0]} --column-names {columns[0]}), or, for barcodes × "
        f"features, scanpy.read_10x_mtx({str(path)!r})."
    )
