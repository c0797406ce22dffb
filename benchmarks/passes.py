"""Reads of V until the error is within 1 % and 0.1 % of the best known, for dnmf and scikit-learn.

    python benchmarks/passes.py [MATRIX.npy[:RANK] MATRIX.npz[:RANK] ...] [--loss frobenius] [--seeds 5]
                                [--passes 100] [--best 0.4091] [--solvers auto hals sklearn-cd ...]

A matrix is samples × features, dense (.npy) or sparse (scipy.sparse .npz); without one, a synthetic matrix of low
rank with noise is used. Every read of a block by dnmf counts as a share of V, including those of the initialisation and
the one that confirms the error. scikit-learn reads X twice per iteration of `cd` and `mu`, once more for the mean that
scales its start, and in MiniBatchNMF once per epoch and once for the W of the last H. The error is the loss for a
divergence and the relative error for Frobenius. Without `--best`, the best value of all runs is used. Seconds are those
of the whole run up to that pass, on one thread.
"""

import argparse
import math
import statistics
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from measure import machine
from peers.job import timed
from peers.sklearn_nmf import alternating, batches
from threadpoolctl import threadpool_limits

import dnmf

# One point of a run: reads of V so far, seconds so far, and the error.
Point = tuple[float, float, float]
LEVELS = (0.01, 0.001)

OURS: dict[str, dict[str, Any]] = {
    "auto": {},
    "sketch": {"solver": "sketch"},
    "extrapolated": {"solver": "hals", "init": "random", "extrapolate": True},
    "hals": {"solver": "hals", "init": "random"},
    "hals-sketch": {"solver": "hals", "init": "sketch"},
    "als": {"solver": "als", "init": "random"},
    "minibatch": {"solver": "minibatch", "init": "random"},
    "mu": {"solver": "mu", "init": "random"},
    "cd": {"solver": "cd", "init": "random"},
    "cd-sketch": {"solver": "cd", "init": "sketch"},
}
FROBENIUS = ["auto", "sketch", "extrapolated", "hals", "als", "minibatch", "mu", "sklearn-cd", "sklearn-minibatch"]
DIVERGENCE = ["auto", "cd-sketch", "cd", "mu", "sklearn-mu", "sklearn-minibatch"]


def synthetic(seed: int = 0, rows: int = 20000, columns: int = 500) -> np.ndarray:
    """Return samples × features: 20 sparse parts, and 10 % noise."""
    rng = np.random.default_rng(seed)
    W, H = rng.random((rows, 20)) ** 4, rng.random((20, columns)) * (rng.random((20, columns)) < 0.3)
    V = W @ H
    return (V + 0.1 * V.mean() * np.abs(rng.standard_normal(V.shape))).astype(np.float32)


def ours(V: Any, rank: int, loss: str, options: dict[str, Any], seed: int, passes: int) -> Iterator[Point]:
    """Yield the points of a run of dnmf."""
    per_pass = dnmf.plan(V, rank).bytes_per_pass
    run = dnmf.iterate(V, rank, loss=loss, seed=seed, max_passes=passes, tol=0, threads=1, client="threads", **options)
    for result in run:
        record = result.history[-1]
        error = record.relative_error if loss == "frobenius" else record.loss
        yield record.bytes_read / per_pass, record.seconds, error


