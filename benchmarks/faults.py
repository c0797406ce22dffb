"""Inject faults into runs and surveys, and record how they end: the same bits, a clear error, or a fault of dnmf.

    python benchmarks/faults.py 1000 [--seed 0] [--kinds killed damaged] [--patience 60] [--folder /dev/shm]
    python benchmarks/faults.py --only "damaged store" 17 --seed 0

File operations of a store fail, are cut short, are delayed or kill their process; V cannot be read, or changes in the
middle of a run; requests to an S3 on this machine fail; a command meets a signal; a store is damaged before it is
used; a worker of a cluster meets any of these. Every case is drawn from its seed, kind and number, and can be repeated
by `--only`. The correct result has the bits of a run without the fault. A run that a fault has ended is resumed, and
has to give these bits too, from the newest checkpoint that was reported as saved or from a newer one.

Cases that fail are listed, and the exit code is then 1. Cases run in a separate process, which is killed and replaced
if a case takes longer than `--patience` seconds. Needs moto[server] and boto3 for the requests, and anndata for .h5ad
files.
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

Case = tuple[str, int]
# Starting, loading and compiling, before the first case of a process.
START = 120


def drawn_cases(count: int, seed: int, kinds: Sequence[str]) -> list[Case]:
    """Return `count` cases, of each kind by its share but at least one, in the order of the kinds."""
    rng = random.Random(f"{seed}")
    chosen = [*kinds[:count], *rng.choices(kinds, [KINDS[kind][1] for kind in kinds], k=max(count - len(kinds), 0))]
    counts = Counter(chosen)
    return [(kind, number) for kind in kinds for number in range(counts[kind])]


class Child:
    """A process that tries cases one after another, and prints one line of JSON for each."""

    def __init__(self, seed: int, cases: Sequence[Case], folder: Path) -> None:
        (folder / "cases.json").write_text(json.dumps(cases))
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--child", str(folder), "--seed", str(seed)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONFAULTHANDLER": "1"},
        )

    def lines(self, patience: float) -> Iterator[dict[str, Any]]:
        """Yield its reports until it ends; kill it if it is silent for too long."""
        assert self.process.stdout is not None
        for index in range(sys.maxsize):
            timer = threading.Timer(patience + (START if index == 0 else 0), self.end)
            timer.start()
            try:
                line = self.process.stdout.readline()
            finally:
                timer.cancel()
            if not line:
                break
            yield json.loads(line)
        self.process.wait()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *given: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """Make all its processes dump their stacks, and kill them."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGABRT)
            time.sleep(2)
            os.killpg(self.process.pid, signal.SIGKILL)


def outcomes(seed: int, cases: Sequence[Case], patience: float, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the outcome of every case, even if the processes that try them die."""
    left = list(cases)
    while left:
        with Child(seed, left, folder) as child:
            for line in child.lines(patience):
                left.pop(0)
                yield line
        if left:  # the first of them has not come to an end
            code, (kind, number) = child.process.returncode, left.pop(0)
            outcome = HANG if code in (-signal.SIGABRT, -signal.SIGKILL) else OTHER
            why = f"its process ended with {code}"
            yield {"kind": kind, "number": number, "words": "", "outcome": outcome, "why": why}


def be_child(seed: int, folder: Path) -> None:
    """Try cases and report them on stdout; their own output is discarded."""
    report = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with staged(str(folder)) as stage:
        for kind, number in json.loads((folder / "cases.json").read_text()):
            words, (outcome, why) = tried(stage, kind, seed, number)
            found = {"kind": kind, "number": number, "words": words, "outcome": outcome, "why": why}
            report.write(json.dumps(found) + "\n")
            report.flush()
        if "exits" in stage.known:
            stage.known["exits"].close()


def table(counts: dict[str, Counter[str]]) -> list[str]:
    """Return the lines of the table, with a row for every kind of fault and a column for every outcome."""
    heads = ["fault", "cases", *OUTCOMES]
    rows = [[kind, sum(found.values()), *(found[name] for name in OUTCOMES)] for kind, found in counts.items()]
    rows.append(["all", *(sum(row[column] for row in rows) for column in range(1, len(heads)))])
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def chosen_kinds(words: Sequence[str]) -> list[str]:
    """Return the kinds whose names contain one of the words; all if there are none."""
    return [kind for kind in KINDS if not words or any(word in kind for word in words)]


def main() -> int:
    """Run the benchmark; return 1 if a case has failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=1000, metavar="N", help="Total number of cases.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=[], help=f"Words of: {', '.join(KINDS)}.")
    parser.add_argument("--only", nargs="+", metavar=("KIND", "NUMBER"), help="Try these cases of a kind.")
    parser.add_argument("--patience", type=float, default=60.0, help="Seconds for a case.")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="Folder for stores and matrices.")
    parser.add_argument("--verbose", action="store_true", help="Show every case.")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        be_child(options.seed, Path(options.child))
        return 0
    drawn = drawn_cases(options.count, options.seed, chosen_kinds(options.kinds))
    if options.only:
        drawn = [(options.only[0], number) for number in map(int, options.only[1:])]
    counts = {kind: Counter[str]() for kind, _ in drawn}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="faults-", dir=options.folder) as folder:
        for found in outcomes(options.seed, drawn, options.patience, Path(folder)):
            counts[found["kind"]][found["outcome"]] += 1
            if options.verbose or options.only or found["outcome"] not in (SAME, SENTENCE):
                print("{kind} {number}: {outcome}: {words}\n{why}\n".format(**found), flush=True)
    print(f"{machine()}, seed {options.seed}, {time.perf_counter() - start:.0f} s\n")
    print("\n".join(table(counts)))
    return int(any(set(found) - {SAME, SENTENCE} for found in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
