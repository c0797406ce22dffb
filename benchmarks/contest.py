"""Run peers on one problem in turn, each in its own process, and measure them from outside.

Errors are computed here from the factors of a peer; memory is the anonymous memory of the process and its children,
minus that with its libraries loaded; seconds are those of the steps of the peer alone.
"""

import contextlib
import dataclasses
import json
import math
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from measure import anonymous_bytes, drop_caches
from peers.job import Job

CHILD = Path(__file__).parent / "child.py"


@dataclasses.dataclass(frozen=True)
class Peer:
    """An implementation of NMF: its name in tables, its adapter, its options and its properties.

    `start` is False for a peer without a given start; `reads` is the number of reads of V per iteration (None if the
    steps report it), `packages` are those to install in addition to dnmf's, and `rounds` limits the runs of a slow
    peer.
    """

    name: str
    adapter: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    packages: tuple[str, ...] = ()
    start: bool = True
    reads: float | None = 2.0
    rounds: int = 99


@dataclasses.dataclass(frozen=True)
class Point:
    """A step of a run; the error is None if it is not measured."""

    iterations: int
    seconds: float
    reads: float
    error: float | None


@dataclasses.dataclass(frozen=True)
class Run:
    """The run of a peer: its steps, its peak memory in bytes, and the reason if it ended early."""

    points: tuple[Point, ...]
    peak: int
    version: str = ""
    failed: str = ""

    def reached(self, goal: float) -> Point | None:
        """Return the first step whose error is at most the goal."""
        return next((point for point in self.points if point.error is not None and point.error <= goal), None)

    @property
    def lowest(self) -> float:
        return min((point.error for point in self.points if point.error is not None), default=math.inf)

    @property
    def per_iteration(self) -> float:
        """Return the seconds of an iteration; the first step, which may check V, counts only if it is the only one.

        >>> Run((Point(1, 5.0, 1, None), Point(2, 6.0, 2, None), Point(5, 9.0, 5, None)), 0).per_iteration
        1.0
        """
        if not self.points:
            return math.nan
        first, last = self.points[0], self.points[-1]
        if last.iterations == first.iterations:
            return first.seconds / first.iterations
        return (last.seconds - first.seconds) / (last.iterations - first.iterations)


def python_of(peer: Peer, place: Path | None) -> str:
    """Return the Python of a peer: that of the environment of the peers, or this one if nothing is installed."""
    return str(place / "bin" / "python") if peer.packages and place else sys.executable


