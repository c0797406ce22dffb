"""dnmf and scikit-learn's NMF(solver="cd") on one matrix in memory, from the same start to the same error.

    python benchmarks/in_memory.py [--matrix V.npy | --rows 20000 --columns 2000] [--rank 32] [--repeats 3]

Each is run in its own process with 1 and with 2 threads, in turn; the target is scikit-learn's error after
`--iterations` iterations. Seconds and extra memory (peak minus the memory before) are compared pair by pair.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np
from measure import machine, peak_memory


def problem(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return V (samples × features, float32), and the start W, H."""
    rng = np.random.default_rng(0)
    if options.matrix:
        V = np.load(options.matrix).astype("float32")
    else:
        W = rng.gamma(0.5, size=(options.rows, options.rank)).astype("float32")
        H = rng.gamma(0.5, size=(options.rank, options.columns)).astype("float32")
        V = W @ H + rng.random((options.rows, options.columns), dtype=np.float32) * 5
    scale = np.sqrt(V.mean() / options.rank)
    W = np.abs(rng.standard_normal((V.shape[0], options.rank), dtype=np.float32)) * scale
    H = np.abs(rng.standard_normal((options.rank, V.shape[1]), dtype=np.float32)) * scale
    return V, W, H


def scikit_learn(options: argparse.Namespace) -> dict[str, float]:
    """Run scikit-learn for a fixed number of iterations."""
    from sklearn.decomposition import NMF

    warnings.simplefilter("ignore")
    V, W, H = problem(options)
    with peak_memory() as memory:
        start = time.perf_counter()
        model = NMF(options.rank, init="custom", solver="cd", max_iter=options.iterations, tol=0)
        W = model.fit_transform(V, W=W, H=H)
        seconds = time.perf_counter() - start
    error = float(model.reconstruction_err_ / np.linalg.norm(V))
    return {"seconds": seconds, "extra": memory["peak"] - memory["before"], "error": error}


def ours(options: argparse.Namespace) -> dict[str, float]:
    """Run dnmf until it reaches the final error of scikit-learn."""
    import dnmf

    V, W, H = problem(options)
    tiny = np.ones((4, 4), np.float32)
    dnmf.factorize(tiny, 2, max_passes=1)
    with peak_memory() as memory:
        start = time.perf_counter()
        for result in dnmf.iterate(
            V, options.rank, init=(W, H), solver="hals", tol=0, max_passes=1000, threads=options.threads
        ):
            if result.relative_error <= options.target:
                break
        seconds = time.perf_counter() - start
    extra = memory["peak"] - memory["before"]
    return {"seconds": seconds, "extra": extra, "error": result.relative_error, "passes": result.passes}


def run_alone(name: str, threads: int, target: float) -> dict[str, float]:
    """Run one of the two in its own process, with a number of BLAS threads."""
    limits = dict.fromkeys(["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"], str(threads))
    command = [sys.executable, *sys.argv, "--child", name, "--threads", str(threads), "--target", str(target)]
    done = subprocess.run(command, env=os.environ | limits, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matrix", help="A .npy file of samples × features.")
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--columns", type=int, default=2000)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--target", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps({"sklearn": scikit_learn, "dnmf": ours}[options.child](options)))
        return
    print(machine())
    for threads in (1, 2):
        pairs = []
        for _ in range(options.repeats):
            peer = run_alone("sklearn", threads, 0)
            pairs.append((peer, run_alone("dnmf", threads, peer["error"])))
            print(f"{threads} thread(s): scikit-learn {peer}, dnmf {pairs[-1][1]}")
        for figure in ("seconds", "extra"):
            ratios = [peer[figure] / max(mine[figure], 1e-9) for peer, mine in pairs]
            print(f"{threads} thread(s): {figure}, scikit-learn over dnmf: median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
