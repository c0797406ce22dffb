"""The memory plan of a run: a pure function of sizes. It touches no data."""

import dataclasses
import math
from typing import NamedTuple

from dnmf.errors import BudgetError
from dnmf.kernels.panels import SPARSE_COLUMNS, panel_width
from dnmf.sources.layout import BLOCK_BYTES, Layout

# The interpreter with its libraries and the compiled kernels: measured at 80 MB, and 170 MB where it compiles them.
RUNTIME_BYTES = 180 * 10**6

# A group is what one task works through. There are so many that one is of about the first of these sizes, but not
# fewer than `FEW_GROUPS`, nor more than `MANY_GROUPS` unless one were larger than the second size. None of this depends
# on threads, workers or memory, since the sums are taken group by group; a task costs a cluster some milliseconds.
SMALL_GROUP_BYTES, LARGE_GROUP_BYTES = 32 * 2**20, 256 * 2**20
FEW_GROUPS, MANY_GROUPS = 16, 64


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a run will hold and read.

    Attributes
    ----------
    shape, rank, kind
        Of the matrix as the user gave it, and of the factorisation.
    streamed
        `"columns"` or `"rows"`: the axis along which blocks are cut.
    blocks, block_columns, panel_columns
        Number of blocks, the width of the widest, and of the panels that are worked on at once.
    groups, threads
        Number of tasks of a pass, and how many of them run at once.
    factor_in_memory
        Whether the long factor is held in memory, or on a disk.
    peak_bytes, limit_bytes
        Memory that the process will hold at most, and that it may.
    bytes_per_pass
        Bytes of V that one pass reads.
    workers
        Number of the workers of a cluster that do the work when the run begins; 0 where this process does it. Memory
        is that of the smallest worker then, and `threads` those of one.
    """

    shape: tuple[int, int]
    rank: int
    kind: str
    streamed: str
    blocks: int
    block_columns: int
    panel_columns: int
    groups: int
    threads: int
    factor_in_memory: bool
    peak_bytes: int
    limit_bytes: int
    bytes_per_pass: int
    workers: int = 0

    def __str__(self) -> str:
        rows, columns = self.shape
        if self.workers:
            place, where = "on the workers", f" on each of {self.workers} workers"
        else:
            place, where = "in memory" if self.factor_in_memory else "on disk", ""
        return "\n".join(
            [
                f"matrix      {rows} × {columns}, {self.kind}",
                f"blocks      {self.blocks} of up to {self.block_columns} {self.streamed}, "
                f"in panels of {self.panel_columns}",
                f"tasks       {self.groups} a pass, {self.threads} at once{where}",
                f"memory      {amount(self.peak_bytes)} at most{where}, of {amount(self.limit_bytes)} allowed; "
                f"the long factor {place}",
                f"one pass    reads {amount(self.bytes_per_pass)}",
            ]
        )


class Load(NamedTuple):
    """What a run works with beside V.

    Attributes
    ----------
    sums
        How many numbers the sums of a pass hold for every row of V.
    worked
        Rows of the long factor that a task works on.
    held
        Rows of all long factors that are held at once.
    kept
        Numbers for every row of V that the driver holds.
    extra
        Other bytes that the driver holds.
    panels
        Arrays of a panel's size that a task makes of it: weights, ratios, and products with them.
    """

    sums: int
    worked: int
    held: int
    kept: int
    extra: int = 0
    panels: int = 0

    @classmethod
    def plain(cls, rank: int, sums: int | None = None) -> "Load":
        """Return that of a rule alone: H and the next H, W and what updates it."""
        return cls(sums or rank, rank, 2 * rank, 8 * rank, panels=0 if sums in (None, rank) else 3)

    def times(self, models: int) -> "Load":
        """Return that of several models side by side, whose next H's may have to be chosen from."""
        if models == 1:
            return self
        return self._replace(
            sums=models * self.sums,
            worked=2 * models * self.worked,
            held=3 * models * self.worked,
            kept=models * self.kept,
        )


