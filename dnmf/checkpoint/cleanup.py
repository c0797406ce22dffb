"""Delete the remains of killed runs in a store."""

import contextlib
import re

from dnmf.checkpoint.commit import Commit
from dnmf.checkpoint.header import NAME
from dnmf.checkpoint.records import DAMAGE, Records, passes_of
from dnmf.storage.location import LOCK, Location

# An unfinished file or folder of a run or survey.
DRAFT = re.compile(r"\.((zarr|names|spent|[0-9]{6,18})\.json|W|H|\.lock|[a-z0-9-]+\.npz)-.+")


def sweep_drafts(place: Location, *folders: str) -> None:
    """Delete unfinished files in folders; the lock is held, so no process is writing them."""
    for folder in folders:
        for name in place.names(folder):
            if DRAFT.fullmatch(name):
                path = f"{folder}/{name}" if folder else name
                place.remove_tree(path)
                with contextlib.suppress(IsADirectoryError, NotADirectoryError):
                    if name in place.names(folder):
                        place.remove(path)


def sweep_checkpoints(records: Records, newest: Commit | None) -> None:
    """Delete records that are damaged or newer than the newest whole one, and groups without a record.

    A record that cannot be read is an error, before anything is deleted.
    """
    names, groups, damaged = records.names(), set[str](), []
    for name in names:
        try:
            groups.add(records.read(name).group)
        except FileNotFoundError:
            continue
        except DAMAGE:
            damaged.append(name)
    newer = [name for name in names if newest is not None and passes_of(name) > newest.passes]
    for name in {*newer, *damaged}:
        records.remove(name)
    for group in records.place.names("checkpoints"):
        if f"checkpoints/{group}" not in groups:
            records.place.remove_tree(f"checkpoints/{group}")


def remove_store(place: Location) -> None:
    """Delete a store except its lock, the header last: until then it is recognised as a store."""
    for name in place.names():
        if name != NAME and not name.startswith(LOCK):
            place.remove_tree(name)
            if name in place.names():
                place.remove(name)
    place.remove(NAME)


def is_begun(names: list[str]) -> bool:
    """Return whether a folder holds more than the remains of a run that was killed before it had a header."""
    return not all(name.startswith(LOCK) or DRAFT.fullmatch(name) for name in names)
