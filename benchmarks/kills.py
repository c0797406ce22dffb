"""Kill a run at random moments, resume it, and compare the factors with those of an uninterrupted run.

python benchmarks/kills.py [--kills 10] [--rows 1000 --columns 200000] [--rank 20]
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import machine
from out_of_core import write_matrix

import dnmf


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--columns", type=int, default=200_000)
    parser.add_argument("--rank", type=int, default=20)
    parser.add_argument("--passes", type=int, default=12)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        matrix = folder / "V.zarr"
        write_matrix(matrix, options.rows, options.columns)
        flags = ["--rank", options.rank, "--max-passes", options.passes, "--tol", 0, "--checkpoint-every", 3, "--json"]
        whole = dnmf.factorize(
            str(matrix), options.rank, max_passes=options.passes, tol=0, checkpoint_every=3, store=folder / "whole.zarr"
        )
        seconds = whole.history[-1].seconds
        same = 0
        for number in range(options.kills):
            store = folder / f"run-{number}.zarr"
            command = [sys.executable, "-m", "dnmf", "fit", matrix, "--store", store, *flags]
            moment = random.uniform(0.5, 1.5 + seconds)
            with subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL) as child:
                try:
                    child.wait(moment)
                except subprocess.TimeoutExpired:
                    child.send_signal(signal.SIGKILL)
            begun = (store / "zarr.json").exists()
            result = (
                dnmf.resume(store)
                if begun
                else dnmf.factorize(
                    str(matrix),
                    options.rank,
                    max_passes=options.passes,
                    tol=0,
                    checkpoint_every=3,
                    store=store,
                    overwrite=True,
                )
            )
            equal = np.array_equal(result.W, whole.W) and np.array_equal(np.asarray(result.H), np.asarray(whole.H))
            same += equal
            how = "killed" if child.returncode == -signal.SIGKILL else f"ended by itself ({child.returncode})"
            bits = "same bits" if equal else "OTHER BITS"
            print(f"{how} after {moment:.2f} s, resumed to {result.passes} passes: {bits}")
        print(f"{same} of {options.kills} resumed to the same bits")


if __name__ == "__main__":
    main()
