"""Durable checkpoints of a run in a Zarr store.

```
run.zarr/zarr.json                       format version, fingerprint of V, settings, location of V; with a digest
run.zarr/names.json                      the names of the rows and columns of V, if any
run.zarr/checkpoints/<pass>-<id>/{W,H}   written once and never changed; every chunk with its own checksum; also
                                         `guide`, the state of the method, if it has one
run.zarr/commits/<pass>.json             the truth: group, digests of all chunks, history, state; written last
run.zarr/{W,H}                           the finished factors, the same files as in the last checkpoint
run.zarr/.lock                           held by the run that writes here
```

A store is a folder, or the objects below a URL, with one interface (`dnmf.storage`). In a bucket a record is written on
condition that there is none, and the lock is a name that is checked before each record.
"""

from dnmf.checkpoint.arrays import StoredFactor, write_long
from dnmf.checkpoint.commit import Commit
from dnmf.checkpoint.names import read_names, write_names
from dnmf.checkpoint.read import Gone, read_array
from dnmf.checkpoint.store import Store, is_store
from dnmf.checkpoint.targets import appearing, check_target, inputs_in, working_folder

__all__ = [
    "Commit",
    "Gone",
    "Store",
    "StoredFactor",
    "appearing",
    "check_target",
    "inputs_in",
    "is_store",
    "read_array",
    "read_names",
    "working_folder",
    "write_long",
    "write_names",
]
