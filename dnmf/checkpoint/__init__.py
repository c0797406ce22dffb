"""Durable checkpoints of a run in a Zarr store.

```
run.zarr/zarr.json                       format version, fingerprint of V, settings, where V lies
run.zarr/checkpoints/<pass>-<id>/{W,H}   written once and never again; every chunk with its own checksum
run.zarr/commits/<pass>.json             the truth: group, digests of all chunks, history, state; written last
run.zarr/{W,H}                           the finished factors, the same files as in the last checkpoint
run.zarr/.lock                           held by the run that writes here
```
"""

from dnmf.checkpoint.arrays import StoredFactor, write_long
from dnmf.checkpoint.commit import Commit
from dnmf.checkpoint.durable import appearing
from dnmf.checkpoint.store import Store

__all__ = ["Commit", "Store", "StoredFactor", "appearing", "write_long"]
