"""Runs peers on one problem, each in a process of its own and in turn, and measures them from outside.

Errors are those of the factors a peer gives, measured here; memory is the anonymous memory of the process and of those
it starts, over what it holds when its libraries are loaded; seconds are those of the peer's steps alone.
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
    """Somebody who factorises: the name in tables, the adapter, its options, and what is known of it beforehand.

    `start` is False for one that takes no start, `reads` how often an iteration reads V (None, where a step says it),
    `packages` what is to be installed for it beside what dnmf needs, and `rounds` how often one that is slow is run.
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
    """A step of a run; the error is None where nobody measures it."""

    iterations: int
    seconds: float
    reads: float
    error: float | None


@dataclasses.dataclass(frozen=True)
class Run:
    """What a peer did: its steps, its peak of memory in bytes, and why it ended early, if it did."""

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
        """Return the seconds of an iteration: the first step, which may check V, counts only where it is all there is.

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
    """Return the Python that runs a peer: that of the peers' environment, or this one where nothing is installed."""
    return str(place / "bin" / "python") if peer.packages and place else sys.executable


def install(peers: Sequence[Peer], place: Path) -> dict[str, str]:
    """Install what the peers need into a virtual environment, and return why some of it could not be."""
    if not (place / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    failed = {}
    for packages in sorted({peer.packages for peer in peers if peer.packages}):
        print(f"  {' '.join(packages)}", flush=True)
        # PyTorch has smaller wheels for those without a GPU; where its index cannot be reached, the usual ones serve.
        small = ["--extra-index-url", "https://download.pytorch.org/whl/cpu"] if "torchnmf" in packages else []
        command = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "numpy", "scipy"]
        done = subprocess.run([*command, *packages, *small], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = [line for line in done.stderr.splitlines() if line.startswith("ERROR")][-1:] or ["pip failed"]
            failed |= {peer.name: reason[0][:200] for peer in peers if peer.packages == packages}
    return failed


class Watch(threading.Thread):
    """Watches the anonymous memory of a process and of those that it starts, and ends what holds too much."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process, self.base, self.peak, self.done = process, 0, 0, threading.Event()
        self.limit, self.beyond = math.inf, False

    def now(self, family: list[int]) -> int:
        """Return the sum of their anonymous memory; of one that has ended, nothing."""
        total = 0
        for member in family:
            with contextlib.suppress(OSError):
                total += anonymous_bytes(member)
        return total

    def family(self) -> list[int]:
        """Return the process and those below it."""
        with contextlib.suppress(psutil.Error):
            return [self.process, *(child.pid for child in psutil.Process(self.process).children(recursive=True))]
        return [self.process]

    def ready(self, limit: float) -> None:
        """From here on memory counts, and no more than the limit may be held."""
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
    """Yield what a child tells; kill it and say so where it tells nothing for too long."""
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
    """Start a child with so many threads for all who count them; it and what it started end with us at the latest."""
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
    """Run a peer in a process of its own, and judge its factors when it has ended."""
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
            for told in answers(child, patience):
                if "ready" in told:
                    version = told["ready"]
                    watch.ready(job.limit if told["limited"] and job.limit else math.inf)
                failed = told.get("failed", failed)
                if "iterations" in told:
                    steps.append(told)
            watch.done.set()
            watch.join()
        if watch.beyond:
            failed = f"ended at the limit, with {watch.held / 1e6:.0f} MB"
        elif child.returncode:
            failed = ended(child.returncode, log.read_text(), failed)
        # Only now, so that judging takes no time from the peer.
        points = [point_of(told, peer, judge) for told in steps]
    return Run(tuple(points), watch.held, version, failed)


def point_of(told: dict[str, Any], peer: Peer, judge: Callable[..., float | None]) -> Point:
    """Return a step as it was told, with the error of its factors."""
    count = told["iterations"]
    reads = count * (peer.reads or math.nan) if told["reads"] is None else told["reads"]
    factors = {name: np.load(file) for name, file in told["files"].items()}
    return Point(count, told["seconds"], reads, judge(**factors))


def ended(code: int, said: str, told: str) -> str:
    """Write why a process ended: what Java says of its heap, what the process told, or else its last words.

    >>> ended(1, "java.lang.OutOfMemoryError: Java heap space", "Py4JJavaError: Job 2 cancelled")
    'java.lang.OutOfMemoryError: Java heap space'
    >>> ended(-9, "", "")
    'ended by SIGKILL'
    """
    heap = re.findall(r"java\.lang\.OutOfMemoryError[^\n]*", said)
    if heap or told:
        return heap[0] if heap else told
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    last = [line for line in said.splitlines() if line.strip()]
    return last[-1] if last else f"ended with code {code}"


def contest(peers: Sequence[Peer], rounds: int, one: Callable[[Peer], Run]) -> dict[str, list[Run]]:
    """Run every peer once a round, another one first each time; one that failed is not asked again."""
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