def install(peers: Sequence[Peer], place: Path) -> dict[str, str]:
    """Install the packages of the peers into a virtual environment, and return the failures."""
    if not (place / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    failed = {}
    for packages in sorted({peer.packages for peer in peers if peer.packages}):
        print(f"  {' '.join(packages)}", flush=True)
        # PyTorch has smaller wheels without GPU support; if their index cannot be reached, use the default ones.
        small = ["--extra-index-url", "https://download.pytorch.org/whl/cpu"] if "torchnmf" in packages else []
        command = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "numpy", "scipy"]
        done = subprocess.run([*command, *packages, *small], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = [line for line in done.stderr.splitlines() if line.startswith("ERROR")][-1:] or ["pip failed"]
            failed |= {peer.name: reason[0][:200] for peer in peers if peer.packages == packages}
    return failed


class Watch(threading.Thread):
    """Watch the anonymous memory of a process and its children, and end the process if it holds too much."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process, self.base, self.peak, self.done = process, 0, 0, threading.Event()
        self.limit, self.beyond = math.inf, False

    def now(self, family: list[int]) -> int:
        """Return the sum of their anonymous memory; processes that have ended count as 0."""
        total = 0
        for member in family:
            with contextlib.suppress(OSError):
                total += anonymous_bytes(member)
        return total

    def family(self) -> list[int]:
        """Return the process and its descendants."""
        with contextlib.suppress(psutil.Error):
            return [self.process, *(child.pid for child in psutil.Process(self.process).children(recursive=True))]
        return [self.process]

    def ready(self, limit: float) -> None:
        """Start to count memory and to enforce the limit."""
        self.base = self.peak = self.now([self.process])
        self.limit = limit

    @property
    def held(self) -> int:
        return self.peak - self.base

    def run(self) -> None:
        turn, family = 0, [self.process]
        while not self.done.wait(0.01):
            family = self.family() if turn % 50 == 0 else family
            self.peak, turn = max(self.peak, self.now(family)), turn + 1
            if self.held > self.limit and not self.beyond:
                self.beyond = True
                os.killpg(self.process, signal.SIGKILL)


def answers(child: "subprocess.Popen[str]", patience: float) -> Iterator[dict[str, Any]]:
    """Yield the reports of a child; kill it, and report that, if it is silent for too long."""
    lines: queue.Queue[str | None] = queue.Queue()

    def listen() -> None:
        for line in child.stdout or ():
            lines.put(line)
        lines.put(None)

    threading.Thread(target=listen, daemon=True).start()
    end = time.monotonic() + patience
    while True:
        try:
            line = lines.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            os.killpg(child.pid, signal.SIGKILL)
            yield {"failed": f"not done in {patience:.0f} s"}
            return
        if line is None:
            return
        if line.startswith("{"):
            yield json.loads(line)


@contextlib.contextmanager
def started(command: Sequence[str], threads: int, log: Path) -> "Iterator[subprocess.Popen[str]]":
    """Start a child with a number of threads set for every library; it and its children end with this process."""
    names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"]
    variables = {**os.environ, **dict.fromkeys(names, str(threads)), "MALLOC_ARENA_MAX": "2"}
    pipes = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    with log.open("w") as errors, subprocess.Popen(command, env=variables, stderr=errors, **pipes) as child:
        try:
            yield child
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise


def run(peer: Peer, job: Job, python: str, judge: Callable[..., float | None], patience: float) -> Run:
    """Run a peer in its own process, and judge its factors when it has ended."""
    steps: list[dict[str, Any]] = []
    version, failed = "", ""
    if job.limit:
        drop_caches()
    with tempfile.TemporaryDirectory(prefix=f"{job.adapter}-") as out:
        path, log = Path(out) / "job.json", Path(out) / "errors.log"
        path.write_text(json.dumps(dataclasses.asdict(dataclasses.replace(job, out=out))))
        with started([python, str(CHILD), str(path)], job.threads, log) as child:
            watch = Watch(child.pid)
            watch.start()
            for report in answers(child, patience):
                if "ready" in report:
                    version = report["ready"]
                    watch.ready(job.limit if report["limited"] and job.limit else math.inf)
                failed = report.get("failed", failed)
                if "iterations" in report:
                    steps.append(report)
            watch.done.set()
            watch.join()
        if watch.beyond:
            failed = f"ended at the limit, with {watch.held / 1e6:.0f} MB"
        elif child.returncode:
            failed = ended(child.returncode, log.read_text(), failed)
        # Judge after the run, so that judging takes no time from the peer.
        points = [point_of(report, peer, judge) for report in steps]
    return Run(tuple(points), watch.held, version, failed)


def point_of(report: dict[str, Any], peer: Peer, judge: Callable[..., float | None]) -> Point:
    """Return a step from its report, with the error of its factors."""
    count = report["iterations"]
    reads = count * (peer.reads or math.nan) if report["reads"] is None else report["reads"]
    factors = {name: np.load(file) for name, file in report["files"].items()}
    return Point(count, report["seconds"], reads, judge(**factors))


def ended(code: int, output: str, report: str) -> str:
    """Return why a process ended: the heap error of Java, the reported failure, or its last line of output.

    >>> ended(1, "java.lang.OutOfMemoryError: Java heap space", "Py4JJavaError: Job 2 cancelled")
    'java.lang.OutOfMemoryError: Java heap space'
    >>> ended(-9, "", "")
    'ended by SIGKILL'
    """
    heap = re.findall(r"java\.lang\.OutOfMemoryError[^\n]*", output)
    if heap or report:
        return heap[0] if heap else report
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    last = [line for line in output.splitlines() if line.strip()]
    return last[-1] if last else f"ended with code {code}"


def contest(peers: Sequence[Peer], rounds: int, one: Callable[[Peer], Run]) -> dict[str, list[Run]]:
    """Run every peer once per round, each round starting with another one; skip peers that have failed."""
    found: dict[str, list[Run]] = {peer.name: [] for peer in peers}
    for number in range(rounds):
        for peer in [*peers[number % len(peers) :], *peers[: number % len(peers)]]:
            if number >= peer.rounds or (found[peer.name] and found[peer.name][-1].failed):
                continue
            done = one(peer)
            found[peer.name].append(done)
            last = done.points[-1] if done.points else None
            print(f"  round {number + 1}: {peer.name}: {last} {done.failed[:150]}", flush=True)
    return found
