"""Output as lines: one JSON object per pass, a notice, and facts about a path."""

import json
from typing import IO

from dnmf.cli.streams import notify
from dnmf.engine.plan import Plan
from dnmf.errors import seen
from dnmf.run.watcher import Watcher
from dnmf.solvers.history import Record


class JsonLines(Watcher):
    """Write one JSON object per pass, with the field names of the history."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def passed(self, record: Record) -> None:
        """Write the record of a pass."""
        self._stream.write(json.dumps(record.to_dict(), allow_nan=False) + "\n")
        self._stream.flush()


class UnsavedNotice(Watcher):
    """Print that a run has no store, once its options and its matrix are checked."""

    def started(self, plan: Plan, passes: int, max_passes: int) -> None:
        """Print the notice."""
        notify("Results will not be saved; add --store PATH.")


def summary(path: str, rows: dict[str, str]) -> str:
    """Return facts about a path as aligned lines.

    >>> print(summary("V.zarr", {"rank": "3"}))
    V.zarr
      rank          3
    """
    return seen("\n".join([path, *(f"  {name:<12}  {value}" for name, value in rows.items())]))
