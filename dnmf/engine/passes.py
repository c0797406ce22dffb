"""Passes, wherever their tasks run: the work on a block, and the tree of sums."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from dnmf.engine.factor import Factor
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import BadEntry, Block
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float
from dnmf.sources.base import Source
from dnmf.sources.blocks import CheckedPart, read_block


@dataclasses.dataclass(frozen=True, slots=True)
class Scope:
    """The blocks of a pass.

    Attributes
    ----------
    reading
        Whether V is read; otherwise the visits get the blocks of H alone.
    known
        Blocks that were read before, and need not be read again.
    part
        Numbers of the groups to visit; None visits all.
    """

    reading: bool = True
    known: Mapping[int, Block] = dataclasses.field(default_factory=dict)
    part: Sequence[int] | None = None


WHOLE, H_ALONE = Scope(), Scope(reading=False)


class Sums(Protocol):
    """Sums over the blocks of a pass."""

    def add(self, other: Self) -> Self:
        """Return these sums plus those of the blocks that follow."""


S = TypeVar("S", bound=Sums)


class Work(Protocol[S]):
    """The work on every block of a pass. It is pickled if other processes visit the blocks."""

    def zero(self) -> S:
        """Return the sums of no block."""

    def visit(self, block: int, V: Block, H: Float | None, sums: S, scratch: Scratch) -> Float | None:
        """Add to the sums in place, and return the block of the output, if any.

        `H` (r, w) is the block of the factor that the pass reads, which may be changed, or None. `V` is None in a pass
        over a factor alone.
        """


class Engine(Protocol):
    """Runs passes over one source.

    The blocks are divided into groups that depend on the matrix alone. A task visits the blocks of a group and returns
    one partial sum; the partial sums are added in a fixed tree. So the number of threads or workers does not change the
    result by a bit.
    """

    source: Source
    on_block: Callable[[int], None]

    @property
    def groups(self) -> Sequence[range]:
        """The blocks of every task."""

    def one_pass(self, work: Work[S], H: Factor | None = None, output: Factor | None = None, scope: Scope = WHOLE) -> S:
        """Visit every block once and return the sums; write the blocks that the visits return to `output`.

        Raises
        ------
        DataError
            With the position of the first entry, block by block, that is negative or not finite.
        Interrupted
            If the pass was cancelled.
        """

    def place(self, factor: Factor) -> Factor:
        """Return a factor that many passes read, where the tasks of each get it fast."""

    def here(self) -> "Engine":
        """Return the engine of this process with the same groups, for passes over factors alone."""

    def fetch(self, block: int, columns: NDArray[np.int64] | None = None) -> Block:
        """Return a block, or copies of some of its columns, read where the tasks run.

        Raises
        ------
        Interrupted
            If the engine was cancelled.
        """


def visit_block(
    source: Source | CheckedPart | None,
    work: Work[S],
    block: int,
    last: bool,
    H: Float | None,
    sums: S,
    scratch: Scratch,
) -> Float | None:
    """Read a block and do the work on it; without a source, do the work on H alone.

    Unless the block is the last of its group, hint that the next one will be read soon.
    """
    if source is None:
        return work.visit(block, None, H, sums, scratch)
    V = read_block(source, block, scratch)
    if not last:
        source.expect(block + 1)
    return work.visit(block, V, H, sums, scratch)


def add_up(level: Sequence[S]) -> S:
    """Add up sums in the fixed tree: neighbours in pairs, then the pairs in pairs, and so on.

    >>> class Word(str):
    ...     def add(self, other):
    ...         return Word(f"({self}{other})")
    >>> add_up([Word("a"), Word("b"), Word("c"), Word("d"), Word("e")])
    '(((ab)(cd))e)'
    """
    while len(level) > 1:
        level = [level[i].add(level[i + 1]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
    return level[0]


@dataclasses.dataclass(frozen=True, slots=True)
class MapBlocks:
    """The work of a pass over a long factor that writes a function of every block, given its number and the block."""

    make: Callable[[int, Float], Float]

    def zero(self) -> Stats:
        """Return the statistics of no block."""
        return Stats.zero(1, 1)  # nothing is added up

    def visit(self, block: int, V: Block, H: Float | None, sums: Stats, scratch: Scratch) -> Float:
        """Return the new block."""
        assert H is not None
        return self.make(block, H)


class BadBlock(Exception):
    """A bad entry and the number of its block, raised in a task."""

    def __init__(self, block: int, entry: BadEntry) -> None:
        super().__init__(block, entry)
        self.block, self.entry = block, entry

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.block, self.entry)
