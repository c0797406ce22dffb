"""What a store says of its run, and what it may not say: a store can come from anywhere."""

import itertools
import json
from collections.abc import Mapping
from typing import Any

from dnmf.checkpoint.commit import FORMAT
from dnmf.checkpoint.place import Place
from dnmf.errors import StoreError
from dnmf.kernels.steps import Step
from dnmf.settings import Settings
from dnmf.sources.prepared import check_steps

NAME = "zarr.json"
# No header or record is longer: blocks and passes take some tens of bytes each.
MOST_BYTES = 2**28
KINDS: dict[str, tuple[type, ...]] = {
    "fingerprint": (dict,),
    "settings": (dict,),
    "location": (str, type(None)),
    "transposed": (bool,),
    "bounds": (list,),
    "given": (bool,),
}


def write_header(place: Place, header: Mapping[str, Any]) -> None:
    """Make a place a Zarr group that says of a run what can be read as long as there is the place."""
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"dnmf": header}}
    place.replace(NAME, json.dumps(group, indent=2, allow_nan=False).encode())


def find_header(place: Place) -> dict[str, Any] | None:
    """Return what a store says of its run as it says it, or None if there is no store."""
    return find_json(place, "dnmf")


def find_json(place: Place, kind: str) -> dict[str, Any] | None:
    """Return what the attributes of a Zarr group say of one kind, or None where there are none."""
    try:
        header = json.loads(read_json(place, NAME))["attributes"][kind]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return header if isinstance(header, dict) else None


def read_header(place: Place) -> dict[str, Any]:
    """Return what a store says of its run, checked.

    Raises
    ------
    StoreError
        If there is no store, if a newer version of dnmf wrote it, or if no dnmf can have written it.
    """
    header = find_header(place)
    if header is None:
        if find_json(place, "dnmf_survey") is not None:
            raise StoreError(f"{place} is a survey of ranks; give the store of a run, as those in {place}/best are.")
        state = "is no store of dnmf" if place.exists() else "does not exist"
        raise StoreError(f"{place} {state}; give the store of a run, as made by store= or `dnmf fit --store`.")
    if not isinstance(header.get("format"), int) or header["format"] > FORMAT:
        raise StoreError(
            f"{place} has format version {header.get('format')}, and this dnmf knows versions up to {FORMAT}; "
            "install a newer dnmf."
        )
    fault = _fault(header)
    if fault:
        raise StoreError(
            f"{place} is no store that dnmf wrote: {fault} in its zarr.json. Do not trust it; give another store, or "
            "start a new run."
        )
    return header


def read_json(place: Place, name: str) -> bytes:
    """Return a file that is to be read as JSON; ValueError where it is larger than any that dnmf writes."""
    size = place.size(name)
    if size > MOST_BYTES:
        raise ValueError(f"{name} has {size} bytes")
    return place.read(name)


def _fault(header: Mapping[str, Any]) -> str | None:
    """Return what is wrong in a header, or None."""
    for name, kinds in KINDS.items():
        if not isinstance(header.get(name), kinds):
            return f"{name} is {str(header.get(name))[:60]!r}"
    shape = header["fingerprint"].get("shape")
    if not isinstance(shape, list) or len(shape) != 2 or not all(_is_count(size) for size in shape):
        return f"the shape is {str(shape)[:60]}"
    bounds = header["bounds"]
    if not all(isinstance(bound, int) for bound in bounds) or len(bounds) < 2 or bounds[0] != 0:
        return "the bounds of the blocks are none"
    if any(stop <= start for start, stop in itertools.pairwise(bounds)):
        return "the bounds of the blocks do not rise"
    if bounds[-1] != shape[0 if header["transposed"] else 1]:
        return f"the blocks end at {bounds[-1]}, and the shape is {shape}"
    try:
        Settings.from_options(header["settings"])
    except (ValueError, TypeError) as error:
        return f"the settings are wrong ({error})"
    try:
        told = header.get("prepared") or []
        check_steps([Step.from_json(step) for step in told], (shape[0], shape[1]), header["transposed"])
    except (ValueError, TypeError) as error:
        return f"the preparation is wrong ({error})"
    return None


def _is_count(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and 0 < given < 2**62
