"""Pages of TIFF files: a page of one channel is a matrix, and a stack of pages, or one of several channels, an array.

Numbers that are not compressed are read by blocks, and the compressed pages of a stack one by one. A single compressed
page, and a stack that is spread over several files, are decoded as a whole, into memory, if they are small.
"""

import math
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dnmf.errors import DataError, DataWarning, needed, warn
from dnmf.sources.addresses import Address, NotInPlace
from dnmf.sources.base import Axis, Source
from dnmf.sources.boxes import UnfoldedSource
from dnmf.sources.formats.entry_list import check_held
from dnmf.sources.formats.raw_array import Plain, file_source
from dnmf.sources.formats.tiff_pages import PackedPages, PlainPages, decoded, page_shape
from dnmf.sources.memory import array_read
from dnmf.sources.read_errors import parsing
from dnmf.sources.unfolding import Unfolding, unfolding_of

WHAT = "TIFF file"
# The tag of GDAL for the number that marks missing pixels.
MISSING_TAG = 42113


def open_tiff(address: Address, streamed: Axis | None = None) -> Source:
    """Open the image in a TIFF file, or the page that its address numbers from 0.

    Raises
    ------
    MissingExtraError
        If tifffile, or the package for a compression, is not installed.
    NotInPlace
        If it is compressed in one page and too large.
    DataError
        If there are several images and the address does not name a page.
    """
    with _opened(address) as (file, closing):
        image = _image_of(file, address)
        unfolding = _unfolding(image, address)
        _warn_of_missing(image, address)
        source = _in_place(file, closing, image, unfolding, address, streamed)
        if source is not None:
            return source
        count = math.prod(image.shape)
        what = _kind(image) if image.keyframe.is_final else f"compressed {_kind(image)}"
        facts = f"{' × '.join(map(str, image.shape))}, {what} of {count} pixels"
        check_held(address, count, f"a {what} of {count} pixels", facts)
        values = decoded(image, address)
    return array_read(values, what, address, streamed, unfolding)


def unpacked(address: Address, folder: Path) -> Source:
    """Open an image of any size, after decoding it into a folder if it cannot be read in place."""
    with _opened(address) as (file, closing):
        image = _image_of(file, address)
        unfolding = _unfolding(image, address)
        source = _in_place(file, closing, image, unfolding, address, None)
        if source is not None:
            return source
        target = folder / "unpacked.bin"
        values: Any = decoded(image, address, out=str(target))
        values.flush()
        numbers = Plain(target, 0, image.shape, values.dtype, False)
    return file_source(numbers, _kind(image), str(address), None, unfolding=unfolding)


def _kind(image: Any) -> str:
    return "TIFF page" if len(image.shape) == 2 else "TIFF image"


def _unfolding(image: Any, address: Address) -> Unfolding | None:
    """Return how to unfold an image, whose axes have the letters of tifffile in lower case."""
    names = image.axes.lower() if len(image.axes) == len(image.shape) else None
    return unfolding_of(image.shape, address.axes, names, address.array)


@contextmanager
def _opened(address: Address) -> Iterator[tuple[Any, ExitStack]]:
    """Open a file; it is closed in the end, unless that is taken over from the stack."""
    with parsing(address, WHAT), ExitStack() as closing:
        yield closing.enter_context(needed("tifffile", address.place).TiffFile(address.place)), closing


def _in_place(
    file: Any, closing: ExitStack, image: Any, unfolding: Unfolding | None, address: Address, streamed: Axis | None
) -> Source | None:
    """Open an image that is read block by block or page by page; None if it must be decoded as a whole."""
    pages = _pages_of(file, image)
    if pages is None:
        return None
    path, dtype = Path(address.place), image.dtype.newbyteorder(file.byteorder)
    offset = _offset(image, pages)
    if offset is not None:
        numbers = Plain(path, offset, image.shape, dtype, False)
        return file_source(numbers, _kind(image), str(address), streamed, unfolding=unfolding)
    page = page_shape(image.shape, math.prod(image.keyframe.shape))
    if len(pages) == 1 or unfolding is None or page is None or len(pages) * math.prod(page) != math.prod(image.shape):
        return None
    if image.keyframe.is_final:
        offsets = [one.dataoffsets[0] for one in pages]
        boxes: Any = PlainPages(path, image.shape, dtype, page, offsets)
        return UnfoldedSource(boxes, unfolding, "TIFF stack", str(address), streamed)
    file.filehandle.set_lock(True)
    boxes = PackedPages(address, pages, image.shape, image.dtype, page)
    weakref.finalize(boxes, closing.pop_all().close)
    kind = "TIFF stack, decoded page by page"
    return UnfoldedSource(boxes, unfolding, kind, str(address), streamed, held_bytes=boxes.held_bytes)


def _pages_of(file: Any, image: Any) -> list[Any] | None:
    """Return the pages of an image; None if one is missing or in another file, or their numbers are transformed."""
    if not hasattr(image, "dataoffset"):
        return [image]
    try:
        pages = list(image)
    except IndexError:  # a file whose pages follow each other has the header of the first alone
        pages = [image.keyframe]
    sound = image.transform is None and all(page is not None and page.parent is file for page in pages)
    return pages if sound else None


def _offset(image: Any, pages: list[Any]) -> int | None:
    """Return the offset of the numbers of an image that are in one piece, or None."""
    if hasattr(image, "dataoffset"):
        offset: int | None = image.dataoffset
        return offset
    return int(pages[0].dataoffsets[0]) if image.is_final else None


def _image_of(file: Any, address: Address) -> Any:
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
