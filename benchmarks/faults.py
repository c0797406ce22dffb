"""Inject faults into runs and surveys, and see how they end: the same bits, a clear sentence, or a fault of dnmf.

    python benchmarks/faults.py 1000 [--seed 0] [--kinds killed damaged] [--patience 60] [--folder /dev/shm]
    python benchmarks/faults.py --only "damaged store" 17 --seed 0

File operations of a store fail, are cut short, are delayed or kill their process; V cannot be read, or changes in the
middle of a run; requests to an S3 on this machine fail; a command meets a signal; a store is damaged before it is
used; a worker of a cluster meets any of these. Every case is drawn from its seed, kind and number: the same again by
`--only`. What is right is the bits of a run without the fault. A run that a fault has ended is gone on with, and has to
give these bits too, from the newest checkpoint that was reported as saved or from a newer one.

Cases that fail are listed, and the exit code is 1. A kind runs in a process of its own, which is killed where a case
takes longer than `--patience` seconds. Needs moto[server] and boto3 for the requests, and anndata for .h5ad files.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from measure import machine
from scenes import HANG, OTHER, OUTCOMES, SAME, SENTENCE, staged
from trials import KINDS, tried

# Starting, loading and compiling, before the first case of a process.
START = 120


def drawn_kinds(count: int, seed: int, kinds: Sequence[str]) -> dict[str, list[int]]:
    """Return the numbers of the cases of each kind: in all so many, by their shares, and one of each at least."""
    rng = random.Random(f"{seed}")
    chosen = [*kinds[:count], *rng.choices(kinds, [KINDS[kind][1] for kind in kinds], k=max(count - len(kinds), 0))]
    counts = Counter(chosen)
    return {kind: list(range(counts[kind])) for kind in kinds if counts[kind]}


class Child:
    """A process that tries cases of one kind, one line of JSON to each."""

    def __init__(self, kind: str, seed: int, numbers: Sequence[int], folder: str) -> None:
        command = [sys.executable, __file__, "--child", folder, "--seed", str(seed), "--only", kind]
        environment = {**os.environ, "PYTHONFAULTHANDLER": "1"}
        self.process = subprocess.Popen(
            [*command, *map(str, numbers)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=environment,
        )

    def lines(self, patience: float) -> Iterator[dict[str, Any]]:
        """Yield what it reports, until it ends, or nothing comes for too long and it is killed."""
        assert self.process.stdout is not None
        for index in range(sys.maxsize):
            timer = threading.Timer(patience + (START if index == 0 else 0), self.end)
            timer.start()
            line = self.process.stdout.readline()
            timer.cancel()
            if not line:
                break
            yield json.loads(line)
        self.process.wait()

    def end(self) -> None:
        """Let all its processes write where they are, and kill them."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGABRT)
            time.sleep(2)
            os.killpg(self.process.pid, signal.SIGKILL)


def cases(kind: str, seed: int, numbers: Sequence[int], patience: float, folder: str) -> Iterator[dict[str, Any]]:
    """Yield the outcome of every case of a kind, whatever becomes of the processes that try them."""
    left = list(numbers)
    while left:
        child = Child(kind, seed, left, folder)
        for line in child.lines(patience):
            left.remove(line["number"])
            yield line
        if left:  # the one that was tried has not come to an end
            code, number = child.process.returncode, left.pop(0)
            outcome = HANG if code in (-signal.SIGABRT, -signal.SIGKILL) else OTHER
            yield {"number": number, "words": "", "outcome": outcome, "why": f"the process ended with {code}"}


def be_child(kind: str, seed: int, numbers: Sequence[int], folder: str) -> None:
    """Try cases and report them on stdout; what they write there themselves goes nowhere."""
    report = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with staged(folder) as stage:
        for number in numbers:
            words, verdict = tried(stage, kind, seed, number)
            outcome = {"number": number, "words": words, "outcome": verdict.outcome, "why": verdict.why}
            report.write(json.dumps(outcome) + "\n")
            report.flush()
        if "exits" in stage.known:
            stage.known["exits"].close()


def table(counts: dict[str, Counter[str]]) -> list[str]:
    """Return the lines of the table: a row to every kind of fault, a column to every outcome."""
    heads = ["fault", "cases", *OUTCOMES]
    rows = [[kind, sum(found.values()), *(found[name] for name in OUTCOMES)] for kind, found in counts.items()]
    rows.append(["all", *(sum(row[column] for row in rows) for column in range(1, len(heads)))])
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def chosen_kinds(words: Sequence[str]) -> list[str]:
    """Return the kinds whose names have one of some words in them; all without words."""
    return [kind for kind in KINDS if not words or any(word in kind for word in words)]


def main() -> int:
    """Run the benchmark; return how many cases failed, at most 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=1000, metavar="N", help="Cases in all.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=[], help=f"Words of: {', '.join(KINDS)}.")
    parser.add_argument("--only", nargs="+", metavar=("KIND", "NUMBER"), help="Try these cases of a kind.")
    parser.add_argument("--patience", type=float, default=60.0, help="Seconds for a case.")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="Where stores and matrices lie meanwhile.")
    parser.add_argument("--verbose", action="store_true", help="Show every case.")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        be_child(options.only[0], options.seed, list(map(int, options.only[1:])), options.child)
        return 0
    drawn = drawn_kinds(options.count, options.seed, chosen_kinds(options.kinds))
    if options.only:
        drawn = {options.only[0]: list(map(int, options.only[1:]))}
    counts, failures, start = {kind: Counter[str]() for kind in drawn}, 0, time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="faults-", dir=options.folder) as folder:
        for kind, numbers in drawn.items():
            for case in cases(kind, options.seed, numbers, options.patience, str(Path(folder))):
                counts[kind][case["outcome"]] += 1
                failed = case["outcome"] not in (SAME, SENTENCE)
                failures += failed
                if failed or options.verbose or options.only:
                    print(f"{kind} {case['number']}: {case['outcome']}: {case['words']}\n{case['why']}\n", flush=True)
    print(f"{machine()}, seed {options.seed}, {time.perf_counter() - start:.0f} s\n")
    print("\n".join(table(counts)))
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
