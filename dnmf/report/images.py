"""Images within the page as PNG: components as images, and heat maps."""

import base64
import struct
import zlib

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from dnmf.errors import seen

# Colours of a heat map from the lowest to the highest, each lighter than the last: dark blue, teal, green, pale yellow.
ANCHORS = np.array([[13, 16, 44], [33, 62, 112], [31, 122, 140], [92, 184, 122], [253, 243, 178]], np.float64)


def to_pixels(values: ArrayLike, most: float | None = None) -> NDArray[np.uint8]:
    """Return numbers (h, w), or colours (h, w, 3), from 0 to `most` or to their maximum, as pixels (h, w, 3).

    >>> to_pixels([[0.0, 1.0]]).tolist()
    [[[13, 16, 44], [253, 243, 178]]]
    """
    numbers = np.asarray(values, np.float64)
    top = float(numbers.max(initial=0)) if most is None else most
    part = np.clip(numbers / top if top > 0 else np.zeros_like(numbers), 0, 1)
    if numbers.ndim == 3:
        return np.asarray((255 * part).round(), np.uint8)
    steps = np.linspace(0, 1, len(ANCHORS))
    pixels = [np.interp(part, steps, colour).round() for colour in ANCHORS.T]
    return np.stack(pixels, axis=-1).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels (h, w, 3) as a PNG.

    >>> png(np.zeros((2, 3, 3), np.uint8))[:4]
    b'\\x89PNG'
    """
    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def picture(values: ArrayLike, alt: str, most: float | None = None) -> Markup:
    """Return numbers as an image element of the page."""
    pixels = to_pixels(values, most)
    content = base64.b64encode(png(pixels)).decode()
    height, width, _ = pixels.shape
    element = Markup('<img src="data:image/png;base64,{}" alt="{}" width="{}" height="{}" class="pixels">')
    return element.format(content, seen(alt), width, height)


def smaller(matrix: NDArray[np.floating], most: int) -> NDArray[np.float64]:
    """Return the means of the tiles of a matrix, at most `most` of them along each axis.

    >>> smaller(np.arange(16.0).reshape(4, 4), 2).tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    found = np.asarray(matrix, np.float64)
    for axis in (0, 1):
        size = found.shape[axis]
        if size > most:
            starts = np.arange(most) * size // most
            counts = np.diff([*starts, size])
            found = np.add.reduceat(found, starts, axis=axis) / (counts[:, None] if axis == 0 else counts)
    return found
