"""Processor seconds for each gigabyte of V, and planned memory, as the number of rows of a dense V grows.

    python benchmarks/rows.py [--rows 1000 100000 1000000] [--megabytes 512] [--rank 20] [--threads 2]
                              [--passes 3] [--folder /tmp] [--solver hals] [--exactly ROWS]

V is stored along its columns, as `dnmf convert --by columns` does, so that W is the factor that is held whole. Each
number of rows has a process of its own. The seconds are those of the passes after the first, each with its update of W,
which takes as long for any number of columns: give more megabytes for its share to be small. The bytes are those of the
plan above the interpreter, for each number of W.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from measure import machine

import dnmf
from dnmf.conversion import convert
from dnmf.engine.memory import RUNTIME_BYTES


def write(path: Path, rows: int, megabytes: int) -> None:
    """Write a matrix of random numbers plus a part of rank 1, so that there is something to fit."""
    rng, columns = np.random.default_rng(0), max(128, megabytes * 10**6 // (4 * rows))
    V = rng.random((rows, columns), np.float32)
    V += rng.random((rows, 1), np.float32) * rng.random((1, columns), np.float32)
    raw = path.with_suffix(".npy")
    np.save(raw, V)
    convert(raw, path, by="columns", overwrite=True)
    raw.unlink()


def processor_seconds() -> float:
    """Return the processor seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(path: Path, given: argparse.Namespace) -> dict[str, float]:
    """Run passes over a matrix in this process, and return its figures."""
    options = {"solver": given.solver, "threads": given.threads, "tol": 0, "client": "threads"}
    options |= {"init": "random"} if given.solver != "sketch" else {"init": "sketch"}
    plan = dnmf.plan(path, given.rank, solver=options["solver"], init=options["init"], threads=given.threads)
    marks = [(processor_seconds(), 0)]
    for result in dnmf.iterate(path, given.rank, max_passes=given.passes + 1, **options):
        marks.append((processor_seconds(), result.passes))
    (before, first), (after, last) = marks[1], marks[-1]
    numbers = plan.shape[0] * given.rank
    return {
        "columns": plan.block_columns,
        "seconds": (after - before) / (last - first) / (plan.bytes_per_pass / 1e9),
        "planned": (plan.peak_bytes - RUNTIME_BYTES) / numbers,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[1000, 100_000, 1_000_000])
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--rank", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("/tmp"))
    parser.add_argument("--solver", default="hals", choices=["hals", "sketch", "mu"])
    parser.add_argument("--exactly", type=int, help="measure this number of rows in this process")
    given = parser.parse_args()
    if given.exactly:
        print(json.dumps(measure(given.folder / f"rows-{given.exactly}.zarr", given)))
        return
    print(f"{given.solver}, rank {given.rank}, {given.threads} threads; {machine()}\n")
    print("| rows | block columns | CPU s/GB in a pass | bytes per number of W |")
    print("| --- | --- | --- | --- |")
    for rows in given.rows:
        path = given.folder / f"rows-{rows}.zarr"
        write(path, rows, given.megabytes)
        child = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--exactly", str(rows)],
            capture_output=True,
            text=True,
            check=True,
        )
        found = json.loads(child.stdout.splitlines()[-1])
        print(
            f"| {rows} | {found['columns']} | {found['seconds']:.3g} | {found['planned']:.0f} |",
            flush=True,
        )
        shutil.rmtree(path)


if __name__ == "__main__":
    main()
