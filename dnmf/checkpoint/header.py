"""The header of a store, written and validated: a store can come from anywhere."""

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dnmf.aliases import renamed
from dnmf.checkpoint.commit import seal_of
from dnmf.errors import DnmfError, StoreError
from dnmf.kernels.preparation.steps import Step
from dnmf.settings import DATA_OPTIONS, PENALTIES, Settings
from dnmf.sources.collection import SCHEME, Collection
from dnmf.sources.opening import OF_RANKS, OF_RUN, OF_WEIGHTS, results_in
from dnmf.sources.prepared import check_steps
from dnmf.sources.unfolding import Unfolding
from dnmf.storage.location import Location
from dnmf.storage.open_location import location_at
from dnmf.storage.paths import similar
from dnmf.storage.urls import object_errors

NAME = "zarr.json"
RUN, SURVEY = "dnmf", "dnmf_survey"
# The newest format, that of joined matrices and of objectives with other data than V; and the first one whose headers
# are sealed, that of others.
FORMAT, SEALED = 3, 2
SEAL = "seal"
# What to do with a store that was given in place of another kind.
OTHERWISE = {
    OF_RUN: "load it with dnmf.load, or describe it by dnmf info",
    OF_RANKS: "give the store of the best run of one, as those in {place}/best, or write the consensus of its runs as "
    "a store: dnmf consensus {place} --rank RANK --store PATH",
    OF_WEIGHTS: "repeat select_graph_weight (dnmf graph-weight) with the same options and store to read it",
}
# The most bytes of a header or record: blocks and passes take tens of bytes each.
MOST_BYTES = 2**28
# The most characters of a text in a header, and of a path or URL.
MOST_TEXT, MOST_PATH = 1000, 2**16
# Fields of every header, and optional ones.
FIELDS = {"format", "fingerprint", "settings", "location", "transposed", "bounds"}
RUN_FIELDS = FIELDS | {"given"}
SURVEY_FIELDS = FIELDS | {"ranks", "n_runs", "cv", "holdout", "sample"}
ALSO = {"weights", "prepared", "named", "estimator", "unfolded", "joined", "saved", "coupled"}


def write_header(place: Location, header: Mapping[str, Any], kind: str = RUN) -> None:
    """Write the Zarr group of a store, with the header of a run or survey and its digest as attributes."""
    content = {**header, SEAL: seal_of(header)}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {kind: content}}
    place.replace(NAME, json.dumps(group, indent=2, allow_nan=False).encode())


