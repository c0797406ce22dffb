"""Folders of counts, as Cell Ranger and STARsolo write them: a MatrixMarket file of features × barcodes, and the names.

    matrix.mtx                      features × barcodes
    barcodes.tsv                    a barcode per line: names of the cells
    features.tsv or genes.tsv       an identifier and a symbol per line: names of the features
    peaks.bed                       or a region per line, which is named as chr1:100-200

Each may be compressed (`.gz`). A prefix before the three names, as in GSM123_sample1_matrix.mtx, keeps several samples
apart in one folder.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dnmf.errors import DataError
from dnmf.sources.addresses import MARK, Address, NotInPlace
from dnmf.sources.base import Axis, Source
from dnmf.sources.formats.entry_list import Batch, Text, held
from dnmf.sources.formats.matrix_market import Market, MarketEntries
from dnmf.sources.formats.zip_store import METADATA
from dnmf.sources.names import Names
from dnmf.sources.read_errors import parsing

MATRIX, BARCODES, FEATURES = ("matrix.mtx",), ("barcodes.tsv",), ("features.tsv", "genes.tsv", "peaks.bed")
# Signs between a prefix and the name of a file, which an address may omit.
BETWEEN = "_.-"
SHOWN = 20


class Folder(NamedTuple):
    """The three files of a sample."""

    matrix: Path
    barcodes: Path
    features: Path


class TenxEntries(MarketEntries):
    """The entries of a folder of counts, cells × features."""

    what = "10x folder of counts"

    def __init__(self, address: Address) -> None:
        files = _files_of(address)
        if Market(address, files.matrix).form != "coordinate":
            raise DataError(f"{files.matrix} is not a list of coordinates; write it as a sparse matrix.")
        super().__init__(address, files.matrix)
        self.shape = self.size[::-1]
        regions = files.features.name.removesuffix(".gz").endswith(".bed")
        self.names = Names.of(files.barcodes, _regions(files.features) if regions else files.features)
        _check_names(self.names, files, self.size)

    def batches(self) -> Iterator[Batch]:
        """Read the entries."""
        for batch in super().batches():
            yield batch._replace(rows=batch.columns, columns=batch.rows)


def _regions(path: Path) -> list[str]:
    """Return the names of the regions in a BED file."""
    with parsing(path, "BED file"), Text(path) as text:
        fields = [line.split("\t")[:3] for line in text.file.read().decode().splitlines()]
        if any(len(region) < 3 for region in fields):
            raise ValueError("a line has fewer than three fields")
    return [f"{chromosome}:{start}-{stop}" for chromosome, start, stop in fields]


def open_tenx(address: Address, streamed: Axis | None = None) -> Source:
    """Open a folder of counts that is small enough to be read into memory, as cells × features.

    Raises
    ------
    NotInPlace
        If it is larger, or holds several samples and the address does not name one.
    DataError
        If a file is missing, or the names do not fit the matrix.
    """
    return held(TenxEntries(address), streamed)


def is_tenx(folder: Path) -> bool:
    """Return whether a folder holds one of the files of a folder of counts, and is not a Zarr store."""
    if any((folder / name).exists() for name in METADATA):
        return False
    return any(_prefixes(_listed(folder), names) for names in (MATRIX, BARCODES, FEATURES))


def hint_below(folder: Path) -> str:
    """Return a hint at the folders of counts in a folder, as at that of a genome, or an empty text."""
    try:
        with os.scandir(folder) as entries:
            inner = sorted(entry.path for entry in entries if entry.is_dir() and is_tenx(Path(entry.path)))
    except OSError:
        return ""
    return f" Or give a folder of counts in it: {', '.join(inner[:SHOWN])}." if inner else ""


def _listed(folder: Path) -> list[str]:
    """Return the names of the files in a folder."""
    with os.scandir(folder) as found:
        return sorted(entry.name for entry in found if not entry.is_dir())


def _prefixes(listed: list[str], names: tuple[str, ...]) -> list[str]:
    """Return the prefixes before one of the names, compressed or not.

    >>> _prefixes(["a_matrix.mtx", "b_matrix.mtx.gz", "matrix.mtx", "notes.txt"], MATRIX)
    ['', 'a_', 'b_']
    """
    plain = [name.removesuffix(".gz") for name in listed]
    return sorted({given.removesuffix(name) for given in plain for name in names if given.endswith(name)})


def _files_of(address: Address) -> Folder:
    """Return the files of the sample that an address names, or of the only one."""
    folder = Path(address.place)
    listed = _listed(folder)
    prefix = _prefix_of(address, _prefixes(listed, MATRIX), listed)
    found = [_file_of(folder, prefix, names, listed) for names in (MATRIX, BARCODES, FEATURES)]
    matrix, barcodes, features = found
    if matrix is not None and barcodes is not None and features is not None:
        return Folder(matrix, barcodes, features)
    lacking = [
        f"{prefix}{' or '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}"
        for names, file in zip((MATRIX, BARCODES, FEATURES), found, strict=True)
        if file is None
    ]
    alone = "" if matrix is None else f", or give {matrix}, features × barcodes, whose axes then have no names"
    raise DataError(
        f"{folder} is a folder of counts without {' and without '.join(lacking)} (compressed or not); add it{alone}."
    )


def _prefix_of(address: Address, prefixes: list[str], listed: list[str]) -> str:
    """Return the prefix that an address names, or the only one.

    Raises
    ------
    NotInPlace
        If there are several.
    DataError
        If there is none, or not the one that is named.
    """
    part = address.part
    if part is None and len(prefixes) < 2:
        return prefixes[0] if prefixes else _prefixes(listed, BARCODES + FEATURES)[0]
    if part is not None:
        names = {f"{prefix}{name}{packed}" for prefix in prefixes for name in MATRIX for packed in ("", ".gz")}
        fitting = [
            prefix
            for prefix in prefixes
            if part in (prefix, prefix.rstrip(BETWEEN)) or (part in names and prefix == _before(part))
        ]
        fitting = [part] if part in fitting else fitting
        if len(fitting) == 1:
            return fitting[0]
    words = [prefix.rstrip(BETWEEN) or MATRIX[0] for prefix in prefixes]
    words = words if len(set(words)) == len(words) else [prefix or MATRIX[0] for prefix in prefixes]
    shown = ", ".join(words[:SHOWN]) + (f" and {len(words) - SHOWN} more" if len(words) > SHOWN else "")
    what = f"holds the counts of {len(words)} samples" if part is None else f"holds no counts with the prefix {part}"
    if not words:
        raise DataError(f"{address.place} {what}, and no {MATRIX[0]}; give a folder that holds one.")
    sentence = f"{address.place} {what}; give one of its prefixes: {shown}; as {address.place}{MARK}{words[0]}"
    raise NotInPlace(sentence, {"holds": shown}) if part is None else DataError(sentence)


def _before(name: str) -> str:
    """Return the prefix of the name of a matrix."""
    return name.removesuffix(".gz").removesuffix(MATRIX[0])


def _file_of(folder: Path, prefix: str, names: tuple[str, ...], listed: list[str]) -> Path | None:
    """Return the file with a prefix and one of the names, or None; DataError if there are several."""
    found = [each for each in (f"{prefix}{name}{packed}" for name in names for packed in ("", ".gz")) if each in listed]
    if len(found) > 1:
        raise DataError(f"{folder} holds {' and '.join(found)}, which may differ; keep one of them.")
    return folder / found[0] if found else None


def _check_names(names: Names, files: Folder, size: tuple[int, int]) -> None:
    """Raise DataError if the numbers of names are not those of the rows and columns of the matrix."""
    counts = tuple(0 if found is None else len(found) for found in (names.columns, names.rows))
    if counts != size:
        swapped = " They are those of its transpose: write it as features × barcodes." * (counts == size[::-1])
        raise DataError(
            f"{files.features} has {counts[0]} lines and {files.barcodes} {counts[1]}, and {files.matrix} has "
            f"{size[0]} rows and {size[1]} columns; give one line for each row and column, without a header.{swapped}"
        )
