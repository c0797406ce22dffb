"""The long factor H (r, n), in the blocks of V: in memory, on a disk, or made when asked for."""

import contextlib
import dataclasses
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from dnmf.errors import DiskError, StoreError
from dnmf.kernels.blocks.hashing import mix
from dnmf.kernels.blocks.tiles import Float, kernel


class Factor(Protocol):
    """Blocks of H that can be read from several threads at once.

    `unscaled` says that the columns have yet to be brought to the scale of V's.
    """

    @property
    def unscaled(self) -> bool:
        """Whether the columns have yet to be scaled."""

    @property
    def shared(self) -> bool:
        """Whether a pickled copy is small, and can be read in any process that sees the same storage."""

    def read(self, block: int) -> Float:
        """Return a block (r, w) that the caller may change."""

    def drop(self) -> None:
        """Give up the blocks."""


class WritableFactor(Factor, Protocol):
    """A factor whose blocks are written as they are computed, each by one task."""

    def write(self, block: int, H: Float) -> None:
        """Keep a block (r, w), which the caller no longer changes."""


class MemoryFactor:
    """A factor in memory."""

    unscaled: ClassVar[bool] = False
    shared: ClassVar[bool] = False

    def __init__(self, blocks: int) -> None:
        self._blocks: list[Float | None] = [None] * blocks

    def read(self, block: int) -> Float:
        """Return a copy of a block."""
        return np.array(self._blocks[block])

    def write(self, block: int, H: Float) -> None:
        """Keep a block."""
        self._blocks[block] = H

    def drop(self) -> None:
        """Do nothing: whoever still holds the factor may read it."""


class DiskFactor:
    """A factor in a folder of its own, one file to a block.

    `owner` is held for as long as the factor is: whoever deletes the folder when nobody holds it any more.
    """

    unscaled: ClassVar[bool] = False
    shared: ClassVar[bool] = False

    def __init__(self, folder: Path, rank: int, dtype: np.dtype[Any], owner: object = None) -> None:
        self._folder = folder / f"H-{uuid.uuid4().hex[:12]}"
        self._rank, self._dtype, self._owner = rank, dtype, owner
        with self._explained():
            self._folder.mkdir(parents=True)

    def read(self, block: int) -> Float:
        """Read a block from its file."""
        try:
            blocks: Float = np.fromfile(self._folder / str(block), self._dtype)
        except FileNotFoundError as error:
            raise StoreError(
                "This factor was kept on the disk until the next pass, or the end of its run, and is there no more; "
                "take it before that, or load it from the store."
            ) from error
        return blocks.reshape(self._rank, -1)

    def write(self, block: int, H: Float) -> None:
        """Write a block to its file."""
        # Not by H.tofile, which says nothing where the last bytes find no room.
        with self._explained(), open(self._folder / str(block), "wb") as file:
            file.write(np.ascontiguousarray(H).data)

    def drop(self) -> None:
        """Delete the files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DiskError(
                f"H could not be kept in {self._folder.parent} ({error.strerror or error}); it holds the factors that "
                "do not fit in memory. Free some room there, or raise memory_limit."
            ) from error


class ArrayFactor:
    """A factor given whole, in memory."""

    unscaled: ClassVar[bool] = False
    shared: ClassVar[bool] = False

    def __init__(self, H: Float, bounds: Sequence[int]) -> None:
        self._H, self._bounds = H, bounds

    def read(self, block: int) -> Float:
        """Return a copy of the block's columns."""
        return self._H[:, self._bounds[block] : self._bounds[block + 1]].copy()

    def drop(self) -> None:
        """Do nothing: it is the caller's."""


class RandomFactor:
    """|N(0, 1)| entries that depend on seed, row and column alone, so that no cut into blocks changes them."""

    unscaled: ClassVar[bool] = True
    shared: ClassVar[bool] = True

    def __init__(self, rank: int, bounds: Sequence[int], dtype: np.dtype[Any], seed: int) -> None:
        self._rank, self._bounds, self._dtype, self._seed = rank, bounds, dtype, seed

    def read(self, block: int) -> Float:
        """Make a block."""
        out = np.empty((self._rank, self._bounds[block + 1] - self._bounds[block]), self._dtype)
        half_normal(np.uint64(self._seed % 2**64), np.uint64(self._bounds[block]), out)
        return out

    def drop(self) -> None:
        """Do nothing: it can be made again."""


class OnesFactor:
    """Entries that are all 1, for columns that are to be found from the start: their scale and all."""

    unscaled: ClassVar[bool] = True
    shared: ClassVar[bool] = True

    def __init__(self, rank: int, bounds: Sequence[int], dtype: np.dtype[Any]) -> None:
        self._rank, self._bounds, self._dtype = rank, bounds, dtype

    def read(self, block: int) -> Float:
        """Make a block."""
        return np.ones((self._rank, self._bounds[block + 1] - self._bounds[block]), self._dtype)

    def drop(self) -> None:
        """Do nothing: it can be made again."""


class MappedFactor:
    """A factor whose blocks are made from those of another one."""

    def __init__(self, origin: Factor, make: Callable[[int, Float], Float]) -> None:
        self.origin, self.make = origin, make

    @property
    def unscaled(self) -> bool:
        """Whether its origin is."""
        return self.origin.unscaled

    @property
    def shared(self) -> bool:
        """Whether its origin is."""
        return self.origin.shared

    def read(self, block: int) -> Float:
        """Make a block."""
        return self.make(block, self.origin.read(block))

    def drop(self) -> None:
        """Give up the origin."""
        self.origin.drop()


class StackedFactor:
    """Factors on top of each other, as one with the rows of all."""

    def __init__(self, *parts: Factor) -> None:
        self.parts: tuple[Factor, ...] = tuple(
            one for part in parts for one in (part.parts if isinstance(part, StackedFactor) else (part,))
        )

    @property
    def unscaled(self) -> bool:
        """Whether all parts are."""
        return all(part.unscaled for part in self.parts)

    @property
    def shared(self) -> bool:
        """Whether all parts are."""
        return all(part.shared for part in self.parts)

    def read(self, block: int) -> Float:
        """Put a block together."""
        return np.concatenate([part.read(block) for part in self.parts])

    def drop(self) -> None:
        """Give up all parts."""
        for part in self.parts:
            part.drop()


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """Takes the rows of a block from `start` to `stop`, for a `MappedFactor`."""

    start: int
    stop: int

    def __call__(self, block: int, H: Float) -> Float:
        """Return these rows, as an array of their own."""
        return H[self.start : self.stop].copy()


@kernel
def half_normal(seed, first, out):  # type: ignore[no-untyped-def]
    """Fill `out` (r, w) with |N(0, 1)| numbers, each from a hash of its place (SplitMix64, Steele et al. 2014)."""
    for k in range(out.shape[0]):
        for j in range(out.shape[1]):
            place = (first + np.uint64(j)) * np.uint64(0x10001) + np.uint64(k)
            one = mix(mix(seed) ^ (place * np.uint64(2)))
            two = mix(mix(seed) ^ (place * np.uint64(2) + np.uint64(1)))
            radius = np.sqrt(-2.0 * np.log((np.float64(one >> np.uint64(11)) + 1.0) * 2.0**-53))
            out[k, j] = abs(radius * np.cos(2.0 * np.pi * np.float64(two >> np.uint64(11)) * 2.0**-53))
