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
    if name == "zstd" or (name == "auto" and sample.size and _shrinks(np.ascontiguousarray(sample))):
        return [ZstdCodec(level=3)]
    return None


def _shrinks(sample: Any) -> bool:
    kept = zarr.create_array(
        zarr.storage.MemoryStore(),
        shape=sample.shape,
        chunks=sample.shape,
        dtype=sample.dtype,
        compressors=[ZstdCodec(level=3)],
        filters=None,
    )
    kept[...] = sample
    return bool(sample.nbytes >= WORTHWHILE * kept.nbytes_stored())
