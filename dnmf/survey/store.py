"""The results of a survey, piece by piece, in memory or in a store."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.checkpoint import Store, is_store
from dnmf.checkpoint.cleanup import is_begun, remove_store, sweep_drafts
from dnmf.checkpoint.header import SURVEY, check_version, find_header, formatted, is_said, read_json, write_header
from dnmf.checkpoint.records import DAMAGE
from dnmf.checkpoint.targets import check_apart, check_name
from dnmf.errors import DataError, SettingsError, StoreError, StoreWarning, warn
from dnmf.settings import FIELDS
from dnmf.storage.durable import explained
from dnmf.storage.location import Location, WriteLock, clear
from dnmf.storage.open_location import location_at
from dnmf.survey.costs import Costs
from dnmf.survey.verify import fault_of_piece, read_survey_header

COSTS = "spent.json"
PIECES = "pieces"
# The entry of a header with the weights of graphs that are compared, in place of ranks.
WEIGHTS = "graph_weights"

Piece = dict[str, NDArray[Any]]


def is_taken(place: Location) -> bool:
    """Return whether a place is a file, or a folder with more than a survey leaves that is killed before its header."""
    try:
        return is_begun(place.names())
    except NotADirectoryError:
        return True


class SurveyStore:
    """Results by the names of pieces; each piece is written once, whole or not at all.

    ```
    survey.zarr/zarr.json                  the request, and the matrix
    survey.zarr/spent.json                 costs: passes and seconds of each step
    survey.zarr/pieces/<name>.npz          a result: a sketch, a model, a prediction
    survey.zarr/models-<r>-<r>.zarr        checkpoints of models of these ranks, which advance together
    survey.zarr/best/rank-<r>.zarr         store of the best run of each rank, in a survey of ranks
    ```
    """

    def __init__(self, place: Location | None = None, header: Mapping[str, Any] | None = None) -> None:
        self.place, self.header = place, dict(header or {})
        self._lock: WriteLock | None = None
        self._pieces: dict[str, Piece] = {}
        self._costs = Costs()

    @classmethod
    def create(
        cls, path: str | Path, header: Mapping[str, Any], overwrite: bool = False, origins: Sequence[Any] = ()
    ) -> "SurveyStore":
        """Create the store of a survey, or open that of the same survey to continue it.

        Raises
        ------
        StoreError
            If something else exists at the path, or a survey of another matrix or with other settings; or if the path
            is, contains or lies in one of the origins.
        """
        place = location_at(path)
        check_apart(str(place), origins)
        with explained(f"The survey {place}"):
            found = find_header(place, SURVEY)
            check_version(place, found)
            if not place.exists():
                check_name(place)
            elif found is None and is_taken(place):
                raise StoreError(f"{place} already exists and is not a survey; choose another path.")
            other = [] if found is None else differing(found, header)
            if other and not overwrite:
                assert found is not None
                raise StoreError(
                    f"The survey in {place} has {other[0]}={str(found.get(other[0]))[:200]} and not "
                    f"{str(header.get(other[0]))[:200]}; repeat its options to continue it, choose another path, or "
                    "pass overwrite=True (--overwrite)."
                )
            store = cls(place, formatted(header))
            store._lock = place.lock()
            try:
                store._begin(found, overwrite)
            except BaseException:
                store.close()
                raise
        return store

    def _begin(self, found: Mapping[str, Any] | None, overwrite: bool) -> None:
        """Delete results that are not continued, and bring the header to the newest format."""
        assert self.place is not None
        if found is not None and overwrite:
            for name in self.place.names():
                if name in (PIECES, "best") or name.startswith("models-"):
                    clear(self.place, name)
            self.place.remove(COSTS)
        sweep_drafts(self.place, "", PIECES)
        if not is_said(self.place, self.header, SURVEY):
            write_header(self.place, self.header, SURVEY)
            self.place.keep("")

    @classmethod
    def open(cls, path: str | Path) -> "SurveyStore":
        """Open the store of a survey for reading.

        Raises
        ------
        StoreError
            If there is no survey, if a newer dnmf wrote it, or if its header is not valid.
        """
        place = location_at(path)
        with explained(f"The survey {place}", "opened"):
            return cls(place, read_survey_header(place))

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Release the write lock at the end, and delete the store if what was given is refused before a result."""
        try:
            yield
        except (DataError, SettingsError):
            self._remove()
            raise
        finally:
            self.close()

    def _remove(self) -> None:
        with suppress(StoreError), explained(f"The survey {self.place}"):
            if self.place is not None and self._lock is not None and not self._results():
                self._lock.check()
                remove_store(self.place)

    def _results(self) -> list[str]:
        """Return the names of results and of checkpoints in the store."""
        assert self.place is not None
        models = [name for name in self.place.names() if name.startswith("models-")]
        return self.place.names(PIECES) + [file for name in models for file in self.place.names(f"{name}/commits")]

    def close(self) -> None:
        """Release the write lock."""
        if self._lock is not None:
            lock, self._lock = self._lock, None
            with suppress(StoreError), explained(f"The lock of {self.place}"):
                lock.close()

    def path(self, name: str) -> str | None:
        """Return the path or URL of a store within that of the survey."""
        return None if self.place is None else f"{self.place}/{name}"

    @contextmanager
    def checkpoints(self, name: str, header: Mapping[str, Any]) -> Iterator[Store | None]:
        """Open the store for the checkpoints of models that advance together, or None if the survey has no store."""
        path = self.path(f"{name}.zarr")
        if path is None:
            yield None
            return
        store = Store.open(path, write=True) if is_store(path) else Store.create(path, header)
        try:
            yield store
        finally:
            store.close()

    def get(self, name: str) -> Piece | None:
        """Return a piece, or None if it was not stored yet, or is damaged and has to be computed again.

        Raises
        ------
        StoreError
            If it cannot be read, or if it is damaged and the survey is open for reading only.
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
        if self._lock is None:
            raise StoreError(
                f"{self.place}/{file} is damaged ({fault}). Repeat the survey with the same options and store; it "
                "continues from the pieces that are whole."
            )
        warn(f"{self.place}/{file} is damaged ({fault}) and is computed again.", StoreWarning)
        if fault == "a folder":
            clear(self.place, file)
        else:
            self.place.remove(file)
        return None

    def require(self, name: str) -> Piece:
        """Return a piece that was stored; StoreError if it has disappeared."""
        piece = self.get(name)
        if piece is None:
            raise StoreError(
                f"The piece {name} of the survey in {self.place} has disappeared; repeat the survey with the same "
                "store to continue from the pieces that are whole."
            )
        return piece

    def costs(self) -> Costs:
        """Return the costs of the survey."""
        if self.place is None:
            return self._costs
        with explained(f"{self.place}/{COSTS}", "read"):
            try:
                return Costs.from_json(json.loads(read_json(self.place, COSTS)))
            except (FileNotFoundError, *DAMAGE):
                return Costs()

    def save_costs(self, costs: Costs) -> None:
        """Store the costs of the survey."""
        self._costs = costs
        if self.place is not None:
            with explained(f"The survey {self.place}"):
                self.place.replace(COSTS, json.dumps(costs.to_json()).encode())

    def put(self, name: str, **piece: Any) -> Piece:
        """Store a piece, unless it is already stored, and return it."""
        arrays = {key: np.asarray(value) for key, value in piece.items()}
        if self.place is None:
            self._pieces[name] = arrays
            return arrays
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **arrays)
        with explained(f"The survey {self.place}"):
            if self._lock is not None:
                self._lock.check()
            with suppress(FileExistsError):  # stored by a survey that was stopped before all pieces of a pass were
                self.place.create(f"{PIECES}/{name}.npz", content.getvalue())
        return arrays


def differing(found: Mapping[str, Any], header: Mapping[str, Any]) -> list[str]:
    """Return the names of entries in which the header of a stored survey differs from a new one.

    Options that the version that wrote it did not have are at their defaults.
    """
    defaults = {name: FIELDS[name].default for name in header["settings"] if name in FIELDS}
    settings = {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
    known = {**found, "settings": {**settings, **found["settings"]}}
    return [name for name in (WEIGHTS, *header) if known.get(name) != header.get(name)]


def _unpacked(content: bytes) -> tuple[Piece, str | None]:
    """Return the arrays in an archive, or its fault: any error while it is read comes from its bytes."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}, None
    except Exception as error:
        return {}, type(error).__name__
