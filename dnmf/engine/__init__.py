"""One pass over V: every block is read once, by one of a fixed set of tasks, here or on a Dask cluster.

```
blocks ──► groups, by the matrix alone ──► a task for each: visit its blocks, one partial sum ──► a fixed tree of sums
```
"""

from dnmf.engine import forks  # noqa: F401 - resets what a forked child inherits
from dnmf.engine.audit import AuditEngine
from dnmf.engine.machine import SpillFolder, cores, new_threads, parallel_map, single_threaded_products, usable_memory
from dnmf.engine.passes import H_ALONE, Engine, MapBlocks, Scope, Sums, Work
from dnmf.engine.threads import ThreadEngine
from dnmf.kernels.blocks.tiles import MapFunction

__all__ = [
    "H_ALONE",
    "AuditEngine",
    "Engine",
    "MapBlocks",
    "MapFunction",
    "Scope",
    "SpillFolder",
    "Sums",
    "ThreadEngine",
    "Work",
    "cores",
    "new_threads",
    "parallel_map",
    "single_threaded_products",
    "usable_memory",
]
