"""The long factor H (r, n) in the blocks of V: in memory, on a disk, or computed when it is read."""

import contextlib
import dataclasses
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnmf.errors import DiskError, StoreError
from dnmf.kernels.blocks.hashing import half_normal
from dnmf.kernels.blocks.tiles import Float, Vector


class Factor(ABC):
    """A long factor, whose blocks can be read from several threads at once.

    Attributes
    ----------
    unscaled
        Whether the columns have yet to be scaled to fit those of V.
    shared
        Whether a pickled copy is small and can be read by any process that sees the same storage.
    """

    unscaled: bool = False
    shared: bool = False

    @abstractmethod
    def read(self, block: int) -> Float:
        """Return a block (r, w), which the caller may change."""

    def drop(self) -> None:  # noqa: B027 - most factors own nothing
        """Free the blocks that the factor owns."""


class WritableFactor(Factor):
    """A factor whose blocks are written as they are computed, each by one task."""

    @abstractmethod
    def write(self, block: int, H: Float) -> None:
        """Store a block (r, w), which the caller no longer changes."""


class MemoryFactor(WritableFactor):
    """A factor in memory."""

    def __init__(self, blocks: int) -> None:
        self._blocks: list[Float | None] = [None] * blocks

    def read(self, block: int) -> Float:
        """Return a copy of a block."""
        return np.array(self._blocks[block])

    def write(self, block: int, H: Float) -> None:
        """Store a block."""
        self._blocks[block] = H


class DiskFactor(WritableFactor):
    """A factor in a folder of its own, with one file for each block.

    Parameters
    ----------
    folder
        Where to create the folder.
    rank, dtype
        Rows and dtype of the blocks.
    owner
        An object to keep alive as long as the factor, such as the one that deletes `folder` at its end.
    """

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
                "This factor was kept on the disk until the next pass or the end of its run, and was deleted; compute "
                "it before that, or load it from the store."
            ) from error
        return blocks.reshape(self._rank, -1)

    def write(self, block: int, H: Float) -> None:
        """Write a block to its file."""
        # H.tofile raises no error if the disk is too full for the last bytes.
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


class ArrayFactor(Factor):
    """A factor given as one array."""

    def __init__(self, H: Float, bounds: Sequence[int]) -> None:
        self._H, self._bounds = H, bounds

    def read(self, block: int) -> Float:
        """Return a copy of the block's columns."""
        return self._H[:, self._bounds[block] : self._bounds[block + 1]].copy()


class RandomFactor(Factor):
    """|N(0, 1)| entries that depend on seed, row and column alone, and not on the blocks."""

    unscaled = shared = True

    def __init__(self, rank: int, bounds: Sequence[int], dtype: np.dtype[Any], seed: int) -> None:
        self._rank, self._bounds, self._dtype, self._seed = rank, bounds, dtype, seed

    def read(self, block: int) -> Float:
        """Compute a block."""
        out = np.empty((self._rank, self._bounds[block + 1] - self._bounds[block]), self._dtype)
        half_normal(np.uint64(self._seed % 2**64), np.uint64(self._bounds[block]), out)
        return out


class OnesFactor(Factor):
    """Entries that are all 1, to start from where H is unknown."""

    unscaled = shared = True

    def __init__(self, rank: int, bounds: Sequence[int], dtype: np.dtype[Any]) -> None:
        self._rank, self._bounds, self._dtype = rank, bounds, dtype

    def read(self, block: int) -> Float:
        """Return a block of ones."""
        return np.ones((self._rank, self._bounds[block + 1] - self._bounds[block]), self._dtype)


class MappedFactor(Factor):
    """A factor whose blocks are functions of those of another one."""

    def __init__(self, origin: Factor, make: Callable[[int, Float], Float]) -> None:
        self.origin, self.make = origin, make
        self.unscaled, self.shared = origin.unscaled, origin.shared

    def read(self, block: int) -> Float:
        """Compute a block."""
        return self.make(block, self.origin.read(block))

    def drop(self) -> None:
        """Free the origin."""
        self.origin.drop()


class StackedFactor(Factor):
    """Factors stacked on top of each other."""

    def __init__(self, *parts: Factor) -> None:
        self.parts: tuple[Factor, ...] = tuple(
            one for part in parts for one in (part.parts if isinstance(part, StackedFactor) else (part,))
        )
        self.unscaled = all(part.unscaled for part in self.parts)
        self.shared = all(part.shared for part in self.parts)

    def read(self, block: int) -> Float:
        """Read and stack the blocks of the parts."""
        return np.concatenate([part.read(block) for part in self.parts])

    def drop(self) -> None:
        """Free all parts."""
        for part in self.parts:
            part.drop()


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """Selects the rows from `start` to `stop` of a block, for a `MappedFactor`."""

    start: int
    stop: int

    def __call__(self, block: int, H: Float) -> Float:
        """Return a copy of these rows."""
        return H[self.start : self.stop].copy()


@dataclasses.dataclass(frozen=True, slots=True)
class Scaled:
    """Multiplies the rows of a block of H by factors (r,), for a `MappedFactor`."""

    factors: Vector

    def __call__(self, block: int, H: Float) -> Float:
        """Return the scaled block."""
        return H * self.factors.astype(H.dtype)[:, None]
