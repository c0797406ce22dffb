"""Verify a checkpoint: find content that has changed since it was written."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from zarr.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from dnmf.checkpoint.arrays import CHECKSUM_BYTES, chunk_key, digest
from dnmf.checkpoint.commit import GUIDE, TRIAL, Commit, guide_columns
from dnmf.checkpoint.header import read_json
from dnmf.checkpoint.records import DAMAGE
from dnmf.errors import DnmfError, exhausted
from dnmf.storage.location import Location

METADATA = "zarr.json"


def fault_of(place: Location, header: Mapping[str, Any], commit: Commit) -> str | None:
    """Return the fault of a checkpoint, or None if a run with this header can have written it.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    blocks = len(header["bounds"]) - 1
    if len(commit.state["norms"]) not in (0, blocks):
        return "its record is of other blocks"
    shape, parts = header["fingerprint"]["shape"], commit.state.get("parts")
    alone = (header["settings"].get("layers") or [header["settings"]["rank"]])[0]  # the first of several layers
    rank = sum(part["rank"] for part in parts) if parts else alone
    shapes = {"W": [shape[0], rank], "H": [rank, shape[1]]}
    if GUIDE in commit.digests:
        shapes[GUIDE] = [shape[1 if header["transposed"] else 0], guide_columns(commit.state)]
    if TRIAL in commit.digests:
        shapes[TRIAL] = shapes["W" if header["transposed"] else "H"]
    found = {}
    for name, expected in shapes.items():
        try:
            found[name] = read_json(place, f"{commit.group}/{name}/{METADATA}")
            strange = strange_array(found[name], expected)
        except (FileNotFoundError, NotADirectoryError, *DAMAGE) as error:
            return f"its factors cannot be opened ({type(error).__name__})"
        if strange is not None:
            return f"{name} has {strange}"
    faults = (
        damaged_chunk(place, f"{commit.group}/{name}", metadata, commit.digests[name])
        for name, metadata in found.items()
    )
    return next(filter(None, faults), None)


def strange_array(metadata: bytes, shape: list[int]) -> str | None:
    """Return the fault in the metadata of a factor of this shape, or None."""
    read = json.loads(metadata)
    if read["node_type"] != "array" or read["shape"] != shape:
        return f"the shape {str(read.get('shape'))[:40]} in place of {shape}"
    if read["data_type"] not in ("float32", "float64"):
        return f"the dtype {str(read['data_type'])[:40]}"
    if any(codec["name"] not in ("bytes", "crc32c") for codec in read["codecs"]):
        return f"the codecs {str(read['codecs'])[:80]}"
    chunks = read["chunk_grid"]["configuration"]["chunk_shape"]
    if not all(isinstance(size, int) and 0 < size <= most for size, most in zip(chunks, shape, strict=True)):
        return f"chunks of {str(chunks)[:40]}"
    return None if chunks[0] == shape[0] or chunks[1] == shape[1] else f"chunks of {chunks}"


def damaged_chunk(place: Location, name: str, metadata: bytes, digests: Sequence[str]) -> str | None:
    """Return the name of the first chunk that does not match its digest, or None.

    The place reads the bytes, and Zarr decodes them: so an error of the disk is not taken for one of the content. A
    chunk whose length is not that of its numbers is not decoded: metadata may promise a huge chunk that is not there.
    """
    held: dict[str, Any] = {METADATA: Buffer.from_bytes(metadata)}
    try:
        array: Any = zarr.open_array(MemoryStore(held), mode="r", zarr_format=3)
    except Exception as error:
        if exhausted(error):
            raise
        return f"its factors cannot be opened ({type(error).__name__})"
    label = name.rpartition("/")[2]
    by_rows = array.chunks[0] < array.shape[0]
    long = 0 if by_rows else 1
    width = array.chunks[long]
    if -(-array.shape[long] // width) != len(digests):
        return f"the shape of {label}"
    size = math.prod(array.chunks) * array.dtype.itemsize + CHECKSUM_BYTES
    for index, expected in enumerate(digests):
        columns = slice(index * width, (index + 1) * width)
        key = chunk_key(array, index, by_rows)
        try:
            content = _content(place, f"{name}/{key}", size)
            if content is None:
                return f"chunk {index} of {label} (of another length)"
            held[key] = Buffer.from_bytes(content)
            chunk = np.asarray(array[columns, :] if by_rows else array[:, columns])
        except DnmfError:
            raise
        except Exception as error:
            if exhausted(error):
                raise
            return f"chunk {index} of {label} ({type(error).__name__})"
        del held[key]
        if digest(chunk) != expected:
            return f"chunk {index} of {label}"
    return None


def _content(place: Location, name: str, size: int) -> bytes | None:
    """Return the content of a file, or None if its size in bytes is another one."""
    try:
        content = place.read(name, size)
    except ValueError:
        return None
    return content if len(content) == size else None
