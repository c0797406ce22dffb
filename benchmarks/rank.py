"""Choosing the rank: the cost of a survey, the rank that it suggests, and the cost of models that share a read.

    python benchmarks/rank.py [survey] [planted] [consensus] [bundle]    all four by default

    survey      10 ranks × 10 seeds and 5 folds on a matrix of 2000 × 1,000,000 float32 (8 GB; --rows, --columns or
                --matrix V.zarr), compared with single runs of all models, extrapolated from --singles
    planted     the suggested rank for 10 seeds: rank 12 with 30 % noise, and counts of 8 topics
    consensus   Kullback–Leibler, 20 runs: cophenetic correlation and silhouettes by rank, on --counts COUNTS.npy
                (samples × features), or on simulated counts of three kinds
    bundle      seconds for each of 1, 5, 10 and 20 models that share a read of a block in memory

Passes are reads of V, including the share of the first basis. Ratios are of one run on one machine.
"""

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import drop_caches, machine, peak_memory
from out_of_core import write_matrix
from sklearn.decomposition import NMF
from threadpoolctl import threadpool_limits

import dnmf
from dnmf.engine import ThreadEngine
from dnmf.engine.factor import MemoryFactor
from dnmf.kernels.registry import make_rule
from dnmf.settings import Settings
from dnmf.solvers.bundle import bundle, bundled
from dnmf.solvers.initialise import random_state
from dnmf.solvers.iteration import PassContext, after_plain, iterate
from dnmf.sources import open_matrix

RANKS = (2, 5, 8, 11, 14, 17, 20, 23, 26, 29)


class Reads(dnmf.Watcher):
    """Count the bytes read, and record when passes and the models between them end."""

    def __init__(self) -> None:
        self.bytes, self.modelling, self._lock, self._last = 0, 0.0, threading.Lock(), time.perf_counter()

    def block_read(self, count: int) -> None:
        with self._lock:
            self.bytes += count
            self._last = time.perf_counter()

    def modelled(self, done: int, total: int) -> None:
        if done == total:
            self.modelling = time.perf_counter() - self._last


