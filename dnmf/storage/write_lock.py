"""The right to write where locks do not end with their process: a name that is checked before each record."""

import contextlib
import json
import socket
import uuid
from typing import Any

import psutil

from dnmf.errors import StoreError
from dnmf.storage.location import LOCK, Location

# Names of the runs of this process that have ended.
_given_up: set[str] = set()


class NamedLock:
    """The right to write to a place, which belongs to the run that wrote its name last.

    Object stores, and file systems without locks, have no lock that ends with its process. So a run that starts takes
    the right unless its owner is alive on this machine; the former owner stops before its next checkpoint.
    """

    def __init__(self, place: Location) -> None:
        self._place = place
        process = psutil.Process()
        before = self._found()
        if before.get("host") == socket.gethostname() and _lives(before) and before.get("run") not in _given_up:
            raise StoreError(
                f"{place} is in use by another run, process {before['process']} of this machine; wait for it to end, "
                "or give another store."
            )
        mine = {"host": socket.gethostname(), "process": process.pid, "since": process.create_time()}
        self._name = uuid.uuid4().hex
        place.replace(LOCK, json.dumps({"run": self._name, **mine}).encode())

    def _found(self) -> dict[str, Any]:
        found: Any = None
        with contextlib.suppress(FileNotFoundError, ValueError, RecursionError):
            found = json.loads(self._place.read(LOCK))
        return found if isinstance(found, dict) else {}

    def check(self) -> None:
        """Raise StoreError if another run has taken over."""
        found = self._found()
        if found.get("run") != self._name:
            raise StoreError(
                f"Another run took over {self._place} (on {found.get('host', 'an unknown machine')}), and this one "
                "wrote no more to it; let one run at a time use a store."
            )

    def close(self) -> None:
        """Delete the name if it is ours; if the place cannot be reached, this process remembers that it is void."""
        _given_up.add(self._name)
        if self._found().get("run") == self._name:
            self._place.remove(LOCK)


def _lives(owner: dict[str, Any]) -> bool:
    """Return whether the process that wrote the name still runs on this machine."""
    try:
        return bool(psutil.Process(int(owner["process"])).create_time() == owner["since"])
    except (psutil.Error, KeyError, TypeError, ValueError, OverflowError):
        return False
