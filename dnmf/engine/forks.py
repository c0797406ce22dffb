"""What a child of this process has not, where it was made by `fork`: its parent's threads, and what they serve."""

import os
import sys
import threading
from typing import Any

import dask
import dask.threaded


def forget() -> None:
    """Give up Dask's pools of threads, and the clients and clusters of the parent, in a child that was just made."""
    dask.threaded.default_pool = None
    dask.threaded.pools.clear()
    dask.threaded.pools_lock = threading.Lock()
    distributed: Any = sys.modules.get("distributed")
    if not hasattr(distributed, "SpecCluster"):  # it is not loaded, or not whole
        return
    for client in list(distributed.Client._instances):
        client.status = "closed"
    for cluster in list(distributed.SpecCluster._instances):
        cluster.status = distributed.Status.closed
    if dask.config.get("scheduler", None) == "dask.distributed":
        dask.config.set(scheduler=None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)
