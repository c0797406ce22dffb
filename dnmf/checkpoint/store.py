"""The store of a run: one writer, immutable checkpoints, and commit records that alone say what is true."""

import contextlib
import json
import os
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import zarr

from dnmf.checkpoint.arrays import damaged_chunk, write_factors
from dnmf.checkpoint.commit import FORMAT, Commit
from dnmf.checkpoint.durable import explained, link_tree, lock, remove_tree, rewrite, sync, sync_tree, write_once
from dnmf.errors import StoreError, StoreWarning
from dnmf.factor import Factor
from dnmf.kernels.tiles import Float


class Store:
    """A folder that holds a run.

    Use `create` for a new run, `open` to read or to resume one. Whoever writes holds the lock until `close`.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], held: IO[bytes] | None) -> None:
        self.path, self.header, self._held = path, header, held

    @classmethod
    def create(cls, path: str | Path, header: Mapping[str, Any], overwrite: bool = False) -> "Store":
        """Make a store for a new run and lock it.

        Raises
        ------
        StoreError
            If there is something at the path and it is not to be overwritten, or is no store.
        """
        path = local_path(path)
        _refuse(path, overwrite)
        with explained(f"The store {path}"):
            path.mkdir(parents=True, exist_ok=True)
            held = lock(path / ".lock")
            try:
                _refuse(path, overwrite)  # what has come to be there until the lock was taken
                remove_tree(path / "commits")
                header = {"format": FORMAT, **header}
                _write_header(path, header)
                for name in ("checkpoints", "W", "H", "scratch"):
                    remove_tree(path / name)
                (path / "commits").mkdir()
                sync_tree(path)
                sync(path.parent)
            except BaseException:
                held.close()
                raise
        return cls(path, header, held)

    @classmethod
    def open(cls, path: str | Path, write: bool = False) -> "Store":
        """Open a store, to read it or to go on writing.

        Raises
        ------
        StoreError
            If there is no store, if a newer version of dnmf wrote it, or if another run writes to it.
        """
        path = local_path(path)
        header = _read_header(path)
        if header is None:
            state = "is no store of dnmf" if path.exists() else "does not exist"
            raise StoreError(f"{path} {state}; give the store of a run, as made by store= or `dnmf fit --store`.")
        if not isinstance(header.get("format"), int) or header["format"] > FORMAT:
            raise StoreError(
                f"{path} has format version {header.get('format')}, and this dnmf knows versions up to {FORMAT}; "
                "install a newer dnmf."
            )
        if not write:
            return cls(path, header, None)
        with explained(f"The lock of {path}"):
            store = cls(path, header, lock(path / ".lock"))
        store.sweep()
        return store

    def amend(self, changes: Mapping[str, Any]) -> None:
        """Change what the store says of its run."""
        if any(self.header[name] != value for name, value in changes.items()):
            self.header = {**self.header, **changes}
            with explained(f"The header of {self.path}"):
                _write_header(self.path, self.header)

    def close(self) -> None:
        """Let others write."""
        if self._held:
            self._held.close()
            self._held = None

    def save(
        self,
        W: Float,
        H: Factor,
        bounds: Sequence[int],
        record: Mapping[str, Any],
        keep: int,
    ) -> bool:
        """Write a checkpoint, commit it, and delete the oldest ones beyond `keep`; say whether there was none yet.

        `record` holds what a `Commit` does, but for group and digests.
        """
        passes = int(record["passes"])
        target = self.path / "commits" / f"{passes:06d}.json"
        if target.exists():
            return False
        group = f"checkpoints/{passes:06d}-{uuid.uuid4().hex[:12]}"
        try:
            with explained(f"The checkpoint after pass {passes} in {self.path}"):
                digests = write_factors(self.path / group, W, H, bounds, bool(self.header["transposed"]))
                sync_tree(self.path / group)
                sync(self.path / "checkpoints")
                write_once(target, Commit(group=group, digests=digests, **record).to_bytes())
        except StoreError:
            if not target.exists():
                remove_tree(self.path / group)
            raise
        self.retain(keep)
        return True

    def retain(self, keep: int) -> None:
        """Delete all checkpoints but so many of the newest."""
        for name in self._names()[keep:]:
            self._remove(name)

    def publish(self) -> None:
        """Let the newest checkpoint's factors appear as `W` and `H` at the top of the store."""
        commit = self.last()
        if commit is not None:
            with explained(f"The finished factors in {self.path}"):
                for name in ("W", "H"):
                    link_tree(self.path / commit.group / name, self.path / name)

    def withdraw(self) -> None:
        """Remove what `publish` made, since the run goes on."""
        for name in ("W", "H"):
            remove_tree(self.path / name)

    def newest(self) -> Commit | None:
        """Return the newest commit whose chunks are what their digests say, with a warning for each that is not."""
        seen: set[str] = set()
        while names := [name for name in self._names() if name not in seen]:
            fault = self._fault_of(names[0])
            if fault is None:
                return self._read(names[0])
            seen.add(names[0])
            if (self.path / "commits" / names[0]).exists():  # else the run has gone on meanwhile, and deleted it
                warnings.warn(
                    f"The checkpoint {names[0]} in {self.path} is damaged: {fault}. The one before it is taken.",
                    StoreWarning,
                    stacklevel=2,
                )
        return None

    def last(self) -> Commit | None:
        """Return the newest commit; its chunks are not looked at."""
        return next(self._commits(), None)

    def begun(self) -> bool:
        """Say whether any checkpoint was ever committed that is still there, whole or not."""
        return bool(self._names())

    def arrays(self, commit: Commit) -> tuple[zarr.Array[Any], zarr.Array[Any]]:
        """Return W and H of a commit, as the user knows them."""
        group = zarr.open_group(self.path / commit.group, mode="r")
        W, H = group["W"], group["H"]
        assert isinstance(W, zarr.Array)
        assert isinstance(H, zarr.Array)
        return W, H

    def scratch(self) -> Path:
        """Return the folder for blocks that do not fit in memory; it lasts as long as the run."""
        return self.path / "scratch"

    def discard_scratch(self) -> None:
        """Delete that folder."""
        remove_tree(self.scratch())

    def sweep(self) -> None:
        """Delete what no commit speaks of, and commits newer than the newest whole one, with a warning for each."""
        self.discard_scratch()
        newest = self.newest()
        if newest is None and self.begun():
            return  # all are damaged: what is left is for a person to look at
        for name in self._names():
            if newest is not None and int(name.partition(".")[0]) > newest.passes:
                self._remove(name)
        groups = {commit.group for commit in self._commits()}
        for folder in (self.path / "checkpoints").glob("*"):
            if f"checkpoints/{folder.name}" not in groups:
                remove_tree(folder)
        for draft in (self.path / "commits").glob(".*"):
            draft.unlink(missing_ok=True)
        for draft in self.path.glob(".[WH]-*"):
            remove_tree(draft)
        for draft in self.path.glob(".zarr.json-*"):
            draft.unlink(missing_ok=True)

    def _names(self) -> list[str]:
        names = (path.name for path in (self.path / "commits").glob("[0-9]*.json"))
        return sorted(names, key=lambda name: int(name.partition(".")[0]), reverse=True)

    def _commits(self) -> Iterator[Commit]:
        for name in self._names():
            with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
                yield self._read(name)

    def _read(self, name: str) -> Commit:
        return Commit.from_bytes((self.path / "commits" / name).read_bytes())

    def _fault_of(self, name: str) -> str | None:
        try:
            return self._fault(self._read(name))
        except (ValueError, KeyError, TypeError, OSError) as error:
            return f"its record cannot be read ({type(error).__name__})"

    def _fault(self, commit: Commit) -> str | None:
        try:
            arrays = self.arrays(commit)
        except Exception as error:
            return f"its factors cannot be opened ({type(error).__name__})"
        faults = (damaged_chunk(array, commit.digests[array.basename]) for array in arrays)
        return next(filter(None, faults), None)

    def _remove(self, name: str) -> None:
        record = self.path / "commits" / name
        group = None
        with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
            group = self._read(name).group
        record.unlink(missing_ok=True)
        sync(record.parent)
        if group:
            remove_tree(self.path / group)


