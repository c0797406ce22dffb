"""File operations that fail, are cut short, are delayed or kill their process: the k-th of a kind below a folder."""

import builtins
import contextlib
import io
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

# Operations, and the calls of `os` for each; reads and writes of file objects are wrapped too.
CALLS = {
    "open": ("open",),
    "fsync": ("fsync",),
    "link": ("link",),
    "rename": ("rename", "replace"),
    "unlink": ("unlink", "remove", "rmdir"),
    "mkdir": ("mkdir",),
    "listdir": ("listdir", "scandir"),
    "stat": ("stat", "lstat"),
    "read": ("preadv", "pread"),
}
OPERATIONS = (*CALLS, "write")
DELAY = 0.02


@dataclass(frozen=True)
class Fault:
    """A fault at an operation, from the `first` call on, repeated `times` times.

    `act` is `"fail"` with an error `number`, `"cut"` (fewer bytes are read or written, as the system may do), `"tear"`
    (half is written, and then it fails), `"delay"`, `"kill"`, `"tear and kill"`, or `"signal"`.
    """

    operation: str
    act: str
    first: int
    times: int = 1
    number: int = 0


@dataclass
class Operations:
    """Context that counts the file operations below a folder and injects a fault into one of them."""

    folder: str
    fault: Fault | None = None
    counts: Counter[str] = field(default_factory=Counter)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _lock: Any = field(default_factory=threading.Lock)

    def meet(self, operation: str, path: Any) -> bool:
        """Count an operation, inject the fault if its turn has come, and return whether to cut the bytes short."""
        if not self._is_below(path):
            return False
        with self._lock:
            self.counts[operation] += 1
            count = self.counts[operation]
        fault = self.fault
        if fault is None or fault.operation != operation or not fault.first <= count < fault.first + fault.times:
            return False
        if fault.act == "fail":
            raise OSError(fault.number, os.strerror(fault.number), str(path))
        if fault.act == "delay":
            time.sleep(DELAY)
        if fault.act in ("kill", "signal"):
            os.kill(os.getpid(), signal.SIGKILL if fault.act == "kill" else fault.number)
        return fault.act in ("cut", "tear", "tear and kill")

    def _is_below(self, path: Any) -> bool:
        if isinstance(path, int):
            with contextlib.suppress(OSError):
                path = REAL["readlink"](f"/proc/self/fd/{path}")
        if not isinstance(path, str | os.PathLike):
            return False
        path = os.fspath(path)
        return isinstance(path, str) and (path == self.folder or path.startswith(self.folder + "/"))

    def __enter__(self) -> "Operations":
        for operation, names in CALLS.items():
            for name in names:
                self._stack.enter_context(mock.patch.object(os, name, self._wrapped(operation, name)))
        for owner in (io, builtins):
            self._stack.enter_context(mock.patch.object(owner, "open", self._open))
        return self

    def __exit__(self, *given: object) -> None:
        self._stack.close()

    def _wrapped(self, operation: str, name: str) -> Callable[..., Any]:
        real = REAL[name]

        def call(path: Any = ".", *given: Any, dir_fd: int | None = None, **options: Any) -> Any:
            where = path
            if dir_fd is not None:
                options["dir_fd"] = dir_fd
                where = f"{REAL['readlink'](f'/proc/self/fd/{dir_fd}')}/{path}"
            cut = self.meet(operation, where)
            if cut and name == "preadv":
                buffers = [memoryview(buffer)[: max(1, len(buffer) // 2)] for buffer in given[0][:1]]
                return real(path, buffers, *given[1:])
            return real(path, *given, **options)

        return call

    def _open(self, file: Any, mode: str = "r", buffering: int = -1, *given: Any, **options: Any) -> Any:
        if not self._is_below(file) or isinstance(file, int):
            return REAL["file"](file, mode, buffering, *given, **options)
        self.meet("open", file)
        raw = Raw(file, mode.replace("b", "").replace("t", ""))
        raw.operations = self
        if buffering == 0:
            return raw
        kind = io.BufferedRandom if "+" in mode else io.BufferedReader if "r" in mode else io.BufferedWriter
        buffered = kind(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *given, **options)


class Raw(io.FileIO):
    """A file whose reads and writes are operations."""

    operations: Operations

    def readinto(self, buffer: Any) -> Any:
        """Read into a buffer, or into half of it."""
        view = memoryview(buffer).cast("B")
        cut = self.operations.meet("read", self.name)
        return super().readinto(view[: max(1, len(view) // 2)] if cut else view)

    def readall(self) -> bytes:
        """Read to the end."""
        self.operations.meet("read", self.name)
        return super().readall()

    def write(self, content: Any) -> Any:
        """Write all bytes, or half of them."""
        view = memoryview(content).cast("B")
        if not self.operations.meet("write", self.name):
            return super().write(view)
        count = super().write(view[: max(1, len(view) // 2)])
        fault = self.operations.fault
        if fault is not None and fault.act == "tear and kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault is not None and fault.act == "tear":
            raise OSError(fault.number, os.strerror(fault.number), str(self.name))
        return count


REAL = {name: getattr(os, name) for names in CALLS.values() for name in names}
REAL |= {"readlink": os.readlink, "file": io.open}


_on_worker: list[Operations] = []


def break_worker(folder: str, fault: Fault | None) -> None:
    """Inject a fault into this process from now on, or none; called on a worker of a cluster."""
    while _on_worker:
        _on_worker.pop().__exit__()
    if fault is not None:
        _on_worker.append(Operations(folder, fault).__enter__())


def count_worker(folder: str) -> None:
    """Count the operations of this process from now on."""
    break_worker(folder, Fault("", "", 0, 0))


def counted_by_worker() -> Counter[str]:
    """Return the counts of this process."""
    return _on_worker[-1].counts if _on_worker else Counter()


@contextlib.contextmanager
def counting(folder: str) -> Iterator[Counter[str]]:
    """Count the operations below a folder."""
    with Operations(folder) as operations:
        yield operations.counts
