"""The memory of a run, term by term: a pure function of sizes."""

import math
from collections.abc import Callable
from typing import NamedTuple

from dnmf.kernels.blocks.panels import PART_BYTES, SPARSE_COLUMNS, panel_width, part_width
from dnmf.kernels.blocks.tiles import LANES
from dnmf.sources.base import Layout
from dnmf.sources.bounds import BLOCK_BYTES

# The interpreter with its libraries and the compiled kernels: measured at 130 to 165 MB. While kernels are compiled,
# before the first pass, 215 to 257 MB (`benchmarks/memory.py --cold`).
RUNTIME_BYTES = 190 * 10**6
# A group is the blocks of one task. It has about the first of these sizes; but there are at least `FEW_GROUPS`, and at
# most `MANY_GROUPS` unless groups would exceed the second size. The groups do not depend on threads, workers or memory,
# since they determine the order of summation. On a cluster, a task costs some milliseconds.
# Where a panel of a dense V exceeds the first size, a group has its columns: to add up the sums over so many rows takes
# longer than to visit fewer columns.
SMALL_GROUP_BYTES, LARGE_GROUP_BYTES = 32 * 2**20, 256 * 2**20
FEW_GROUPS, MANY_GROUPS = 16, 64
# With more rows than this, the threads share the sums of a task, and work on parts of its panels; a task has at least
# this many columns, since a sum over the rows waits for every level of the tree.
MANY_ROWS, TASK_COLUMNS = 2**16, 1024
# Blocks that are read ahead of the one that the threads share, at most.
READERS = 4


class Load(NamedTuple):
    """The memory that a run needs besides V.

    Attributes
    ----------
    sums
        Numbers in the sums of a pass for every row of V.
    worked
        Rows of the long factor that a task works on.
    held
        Rows of all long factors that exist at once.
    kept
        Numbers that the driver holds for every row of V.
    extra
        Further bytes that the driver holds.
    graphs
        Bytes of graphs between rows or columns.
    panels
        Arrays of the size of a narrow panel that a task allocates: weights, lists of entries, and their products.
    copies
        Copies of a block that a task holds.
    shares
        Whether the threads can share the sums of a task.
    base, start
        The load without a sketch of V or singular vectors, and the purpose of what they add; None if there are none.
    lighter
        Options of a run that would hold less, and its load, or None.
    again
        Returns the load of the run on a matrix with another layout; None if it does not depend on that.
    """

    sums: int
    worked: int
    held: int
    kept: int
    extra: int = 0
    graphs: int = 0
    panels: int = 0
    copies: int = 0
    shares: bool = False
    base: "Load | None" = None
    start: str = ""
    lighter: "tuple[str, Load] | None" = None
    again: "Callable[[Layout], Load] | None" = None

    @classmethod
    def plain(cls, rank: int, sums: int | None = None, panels: int = 0) -> "Load":
        """Return the load of a rule alone: H and the next H, W and its sums."""
        return cls(sums or rank, rank, 2 * rank, 8 * rank, panels=panels)

    def at_most(self, rank: int, before: int) -> "Load":
        """Return an upper bound at a lower rank: sums of products of components shrink faster than the rank."""
        sums, worked, held, kept = (math.ceil(size * rank / before) for size in self[:4])
        base = None if self.base is None else self.base.at_most(rank, before)
        return self._replace(sums=sums, worked=worked, held=held, kept=kept, base=base, lighter=None, again=None)

    def shared(self, layout: Layout) -> bool:
        """Return whether the threads share the sums of a task: where there are many rows."""
        return self.shares and layout.shape[0] > MANY_ROWS

    def on(self, layout: Layout) -> "Load":
        """Return the load of the run on a matrix with another layout."""
        return self if self.again is None else self.again(layout)

    def times(self, models: int) -> "Load":
        """Return the load of several models in a bundle, which may have to merge the rows of two H."""
        if models == 1:
            return self
        return self._replace(
            sums=models * self.sums,
            worked=2 * models * self.worked,
            held=3 * models * self.worked,
            kept=models * self.kept,
            base=None if self.base is None else self.base.times(models),
            lighter=None,
            again=None,
        )

    def beginning(
        self, purpose: str, *, sums: int = 0, worked: int = 0, held: int = 0, kept: int = 0, extra: int = 0
    ) -> "Load":
        """Return the load of a run with a part that takes turns with its passes, such as an initialisation.

        Sums and long factors are those of the part or of the passes, whichever are larger. The driver holds the numbers
        `kept` and `extra` of both.
        """
        return self._replace(
            sums=max(self.sums, sums),
            worked=max(self.worked, worked),
            held=max(self.held, held),
            kept=self.kept + kept,
            extra=self.extra + extra,
            base=self,
            start=purpose,
        )