def local_path(path: str | Path) -> Path:
    """Return the absolute path of a store, which must lie on a file system."""
    if "://" in str(path):
        raise StoreError(f"The store {path} is a URL; give a path on a file system of this machine.")
    return Path(os.path.abspath(Path(path).expanduser()))


def _refuse(path: Path, overwrite: bool) -> None:
    """Raise StoreError if there is something at the path that a new store may not take the place of."""
    if not path.exists():
        return
    if path.is_dir() and all(entry.name.startswith((".lock", ".zarr.json-")) for entry in path.iterdir()):
        return  # a run was killed here before it had a header
    if not overwrite:
        raise StoreError(f"{path} exists already; resume it, give another path, or say overwrite to start anew there.")
    if _read_header(path) is None:
        raise StoreError(f"{path} is no store of dnmf, and is not overwritten; delete it, or give another path.")


def _write_header(path: Path, header: Mapping[str, Any]) -> None:
    """Make a folder a Zarr group that says of a run what can be read as long as there is the folder."""
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"dnmf": header}}
    rewrite(path / "zarr.json", json.dumps(group, indent=2, allow_nan=False).encode())


def _read_header(path: Path) -> dict[str, Any] | None:
    """Return what a store says of its run, or None if there is no store."""
    try:
        content = json.loads((path / "zarr.json").read_bytes())
        header = content["attributes"]["dnmf"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return header if isinstance(header, dict) else None