class Judge:
    """Measure factors in float64, without counting the read; a few thousand rows at a time, so that V may be a file."""

    def __init__(self, V: Any, loss: str, height: int = 4096) -> None:
        self.V, self.loss = V, loss
        self.panels = [slice(start, start + height) for start in range(0, V.shape[0], height)]
        stored = (V.data,) if sp.issparse(V) else (V[rows] for rows in self.panels)
        self.square = sum(float(np.square(part, dtype=np.float64).sum()) for part in stored)

    def __call__(self, W: np.ndarray, H: np.ndarray) -> float:
        """Return the relative error, or the divergence."""
        W, H = W.astype(np.float64), H.astype(np.float64)
        if self.loss == "frobenius":
            inner = sum(float(np.vdot(np.asarray(self.V[rows] @ H.T), W[rows])) for rows in self.panels)
            square = self.square - 2 * inner + float(np.vdot(W.T @ W, H @ H.T))
            return math.sqrt(max(square, 0.0) / self.square)
        V = sp.coo_array(self.V)
        total = float(W.sum(axis=0) @ H.sum(axis=1))
        for part in np.array_split(np.arange(V.nnz), max(1, V.nnz // 10**6)):
            v = V.data[part].astype(np.float64)
            y = np.einsum("ij,ij->i", W[V.row[part]], H[:, V.col[part]].T)
            total += float((v * np.log(v / np.maximum(y, 1e-300)) - v).sum())
        return total


def theirs(V: Any, rank: int, loss: str, solver: str, seed: int, given: argparse.Namespace) -> Iterator[Point]:
    """Yield the points of scikit-learn: iterations of NMF from a start like its default, or epochs of MiniBatchNMF."""
    judge = Judge(V, loss)
    if solver == "minibatch":
        steps = batches(V.tocsr() if sp.issparse(V) else V, rank, loss, seed, given.epochs)
    else:
        rng = np.random.default_rng(seed)
        scale = np.sqrt(V.mean() / rank)
        W = np.abs(scale * rng.standard_normal((V.shape[0], rank))).astype(V.dtype)
        H = np.abs(scale * rng.standard_normal((rank, V.shape[1]))).astype(V.dtype)
        steps = alternating(V, W, H, loss, solver, given.passes)
    for step, seconds in timed(steps):
        yield step.reads or math.nan, seconds, judge(step.W, step.H)


def reached(points: list[Point], goal: float) -> tuple[float, float]:
    """Return the reads and the seconds at the first point whose error is at most the goal, or infinity."""
    return next(((reads, seconds) for reads, seconds, error in points if error <= goal), (math.inf, math.inf))


def shown(values: list[float]) -> str:
    """Format the median and the worst, and the number of runs that reached the goal if not all did."""
    arrived = sum(map(math.isfinite, values))
    if not arrived:
        return "–"
    median, worst = statistics.median_high(values), max(values)
    text = f"{median:.3g}" if math.isfinite(median) else "–"
    text += f" ({worst:.3g})" if math.isfinite(worst) else f" [{arrived} of {len(values)}]"
    return text


def points_of(solver: str, V: Any, rank: int, given: argparse.Namespace, seed: int) -> Iterator[Point]:
    """Return the points of one run."""
    if solver.startswith("sklearn-"):
        return theirs(V, rank, given.loss, solver.removeprefix("sklearn-"), seed, given)
    return ours(V, rank, given.loss, OURS[solver], seed, given.passes)


def measure(name: str, V: Any, rank: int, given: argparse.Namespace) -> None:
    """Print the table of a matrix."""
    known = FROBENIUS if given.loss == "frobenius" else DIVERGENCE
    found: dict[str, list[list[Point]]] = {}
    for solver in given.solvers or known:
        found[solver] = [list(points_of(solver, V, rank, given, seed)) for seed in range(given.seeds)]
    lowest = min(error for runs in found.values() for points in runs for *_, error in points)
    best = min(given.best or math.inf, lowest)
    print(
        f"\n{name} {V.shape}, rank {rank}, {given.loss}: best known {best:.8g}; median (worst) of {given.seeds} seeds"
    )
    print(f"{'':18}{'reads to 1 %':>22}{'to 0.1 %':>22}{'seconds to 1 %':>22}{'to 0.1 %':>22}{'last / best':>14}")
    for solver, runs in found.items():
        hits = [[reached(points, best * (1 + level)) for points in runs] for level in LEVELS]
        cells = [shown([hit[i] for hit in level]) for i in (0, 1) for level in hits]
        last = statistics.median(min(error for *_, error in points) for points in runs) / best
        print(f"{solver:18}" + "".join(f"{cell:>22}" for cell in cells) + f"{last:14.5f}", flush=True)


def opened(path: str) -> tuple[Any, int | None]:
    """Return a matrix in its working dtype, and the rank given after its path."""
    path, _, rank = path.partition(":")
    V: Any = sp.csr_array(sp.load_npz(path)) if path.endswith(".npz") else np.load(path)
    small = V.dtype.itemsize <= 2 or V.dtype == np.float32
    return V.astype(np.float32 if small else np.float64), int(rank) if rank else None


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("matrices", nargs="*")
    parser.add_argument("--loss", default="frobenius", choices=("frobenius", "kullback-leibler"))
    parser.add_argument("--rank", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--passes", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=15, help="of MiniBatchNMF, each followed by a transform")
    parser.add_argument("--best", type=float, help="the best known value")
    parser.add_argument("--solvers", nargs="*", choices=[*OURS, "sklearn-cd", "sklearn-mu", "sklearn-minibatch"])
    given = parser.parse_args()
    print(f"dnmf {dnmf.__version__}, {machine()}")
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        for path in given.matrices:
            V, rank = opened(path)
            measure(Path(path).stem, V, rank or given.rank, given)
        if not given.matrices:
            measure("synthetic", synthetic(), given.rank, given)


if __name__ == "__main__":
    main()