def count_groups(layout: Layout, shared: bool = False) -> int:
    """Return the number of tasks of a pass; the threads may share the sums of each."""
    small, large = (math.ceil(layout.stored_bytes / size) for size in (SMALL_GROUP_BYTES, LARGE_GROUP_BYTES))
    groups = min(layout.blocks, max(FEW_GROUPS, min(MANY_GROUPS, small), large))
    rows, columns = layout.shape
    if shared:
        return min(groups, max(1, columns // TASK_COLUMNS))
    if layout.sparse or rows * LANES * layout.work_dtype.itemsize <= SMALL_GROUP_BYTES:
        return groups
    return min(groups, -(-columns // LANES))


def readers_of(layout: Layout, threads: int) -> int:
    """Return the number of blocks that are read ahead of the one that the threads share."""
    return min(threads, READERS) if layout.on_disk else 0


def peak_bytes(layout: Layout, rank: int, threads: int, share: float, load: Load | None = None) -> int:
    """Return the peak memory of a run in bytes, without that of a matrix that was given in memory.

    `share` is the part of the long factors that is held in the memory of this process, or of one worker.
    """
    return sum(memory_terms(layout, rank, threads, share, load or Load.plain(rank)).values())


def memory_terms(layout: Layout, rank: int, threads: int, share: float, load: Load) -> dict[str, int]:
    """Return the terms of the peak memory of a run in bytes, by their purpose.

    Each thread holds a block with arrays of its size, its part of H, and its sums; more sums wait in the tree. Threads
    that share the sums hold them once, and the block that is worked on and those that are read. The factor along the
    axis that is not cut is held whole, with the sums that update it.
    """
    terms = _terms(layout, rank, threads, share, load.base or load)
    if load.base is not None:
        added = sum(_terms(layout, rank, threads, share, load).values()) - sum(terms.values())
        terms[load.start] = terms.get(load.start, 0) + added
    return terms


def _terms(layout: Layout, rank: int, threads: int, share: float, load: Load) -> dict[str, int]:
    rows, columns = layout.shape
    size = layout.work_dtype.itemsize
    streamed, held = ("rows", "columns") if layout.transposed else ("columns", "rows")
    shared = load.shared(layout)
    groups = count_groups(layout, shared)
    tasks = 1 if shared else min(threads, groups)
    levels = math.ceil(math.log2(max(groups, 1 if shared else 2)))
    waiting = levels if shared else min(groups, tasks + levels)
    reading = 1 + readers_of(layout, threads) if shared else tasks
    panel, part = panel_columns(layout), rows * min(part_width(rows, layout.work_dtype), layout.widest) * size
    casts = max(BLOCK_BYTES, layout.read_bytes - layout.weights_bytes) if layout.sparse else 2 * rows * panel * size
    casts += load.copies * rows * layout.widest * size
    # The product of listed entries, before it is added to the sums.
    product = load.worked * size // 8 if layout.sparse or load.panels else 0
    at_once = "" if tasks == 1 else f" on each of {tasks} threads"
    return {
        "for the interpreter": RUNTIME_BYTES,
        "for names and places of V": layout.held_bytes + layout.names.held_bytes,
        f"for a block of {layout.widest} {streamed} of V{at_once}": reading * (layout.read_bytes - layout.weights_bytes)
        + tasks * casts,
        f"for its weights{at_once}": tasks * layout.weights_bytes,
        f"for lists of its entries{at_once}": tasks * load.panels * max(part, PART_BYTES if layout.sparse else 0),
        f"for its part of the factor of the {streamed}{at_once}": tasks
        * (3 * load.worked * layout.widest * size + 6 * rank * panel * 8),
        f"for sums over the {rows} {held}": (waiting * load.sums + tasks * (4 + load.sums + product)) * rows * 8,
        f"for the factor of the {rows} {held}, held whole": rows * load.kept * 8,
        "for the sketch of V": load.extra,
        "for graphs": load.graphs,
        f"for the factor of all {columns} {streamed}": int(load.held * columns * size * share),
    }


def panel_columns(layout: Layout) -> int:
    """Return the number of columns of a panel."""
    width = SPARSE_COLUMNS if layout.sparse else panel_width(layout.shape[0], layout.work_dtype)
    return min(width, layout.widest)


def enough(count: float) -> str:
    """Format a number of bytes, rounded up, so that a memory limit of this amount suffices.

    >>> enough(190_169_920), enough(999_999_999), enough(1000)
    ('191 MB', '1 GB', '1 kB')
    """
    whole = math.ceil(count)
    unit = 10 ** max(len(str(whole)) - 3, 0)
    return amount(-(-whole // unit) * unit)


def amount(count: float) -> str:
    """Format a number of bytes.

    >>> amount(1.5e9), amount(999)
    ('1.5 GB', '999 B')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError
