"""Row and column names, stored next to the factors and safe to lose."""

from typing import Any

from dnmf.checkpoint.commit import sealed, unsealed
from dnmf.checkpoint.header import MOST_BYTES, read_json
from dnmf.errors import StoreWarning, warn
from dnmf.sources.names import NO_NAMES, Names
from dnmf.storage.durable import explained
from dnmf.storage.location import Location

NAMES = "names.json"


def write_names(place: Location, names: Names) -> None:
    """Write names into a store atomically; warn and keep none if they are too large to be read again."""
    axes = {"rows": names.rows, "columns": names.columns}
    content = sealed({axis: None if texts is None else texts.tolist() for axis, texts in axes.items()})
    if len(content) > MOST_BYTES:
        warn(
            f"The names of rows and columns take {len(content)} bytes, and a store keeps up to {MOST_BYTES}: {place} "
            "keeps none. Give shorter names, or keep them elsewhere.",
            StoreWarning,
        )
        return
    with explained(f"The names in {place}"):
        place.replace(NAMES, content)


def read_names(place: Location, shape: tuple[int, int]) -> Names:
    """Return the stored names of a matrix of a shape; no names, with a warning, if they are damaged."""
    with explained(f"The names in {place}", "opened"):
        try:
            content = unsealed(read_json(place, NAMES))
            rows, columns = content["rows"], content["columns"]
            if not (_names(rows, shape[0]) and _names(columns, shape[1])):
                raise ValueError("they are not those of its rows and columns")
        except FileNotFoundError:
            return NO_NAMES
        except (ValueError, KeyError, TypeError, RecursionError, IsADirectoryError) as error:
            warn(
                f"{NAMES} in {place} is damaged ({type(error).__name__}: {str(error)[:80]}); the factors are taken "
                "without names.",
                StoreWarning,
            )
            return NO_NAMES
    return Names.of(rows, columns)


def _names(given: Any, count: int) -> bool:
    """Return whether a value is None or a list of `count` names."""
    return given is None or (
        isinstance(given, list) and len(given) == count and all(isinstance(name, str) for name in given)
    )
