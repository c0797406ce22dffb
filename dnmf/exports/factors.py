"""Export of factors as tables or as an AnnData, written in parts."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.aliases import names_options
from dnmf.checkpoint.targets import appearing_here, check_apart, inputs_in
from dnmf.checks import choice
from dnmf.choices import Axis, Format
from dnmf.errors import DataError, SettingsError, StoreError, needed
from dnmf.exports.anndata import PLACES, describe
from dnmf.inspection.components import component_names
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.floats import own_errors
from dnmf.run.result import Result
from dnmf.run.stored import fitted_of, fitted_result, whole_checkpoint
from dnmf.storage.durable import explained
from dnmf.storage.open_location import full_path
from dnmf.storage.urls import is_url

# The two tables, and the axis of V to which the rows of each correspond.
TABLES: dict[str, Axis] = {"W": "rows", "H": "columns"}
# Suffixes of a table in one file, not of a folder.
FILES = {".csv", ".parquet", ".tsv", ".txt", ".xls", ".xlsx"}
# Header of the column of names.
LABELS = {"rows": "row", "columns": "column"}
# Numbers to convert to text at once, and numbers in a row group of Parquet.
TEXT_NUMBERS, GROUP_NUMBERS = 2**17, 2**21


@names_options()
@own_errors
def export(
    fitted: Result | str | Path, path: str | Path, *, format: Format | None = None, overwrite: bool = False
) -> Path:
    """Write both factors with their names, as tables or as an AnnData.

    `"csv"` and `"parquet"` make a folder of two tables: `W` has a row for each row of V, and `H`, transposed, a row for
    each column. The first column, `row` or `column`, has the names, or positions from 0; the others are the components
    `NMF_1`, `NMF_2`, …. `"h5ad"` makes a file without X, with W in `obsm["X_nmf"]`, Hᵀ in `varm["NMF"]` and the
    description of `write_anndata` in `uns["nmf"]`. The export appears as a whole or not at all.

    Parameters
    ----------
    fitted
        A result, or the path or URL of a store.
    path
        Path of the new folder or file, on this machine.
    format
        By default `"h5ad"` if the path ends in `.h5ad`, else `"csv"`.
    overwrite
        Replace an existing export.

    Returns
    -------
    Path
        The absolute path of the export.

    Raises
    ------
    SettingsError
        If the format is unknown, or the path does not suit it.
    MissingExtraError
        If a package is missing: pyarrow for Parquet, anndata for h5ad.
    StoreError
        If the path exists, or cannot be written.

    Examples
    --------
    >>> import dnmf, numpy as np, tempfile
    >>> result = dnmf.factorize(np.outer([1, 2], [2, 1, 1]), rank=1, init=(np.ones((2, 1)), np.ones((1, 3))))
    >>> folder = export(result, tempfile.mkdtemp() + "/factors")
    >>> sorted(file.name for file in folder.iterdir())
    ['H.csv', 'W.csv']
    """
    fitted = fitted_of(fitted)
    chosen = format or ("h5ad" if str(path).endswith(".h5ad") else "csv")
    choice("format", chosen, Format)
    if is_url(path):
        raise SettingsError(f"path={str(path)!r} is a URL, and an export is written on this machine; give a path.")
    target = full_path(path)
    if chosen == "h5ad" and target.suffix in FILES:
        raise SettingsError(f"path={str(path)!r} has the suffix of a table, and h5ad makes one .h5ad file; name that.")
    if chosen != "h5ad" and (target.suffix in FILES or (target.suffix == ".h5ad" and not os.path.lexists(target))):
        raise SettingsError(
            f"path={str(path)!r} has the suffix of a file, and {chosen} makes a folder of two tables; name the folder."
        )
    for module in PACKAGES[chosen]:
        needed(module, f"format={chosen!r}", "anndata" if chosen == "h5ad" else None)
    check_apart(target, inputs_in(fitted.store if isinstance(fitted, Result) else fitted))
    check = partial(refuse, target, chosen, overwrite)
    check()

    def write() -> None:
        result = fitted_result(fitted)
        with explained(str(target)), appearing_here(target, check) as draft:
            WRITERS[chosen](result, draft)

    write() if isinstance(fitted, Result) else whole_checkpoint(write)
    return target


def refuse(target: Path, format: str, overwrite: bool) -> None:
    """Raise StoreError if the path exists and an export may not replace it."""
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise StoreError(f"{target} already exists; choose another path or pass overwrite=True (--overwrite).")
    if not (is_exported_file(target) if format == "h5ad" else is_exported_folder(target)):
        raise StoreError(
            f"{target} is not an export as {format}, and only such an export is overwritten; delete it or choose "
            "another path."
        )


def is_exported_folder(path: Path) -> bool:
    """Return whether a path is a folder with nothing but the tables of an export."""
    made = {f"{name}.{format}" for name in TABLES for format in ("csv", "parquet")}
    return path.is_dir() and not path.is_symlink() and set(os.listdir(path)) <= made


def is_exported_file(path: Path) -> bool:
    """Return whether a path is an AnnData of factors without X: one with X contains data."""
    try:
        with needed("h5py", "h5ad").File(path, "r") as file:
            # Older releases of anndata store an empty X.
            without = "X" not in file or file["X"].attrs.get("encoding-type") == "null"
            return without and f"uns/{PLACES[2]}" in file
    except OSError:
        return False


def labelled(result: Result, axis: Axis, most: int) -> Iterator[tuple[NDArray[Any], Float]]:
    """Yield a factor in parts (w, r) of at most `most` numbers, each with the names or positions of its rows."""
    names = result.names.rows if axis == "rows" else result.names.columns
    for places, part in result.parts(axis, most):
        yield np.arange(places.start, places.stop) if names is None else names[places], part


def write_csv(result: Result, folder: Path) -> None:
    """Write both tables as text, with the shortest digits that represent each number exactly."""
    folder.mkdir()
    for name, axis in TABLES.items():
        with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            file.write(",".join([LABELS[axis], *component_names(result.settings.rank)]) + "\n")
            for labels, part in labelled(result, axis, TEXT_NUMBERS):
                lines = zip(labels.tolist(), part.astype(str).tolist(), strict=True)
                file.writelines(f"{quoted(str(label))},{','.join(numbers)}\n" for label, numbers in lines)


def quoted(name: str) -> str:
    """Return a name as a field of CSV. Python's writer does not quote a carriage return.

    >>> print(quoted("CD3E"), quoted('5" ruler, old'))
    CD3E "5"" ruler, old"
    """
    if any(sign in name for sign in ',"\n\r'):
        return '"' + name.replace('"', '""') + '"'
    return name


def write_parquet(result: Result, folder: Path) -> None:
    """Write both tables in row groups."""
    arrow, parquet = needed("pyarrow", "Parquet"), needed("pyarrow.parquet", "Parquet")
    folder.mkdir()
    number = arrow.from_numpy_dtype(result.short.dtype)
    columns = [(name, number) for name in component_names(result.settings.rank)]
    for name, axis in TABLES.items():
        named = (result.names.rows if axis == "rows" else result.names.columns) is not None
        schema = arrow.schema([(LABELS[axis], arrow.string() if named else arrow.int64()), *columns])
        with parquet.ParquetWriter(folder / f"{name}.parquet", schema) as writer:
            for labels, part in labelled(result, axis, GROUP_NUMBERS):
                writer.write_table(arrow.table([labels, *np.ascontiguousarray(part.T)], schema=schema))


def write_h5ad(result: Result, path: Path) -> None:
    """Write an AnnData without X with anndata, and then add the factors in parts."""
    anndata, pandas, h5py = (needed(module, "h5ad", "anndata") for module in ("anndata", "pandas", "h5py"))
    axes = [
        pandas.DataFrame(index=np.arange(size).astype(str) if names is None else names)
        for names, size in zip((result.names.rows, result.names.columns), result.shape, strict=True)
    ]
    if any("\0" in name for axis in axes for name in axis.index):
        raise DataError("A name contains the character NUL, which HDF5 cannot store; export as parquet, or rename it.")
    anndata.AnnData(obs=axes[0], var=axes[1], uns={PLACES[2]: describe(result)}).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        for place, axis, frame in zip((f"obsm/{PLACES[0]}", f"varm/{PLACES[1]}"), TABLES.values(), axes, strict=True):
            array = file.create_dataset(place, (len(frame), result.settings.rank), result.short.dtype)
            array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
            for places, part in result.parts(axis):
                array[places] = part


WRITERS = {"csv": write_csv, "parquet": write_parquet, "h5ad": write_h5ad}
# The packages that a format needs.
PACKAGES: dict[str, tuple[str, ...]] = {"csv": (), "parquet": ("pyarrow",), "h5ad": ("anndata", "h5py")}
