"""The memory plan of a run: a pure function of sizes, which reads no data."""

import dataclasses
import math
from typing import NamedTuple

from dnmf.errors import BudgetError
from dnmf.kernels.blocks.panels import PART_BYTES, SPARSE_COLUMNS, panel_width, part_width
from dnmf.sources.base import Layout
from dnmf.sources.bounds import BLOCK_BYTES, even_bounds

# The interpreter with its libraries and the compiled kernels: measured at 130 to 165 MB. While kernels are compiled,
# before the first pass, 215 to 257 MB (`benchmarks/memory.py --cold`).
RUNTIME_BYTES = 190 * 10**6
# A group is the blocks of one task. It has about the first of these sizes; but there are at least `FEW_GROUPS`, and at
# most `MANY_GROUPS` unless groups would exceed the second size. The groups do not depend on threads, workers or memory,
# since they determine the order of summation. On a cluster, a task costs some milliseconds.
SMALL_GROUP_BYTES, LARGE_GROUP_BYTES = 32 * 2**20, 256 * 2**20
FEW_GROUPS, MANY_GROUPS = 16, 64
# Advice is given if it saves this factor of memory.
MUCH = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The memory that a run holds, and the bytes that it reads.

    Attributes
    ----------
    shape, rank, kind
        Shape and kind of the matrix as the user gave it, and rank of the factorisation.
    streamed
        `"columns"` or `"rows"`: the axis along which blocks are cut.
    blocks, block_columns, panel_columns
        Number of blocks, the width of the widest, and of the panels that are worked on at once.
    groups, threads
        Number of tasks of a pass, and how many run at once.
    factor_in_memory
        Whether the long factor is held in memory, not on a disk.
    peak_bytes, limit_bytes
        Peak memory of the process, and its limit, in bytes.
    bytes_per_pass
        Bytes of V that one pass reads.
    workers
        Number of workers of the cluster at the start; 0 for the threads of this process. On a cluster, memory and
        threads are those of one worker.
    advice
        How to use much less memory, if possible.
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
    advice: str = ""

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
                *([f"advice      {self.advice}"] if self.advice else []),
            ]
        )


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
    panels
        Arrays of the size of a narrow panel that a task allocates: weights, lists of entries, and their products.
    copies
        Copies of a block that a task holds.
    """

    sums: int
    worked: int
    held: int
    kept: int
    extra: int = 0
    panels: int = 0
    copies: int = 0

    @classmethod
    def plain(cls, rank: int, sums: int | None = None, panels: int = 0) -> "Load":
        """Return the load of a rule alone: H and the next H, W and its sums."""
        return cls(sums or rank, rank, 2 * rank, 8 * rank, panels=panels)

    def at_most(self, rank: int, before: int) -> "Load":
        """Return an upper bound at a lower rank: sums of products of components shrink faster than the rank."""
        sums, worked, held, kept = (math.ceil(size * rank / before) for size in self[:4])
        return self._replace(sums=sums, worked=worked, held=held, kept=kept)

    def times(self, models: int) -> "Load":
        """Return the load of several models in a bundle, which may have to merge the rows of two H."""
        if models == 1:
            return self
        return self._replace(
            sums=models * self.sums,
            worked=2 * models * self.worked,
            held=3 * models * self.worked,
            kept=models * self.kept,
        )


def make_plan(layout: Layout, rank: int, limit: int, threads: int, workers: int = 0, load: Load | None = None) -> Plan:
    """Plan a run at a rank, within a memory limit in bytes and a number of threads.

    With workers, limit and threads are those of one worker, which holds its share of H.

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
        raise BudgetError(refusal(layout, rank, limit, workers, load))
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
        advice=advice_on(layout, rank, used, share, load),
    )


def count_groups(layout: Layout) -> int:
    """Return the number of tasks of a pass."""
    small, large = (math.ceil(layout.stored_bytes / size) for size in (SMALL_GROUP_BYTES, LARGE_GROUP_BYTES))
    return min(layout.blocks, max(FEW_GROUPS, min(MANY_GROUPS, small), large))


