"""The address of a matrix: a path or a URL and, after `::`, a part of it.

data.h5ad                        X, or the only matrix
data.h5ad::layers/counts         a layer; likewise of an AnnData in Zarr
file.h5::group/dataset           an HDF5 dataset, or a group of a compressed sparse matrix
file.nc::temperature             a variable
arrays.npz::X                    an array of several; likewise a variable of a .mat file
folder::GSM1_sample              the counts with a prefix in a folder of 10x Genomics
stack.tif::3                     a page, counted from 0
raw.bin::float32,2000x1000       numbers without a header, row by row; column by column with a third word, F
stack.zarr::(t)x(y,x)            an array of several axes: those that make the rows, and those that make the columns
file.h5::group/images::(0)x(1,2) the same by position, after a part
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
from dnmf.sources.unfolding import Axes, Unfolding
from dnmf.storage.paths import absolute
from dnmf.storage.urls import check_url, is_url, without_file_scheme

MARK = "::"
KNOWN = (
    "the path or URL of a Zarr array or group, or the path of a .npy, .npz, .mat, .h5ad, .h5, .loom, .nc, .parquet, "
    ".csv, .tsv, .txt, .mtx, .svm, .tif or .hdr (ENVI) file, of a folder of 10x counts, or of raw numbers as "
    "raw.bin::float32,2000x1000"
)


class Address(NamedTuple):
    """An absolute path or URL, and a part of it or None.

    `axes` are those that make the rows and the columns; if they are the `Unfolding` of another array, which applies to
    arrays with as many axes, they are no part of the text.
    """

    place: str
    part: str | None = None
    axes: Axes | Unfolding | None = None

    @classmethod
    def of(cls, given: str | Path) -> "Address":
        """Parse an address; a file with the whole text as its path has precedence.

        >>> Address.of("/data/a.h5ad::layers/counts").part, str(Address.of("/data/a.zarr::(t) x (y, x)").axes)
        ('layers/counts', '(t)x(y,x)')
        """
        text = without_file_scheme(str(given))
        before, _, last = text.rpartition(MARK)
        axes = Axes.parse(last) if before and not _is_there(text) else None
        text = text if axes is None else before
        place, mark, part = text.rpartition(MARK)
        if not mark or _is_there(text):
            place, part = text, ""
        place = check_url(place) if is_url(place) else str(absolute(place))
        return cls(place, part.strip("/") or None, axes)

    def __str__(self) -> str:
        axes = str(self.axes) if isinstance(self.axes, Axes) else None
        return MARK.join(word for word in (self.place, self.part, axes) if word is not None)

    @property
    def array(self) -> str:
        """The address of the array, without axes."""
        return str(self._replace(axes=None))

    def with_axes(self, axes: Axes | Unfolding | None) -> "Address":
        """Return the address with axes for its array; DataError if it names others itself."""
        if self.axes is None:
            return self._replace(axes=axes)
        if isinstance(axes, Axes) and axes != self.axes:
            raise DataError(f"{self} names its axes, and {axes} are given for it; give one of the two.")
        return self

    def of_part(self, part: str) -> "Address":
        """Return the address of a part of the place."""
        return self._replace(part=part)


def _is_there(text: str) -> bool:
    """Return whether a text is the path of a file or a folder."""
    return not is_url(text) and os.path.exists(absolute(text))


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
