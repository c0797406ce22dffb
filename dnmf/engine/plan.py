"""The plan of a run: a pure function of sizes, which reads no data."""

import dataclasses
import html

from dnmf.engine.advice import Request, advice_on, less_with, refusal
from dnmf.engine.memory import (
    FEW_GROUPS,
    LARGE_GROUP_BYTES,
    MANY_GROUPS,
    RUNTIME_BYTES,
    Load,
    amount,
    count_groups,
    enough,
    memory_terms,
    panel_columns,
    peak_bytes,
)
from dnmf.errors import BudgetError
from dnmf.sources.base import Layout

__all__ = [
    "FEW_GROUPS",
    "LARGE_GROUP_BYTES",
    "MANY_GROUPS",
    "RUNTIME_BYTES",
    "Load",
    "Plan",
    "amount",
    "count_groups",
    "enough",
    "group_bounds",
    "make_plan",
    "memory_terms",
    "panel_columns",
    "peak_bytes",
]


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
        Number of tasks of a pass, and of the threads that run one each.
    shared
        Whether the threads work on one task together, and share its sums: where the factor that is held has many rows.
    factor_in_memory
        Whether the long factor is held in memory, not on a disk.
    peak_bytes, limit_bytes
        Peak memory of the process, and its limit, in bytes.
    terms
        The purposes of the memory, and the bytes of each, which add up to `peak_bytes`.
    bytes_per_pass
        Bytes of V that one pass reads.
    reads
        How often a pass reads each chunk of V.
    workers
        Number of workers of the cluster at the start; 0 for the threads of this process. On a cluster, memory and
        threads are those of one worker.
    alternatives
        What other options would need, where that is much less.
    advice
        How to rewrite V to use much less memory or time, if possible.
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
    terms: tuple[tuple[str, int], ...]
    reads: int = 1
    workers: int = 0
    shared: bool = False
    alternatives: str = ""
    advice: str = ""

    @property
    def _at_once(self) -> str:
        """Say how many tasks run at once, and on how many threads."""
        return f"one at a time on {self.threads} threads" if self.shared else f"{self.threads} at once"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

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
                f"tasks       {self.groups} a pass, {self._at_once}{where}",
                f"memory      {enough(self.peak_bytes)} at most{where}, of {amount(self.limit_bytes)} allowed; "
                f"the long factor {place}",
                *(f"            {amount(size)} {purpose}" for purpose, size in self.terms),
                f"one pass    reads {amount(self.bytes_per_pass)}{times_read(self.reads)}",
                *([f"less        {self.alternatives}"] if self.alternatives else []),
                *([f"advice      {self.advice}"] if self.advice else []),
            ]
        )


def make_plan(layout: Layout, rank: int, limit: int, threads: int, workers: int = 0, load: Load | None = None) -> Plan:
    """Plan a run at a rank, within a memory limit in bytes and a number of threads.

    With workers, limit and threads are those of one worker, which holds its share of H.

    Raises
    ------
    BudgetError
        If not even one thread fits.
    """
    load = load or Load.plain(rank)
    request = Request(rank, limit, threads, workers, load)
    used, share, peak = request.fit(layout)
    if peak > limit:
        raise BudgetError(refusal(layout, request))
    terms = memory_terms(layout, rank, used, share, load)
    return Plan(
        shape=layout.user_shape,
        rank=rank,
        kind=f"{layout.dtype}, {layout.kind}",
        streamed="rows" if layout.transposed else "columns",
        blocks=layout.blocks,
        block_columns=layout.widest,
        panel_columns=panel_columns(layout),
        groups=count_groups(layout, load.shared(layout)),
        threads=used,
        shared=load.shared(layout),
        factor_in_memory=share > 0,
        peak_bytes=peak,
        limit_bytes=limit,
        terms=tuple((purpose, size) for purpose, size in terms.items() if size),
        bytes_per_pass=layout.stored_bytes,
        reads=layout.reads,
        workers=workers,
        alternatives=less_with(layout, request, used, peak),
        advice=advice_on(layout, request, peak),
    )


def group_bounds(blocks: int, groups: int) -> list[range]:
    """Divide the blocks into groups of almost equal size.

    >>> group_bounds(5, 2)
    [range(0, 2), range(2, 5)]
    """
    return [range(blocks * g // groups, blocks * (g + 1) // groups) for g in range(groups)]


def times_read(reads: int) -> str:
    """Describe how often chunks are read.

    >>> times_read(1), times_read(8)
    ('', ', each chunk 8 times')
    """
    return f", each chunk {reads} times" if reads > 1 else ""
