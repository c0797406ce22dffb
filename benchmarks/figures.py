"""The error that dnmf and scikit-learn reach from the same start, on any matrices.

    python benchmarks/figures.py [--rank 10] [--passes 200] [MATRIX.npy ...]

Each matrix is a `.npy` file, given as NAME.npy or NAME.npy:RANK; without one, a synthetic matrix is taken.
"""

import argparse
import time
import warnings

import numpy as np
from measure import machine
from sklearn.decomposition import non_negative_factorization

import dnmf


def compare(name: str, V: np.ndarray, rank: int, passes: int, seeds: int) -> None:
    """Print the relative errors from a few random starts, the same for both."""
    V = V.astype("float32" if V.dtype.itemsize <= 2 or V.dtype == "float32" else "float64")
    rows = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        scale = np.sqrt(V.mean() / rank)
        W = (np.abs(rng.standard_normal((V.shape[0], rank))) * scale).astype(V.dtype)
        H = (np.abs(rng.standard_normal((rank, V.shape[1]))) * scale).astype(V.dtype)
        start = time.perf_counter()
        result = dnmf.factorize(V, rank, init=(W, H), solver="hals", max_passes=passes, tol=0)
        middle = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Ws, Hs, _ = non_negative_factorization(
                V, W.copy(), H.copy(), n_components=rank, init="custom", solver="cd", max_iter=passes, tol=0
            )
        peer = float(np.linalg.norm(V - Ws @ Hs) / np.linalg.norm(V))
        rows.append((result.relative_error, peer, middle - start, time.perf_counter() - middle))
    best, peer_best = (min(row[i] for row in rows) for i in (0, 1))
    ours, theirs = (sum(row[i] for row in rows) for i in (2, 3))
    print(
        f"{name} {V.shape} rank {rank}: best relative error of {seeds} starts after {passes} passes: dnmf {best:.6f}, "
        f"scikit-learn {peer_best:.6f} ({passes} iterations, {2 * passes} reads); seconds {ours:.1f} and {theirs:.1f}"
    )
    for seed, (error, other, *_) in enumerate(rows):
        print(f"    start {seed}: {error:.6f} {other:.6f}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("matrices", nargs="*")
    parser.add_argument("--rank", type=int, default=10)
    parser.add_argument("--passes", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    for given in options.matrices:
        path, _, rank = given.partition(":")
        compare(path, np.load(path), int(rank or options.rank), options.passes, options.seeds)
    if not options.matrices:
        rng = np.random.default_rng(0)
        V = rng.gamma(0.5, size=(500, 10)) @ rng.gamma(0.5, size=(10, 2000)) + rng.random((500, 2000))
        compare("synthetic", V, options.rank, options.passes, options.seeds)


if __name__ == "__main__":
    main()
