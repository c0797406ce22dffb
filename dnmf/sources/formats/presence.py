"""Detect missing chunks of a Zarr array: a chunk that has disappeared is an error, and not the fill value.

Zarr reads a chunk that is not stored as the fill value, since writers omit chunks of nothing else. So an unmounted disk
would be read as zeros. Here a chunk that is not found is looked up a second time. It counts as never written only if it
has not been read before, and as long as the array itself exists.
"""

import itertools
from collections.abc import Iterable
from typing import Any

import zarr
from zarr.core.sync import sync
from zarr.storage import StorePath, WrapperStore

# The files of the metadata of an array, or of its group.
METADATA = ("zarr.json", ".zarray", ".zmetadata", ".zgroup")

# The start and the stop of a region along every axis.
Region = tuple[tuple[int, int], ...]


class SecondLook(WrapperStore[Any]):
    """A store that looks up a missing key twice.

    Attributes
    ----------
    missed
        The keys that were not found in the second look-up either.
    absent
        Those of them that are known to be absent, for which one look-up suffices.
    """

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.missed: set[str] = set()
        self.absent: set[str] = set()

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return the content of a key, or None."""
        found = await self._store.get(key, prototype, byte_range)
        if found is None and key not in self.absent:
            found = await self._store.get(key, prototype, byte_range)
            if found is None:
                self.missed.add(key)
        return found


class Presence:
    """A Zarr array with a record of the chunks that were missing when they were first read.

    It is read by `[]`, region by region. Callers that read chunks from files pass the missing ones to `take`.
    """

    def __init__(self, array: zarr.Array[Any]) -> None:
        self._store = SecondLook(array.store)
        place = StorePath(self._store, array.path)
        self._array: zarr.Array[Any] = zarr.Array(zarr.AsyncArray(array.metadata, place))
        self._grid = tuple(int(size) for size in (array.shards or array.chunks))
        self._prefix = f"{array.path}/" if array.path else ""
        self._names: dict[str, set[str]] = {}
        self._seen: set[Region] = set()

    def __getitem__(self, slices: tuple[slice, ...]) -> Any:
        """Read a region; FileNotFoundError if one of its chunks has disappeared."""
        part = self._array[slices]
        region = tuple(each.indices(size)[:2] for each, size in zip(slices, self._array.shape, strict=True))
        missing: set[str] = set()
        if self._store.missed:
            axes = zip(region, self._grid, strict=True)
            chunks = itertools.product(*(range(start // size, -(-stop // size)) for (start, stop), size in axes))
            missing = set(map(self.key, chunks)) & self._store.missed
            self._store.missed -= missing
        self.take(region, missing)
        return part

    def key(self, chunk: tuple[int, ...]) -> str:
        """Return the key of a chunk in the store."""
        metadata: Any = self._array.metadata
        return f"{self._prefix}{metadata.encode_chunk_key(chunk)}"

    def take(self, region: Region, missing: Iterable[str]) -> None:
        """Record missing chunks of a region, by their keys, as never written.

        Raises
        ------
        FileNotFoundError
            If the region was read before with these chunks, the store lists one, or the array has disappeared.
        """
        new = sorted(set(missing) - self._store.absent)
        if new and region in self._seen:
            raise FileNotFoundError(f"the chunk {new[0]} was there before, and is gone")
        if new and not self._is_there():
            raise FileNotFoundError(f"the chunk {new[0]} is not there, and the metadata of the array are gone too")
        if listed := list(filter(self._is_listed, new)):
            raise FileNotFoundError(f"the chunk {listed[0]} is listed, and cannot be found")
        self._store.absent.update(new)
        self._seen.add(region)

    def _is_listed(self, key: str) -> bool:
        """Return whether a missing chunk is listed in its folder; each folder is listed once."""
        folder, _, name = key.rpartition("/")

        async def names() -> set[str]:
            return {found.rpartition("/")[2] async for found in self._store.list_dir(folder)}

        if folder not in self._names:
            self._names[folder] = sync(names()) if self._store.supports_listing else set()
        return name in self._names[folder]

    def _is_there(self) -> bool:
        """Return whether the metadata of the array, or of its group, can still be found, in one of two look-ups."""
        keys = [f"{folder}{name}" for folder in dict.fromkeys((self._prefix, "")) for name in METADATA]
        return any(sync(self._store.exists(key)) for key in (*keys, *keys))
