"""Which compressor pays."""

from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from dnmf.errors import unknown

# Compression pays where it makes chunks this many times smaller.
WORTHWHILE = 3.0
COMPRESSORS = ("auto", "none", "zstd", "lz4")


def check_compressor(name: str) -> None:
    """Raise SettingsError where there is no compressor of this name."""
    if name not in COMPRESSORS:
        raise unknown("compressor", name, COMPRESSORS)


def compressors_for(name: str, sample: Any) -> list[Any] | None:
    """Return the compressor by its name, or the one that pays on a sample."""
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
