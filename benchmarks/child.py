"""Run one peer on one job in this process, and print a line of JSON for every step.

    python benchmarks/child.py JOB.json

An adapter has `prepare(job)`, which loads and compiles and is not timed, and `steps(job, prepared)`, which yields a
`Step` after every few iterations.
"""

import importlib
import json
import re
import resource
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from peers.job import Job, read_job, timed


def refuse_more_than(more: int) -> None:
    """Make allocations fail that would reserve more than `more` bytes beyond the current size of this process.

    A process reserves more than it holds: stacks of threads, arenas. The memory that it holds is watched from outside.
    """
    found = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise OSError("this system does not report the size of the data of a process")
    allowed = int(found[1]) * 1024 + more
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))


def write(path: str, factor: Any) -> None:
    """Write a factor as float32; a Dask array block by block, so that it takes no memory from its peer."""
    if hasattr(factor, "dask"):
        file = np.lib.format.open_memmap(path, "w+", np.float32, factor.shape)
        factor.astype(np.float32).store(file, lock=False)
        file.flush()
    else:
        np.save(path, np.asarray(factor, np.float32))


def report(**fields: object) -> None:
    """Print a line of JSON."""
    print(json.dumps(fields), flush=True)


def perform(job: Job) -> None:
    """Run a job, and report every step."""
    adapter = importlib.import_module(f"peers.{job.adapter}")
    own = getattr(adapter, "LIMITS_ITSELF", False)
    report(ready=adapter.VERSION, limited=bool(job.limit) and not own)
    if job.limit and not own:
        refuse_more_than(2 * job.limit)
    prepared = adapter.prepare(job)
    report(loaded=True)
    for number, (step, seconds) in enumerate(timed(adapter.steps(job, prepared))):
        files = {}
        for name in ("W", "H"):
            if getattr(step, name) is not None:
                files[name] = str(Path(job.out) / f"{number}-{name}.npy")
                write(files[name], getattr(step, name))
        report(iterations=step.iterations, seconds=seconds, reads=step.reads, files=files)
        if step.iterations >= job.iterations or seconds >= job.seconds:
            break


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    try:
        perform(read_job(sys.argv[1]))
    except Exception as error:
        report(failed=f"{type(error).__name__}: {error}")
        raise SystemExit(1) from error
