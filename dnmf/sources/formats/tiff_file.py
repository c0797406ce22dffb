"""Pages of TIFF files: a page of one channel is a matrix.

A page that is not compressed is read by blocks. Others are decoded as a whole, into memory, if they are small.
"""

from pathlib import Path
from typing import Any

import numpy as np

from dnmf.errors import DataError, DataWarning, missing_extra, needed, warn
from dnmf.sources.addresses import Address, NotInPlace
from dnmf.sources.base import Axis, Source, check_shape
from dnmf.sources.formats.entry_list import check_held
from dnmf.sources.formats.raw_array import FileSource, Plain
from dnmf.sources.memory import ArraySource, read_into_memory
from dnmf.sources.read_errors import parsing

WHAT = "TIFF file"
# The tag of GDAL for the number that marks missing pixels.
MISSING_TAG = 42113


def open_tiff(address: Address, streamed: Axis | None = None) -> Source:
    """Open the page of a TIFF file, or the one that its address numbers from 0.

    Raises
    ------
    MissingExtraError
        If tifffile, or the package for a compression, is not installed.
    NotInPlace
        If the page is compressed and too large.
    DataError
        If there are several pages and the address does not name one, or a page has several channels.
    """
    with parsing(address, WHAT), needed("tifffile", address.place).TiffFile(address.place) as file:
        page = _page_of(file, address)
        rows, columns = shape = check_shape(page.shape, str(address))
        numbers = _plain(file, page, Path(address.place), shape)
        _warn_of_missing(page, address)
        if numbers is not None:
            return FileSource(numbers, "TIFF page", str(address), streamed)
        count = rows * columns
        facts = f"{rows} × {columns}, compressed TIFF page of {count} pixels"
        check_held(address, count, f"a compressed page of {count} pixels", facts)
        values = _decoded(page, address)
    return read_into_memory(ArraySource(values, streamed), "compressed TIFF page", str(address))


def unpacked(address: Address, folder: Path) -> Source:
    """Open a page of any size, after decoding it into a folder if it is compressed."""
    with parsing(address, WHAT), needed("tifffile", address.place).TiffFile(address.place) as file:
        page = _page_of(file, address)
        shape = check_shape(page.shape, str(address))
        numbers = _plain(file, page, Path(address.place), shape)
        if numbers is None:
            target = folder / "unpacked.bin"
            values = _decoded(page, address, out=str(target))
            values.flush()
            numbers = Plain(target, 0, shape, values.dtype, False)
    return FileSource(numbers, "TIFF page", str(address))


def _page_of(file: Any, address: Address) -> Any:
    """Return the page of an address, or the only image, which has several axes if it is a stack of pages."""
    count = len(file.pages)
    if address.part is None and len(file.series) == 1:
        return file.series[0]
    if address.part is None:
        listed = f"0 to {count - 1}"
        raise NotInPlace(
            f"{address.place} holds {len(file.series)} images in {count} pages; give the number of a page, {listed}, "
            f"as {address.of_part('0')}",
            {"holds": f"pages {listed}"},
        )
    if not address.part.isdigit() or int(address.part) >= count:
        raise DataError(
            f"{address.place} has {count} pages, and {address.part} is not one of them; give a number from 0 to "
            f"{count - 1}, as {address.of_part('0')}"
        )
    return file.pages[int(address.part)]


def _plain(file: Any, page: Any, path: Path, shape: tuple[int, int]) -> Plain | None:
    """Return the position of the numbers of a page, or None if they must be decoded."""
    series = getattr(page, "pages", None)
    page = page.keyframe if series is not None and len(series) == 1 else page
    if page.shape != shape or not (page.is_contiguous and page.is_final):
        return None
    return Plain(path, page.dataoffsets[0], shape, page.dtype.newbyteorder(file.byteorder), False)


def _decoded(page: Any, address: Address, **options: Any) -> Any:
    """Return the numbers of a page."""
    try:
        return page.asarray(**options)
    except ValueError as error:
        if "imagecodecs" in str(error):
            raise missing_extra("imagecodecs", f"The compression of {address}") from error
        raise


def _warn_of_missing(page: Any, address: Address) -> None:
    """Warn of a number above 0 that marks missing pixels."""
    tag = page.keyframe.tags.get(MISSING_TAG)
    try:
        mark = float(tag.value) if tag is not None else 0.0
    except ValueError:
        return
    if mark > 0 and np.isfinite(mark):
        warn(
            f"{address} marks missing pixels by {mark:g}, and these are read as numbers; give weights of 0 for them, "
            "or give the array with NaN in their place and missing='nan'.",
            DataWarning,
        )
