"""What is wrong with a checkpoint."""

from collections.abc import Mapping
from typing import Any

import zarr

from dnmf.checkpoint.arrays import damaged_chunk, strange_array
from dnmf.checkpoint.commit import GUIDE, Commit, guide_columns
from dnmf.checkpoint.header import read_json
from dnmf.checkpoint.place import Place


def fault_of(place: Place, header: Mapping[str, Any], commit: Commit) -> str | None:
    """Return what a checkpoint has that no run with this header wrote, or None."""
    blocks = len(header["bounds"]) - 1
    if len(commit.state["norms"]) not in (0, blocks):
        return "its record is of other blocks"
    shape, parts = header["fingerprint"]["shape"], commit.state.get("parts")
    rank = sum(part["rank"] for part in parts) if parts else header["settings"]["rank"]
    shapes = {"W": [shape[0], rank], "H": [rank, shape[1]]}
    if GUIDE in commit.digests:
        shapes[GUIDE] = [shape[1 if header["transposed"] else 0], guide_columns(commit.state)]
    try:
        for name, expected in shapes.items():
            strange = strange_array(read_json(place, f"{commit.group}/{name}/zarr.json"), expected)
            if strange is not None:
                return f"{name} has {strange}"
        arrays = {name: open_array(place, commit, name) for name in shapes}
    except Exception as error:
        return f"its factors cannot be opened ({type(error).__name__})"
    faults = (
        damaged_chunk(place, f"{commit.group}/{name}", array, commit.digests[name]) for name, array in arrays.items()
    )
    return next(filter(None, faults), None)


def open_array(place: Place, commit: Commit, name: str) -> zarr.Array[Any]:
    """Open an array of a checkpoint."""
    return zarr.open_array(place.zarr(f"{commit.group}/{name}"), mode="r", zarr_format=3)
