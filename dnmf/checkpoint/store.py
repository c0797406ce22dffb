"""The store of a run: one writer, immutable checkpoints, and commit records that alone say what is true."""

import contextlib
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import zarr

from dnmf.checkpoint.arrays import write_factors, write_whole
from dnmf.checkpoint.commit import FORMAT, GUIDE, Commit
from dnmf.checkpoint.durable import explained, remove_tree
from dnmf.checkpoint.faults import fault_of, open_array
from dnmf.checkpoint.header import find_header, read_header, read_json, write_header
from dnmf.checkpoint.names import NAMES, write_names
from dnmf.checkpoint.place import LOCK, Hold, Place
from dnmf.checkpoint.placing import place_at
from dnmf.checkpoint.telling import told
from dnmf.errors import StoreError, StoreWarning, warn
from dnmf.factor import Factor
from dnmf.kernels.tiles import Float
from dnmf.markup import card
from dnmf.sources.names import NO_NAMES, Names
from dnmf.sources.objects import WRITABLE
from dnmf.sources.urls import is_url

RECORD = re.compile(r"[0-9]{6,18}\.json")
# What a record may be like that cannot be read.
UNREADABLE = (ValueError, KeyError, TypeError, OSError, RecursionError)


class Store:
    """A folder or URL that holds a run: `create` a new one, or `open` one; who writes has the lock until `close`."""

    def __init__(self, place: Place, header: Mapping[str, Any], held: Hold | None) -> None:
        self.place, self.header, self._held = place, header, held
        self._seen: dict[str, str | None] = {}

    def __str__(self) -> str:
        return str(self.place)

    def _repr_html_(self) -> str:
        return card(str(self), told(self.header, self.last()))

    @classmethod
    def create(
        cls, path: str | Path, header: Mapping[str, Any], overwrite: bool = False, names: Names = NO_NAMES
    ) -> "Store":
        """Make a store for a new run, with the names of its matrix, and lock it.

        Raises
        ------
        StoreError
            If there is something at the path and it is not to be overwritten, or is no store.
        """
        place = place_at(path)
        header = {"format": FORMAT, **header}
        with explained(f"The store {place}"):
            _refuse(place, overwrite)
            held = place.lock()
            try:
                _refuse(place, overwrite)  # what has come to be there until the lock was taken
                place.remove_tree("commits")
                place.remove(NAMES)
                write_header(place, header)
                for name in ("checkpoints", "W", "H", "scratch"):
                    place.remove_tree(name)
                if names:
                    write_names(place, names)
                place.keep("")
            except BaseException:
                held.close()
                raise
        return cls(place, header, held)

    @classmethod
    def open(cls, path: str | Path, write: bool = False) -> "Store":
        """Open a store, to read it or to go on writing.

        Raises
        ------
        StoreError
            If there is no store, if no dnmf or a newer one wrote it, or if another run writes to it.
        """
        place = place_at(path)
        with explained(f"The store {place}", "opened"):
            header = read_header(place)
            strange = place.strange()
            if strange is not None:
                raise StoreError(
                    f"{place} holds the link {strange}, and dnmf makes none; do not trust it. Delete the link, or give "
                    "another store."
                )
            if not write:
                return cls(place, header, None)
            store = cls(place, header, place.lock())
            store.sweep()
        return store

    def amend(self, changes: Mapping[str, Any]) -> None:
        """Change what the store says of its run."""
        if any(self.header.get(name) != value for name, value in changes.items()):
            self.header = {**self.header, **changes}
            with explained(f"The header of {self}"):
                write_header(self.place, self.header)

    def close(self) -> None:
        """Let others write."""
        if self._held:
            held, self._held = self._held, None
            with contextlib.suppress(StoreError), explained(f"The lock of {self}"):
                held.close()

    def save(
        self,
        W: Float,
        H: Factor,
        bounds: Sequence[int],
        record: Mapping[str, Any],
        keep: int,
        guide: Float | None = None,
    ) -> bool:
        """Write a checkpoint, commit it, and delete the oldest ones beyond `keep`; say whether there was none yet.

        `record` holds what a `Commit` does, but for group and digests; `guide` (m, q) is what the method of the run
        knows beside the factors.
        """
        passes = int(record["passes"])
        name = f"{passes:06d}.json"
        if name in self._names():
            return False
        group = f"checkpoints/{passes:06d}-{uuid.uuid4().hex[:12]}"
        try:
            with explained(f"The checkpoint after pass {passes} in {self}"):
                digests = write_factors(self.place, group, W, H, bounds, bool(self.header["transposed"]))
                if guide is not None:
                    digests[GUIDE] = [write_whole(self.place, f"{group}/{GUIDE}", guide)]
                self.place.keep(group)
                if self._held:
                    self._held.check()
                self._commit(name, Commit(group=group, digests=digests, **record))
        except StoreError:
            with contextlib.suppress(StoreError), explained("What was left"):
                if self._group_of(name) != group:
                    self.place.remove_tree(group)
            raise
        self.retain(keep)
        return True

    def _commit(self, name: str, commit: Commit) -> None:
        try:
            self.place.create(f"commits/{name}", commit.to_bytes())
        except FileExistsError:
            raise StoreError(
                f"Another run wrote the checkpoint after pass {commit.passes} in {self}, and this one wrote no more to "
                "it; let one run at a time use a store."
            ) from None

    def retain(self, keep: int) -> None:
        """Delete all checkpoints but so many of the newest."""
        with explained(f"Old checkpoints in {self}"):
            for name in self._names()[keep:]:
                self._remove(name)

    def publish(self) -> None:
        """Let the newest checkpoint's factors appear as `W` and `H` at the top of the store."""
        commit = self.last()
        if commit is not None:
            with explained(f"The finished factors in {self}"):
                for name in ("W", "H"):
                    self.place.publish(f"{commit.group}/{name}", name)

    def withdraw(self) -> None:
        """Remove what `publish` made, since the run goes on."""
        with explained(f"The finished factors in {self}"):
            for name in ("W", "H"):
                self.place.remove_tree(name)

    def newest(self) -> Commit | None:
        """Return the newest commit whose chunks are what their digests say, with a warning for each that is not."""
        told: set[str] = set()
        while names := [name for name in self._names() if name not in told]:
            fault = self._fault_of(names[0])
            if fault is None:
                return self._read(names[0])
            told.add(names[0])
            if names[0] in self._names():  # else the run has gone on meanwhile, and deleted it
                warn(
                    f"The checkpoint {names[0]} in {self} is damaged: {fault}. The one before it is taken.",
                    StoreWarning,
                )
        return None

    def last(self) -> Commit | None:
        """Return the newest commit; its chunks are not looked at."""
        return next(self.commits(), None)

    def begun(self) -> bool:
        """Say whether any checkpoint was ever committed that is still there, whole or not."""
        return bool(self._names())

    def arrays(self, commit: Commit) -> tuple[zarr.Array[Any], zarr.Array[Any]]:
        """Return W and H of a commit, as the user knows them."""
        return open_array(self.place, commit, "W"), open_array(self.place, commit, "H")

    def guide(self, commit: Commit) -> Any:
        """Return what the method of the run knew (m, q), or None."""
        return open_array(self.place, commit, GUIDE)[...] if GUIDE in commit.digests else None

    def scratch(self) -> Path | None:
        """Return the folder for blocks that do not fit in memory, if it is here; it lasts as long as the run."""
        return self.place.scratch()

    def discard_scratch(self) -> None:
        """Delete that folder."""
        folder = self.scratch()
        if folder is not None:
            remove_tree(folder)

    def sweep(self) -> None:
        """Delete what no commit speaks of, and commits newer than the newest whole one, with a warning for each."""
        self.discard_scratch()
        newest = self.newest()
        if newest is None and self.begun():
            return  # all are damaged: what is left is for a person to look at
        for name in self._names():
            if newest is not None and int(name.partition(".")[0]) > newest.passes:
                self._remove(name)
        groups = {commit.group for commit in self.commits()}
        for name in self.place.names("checkpoints"):
            if f"checkpoints/{name}" not in groups:
                self.place.remove_tree(f"checkpoints/{name}")
        for draft in self.place.names("commits"):
            if draft.startswith("."):
                self.place.remove(f"commits/{draft}")
        for draft in self.place.names():
            if draft.startswith((".W-", ".H-")):
                self.place.remove_tree(draft)
            elif draft.startswith((".zarr.json-", f".{NAMES}-")):
                self.place.remove(draft)

    def _names(self) -> list[str]:
        names = filter(RECORD.fullmatch, self.place.names("commits"))
        return sorted(names, key=lambda name: int(name.partition(".")[0]), reverse=True)

    def commits(self) -> Iterator[Commit]:
        """Yield the commits that can be read, the newest first; their chunks are not looked at."""
        for name in self._names():
            with contextlib.suppress(*UNREADABLE):
                yield self._read(name)

    def _read(self, name: str) -> Commit:
        return Commit.from_bytes(read_json(self.place, f"commits/{name}"))

    def _fault_of(self, name: str) -> str | None:
        """Return what is wrong with a checkpoint, or None; each is looked at once, since none is ever changed."""
        if name not in self._seen:
            try:
                self._seen[name] = fault_of(self.place, self.header, self._read(name))
            except UNREADABLE as error:
                self._seen[name] = f"its record cannot be read ({type(error).__name__})"
        return self._seen[name]

    def _group_of(self, name: str) -> str | None:
        with contextlib.suppress(*UNREADABLE):
            return self._read(name).group
        return None

    def _remove(self, name: str) -> None:
        group = self._group_of(name)
        self.place.remove(f"commits/{name}")
        if group:
            self.place.remove_tree(group)


def is_store(path: str | Path) -> bool:
    """Say whether there is a store at a path or URL, whatever state it is in."""
    if is_url(path) and not str(path).startswith(WRITABLE):
        return False
    with explained(f"The store {path}", "opened"):
        return find_header(place_at(path)) is not None


def _refuse(place: Place, overwrite: bool) -> None:
    """Raise StoreError if there is something at the place that a new store may not take the place of."""
    if not place.exists():
        return
    with contextlib.suppress(NotADirectoryError):
        if all(name.startswith((LOCK, ".zarr.json-")) for name in place.names()):
            return  # a run was killed here before it had a header
    if not overwrite:
        raise StoreError(f"{place} exists already; resume it, give another path, or say overwrite to start anew there.")
    if find_header(place) is None:
        raise StoreError(f"{place} is no store of dnmf, and is not overwritten; delete it, or give another path.")
