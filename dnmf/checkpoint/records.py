"""The records of a store: which there are, what they say, and the factors that each speaks of."""

import contextlib
import re
import uuid
from collections.abc import Iterator

from dnmf.checkpoint.commit import Commit
from dnmf.checkpoint.header import read_json
from dnmf.storage.location import Place

NAME = re.compile(r"[0-9]{6,18}\.json")
# What the content of a record may be like that no run wrote; that it cannot be read is another thing.
DAMAGE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError, IsADirectoryError)


class Records:
    """The commit records at a place, known by their names: the passes after which they were written."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def names(self) -> list[str]:
        """Return the names of all, the newest first."""
        try:
            found = self.place.names("commits")
        except NotADirectoryError:
            return []
        return sorted(filter(NAME.fullmatch, found), key=passes_of, reverse=True)

    def read(self, name: str) -> Commit:
        """Return what a record says.

        Raises
        ------
        FileNotFoundError
            If it is there no more.
        Exception
            One of `DAMAGE` if its content is not what was written, or is that of another pass.
        """
        commit = Commit.from_bytes(read_json(self.place, f"commits/{name}"))
        if commit.passes != passes_of(name) or not commit.group.startswith(_groups_of(name)):
            raise ValueError("the record is that of another pass")
        return commit

    def all(self) -> Iterator[Commit]:
        """Yield what those say that are whole, the newest first; the factors are not looked at."""
        for name in self.names():
            with contextlib.suppress(FileNotFoundError, *DAMAGE):
                yield self.read(name)

    def remove(self, name: str) -> None:
        """Delete a record, and after it the factors of its pass."""
        self.place.remove(f"commits/{name}")
        for group in self.place.names("checkpoints"):
            if f"checkpoints/{group}".startswith(_groups_of(name)):
                self.place.remove_tree(f"checkpoints/{group}")


def new_group(passes: int) -> str:
    """Return a name for the factors of a pass, which nothing else has."""
    return f"checkpoints/{passes:06d}-{uuid.uuid4().hex[:12]}"


def passes_of(name: str) -> int:
    """Return the number of passes that the name of a record says.

    >>> passes_of("000012.json")
    12
    """
    return int(name.partition(".")[0])


def _groups_of(name: str) -> str:
    """Return how the names of the groups of a record's pass begin."""
    return f"checkpoints/{name.partition('.')[0]}-"
