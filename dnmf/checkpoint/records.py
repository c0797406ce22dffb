"""The commit records of a store, and the groups of their factors."""

import contextlib
import re
import uuid
from collections.abc import Iterator

from dnmf.checkpoint.commit import Commit
from dnmf.checkpoint.header import read_json
from dnmf.storage.location import Location

NAME = re.compile(r"[0-9]{6,18}\.json")
# Errors that the content of a damaged record may raise, unlike a record that cannot be read.
DAMAGE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError, IsADirectoryError)


class Records:
    """The commit records at a place; their names are the numbers of passes before them."""

    def __init__(self, place: Location) -> None:
        self.place = place

    def names(self) -> list[str]:
        """Return the names of all records, the newest first."""
        try:
            found = self.place.names("commits")
        except NotADirectoryError:
            return []
        return sorted(filter(NAME.fullmatch, found), key=passes_of, reverse=True)

    def read(self, name: str) -> Commit:
        """Read a record.

        Raises
        ------
        FileNotFoundError
            If it no longer exists.
        Exception
            One of `DAMAGE` if its content was changed, or belongs to another pass.
        """
        commit = Commit.from_bytes(read_json(self.place, f"commits/{name}"))
        if commit.passes != passes_of(name) or not commit.group.startswith(_groups_of(name)):
            raise ValueError("the record is that of another pass")
        return commit

    def all(self) -> Iterator[Commit]:
        """Yield the undamaged records, the newest first, without checking their factors."""
        for name in self.names():
            with contextlib.suppress(FileNotFoundError, *DAMAGE):
                yield self.read(name)

    def remove(self, name: str) -> None:
        """Delete a record, then the factors of its pass."""
        self.place.remove(f"commits/{name}")
        for group in self.place.names("checkpoints"):
            if f"checkpoints/{group}".startswith(_groups_of(name)):
                self.place.remove_tree(f"checkpoints/{group}")


def new_group(passes: int) -> str:
    """Return a unique name for the factors of a pass."""
    return f"checkpoints/{passes:06d}-{uuid.uuid4().hex[:12]}"


def passes_of(name: str) -> int:
    """Return the number of passes in the name of a record.

    >>> passes_of("000012.json")
    12
    """
    return int(name.partition(".")[0])


def _groups_of(name: str) -> str:
    """Return the prefix of the names of the groups of a record's pass."""
    return f"checkpoints/{name.partition('.')[0]}-"
