"""Find the function that opens a file, by its name or its first bytes."""

from collections.abc import Callable
from pathlib import Path

from dnmf.errors import DataError
from dnmf.sources.addresses import MARK, Address
from dnmf.sources.base import Axis, Source
from dnmf.sources.formats.envi_file import open_envi
from dnmf.sources.formats.hdf5_file import open_hdf5
from dnmf.sources.formats.matlab_file import open_matlab
from dnmf.sources.formats.matrix_market import is_market, open_market
from dnmf.sources.formats.netcdf_file import open_netcdf
from dnmf.sources.formats.npz_file import open_npz
from dnmf.sources.formats.raw_array import RAW, open_npy, open_raw
from dnmf.sources.formats.svmlight_file import open_svmlight
from dnmf.sources.formats.tables import ENDINGS, open_table
from dnmf.sources.formats.tenx_folder import is_tenx, open_tenx
from dnmf.sources.formats.tiff_file import open_tiff
from dnmf.sources.read_errors import reading_part

Opener = Callable[[Address, Axis | None], Source]
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def opener_of(path: Path, part: str | None) -> Opener | None:
    """Return the function that opens a file, by its ending or first bytes, or a folder that is not Zarr; or None."""
    found = opener_of_name(path.name)
    with reading_part(str(path), str(path)):
        if path.is_dir():
            if found is open_table and not (path / "zarr.json").exists():
                return open_table
            return open_tenx if is_tenx(path) else None
        if found in (None, open_table, open_market) and is_market(path):
            found = open_market
        if found in WHOLE and part is not None:
            raise DataError(f"{path} holds one matrix, and has no parts; give it without {MARK}{part}.")
        if found in (None, open_table) and part is not None and RAW.fullmatch(part):
            return open_raw
        if found is None:
            with open(path, "rb") as file:
                return open_hdf5 if file.read(8) == HDF5_SIGNATURE else None
    return found


def opener_of_name(name: str) -> Opener | None:
    """Return the function that opens files of a name."""
    plain, packing = name.lower(), ""
    for ending in PACKED:
        plain, packing = (plain.removesuffix(ending), ending) if plain.endswith(ending) else (plain, packing)
    found = next((opener for endings, opener in OPENERS if plain.endswith(endings)), None)
    return found if packing in ("", ".gz") or found in TEXTS else None


# Openers of files that hold one matrix, and no parts.
WHOLE = (open_npy, open_market)
# Endings of compressed files, and openers of texts that may have another than the first.
PACKED = (".gz", ".bz2", ".xz")
TEXTS = (open_market, open_svmlight, open_table)
OPENERS: list[tuple[tuple[str, ...], Opener]] = [
    ((".npy",), open_npy),
    ((".npz",), open_npz),
    ((".h5ad", ".h5mu", ".h5", ".hdf5", ".he5", ".loom"), open_hdf5),
    ((".nc", ".nc4", ".cdf"), open_netcdf),
    (ENDINGS, open_table),
    ((".mtx", ".mm"), open_market),
    ((".mat",), open_matlab),
    ((".tif", ".tiff"), open_tiff),
    ((".hdr",), open_envi),
    ((".svm", ".libsvm", ".svmlight"), open_svmlight),
]