def formatted(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return a header with the version of its format: the oldest that has all of its fields."""
    newest = header.get("joined") or header.get("coupled") or header.get("settings", {}).get("layers")
    return {**header, "format": FORMAT if newest else SEALED}


def attributes_of(place: Location, kind: str) -> dict[str, Any] | None:
    """Return the header of one kind in the attributes of a Zarr group, or None."""
    try:
        header = json.loads(read_json(place, NAME))["attributes"][kind]
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return header if isinstance(header, dict) else None


def find_header(place: Location, kind: str = RUN) -> dict[str, Any] | None:
    """Return the unchecked header of a store, without its digest; None if there is no store of this kind."""
    header = attributes_of(place, kind)
    return None if header is None else renamed({name: value for name, value in header.items() if name != SEAL})


def read_header(place: Location) -> dict[str, Any]:
    """Return the checked header of the store of a run.

    Raises
    ------
    StoreError
        If there is no store, if a newer version of dnmf wrote it, if it is damaged, or if dnmf cannot have written it.
    """
    header = attributes_of(place, RUN)
    if header is None:
        raise absent(place, "a store of dnmf", "give the store of a run, as made by store= or `dnmf fit --store`")
    return checked_header(place, header, "store", _fault_of_run)


def results_at(place: Location) -> str | None:
    """Return what the results in a store are, in words; None without a header."""
    return results_in({kind: header for kind in (RUN, SURVEY) if (header := attributes_of(place, kind)) is not None})


def absent(place: Location, what: str, advice: str) -> StoreError:
    """Return the error for a place that is missing, with a similar name if there is one, or that is something else."""
    if not place.exists():
        return StoreError(f"{place} does not exist; {advice}.{similar(str(place))}")
    found = results_at(place)
    if found is None:
        return StoreError(f"{place} is not {what}; {advice}.")
    return StoreError(f"{place} is {found}; {OTHERWISE[found].format(place=place)}.")


def checked_header(
    place: Location, header: dict[str, Any], what: str, fault_of: Callable[[Mapping[str, Any]], str | None]
) -> dict[str, Any]:
    """Return a header without its digest, after checking that it is unchanged and valid."""
    version = header.get("format")
    check_version(place, header)
    seal = header.pop(SEAL, None)
    if type(version) is int and version >= SEALED and seal != seal_of(header):
        fault: str | None = "there is the digest of other content"
    else:
        header = renamed(header)
        fault = _fault_of_version(header, version) or fault_of(header)
    if fault:
        raise StoreError(
            f"{place} is not a {what} that dnmf wrote: {fault} in its zarr.json. Do not trust it; give another {what}, "
            f"or start a new {'run' if what == 'store' else what}."
        )
    return header


def check_version(place: Location, header: Mapping[str, Any] | None) -> None:
    """Raise StoreError for a header that a newer dnmf wrote."""
    version = None if header is None else header.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise StoreError(
            f"{place} has format version {version}, and this dnmf knows versions up to {FORMAT}; install a newer dnmf."
        )


def is_said(place: Location, header: Mapping[str, Any], kind: str) -> bool:
    """Return whether a store has exactly this header, with its digest."""
    return attributes_of(place, kind) == {**header, SEAL: seal_of(header)}


def read_json(place: Location, name: str) -> bytes:
    """Return the content of a JSON file; ValueError if it is larger than any that dnmf writes."""
    return place.read(name, MOST_BYTES)


def _fault_of_version(header: Mapping[str, Any], version: Any) -> str | None:
    """Return the fault in the version or the field names of a header, or None; early headers have no digest."""
    if type(version) is not int or version < 1:
        return f"the format is {str(version)[:40]!r}"
    strange = header.keys() - RUN_FIELDS - SURVEY_FIELDS - ALSO
    return f"a field is {min(strange)[:60]!r}" if version < SEALED and strange else None


def fault_in(header: Mapping[str, Any], fields: set[str]) -> str | None:
    """Return the fault in the common fields of headers of runs and surveys, or None."""
    missing = fields - header.keys()
    if missing:
        return f"there is no {min(missing)}"
    fault = _fault_of_matrix(header)
    if fault:
        return fault
    shape = header["fingerprint"]["shape"]
    try:
        Settings.from_options(header["settings"])
    except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        return f"the settings are wrong ({str(error)[:200]})"
    try:
        steps = header.get("prepared") or []
        check_steps([Step.from_json(step) for step in steps], (shape[0], shape[1]), header["transposed"])
    except (ValueError, TypeError, RecursionError) as error:
        return f"the preparation is wrong ({str(error)[:200]})"
    try:
        if header.get("unfolded") is not None:
            Unfolding.from_json(header["unfolded"], shape)
    except (ValueError, TypeError) as error:
        return f"the array that was unfolded is wrong ({str(error)[:200]})"
    return None


def _fault_of_run(header: Mapping[str, Any]) -> str | None:
    fault = fault_in(header, RUN_FIELDS)
    if fault or type(header["given"]) is not bool:
        return fault or f"given is {str(header['given'])[:60]!r}"
    named = header.get("named") or []
    if not isinstance(named, list) or not all(axis in ("rows", "columns") for axis in named):
        return f"named is {str(named)[:60]!r}"
    coupled = header.get("coupled", {})
    known = isinstance(coupled, dict) and set(coupled) <= {*DATA_OPTIONS, *PENALTIES}
    if not known or not all(map(_is_known, coupled.values())):
        return f"coupled is {str(coupled)[:60]!r}"
    return None if _is_origin(header.get("saved", {})) else f"saved is {str(header['saved'])[:60]!r}"


def _is_origin(given: Any) -> bool:
    """Return whether a value says how a saved result was made: by a run, or as the consensus of a survey."""
    if given == {}:
        return True
    return (
        isinstance(given, dict)
        and given.keys() == {"survey", "density_threshold", "neighbours"}
        and _is_place(given["survey"])
        and all(
            type(given[name]) is float and 0 < given[name] < math.inf for name in ("density_threshold", "neighbours")
        )
    )


def _fault_of_matrix(header: Mapping[str, Any]) -> str | None:
    """Return the fault in the fields of the matrix, its blocks and its weights, or None."""
    kinds: dict[str, type] = {"fingerprint": dict, "settings": dict, "transposed": bool, "bounds": list}
    for name, kind in kinds.items():
        if not isinstance(header[name], kind):
            return f"{name} is {str(header[name])[:60]!r}"
    if not _is_place(header["location"]):
        return f"location is {str(header['location'])[:60]!r}"
    weights = header.get("weights")
    if weights is not None and not (
        isinstance(weights, dict) and weights.keys() == {"location"} and _is_place(weights["location"])
    ):
        return f"weights is {str(weights)[:60]!r}"
    words = {name: value for name, value in header["fingerprint"].items() if name != "shape"}
    if not all(isinstance(value, str) and len(value) < MOST_TEXT for value in words.values()):
        return f"the fingerprint is {str(words)[:60]}"
    shape = header["fingerprint"].get("shape")
    if not isinstance(shape, list) or len(shape) != 2 or not all(is_count(size) for size in shape):
        return f"the shape is {str(shape)[:60]}"
    if not _is_join(header.get("joined"), shape):
        return f"joined is {str(header['joined'])[:60]}"
    bounds = header["bounds"]
    if not all(type(bound) is int for bound in bounds) or len(bounds) < 2 or bounds[0] != 0:
        return "the bounds of the blocks are invalid"
    if any(stop <= start for start, stop in itertools.pairwise(bounds)):
        return "the bounds of the blocks do not rise"
    if bounds[-1] != shape[0 if header["transposed"] else 1]:
        return f"the blocks end at {bounds[-1]}, and the shape is {shape}"
    return None


def _is_known(given: Any) -> bool:
    """Return whether a value describes a graph or an array by its location and digest."""
    if not isinstance(given, dict) or given.keys() != {"location", "digest"}:
        return False
    return _is_place(given["location"]) and isinstance(given["digest"], str) and len(given["digest"]) < MOST_TEXT


def _is_place(given: Any) -> bool:
    """Return whether a value is the path or URL of a matrix, or None for a matrix in memory."""
    if isinstance(given, str) and given.startswith(SCHEME):
        try:
            return bool(Collection.parse(given, distinct=False).matrices)
        except DnmfError:
            return False
    return given is None or (isinstance(given, str) and 0 < len(given) < MOST_PATH and "\0" not in given)


def _is_join(given: Any, shape: Sequence[int]) -> bool:
    """Return whether a value describes how matrices of some shapes were joined to one of a shape, or is None."""
    if given is None:
        return True
    try:
        way = {name: given[name] for name in given if name not in ("shapes", "bytes")}
        shapes, sizes = given["shapes"], given["bytes"]
        join = Collection.of([f"{SCHEME}{place}" for place in range(len(shapes))], **way)
        along = 0 if join.axis == "rows" else 1
        sound = all(is_count(size) for one in shapes for size in one) and all(type(size) is int for size in sizes)
        return sound and len(sizes) == len(shapes) and shape[along] == sum(one[along] for one in shapes)
    except (DnmfError, TypeError, KeyError, ValueError, IndexError):
        return False


def is_count(given: Any, most: int = 2**62) -> bool:
    """Return whether a value is a whole number above 0 and below `most`."""
    return type(given) is int and 0 < given < most


def has_header(location: str, header: dict[str, Any]) -> bool:
    """Return whether the run at a path or URL has this header; False if it cannot be read."""
    try:
        return find_header(location_at(location)) == header
    except object_errors(DnmfError):
        return False