def make_plan(layout: Layout, rank: int, limit: int, threads: int, workers: int = 0, load: Load | None = None) -> Plan:
    """Plan a run at a rank within a memory limit in bytes, with so many threads or fewer.

    With workers, limit and threads are those of one of them, and each holds its share of H.

    Raises
    ------
    BudgetError
        If not even one thread fits.
    """
    share, used, load = 1 / max(workers, 1), threads, load or Load.plain(rank)
    if peak_bytes(layout, rank, used, share, load) > limit:
        share = 0.0
    while used > 1 and peak_bytes(layout, rank, used, share, load) > limit:
        used -= 1
    peak = peak_bytes(layout, rank, used, share, load)
    if peak > limit:
        whose = "a worker may use" if workers else "memory_limit is"
        raise BudgetError(
            f"{whose} {amount(limit)}, and rank {rank} on this matrix needs {amount(peak)}: "
            f"{amount(RUNTIME_BYTES)} for the interpreter, {amount(thread_bytes(layout, rank, load))} to work on one "
            f"block of {layout.widest} {'rows' if layout.transposed else 'columns'}. "
            f"{'Take larger workers' if workers else 'Raise memory_limit'}, or cut the matrix "
            f"into smaller blocks with `dnmf convert --by {'rows' if layout.transposed else 'columns'}`."
        )
    return Plan(
        shape=layout.user_shape,
        rank=rank,
        kind=f"{layout.dtype}, {layout.kind}",
        streamed="rows" if layout.transposed else "columns",
        blocks=layout.blocks,
        block_columns=layout.widest,
        panel_columns=panel_columns(layout),
        groups=count_groups(layout),
        threads=used,
        factor_in_memory=share > 0,
        peak_bytes=peak,
        limit_bytes=limit,
        bytes_per_pass=layout.stored_bytes,
        workers=workers,
    )


def count_groups(layout: Layout) -> int:
    """Return the number of tasks of a pass."""
    small, large = (math.ceil(layout.stored_bytes / size) for size in (SMALL_GROUP_BYTES, LARGE_GROUP_BYTES))
    return min(layout.blocks, max(FEW_GROUPS, min(MANY_GROUPS, small), large))


def group_bounds(blocks: int, groups: int) -> list[range]:
    """Cut the blocks into groups of almost one size.

    >>> group_bounds(5, 2)
    [range(0, 2), range(2, 5)]
    """
    return [range(blocks * g // groups, blocks * (g + 1) // groups) for g in range(groups)]


def peak_bytes(layout: Layout, rank: int, threads: int, share: float, load: Load | None = None) -> int:
    """Return the memory in bytes that a run holds at most, a matrix that was given in memory not counted.

    `share` is the part of the long factors that is in the memory of this process, or of one worker.

    ```
    interpreter | names | W and what updates it | sums on their way up the tree | threads × (block, panel, sums) | H, H'
    ```
    """
    load = load or Load.plain(rank)
    rows, columns = layout.shape
    held = layout.held_bytes + layout.names.held_bytes
    small, large = held + rows * load.kept * 8 + load.extra, rows * load.sums * 8
    waiting = threads + math.ceil(math.log2(max(count_groups(layout), 2)))
    factor = int(load.held * columns * layout.work_dtype.itemsize * share)
    return RUNTIME_BYTES + small + waiting * large + threads * thread_bytes(layout, rank, load) + factor


def panel_columns(layout: Layout) -> int:
    """Return the columns that are worked on at once."""
    width = SPARSE_COLUMNS if layout.sparse else panel_width(layout.shape[0], layout.work_dtype)
    return min(width, layout.widest)


def thread_bytes(layout: Layout, rank: int, load: Load) -> int:
    """Return the memory in bytes that one thread needs to work on a block."""
    rows, size = layout.shape[0], layout.work_dtype.itemsize
    panel = panel_columns(layout)
    casts = max(BLOCK_BYTES, layout.read_bytes) if layout.sparse else 2 * rows * panel * size
    casts += load.panels * rows * min(panel_width(rows, layout.work_dtype), layout.widest) * size
    sums = (2 * rank + load.sums) * rows * 8
    factor = 3 * load.worked * layout.widest * size + 6 * rank * panel * 8
    return layout.read_bytes + casts + sums + factor


def amount(count: float) -> str:
    """Write a number of bytes for people.

    >>> amount(1.5e9), amount(999)
    ('1.5 GB', '999 B')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError
