"""The address of a matrix: a path or a URL and, after `::`, a part of it.

data.h5ad                        X, or the only matrix
data.h5ad::layers/counts         a layer; likewise of an AnnData in Zarr
file.h5::group/dataset           an HDF5 dataset, or a group of a compressed sparse matrix
file.nc::temperature             a variable
arrays.npz::X                    an array of several; likewise a variable of a .mat file
folder::GSM1_sample              the counts with a prefix in a folder of 10x Genomics
stack.tif::3                     a page, counted from 0
raw.bin::float32,2000x1000       numbers without a header, row by row; column by column with a third word, F
file.nc::group/temperature       a variable in a group
ratings.csv::user,film,stars     the columns with the rows, columns and values of the entries
ratings.csv::0:name,1:name,2     the same by position, with numbers in rows and columns as names
counts.csv::gene                 a dense table, with names of the rows in one column
counts.csv::dense                a dense table in which every column is data
"""

import os
import shlex
from pathlib import Path
from typing import NamedTuple

from dnmf.errors import DataError
from dnmf.storage.paths import absolute
from dnmf.storage.urls import check_url, is_url, without_file_scheme

MARK = "::"
KNOWN = (
    "the path or URL of a Zarr array or group, or the path of a .npy, .npz, .mat, .h5ad, .h5, .loom, .nc, .parquet, "
    ".csv, .tsv, .txt, .mtx, .svm, .tif or .hdr (ENVI) file, of a folder of 10x counts, or of raw numbers as "
    "raw.bin::float32,2000x1000"
)


class Address(NamedTuple):
    """An absolute path or URL, and a part of it or None."""

    place: str
    part: str | None = None

    @classmethod
    def of(cls, given: str | Path) -> "Address":
        """Parse an address; a file with the whole text as its path has precedence.

        >>> Address.of("/data/a.h5ad::layers/counts")
        Address(place='/data/a.h5ad', part='layers/counts')
        """
        text = without_file_scheme(str(given))
        place, mark, part = text.rpartition(MARK)
        if not mark or (not is_url(text) and os.path.exists(absolute(text))):
            place, part = text, ""
        if is_url(place):
            return cls(check_url(place), part.strip("/") or None)
        return cls(str(absolute(place)), part.strip("/") or None)

    def __str__(self) -> str:
        return self.place if self.part is None else f"{self.place}{MARK}{self.part}"

    def of_part(self, part: str) -> "Address":
        """Return the address of a part of the place."""
        return Address(self.place, part)


class NotInPlace(DataError):
    """A matrix cannot be read by blocks in place, or there are several.

    `facts` describes what was found.
    """

    def __init__(self, sentence: str, facts: dict[str, str]) -> None:
        super().__init__(sentence)
        self.facts = facts


def convert_command(address: "Address | str", by: str | None = None) -> str:
    """Return the command that rewrites an address as a matrix that is read fast.

    >>> convert_command("/data/V.h5ad", "columns")
    'dnmf convert /data/V.h5ad V-by-columns.zarr --by columns'
    """
    place = shlex.quote(str(address))
    name = str(address).partition(MARK)[0].rpartition("/")[2].partition(".")[0] or "V"
    return f"dnmf convert {place} {name}.zarr" if by is None else f"dnmf convert {place} {name}-by-{by}.zarr --by {by}"
