"""Choice of a compressor."""

from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

# "auto" compresses if this makes a sample at least this many times smaller.
WORTHWHILE = 3.0


def compressors_for(name: str, sample: Any) -> list[Any] | None:
    """Return the compressors of Zarr for a name; a sample decides for `"auto"`."""
    if name == "lz4":
        return [BloscCodec(cname="lz4", typesize=sample.dtype.itemsize)]
    zstd = _zstd(sample.dtype)
    if name == "zstd" or (name == "auto" and sample.size and _shrinks(np.ascontiguousarray(sample), zstd)):
        return [zstd]
    return None


def _zstd(dtype: np.dtype[Any]) -> Any:
    """Return zstd, with the bytes of integers shuffled first: the high ones are almost all the same."""
    if dtype.kind in "iu":
        return BloscCodec(cname="zstd", clevel=1, typesize=dtype.itemsize, shuffle="shuffle")
    return ZstdCodec(level=3)


def _shrinks(sample: Any, codec: Any) -> bool:
    kept = zarr.create_array(
        zarr.storage.MemoryStore(),
        shape=sample.shape,
        chunks=sample.shape,
        dtype=sample.dtype,
        compressors=[codec],
        filters=None,
    )
    kept[...] = sample
    return bool(sample.nbytes >= WORTHWHILE * kept.nbytes_stored())
