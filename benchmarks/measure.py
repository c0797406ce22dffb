"""Functions shared by the benchmarks: memory of a process, the page cache, a description of the machine."""

import contextlib
import os
import platform
import threading
from collections.abc import Iterator
from pathlib import Path


def anonymous_bytes(process: int | str = "self") -> int:
    """Return the anonymous memory of a process, without mapped or cached files."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not report the anonymous memory of a process")


@contextlib.contextmanager
def peak_memory() -> Iterator[dict[str, int]]:
    """Watch the anonymous memory every 2 ms; afterwards `before` and `peak` have the bytes."""
    figures = {"before": anonymous_bytes(), "peak": anonymous_bytes()}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            figures["peak"] = max(figures["peak"], anonymous_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield figures
    finally:
        done.set()
        thread.join()


def drop_caches() -> bool:
    """Empty the page cache if permitted; return whether it was."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("1\n")
    except OSError:
        return False
    return True


def machine() -> str:
    """Describe the machine of a measurement."""
    cores = len(os.sched_getaffinity(0))
    return f"{platform.system()} {platform.machine()}, {cores} cores, Python {platform.python_version()}"
