"""A module that Dask loads in the workers of a cluster on this machine, which share their terminal with the run."""

import multiprocessing
import signal
import threading
from typing import Any


def dask_setup(worker: Any) -> None:
    """Ignore Ctrl-C and SIGHUP in a worker process: the run that has started it saves its factors and ends it.

    A terminal sends both to all processes that were started from it. Workers that are threads of the run heed them.
    """
    if multiprocessing.parent_process() is None or threading.current_thread() is not threading.main_thread():
        return
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
