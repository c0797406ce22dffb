"""End the threads that wait before a `fork`, and reset in the child what depends on the threads of the parent."""

import os
import sys
import threading
from typing import Any

import dask
import dask.threaded

from dnmf.engine.machine import ONE_THREAD, WAITING


def end_threads() -> None:
    """End the threads that wait for more work: a process with a single thread is safe to copy."""
    while WAITING:
        WAITING.pop()[1].shutdown()


def forget() -> None:
    """Discard the threads, the limit on BLAS, and the clients and clusters of the parent, in a new child."""
    ONE_THREAD.forget()
    WAITING.clear()
    dask.threaded.default_pool = None
    dask.threaded.pools.clear()
    dask.threaded.pools_lock = threading.Lock()
    distributed: Any = sys.modules.get("distributed")
    if not hasattr(distributed, "SpecCluster"):  # it is not loaded, or only in part
        return
    for client in list(distributed.Client._instances):
        client.status = "closed"
    for cluster in list(distributed.SpecCluster._instances):
        cluster.status = distributed.Status.closed
    if dask.config.get("scheduler", None) == "dask.distributed":
        dask.config.set(scheduler=None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=end_threads, after_in_child=forget)