def group_bounds(blocks: int, groups: int) -> list[range]:
    """Divide the blocks into groups of almost equal size.

    >>> group_bounds(5, 2)
    [range(0, 2), range(2, 5)]
    """
    return [range(blocks * g // groups, blocks * (g + 1) // groups) for g in range(groups)]


def peak_bytes(layout: Layout, rank: int, threads: int, share: float, load: Load | None = None) -> int:
    """Return the peak memory of a run in bytes, without that of a matrix that was given in memory.

    `share` is the part of the long factors that is held in the memory of this process, or of one worker.
    """
    return sum(memory_terms(layout, rank, threads, share, load or Load.plain(rank)).values())


def memory_terms(layout: Layout, rank: int, threads: int, share: float, load: Load) -> dict[str, int]:
    """Return the terms of the peak memory of a run in bytes, by their purpose.

    Each thread holds a block with arrays of its size, its part of H, and its sums; more sums wait in the tree. The
    factor along the axis that is not cut is held whole, with the sums that update it.
    """
    rows, columns = layout.shape
    size = layout.work_dtype.itemsize
    streamed, held = ("rows", "columns") if layout.transposed else ("columns", "rows")
    waiting = threads + math.ceil(math.log2(max(count_groups(layout), 2)))
    panel, part = panel_columns(layout), rows * min(part_width(rows, layout.work_dtype), layout.widest) * size
    casts = max(BLOCK_BYTES, layout.read_bytes - layout.weights_bytes) if layout.sparse else 2 * rows * panel * size
    casts += load.copies * rows * layout.widest * size
    at_once = "" if threads == 1 else f" on each of {threads} threads"
    return {
        "for the interpreter": RUNTIME_BYTES,
        "for names and places of V": layout.held_bytes + layout.names.held_bytes,
        f"for a block of {layout.widest} {streamed} of V{at_once}": threads
        * (layout.read_bytes - layout.weights_bytes + casts),
        f"for its weights{at_once}": threads * layout.weights_bytes,
        f"for lists of its entries{at_once}": threads * load.panels * max(part, PART_BYTES if layout.sparse else 0),
        f"for its part of the factor of the {streamed}{at_once}": threads
        * (3 * load.worked * layout.widest * size + 6 * rank * panel * 8),
        f"for sums over the {rows} {held}": (waiting * load.sums + threads * (2 * rank + 4 + load.sums)) * rows * 8,
        f"for the factor of the {rows} {held}, held whole": rows * load.kept * 8,
        "for the sketch of V": load.extra,
        f"for the factor of all {columns} {streamed}": int(load.held * columns * size * share),
    }


def advice_on(layout: Layout, rank: int, threads: int, share: float, load: Load) -> str:
    """Return the advice to cut V along its longer axis, if that takes much less memory."""
    if layout.shape[0] <= MUCH * layout.shape[1]:
        return ""
    now, then = (
        peak_bytes(one, rank, threads, share, load) - RUNTIME_BYTES
        for one in (layout, recut(layout, layout.shape[::-1]))
    )
    if now <= MUCH * then:
        return ""
    other = "columns" if layout.transposed else "rows"
    return (
        f"V is cut along its shorter axis; cut along the longer one by `dnmf convert --by {other}` it needs "
        f"{amount(then + RUNTIME_BYTES)}"
    )


def refusal(layout: Layout, rank: int, limit: int, workers: int, load: Load) -> str:
    """Return the message for a run that does not fit: the terms of its memory, and the remedies that help."""
    terms = memory_terms(layout, rank, 1, 0.0, load)
    peak = sum(terms.values())
    listed = ", ".join(f"{amount(size)} {purpose}" for purpose, size in terms.items() if size)
    ways = [f"{'Take larger workers' if workers else 'Raise memory_limit (--memory-limit)'} to at least {amount(peak)}"]
    streamed, other = ("rows", "columns") if layout.transposed else ("columns", "rows")

    def fits(layout: Layout, rank: int, load: Load) -> bool:
        return peak_bytes(layout, rank, 1, 0.0, load) <= limit

    if fits(recut(layout, layout.shape), rank, load):
        ways.append(f"cut V into smaller blocks with `dnmf convert --by {streamed}`")
    elif layout.shape[0] > layout.shape[1] and fits(recut(layout, layout.shape[::-1]), rank, load):
        ways.append(
            f"cut V along its longer axis with `dnmf convert --by {other}`, since the factor of the {other} is held "
            "whole and that is the long one"
        )
    lower = next((r for r in range(rank - 1, 0, -1) if fits(layout, r, load.at_most(r, rank))), 0)
    if lower:
        ways.append(f"take a rank of {lower} or lower")
    last = f", or {ways.pop()}" if len(ways) > 1 else ""
    return (
        f"{'a worker may use' if workers else 'memory_limit is'} {amount(limit)}, and rank {rank} on this matrix needs "
        f"{amount(peak)} with one thread: {listed}. {', '.join(ways)}{last}."
    )


def recut(layout: Layout, shape: tuple[int, int]) -> Layout:
    """Return the layout of a matrix with this shape as `dnmf convert` would cut it, into small blocks."""
    rows, columns = shape
    width = min(columns, max(1, BLOCK_BYTES // (rows * layout.work_dtype.itemsize)))
    width = min(width, layout.widest) if shape == layout.shape else width
    part = 1 if layout.sparse else rows * width / (layout.shape[0] * layout.widest)
    read, weights = (math.ceil(size * part) for size in (layout.read_bytes, layout.weights_bytes))
    bounds = even_bounds(columns, width)
    return dataclasses.replace(layout, shape=shape, bounds=bounds, read_bytes=read, weights_bytes=weights)


def panel_columns(layout: Layout) -> int:
    """Return the number of columns of a panel."""
    width = SPARSE_COLUMNS if layout.sparse else panel_width(layout.shape[0], layout.work_dtype)
    return min(width, layout.widest)


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
