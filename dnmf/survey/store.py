"""Where a survey keeps what it has found, piece by piece: in memory, or in a store that outlives it."""

import io
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.checkpoint.cleanup import is_begun, sweep_drafts
from dnmf.checkpoint.header import FORMAT, SURVEY, check_version, find_header, is_said, read_json, write_header
from dnmf.checkpoint.records import DAMAGE
from dnmf.checkpoint.targets import check_apart
from dnmf.errors import StoreError, StoreWarning, warn
from dnmf.storage.durable import explained
from dnmf.storage.guarded import Guarded
from dnmf.storage.location import Hold
from dnmf.storage.open_location import place_at
from dnmf.survey.costs import Spent
from dnmf.survey.verify import fault_of_piece, read_survey_header

SPENT = "spent.json"
PIECES = "pieces"

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

    def __init__(self, place: Guarded | None = None, header: Mapping[str, Any] | None = None) -> None:
        self.place, self.header = place, dict(header or {})
        self._held: Hold | None = None
        self._pieces: dict[str, Piece] = {}
        self._spent = Spent()

    @classmethod
    def create(
        cls, path: str | Path, header: Mapping[str, Any], overwrite: bool = False, origins: Sequence[Any] = ()
    ) -> "Cabinet":
        """Make a store for a survey, or open the one of the same survey to go on with it.

        Raises
        ------
        StoreError
            If there is something else at the path, or a survey of another matrix or with other settings; or if the
            path is, contains or lies in one of the origins.
        """
        place = place_at(path)
        check_apart(str(place), origins)
        with explained(f"The survey {place}"):
            found = find_header(place, SURVEY)
            check_version(place, found)
            if found is None and place.exists() and is_begun(place.names()):
                raise StoreError(f"{place} exists and is no survey; give another path.")
            other = [name for name in header if found is not None and found.get(name) != header[name]]
            if other and not overwrite:
                assert found is not None
                raise StoreError(
                    f"The survey in {place} has {other[0]}={str(found.get(other[0]))[:200]} and not "
                    f"{str(header[other[0]])[:200]}; give what it was begun with to go on with it, another path, or "
                    "say overwrite."
                )
            cabinet = cls(place, {"format": FORMAT, **header})
            cabinet._held = place.lock()
            try:
                cabinet._begin(found, overwrite)
            except BaseException:
                cabinet.close()
                raise
        return cabinet

    def _begin(self, found: Mapping[str, Any] | None, overwrite: bool) -> None:
        """Delete what is not to be gone on with, and see that the header is that of the newest format."""
        assert self.place is not None
        if found is not None and overwrite:
            for name in self.place.names():
                if name in (PIECES, "best") or name.startswith("models-"):
                    self.place.clear(name)
            self.place.remove(SPENT)
        sweep_drafts(self.place, "", PIECES)
        if not is_said(self.place, self.header, SURVEY):
            write_header(self.place, self.header, SURVEY)
            self.place.keep("")

    @classmethod
    def open(cls, path: str | Path) -> "Cabinet":
        """Open a survey to read it.

        Raises
        ------
        StoreError
            If there is none, a newer dnmf wrote it, or none can have written it.
        """
        place = place_at(path)
        with explained(f"The survey {place}", "opened"):
            return cls(place, read_survey_header(place))

    def close(self) -> None:
        """Let others write."""
        if self._held is not None:
            held, self._held = self._held, None
            with suppress(StoreError), explained(f"The lock of {self.place}"):
                held.close()

    def path(self, name: str) -> str | None:
        """Return the path or URL of a store in the survey's."""
        return None if self.place is None else f"{self.place}/{name}"

    def get(self, name: str) -> Piece | None:
        """Return a piece, or None where it was not kept yet, or is damaged and is to be made again.

        Raises
        ------
        StoreError
            If it cannot be read; or if it is damaged, and the survey is open to be read only.
        """
        if name in self._pieces or self.place is None:
            return self._pieces.get(name)
        file = f"{PIECES}/{name}.npz"
        with explained(f"{self.place}/{file}", "read"):
            try:
                piece, fault = _unpacked(self.place.read(file))
            except (FileNotFoundError, NotADirectoryError):
                return None
            except IsADirectoryError:
                piece, fault = {}, "a folder"
        fault = fault or fault_of_piece(name, piece)
        if fault is None:
            return piece
        if self._held is None:
            raise StoreError(
                f"{self.place}/{file} is damaged ({fault}). Make the survey again with the same store and what it was "
                "begun with; it goes on from all that is whole."
            )
        warn(f"{self.place}/{file} is damaged ({fault}) and is made anew.", StoreWarning)
        if fault == "a folder":
            self.place.clear(file)
        else:
            self.place.remove(file)
        return None

    def spent(self) -> Spent:
        """Return what the survey has taken."""
        if self.place is None:
            return self._spent
        with explained(f"{self.place}/{SPENT}", "read"):
            try:
                return Spent.from_json(json.loads(read_json(self.place, SPENT)))
            except (FileNotFoundError, *DAMAGE):
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
                self.place.create(f"{PIECES}/{name}.npz", content.getvalue())
        return arrays


def _unpacked(content: bytes) -> tuple[Piece, str | None]:
    """Return the arrays in an archive, or what is wrong with it: whatever reading its bytes raises is their content."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}, None
    except Exception as error:
        return {}, type(error).__name__
