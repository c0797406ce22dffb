"""Spectral images with an ENVI header (`.hdr`), as pixels × bands, and spectral libraries, as spectra × bands.

The header describes numbers in another file of the same name, in one of three orders:

    bsq     band, line, sample
    bil     line, band, sample
    bip     line, sample, band

They are read as they are stored: a scale factor is not applied.
"""

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from dnmf.errors import DataError, DataWarning, needed, warn
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.sources.addresses import MARK, Address
from dnmf.sources.base import Axis, Layout, SharedSource, Source, check_shape, relabelled
from dnmf.sources.bounds import cut_tiles
from dnmf.sources.formats.raw_array import FileSource, Plain, flat_bytes
from dnmf.sources.formats.raw_bytes import expect_file, fill, opened, read_into
from dnmf.sources.names import Names
from dnmf.sources.read_errors import parsing
from dnmf.sources.unfolding import Unfolding

WHAT = "ENVI header"
ENDINGS = ("", ".img", ".dat", ".raw", ".bin", ".sli", ".hyspex", ".bsq", ".bil", ".bip")
ORDERS = ("bsq", "bil", "bip")
LIBRARY = "envi spectral library"
SCALE, IGNORED = "reflectance scale factor", "data ignore value"


class BilSource(SharedSource):
    """Pixels × bands of an image of the order line, band, sample; a block of pixels is a run of whole lines."""

    def __init__(
        self, numbers: Plain, image: tuple[int, int, int], kind: str, location: str, streamed: Axis | None, names: Names
    ) -> None:
        lines, samples, bands = image
        self.numbers, self.image = numbers, image
        shape = check_shape((lines * samples, bands), location)
        transposed, bounds = cut_tiles(shape, (samples, 1), numbers.dtype, streamed)
        across = shape[1 if transposed else 0]
        self.layout = Layout.of_file(
            shape,
            numbers.dtype,
            bounds,
            transposed,
            # a block as it is stored, and in order
            read_bytes=2 * across * bounds[1] * numbers.dtype.itemsize,
            kind=kind,
            location=location,
            names=names,
        )

    def read(self, block: int, scratch: Scratch) -> Block:
        """Read a block, and bring its bands together."""
        lines, samples, bands = self.image
        columns = self.layout.columns(block)
        width = columns.stop - columns.start
        if self.layout.transposed:
            stored = scratch.array("stored", (width // samples, bands, samples), self.layout.dtype)
            read_into(self.numbers.path, self._offset(columns.start // samples, 0), flat_bytes(stored))
            ordered = scratch.array("block", (bands, width // samples, samples), self.layout.dtype)
            ordered[...] = stored.transpose(1, 0, 2)
            return ordered.reshape(bands, width)
        stored = scratch.array("stored", (lines, width, samples), self.layout.dtype)
        with opened(self.numbers.path) as descriptor:
            for line in range(lines):
                fill(descriptor, self.numbers.path, self._offset(line, columns.start), flat_bytes(stored[line]))
        ordered = scratch.array("block", (lines, samples, width), self.layout.dtype)
        ordered[...] = stored.transpose(0, 2, 1)
        return ordered.reshape(lines * samples, width)

    def expect(self, block: int) -> None:
        """Ask the system to read whole lines ahead."""
        if self.layout.transposed:
            line = self.layout.bounds[block] // self.image[1]
            expect_file(self.numbers.path, self._offset(line, 0), self.layout.block_bytes(block))

    def _offset(self, line: int, band: int) -> int:
        """Return the offset of the samples of a band in a line."""
        _, samples, bands = self.image
        return self.numbers.offset + (line * bands + band) * samples * self.numbers.dtype.itemsize


def open_envi(address: Address, streamed: Axis | None = None) -> Source:
    """Open the image or the library of a header; a part of the address names the file of its numbers.

    Raises
    ------
    MissingExtraError
        If the package spectral is not installed.
    DataError
        If it is not a header of ENVI, the file of numbers cannot be found or has another size, or the numbers are
        stored in a way that is not read.
    """
    path = Path(address.place)
    header = _header_of(path)
    with parsing(path, WHAT):
        lines, samples, bands = image = tuple(int(header[name]) for name in ("lines", "samples", "bands"))
        offset, order = int(header.get("header offset", 0)), str(header.get("interleave", "")).lower()
        dtype = _dtype_of(header)
    _check(header, path, order)
    data = _data_of(address, path)
    has, needs = data.stat().st_size, offset + math.prod(image) * dtype.itemsize
    if has != needs:
        raise DataError(
            f"{data} has {has} bytes, and {lines} × {samples} pixels of {bands} bands of {dtype} after {offset} bytes "
            f"take {needs}; correct {path.name}, or give the file that it describes, as {path}{MARK}{data.name}."
        )
    kind = f"ENVI image of {lines} × {samples} pixels, {order}{_scale_in(header)}"
    if str(header.get("file type", "")).lower() == LIBRARY:
        numbers, kind = Plain(data, offset, (lines, samples), dtype, False), f"ENVI spectral library{_scale_in(header)}"
        names = Names.of(_listed(header, lines, "spectra names"), _listed(header, samples, "wavelength"))
        return FileSource(numbers, kind, str(address), streamed, names)
    numbers = Plain(data, offset, (lines * samples, bands), dtype, in_columns=order == "bsq")
    names = Names.of(None, _listed(header, bands, "wavelength", "band names"))
    source: FileSource | BilSource = (
        BilSource(numbers, (lines, samples, bands), kind, str(address), streamed, names)
        if order == "bil"
        else FileSource(numbers, kind, str(address), streamed, names)
    )
    return relabelled(source, unfolding=Unfolding((lines, samples, bands), (0, 1), (2,), ("y", "x", "band")))


def _header_of(path: Path) -> dict[str, Any]:
    """Return the fields of a header."""
    envi = needed("spectral.io.envi", str(path))
    with parsing(path, WHAT), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of names in capitals, which it converts
        header: dict[str, Any] = envi.read_envi_header(str(path))
    lacking = [name for name in ("lines", "samples", "bands", "data type", "byte order") if name not in header]
    if lacking:
        raise DataError(f"{path} is an ENVI header without {', '.join(lacking)}; add what it lacks.")
    return header


def _dtype_of(header: dict[str, Any]) -> np.dtype[Any]:
    """Return the dtype of the numbers; ValueError for an unknown one."""
    envi = needed("spectral.io.envi", WHAT)
    code, order = str(header["data type"]), str(header["byte order"])
    if code not in envi.envi_to_dtype:
        raise ValueError(f"data type = {code} is not known")
    if order not in ("0", "1"):
        raise ValueError(f"byte order = {order} is neither 0 nor 1")
    dtype: np.dtype[Any] = np.dtype(envi.envi_to_dtype[code])
    return dtype.newbyteorder("<" if order == "0" else ">")


def _check(header: dict[str, Any], path: Path, order: str) -> None:
    """Raise DataError for numbers that are stored in another way; warn of numbers that mark missing pixels."""
    if order not in ORDERS:
        raise DataError(f"{path} has interleave = {order or 'nothing'}; allowed are bsq, bil and bip.")
    if str(header.get("file compression", "0")) != "0":
        raise DataError(f"{path} describes compressed numbers; write them again without compression.")
    for name in ("major frame offsets", "minor frame offsets"):
        given = header.get(name, ["0"])
        if any(str(each) != "0" for each in (given if isinstance(given, list) else [given])):
            raise DataError(f"{path} has {name}, which are not read; write the image again without them.")
    with parsing(path, WHAT):
        ignored = float(header.get(IGNORED, 0))
    if ignored > 0:
        warn(
            f"{path} has {IGNORED} = {header[IGNORED]}, which marks missing pixels, and these are read as numbers; "
            "drop such pixels, or give weights of 0 for them.",
            DataWarning,
        )


def _data_of(address: Address, path: Path) -> Path:
    """Return the file with the numbers of a header."""
    if address.part is not None:
        given = path.parent / address.part
        if not given.is_file():
            raise DataError(f"{given} does not exist; give the file that {path.name} describes.")
        return given
    stem = path.with_suffix("")
    found = {str(file): file for end in ENDINGS for file in (Path(f"{stem}{end}"), Path(f"{stem}{end.upper()}"))}
    files = [file for file in found.values() if file.is_file()]
    if len(files) == 1:
        return files[0]
    names = ", ".join(file.name for file in files)
    raise DataError(
        f"{path} may describe each of {names}; give one of them, as {path}{MARK}{files[0].name}"
        if files
        else f"The numbers of {path} cannot be found in {stem.name}, {stem.name}.img or {stem.name}.dat; give the name "
        f"of their file, as {path}{MARK}{stem.name}.bin"
    )


def _listed(header: dict[str, Any], count: int, *names: str) -> list[str] | None:
    """Return the first list of a header with a given length."""
    lists = (header.get(name) for name in names)
    return next((found for found in lists if isinstance(found, list) and len(found) == count), None)


def _scale_in(header: dict[str, Any]) -> str:
    """Return a remark on a scale factor, which is not applied."""
    scale = header.get(SCALE)
    return "" if scale is None or float(scale) == 1 else f", as stored ({SCALE} {scale} is not applied)"