def survey(given: argparse.Namespace) -> None:
    """Compare a survey of many models with single runs."""
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        matrix = given.matrix or str(Path(name) / "V.zarr")
        if not given.matrix:
            write_matrix(Path(matrix), given.rows, given.columns)
        layout = open_matrix(matrix).layout
        drop_caches()
        reads, start = Reads(), time.perf_counter()
        with peak_memory() as memory:
            found = dnmf.select_rank(
                matrix, RANKS, n_runs=given.runs, cv=5, memory_limit=given.memory_limit, watchers=[reads]
            )
        seconds, models = time.perf_counter() - start, len(RANKS) * given.runs
        print(f"\nA survey of {layout.user_shape}, {layout.stored_bytes / 1e9:.1f} GB: {models} models and 5 folds")
        print(found)
        print(
            f"{reads.bytes / layout.stored_bytes:.2f} reads of V ({found.passes} passes), {seconds:.0f} s, of these "
            f"{reads.modelling:.0f} s for models on the sketch; peak memory {memory['peak'] / 1e9:.2f} GB"
        )
        spent = []
        for rank in RANKS[:: max(1, len(RANKS) // given.singles)][: given.singles]:
            drop_caches()
            start = time.perf_counter()
            alone = dnmf.factorize(matrix, rank, max_passes=3, tol=0, memory_limit=given.memory_limit)
            spent.append((rank, time.perf_counter() - start, alone.relative_error))
        ours = statistics.mean(seconds for _, seconds, _ in spent) * models
        runs = ", ".join(f"rank {rank} {seconds:.0f} s, error {error:.5f}" for rank, seconds, error in spent)
        print(f"{given.singles} single runs of 3 passes ({runs}): {models} of them, extrapolated, take {ours:.0f} s")
        print(f"  {ours / seconds:.1f} times the survey, without its folds, and {3 * models} reads")
        part = np.ascontiguousarray(open_part(matrix, given.part).T)
        theirs = []
        for rank, _, _ in spent:
            start = time.perf_counter()
            with threadpool_limits(2):
                NMF(rank, init="random", solver="cd", max_iter=50, tol=0, random_state=0).fit(part)
            theirs.append((time.perf_counter() - start) * layout.shape[1] / len(part))
        whole = statistics.mean(theirs) * models
        print(
            f"scikit-learn's cd, 50 iterations in memory on {len(part)} of the columns, extrapolated to all and to "
            f"{models} models: {whole:.0f} s, {whole / seconds:.0f} times the survey"
        )


def open_part(matrix: str, columns: int) -> np.ndarray:
    """Return the first columns of a Zarr array."""
    import zarr

    return np.asarray(zarr.open_array(matrix, mode="r")[:, :columns])


def low_rank(seed: int) -> np.ndarray:
    """Return 400 × 8000 of rank 12, with noise of 30 % of its norm."""
    rng = np.random.default_rng(seed)
    V = rng.gamma(0.5, size=(400, 12)) @ rng.gamma(0.5, size=(12, 8000))
    noise = rng.standard_normal(V.shape)
    V += 0.3 * np.linalg.norm(V) / np.linalg.norm(noise) * noise
    return np.maximum(V, 0).astype(np.float32)


def topics(seed: int) -> np.ndarray:
    """Return counts of 500 words in 3000 texts of 8 topics."""
    rng = np.random.default_rng(seed)
    words, texts = rng.dirichlet(np.full(500, 0.05), 8).T, rng.dirichlet(np.full(8, 0.2), 3000).T
    return rng.poisson(rng.integers(50, 300, 3000) * (words @ texts)).astype(np.float32)


def planted(given: argparse.Namespace) -> None:
    """Count how often a planted rank is suggested."""
    for name, make, ranks, options in (
        ("rank 12, 30 % noise", low_rank, range(8, 17), {}),
        ("8 topics", topics, range(5, 12), {"loss": "kullback-leibler", "max_passes": 20}),
    ):
        named, passes = [], []
        for seed in range(given.seeds):
            found = dnmf.select_rank(make(seed), ranks, n_runs=5, cv=5, seed=seed, **options)
            named.append(found.suggest().rank)
            passes.append(found.passes)
        print(f"\n{name}: named over {given.seeds} seeds: {named}; {statistics.median(passes)} passes each", flush=True)


def kinds(seed: int = 0) -> np.ndarray:
    """Return counts of 1000 genes in 60 samples of three kinds."""
    rng = np.random.default_rng(seed)
    genes, samples = rng.gamma(0.3, size=(1000, 3)), np.repeat(np.eye(3), 20, axis=1) + 0.1
    return rng.poisson(50 * genes @ samples).astype(np.float64)


def consensus(given: argparse.Namespace) -> None:
    """Print the agreement of runs with Kullback–Leibler."""
    V: Any = np.load(given.counts).T if given.counts else kinds()
    for start, options in (
        ("on the sketch", {"max_passes": given.passes}),
        ("at random, multiplicative", {"max_passes": 10 * given.passes, "init": "random", "solver": "mu"}),
    ):
        found = dnmf.select_rank(
            V, range(2, given.last + 1), n_runs=20, cv=given.folds, loss="kullback-leibler", **options
        )
        print(f"\nfeatures × samples {V.shape}, 20 runs that start {start}")
        print(found, flush=True)


def bundle_of(given: argparse.Namespace) -> None:
    """Measure the seconds of each model that shares a read."""
    rng = np.random.default_rng(0)
    V = rng.random((2000, 4000)).T.copy().T
    for dtype in (np.float32, np.float64):
        source = open_matrix(V.astype(dtype), "columns")
        layout = source.layout
        settings = Settings(rank=20, solver="hals")
        context = PassContext(
            ThreadEngine(source, 1, 1), make_rule(settings), lambda rows, blocks=layout.blocks: MemoryFactor(blocks)
        )
        print(f"\nmodels of rank 20 on one read of {layout.shape}, {np.dtype(dtype)}, one thread: ms for each")
        for count in (1, 5, 10, 20):
            states = [random_state(settings.replace({"seed": seed}), layout) for seed in range(count)]
            passes = iterate(context, bundle(states), bundled(after_plain))
            next(passes)
            times = []
            for _ in range(given.repeats):
                start = time.perf_counter()
                next(passes)
                times.append(time.perf_counter() - start)
            print(f"  {count:2d} models  {1000 * statistics.median(times) / count:7.1f}", flush=True)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", help="survey, planted, consensus, bundle")
    parser.add_argument("--matrix")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--columns", type=int, default=1_000_000)
    parser.add_argument("--memory-limit", default="2GB")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--singles", type=int, default=3)
    parser.add_argument("--part", type=int, default=20_000, help="number of columns for scikit-learn")
    parser.add_argument("--folder", help="folder of the generated matrix")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--counts")
    parser.add_argument("--last", type=int, default=5, help="largest rank of the consensus")
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--passes", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    known = {"survey": survey, "planted": planted, "consensus": consensus, "bundle": bundle_of}
    wrong = [name for name in given.tables if name not in known]
    if wrong:
        parser.error(f"{wrong[0]!r} is not a table; choose from {', '.join(known)}")
    print(f"dnmf {dnmf.__version__}, {machine()}")
    for name in given.tables or known:
        known[name](given)


if __name__ == "__main__":
    main()
