"""What a pass is made of, wherever its tasks run: the work on a block, and the tree that adds up the sums."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from dnmf.engine.factor import Factor
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import BadEntry, Block
from dnmf.kernels.blocks.tiles import Float
from dnmf.sources.base import Source
from dnmf.sources.blocks import CheckedPart, read_block


@dataclasses.dataclass(frozen=True, slots=True)
class Scope:
    """What a pass is over.

    Attributes
    ----------
    reading
        Whether V is read; else the visits see the blocks of H and nothing else.
    known
        Blocks that were read already, and need not be again.
    part
        The numbers of the groups that are visited; None is all of them.
    """

    reading: bool = True
    known: Mapping[int, Block] = dataclasses.field(default_factory=dict)
    part: Sequence[int] | None = None


WHOLE, H_ALONE = Scope(), Scope(reading=False)


class Sums(Protocol):
    """What the visits of a pass add up."""

    def add(self, other: Self) -> Self:
        """Return these sums followed by the others."""


S = TypeVar("S", bound=Sums)


class Work(Protocol[S]):
    """What is done to every block in a pass. It is pickled where the blocks are visited by other processes."""

    def zero(self) -> S:
        """Return the sums of no block."""

    def visit(self, block: int, V: Block, H: Float | None, sums: S, scratch: Scratch) -> Float | None:
        """Add what there is to add up to the sums, and return the block of H that is to be kept, if one is.

        `H` (r, w) is the block of the factor that the pass reads, and may be changed; None where it reads none. `V` is
        None in a pass over the factor alone.
        """


class Engine(Protocol):
    """Runs passes over one source.

    The blocks are cut into groups that depend on the matrix alone. A task works through its group and adds up one
    partial sum; the partial sums are added in a fixed tree. So neither the number of threads nor that of workers
    changes a bit of the result.
    """

    source: Source
    on_block: Callable[[int], None]

    @property
    def groups(self) -> Sequence[range]:
        """The blocks of every task."""

    def one_pass(self, work: Work[S], H: Factor | None = None, output: Factor | None = None, scope: Scope = WHOLE) -> S:
        """Visit every block once and return the sums; what the visits return goes to a output of the engine's kind.

        Raises
        ------
        DataError
            With the place of the first entry, block by block, that is negative or not finite.
        Interrupted
            If the pass was cancelled.
        """

    def fetch(self, block: int, columns: NDArray[np.int64] | None = None) -> Block:
        """Return a block, or copies of some of its columns, read where the work is done.

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
    """Read a block and do the work on it; where it is not the last of its group, the next one is read ahead.

    Without a source, the work is on H alone.
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


class BadBlock(Exception):
    """A bad entry with the block that it is in, on its way from the task that found it."""

    def __init__(self, block: int, entry: BadEntry) -> None:
        super().__init__(block, entry)
        self.block, self.entry = block, entry

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.block, self.entry)
