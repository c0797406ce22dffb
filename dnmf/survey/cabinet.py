"""Where a survey keeps what it has found, piece by piece: in memory, or in a store that outlives it."""

import io
import json
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.checkpoint.durable import explained
from dnmf.checkpoint.header import find_json
from dnmf.checkpoint.place import LOCK, Hold, Place
from dnmf.checkpoint.placing import place_at
from dnmf.errors import StoreError, StoreWarning, warn
from dnmf.survey.spent import Spent

FORMAT = 1
NAME = "zarr.json"
KIND = "dnmf_survey"
SPENT = "spent.json"

Piece = dict[str, NDArray[Any]]


class Cabinet:
    """Pieces by their names; each is written once, whole or not at all.

    ```
    survey.zarr/zarr.json                  what was asked, of which matrix
    survey.zarr/spent.json                 passes and seconds, and what for
    survey.zarr/pieces/<name>.npz          what was found: a sketch, a model, a prediction
    survey.zarr/models-<r>-<r>.zarr        the checkpoints of models that advance together, of these ranks
    survey.zarr/best/rank-<r>.zarr         the store of the best run of each rank
    ```
    """

    def __init__(self, place: Place | None = None, header: Mapping[str, Any] | None = None) -> None:
        self.place, self.header = place, dict(header or {})
        self._held: Hold | None = None
        self._pieces: dict[str, Piece] = {}
        self._spent = Spent()

    @classmethod
    def create(cls, path: str | Path, header: Mapping[str, Any], overwrite: bool = False) -> "Cabinet":
        """Make a store for a survey, or open the one of the same survey to go on with it.

        Raises
        ------
        StoreError
            If there is something else at the path, or a survey of another matrix or with other settings.
        """
        place, header = place_at(path), {"format": FORMAT, **header}
        with explained(f"The survey {place}"):
            found = find_json(place, KIND)
            if found is None and place.exists() and [name for name in place.names() if name != LOCK]:
                raise StoreError(f"{place} exists and is no survey; give another path.")
            other = [name for name in header if found is not None and found.get(name) != header[name]]
            if other and not overwrite:
                assert found is not None
                raise StoreError(
                    f"The survey in {place} has {other[0]}={found.get(other[0])!r} and not {header[other[0]]!r}; give "
                    "what it was begun with to go on with it, another path, or say overwrite."
                )
            cabinet = cls(place, header)
            cabinet._held = place.lock()
            if found is not None and overwrite:
                for name in place.names():
                    if name in ("pieces", "best") or name.startswith("models-"):
                        place.remove_tree(name)
                place.remove(SPENT)
            if found is None or overwrite:
                content = {"zarr_format": 3, "node_type": "group", "attributes": {KIND: header}}
                place.replace(NAME, json.dumps(content, indent=2, allow_nan=False).encode())
                place.keep("")
        return cabinet

    @classmethod
    def open(cls, path: str | Path) -> "Cabinet":
        """Open a survey to read it.

        Raises
        ------
        StoreError
            If there is none, or a newer dnmf wrote it.
        """
        place = place_at(path)
        with explained(f"The survey {place}", "opened"):
            header = find_json(place, KIND)
            if header is None:
                raise StoreError(f"{place} is no survey; give the store of one, as made by `dnmf rank --store`.")
            if header.get("format") != FORMAT:
                raise StoreError(
                    f"{place} has format version {header.get('format')}, and this dnmf knows version {FORMAT}; "
                    "install a newer dnmf."
                )
        return cls(place, header)

    def close(self) -> None:
        """Let others write."""
        if self._held is not None:
            self._held.close()

    def path(self, name: str) -> str | None:
        """Return the path or URL of a store in the survey's."""
        return None if self.place is None else f"{self.place}/{name}"

    def get(self, name: str) -> Piece | None:
        """Return a piece, or None where it was not kept yet."""
        if name in self._pieces or self.place is None:
            return self._pieces.get(name)
        file = f"pieces/{name}.npz"
        try:
            with np.load(io.BytesIO(self.place.read(file)), allow_pickle=False) as arrays:
                piece = {key: arrays[key] for key in arrays.files}
        except FileNotFoundError:
            return None
        except (ValueError, zipfile.BadZipFile, OSError, EOFError) as error:
            warn(f"{self.place}/{file} is damaged ({type(error).__name__}) and is made anew.", StoreWarning)
            self.place.remove(file)
            return None
        return piece

    def spent(self) -> Spent:
        """Return what the survey has taken."""
        if self.place is None:
            return self._spent
        try:
            return Spent.from_json(json.loads(self.place.read(SPENT)))
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return Spent()

    def note(self, spent: Spent) -> None:
        """Remember it."""
        self._spent = spent
        if self.place is not None:
            with explained(f"The survey {self.place}"):
                self.place.replace(SPENT, json.dumps(spent.to_json()).encode())

    def put(self, name: str, **piece: Any) -> Piece:
        """Keep a piece, unless it is kept already, and return it."""
        arrays = {key: np.asarray(value) for key, value in piece.items()}
        if self.place is None:
            self._pieces[name] = arrays
            return arrays
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **arrays)
        with explained(f"The survey {self.place}"):
            if self._held is not None:
                self._held.check()
            with suppress(FileExistsError):  # by one that was stopped before it had kept all that a pass led to
                self.place.create(f"pieces/{name}.npz", content.getvalue())
        return arrays
