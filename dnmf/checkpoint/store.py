"""The store of a run: one writer, immutable checkpoints, and commit records that make them valid."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import zarr

from dnmf.checkpoint.arrays import write_factors, write_long, write_whole
from dnmf.checkpoint.cleanup import remove_store, sweep_checkpoints, sweep_drafts
from dnmf.checkpoint.commit import GUIDE, TRIAL, Commit, is_finished
from dnmf.checkpoint.header import find_header, formatted, read_header, write_header
from dnmf.checkpoint.names import NAMES, write_names
from dnmf.checkpoint.read import open_array, read_array
from dnmf.checkpoint.records import DAMAGE, Records, new_group
from dnmf.checkpoint.targets import check_apart, refuse_existing
from dnmf.checkpoint.verify import fault_of
from dnmf.engine.factor import Factor
from dnmf.errors import StoreError, StoreWarning, warn
from dnmf.kernels.blocks.tiles import Float
from dnmf.sources.names import NO_NAMES, Names
from dnmf.storage.durable import explained, remove_tree
from dnmf.storage.location import Location, WriteLock, clear
from dnmf.storage.objects import WRITABLE
from dnmf.storage.open_location import location_at
from dnmf.storage.urls import is_url


class Store:
    """A folder or URL that holds a run: `create` a new one, or `open` one. A writer holds the lock until `close`.

    Attributes
    ----------
    commit
        The newest checkpoint that this process wrote or verified, from which a run continues, publishes and returns.
    """

    def __init__(self, place: Location, header: Mapping[str, Any], held: WriteLock | None) -> None:
        self.place, self.header, self._held = place, header, held
        self.records = Records(place)
        self.commit: Commit | None = None
        self._seen: dict[str, Commit | str] = {}

    def __str__(self) -> str:
        return str(self.place)

    @classmethod
    def create(
        cls,
        path: str | Path,
        header: Mapping[str, Any],
        overwrite: bool = False,
        names: Names = NO_NAMES,
        origins: Sequence[Any] = (),
    ) -> "Store":
        """Make a store for a new run, with the names of its matrix, and lock it.

        Raises
        ------
        StoreError
            If the path exists and may not be overwritten, is not a store, or cannot be deleted; or if it is, contains
            or lies in one of the origins.
        """
        place = location_at(path)
        header = formatted(header)
        check_apart(str(place), origins)
        with explained(f"The store {place}"):
            refuse_existing(place, overwrite)
            held = place.lock()
            try:
                refuse_existing(place, overwrite)  # another run may have written before the lock was taken
                clear(place, "commits")
                place.remove(NAMES)
                write_header(place, header)
                for name in ("checkpoints", "W", "H", "scratch"):
                    clear(place, name)
                sweep_drafts(place, "")
                if names:
                    write_names(place, names)
                place.keep("")
            except BaseException:
                held.close()
                raise
        return cls(place, header, held)

    @classmethod
    def open(cls, path: str | Path, write: bool = False) -> "Store":
        """Open a store, to read it or to continue its run.

        Raises
        ------
        StoreError
            If it is not a store of this or an earlier version of dnmf, or if another run writes to it.
        """
        place = location_at(path)
        with explained(f"The store {place}", "opened"):
            header = read_header(place)
            strange = place.find_symlink()
            if strange is not None:
                raise StoreError(
                    f"{place} holds {strange}, and dnmf makes none; do not trust it. Delete it, or give another store."
                )
            if not write:
                return cls(place, header, None)
            store = cls(place, header, place.lock())
            try:
                store.sweep()
            except BaseException:
                store.close()
                raise
        return store

    def amend(self, changes: Mapping[str, Any]) -> None:
        """Change fields of the header, and convert it to the newest format."""
        header = formatted({**self.header, **changes})
        if header != self.header:
            self.header = header
            with explained(f"The header of {self}"):
                write_header(self.place, self.header)

    def close(self) -> None:
        """Release the lock."""
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
        trial: Factor | None = None,
    ) -> bool:
        """Write a checkpoint, commit it, and delete the oldest ones beyond `keep`; return whether it was new.

        The checkpoint of a finished run replaces one of the same pass that is not finished. `record` has the fields of
        a `Commit` except group and digests; `guide` (m, q) is the array of the method's state, and `trial` the H that
        the next pass starts from, if that is another one.
        """
        passes = int(record["passes"])
        before = self.commit if self.commit is not None and self.commit.passes == passes else None
        if before is not None and (before.finished or not is_finished(**record)):
            return False
        group = new_group(passes)
        try:
            with explained(f"The checkpoint after pass {passes} in {self}"):
                digests = write_factors(self.place, group, W, H, bounds, bool(self.header["transposed"]))
                if guide is not None:
                    digests[GUIDE] = [write_whole(self.place, f"{group}/{GUIDE}", guide)]
                if trial is not None:
                    where = self.place.zarr(f"{group}/{TRIAL}")
                    digests[TRIAL] = write_long(where, trial, bounds, W.shape[1], W.dtype, self.header["transposed"])
                self.place.keep(group)
                if self._held:
                    self._held.check()
                self._commit(Commit(group=group, digests=digests, **record), before is not None)
        except StoreError:
            with contextlib.suppress(StoreError), explained("What was left"):
                if not self._refers_to(group, passes):
                    self.place.remove_tree(group)
            raise
        if before is not None:
            with explained(f"Old checkpoints in {self}"):
                self.place.remove_tree(before.group)
        self.retain(keep)
        return True

    def _commit(self, commit: Commit, again: bool) -> None:
        write = self.place.replace if again else self.place.create
        try:
            write(f"commits/{commit.passes:06d}.json", commit.to_bytes())
        except FileExistsError:
            raise StoreError(
                f"Another run wrote the checkpoint after pass {commit.passes} in {self}, and this one wrote no more to "
                "it; let one run at a time use a store."
            ) from None
        self.commit = commit

    def _refers_to(self, group: str, passes: int) -> bool:
        """Return whether the record of a pass exists and refers to this group."""
        name = f"{passes:06d}.json"
        if name not in self.records.names():
            return False
        try:
            return self.records.read(name).group == group
        except (FileNotFoundError, *DAMAGE):
            return False

    def retain(self, keep: int) -> None:
        """Delete all checkpoints except the newest `keep`."""
        with explained(f"Old checkpoints in {self}"):
            for name in self.records.names()[keep:]:
                self.records.remove(name)

    def publish(self) -> None:
        """Publish the factors of the last checkpoint as `W` and `H` at the top of the store."""
        if self.commit is not None:
            with explained(f"The finished factors in {self}"):
                for name in ("W", "H"):
                    self.place.publish(f"{self.commit.group}/{name}", name)

    def withdraw(self) -> None:
        """Delete the published factors, since the run continues."""
        with explained(f"The finished factors in {self}"):
            for name in ("W", "H"):
                clear(self.place, name)

    def newest(self) -> Commit | None:
        """Return the newest commit whose chunks match their digests, with a warning for each damaged one."""
        damaged: set[str] = set()
        while names := [name for name in self.records.names() if name not in damaged]:
            found = self._verified(names[0])
            if isinstance(found, Commit):
                self.commit = found
                return found
            damaged.add(names[0])
            if names[0] in self.records.names():  # otherwise the run has deleted it meanwhile
                warn(
                    f"The checkpoint {names[0]} in {self} is damaged: {found}. The one before it is taken.",
                    StoreWarning,
                )
        return None

    def commits(self) -> Iterator[Commit]:
        """Yield the commits with undamaged records, the newest first, without checking their chunks."""
        return self.records.all()

    def begun(self) -> bool:
        """Return whether there are committed checkpoints, damaged or not."""
        return bool(self.records.names())

    def arrays(self, commit: Commit) -> tuple[zarr.Array[Any], zarr.Array[Any]]:
        """Return the user's W and H of a commit; `Gone` if they have been deleted."""
        return open_array(self.place, commit, "W"), open_array(self.place, commit, "H")

    def guide(self, commit: Commit) -> Any:
        """Return the array of the state of the method (m, q), or None."""
        return read_array(open_array(self.place, commit, GUIDE)) if GUIDE in commit.digests else None

    def trial(self, commit: Commit) -> zarr.Array[Any] | None:
        """Return the long factor that the pass after a commit starts from, or None if it is that of the commit."""
        return open_array(self.place, commit, TRIAL) if TRIAL in commit.digests else None

    def scratch(self) -> Path | None:
        """Return the folder for blocks that do not fit in memory, which is deleted with the run; None in a bucket."""
        return self.place.scratch()

    def discard_scratch(self) -> None:
        """Delete the folder for blocks."""
        folder = self.scratch()
        if folder is not None:
            remove_tree(folder)

    def remove(self) -> None:
        """Delete the store of a run without a pass, so that another run can be stored there; keep it after an error."""
        with contextlib.suppress(StoreError), explained(f"The store {self}"):
            if self._held:
                self._held.check()
                remove_store(self.place)

    def sweep(self) -> None:
        """Delete data without a commit, and commits newer than the newest whole one, with a warning for each."""
        self.discard_scratch()
        newest = self.newest()
        if newest is None and self.begun():
            return  # every checkpoint is damaged: leave the files for the user to inspect
        sweep_checkpoints(self.records, newest)
        sweep_drafts(self.place, "", "commits")

    def _verified(self, name: str) -> Commit | str:
        """Return a checkpoint, or its fault; each is verified once, since none is ever changed."""
        if name not in self._seen:
            try:
                commit = self.records.read(name)
                self._seen[name] = fault_of(self.place, self.header, commit) or commit
            except (FileNotFoundError, *DAMAGE) as error:
                self._seen[name] = f"its record cannot be read ({type(error).__name__})"
        return self._seen[name]


def is_store(path: str | Path) -> bool:
    """Return whether there is a store at a path or URL, damaged or not."""
    if is_url(path) and not str(path).startswith(WRITABLE):
        return False
    with explained(f"The store {path}", "opened"):
        return find_header(location_at(path)) is not None
