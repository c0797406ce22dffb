"""Output as lines: one JSON object per pass, a notice, and facts about a path."""

import json
from collections.abc import Callable
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


class StartNotice(Watcher):
    """Call a function when a run starts: its options and its matrix are checked. Print whether it is `unsaved`."""

    def __init__(self, start: Callable[[], None], unsaved: bool) -> None:
        self._start, self._unsaved = start, unsaved

    def started(self, plan: Plan, passes: int, max_passes: int) -> None:
        """Call the function, and print the notice."""
        self._start()
        if self._unsaved:
            notify("Results will not be saved; add --store PATH.")


def summary(path: str, rows: dict[str, str]) -> str:
    """Return facts about a path as aligned lines.

    >>> print(summary("V.zarr", {"rank": "3"}))
    V.zarr
      rank          3
    """
    return seen("\n".join([path, *(f"  {name:<12}  {value}" for name, value in rows.items())]))
