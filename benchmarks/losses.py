"""Losses, sparse blocks and missing entries compared with scikit-learn, from one start and on one thread.

    python benchmarks/losses.py [sparse-kl dense-kl sparse-frobenius dense-frobenius ratings]
                                [--counts X.npz] [--rounds 3] [--size 1]

`--counts` is a scipy.sparse .npz of samples × features; by default counts are drawn from topics, of the size of the 20
newsgroups. A pass of dnmf reads V once and updates H several times, an iteration of scikit-learn reads it twice.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from measure import machine, peak_memory
from sklearn.decomposition import non_negative_factorization
from sklearn.feature_extraction.text import TfidfTransformer
from threadpoolctl import threadpool_limits

import dnmf

PASSES = 10


def topic_counts(size: float, seed: int = 0) -> sp.csr_array:
    """Draw counts of words in documents that mix topics, about as many as the 20 newsgroups have."""
    rng = np.random.default_rng(seed)
    documents, words, topics = int(18846 * size), int(24164 * size), 20
    chances = np.sort(rng.dirichlet(np.full(words, 0.05), topics), axis=1).cumsum(axis=1)
    lengths = rng.poisson(90, documents) + 1
    rows = np.repeat(np.arange(documents), lengths)
    mixed = rng.integers(0, topics, (documents, 3))
    topic = mixed[rows, rng.integers(0, 3, len(rows))]
    drawn = np.empty(len(rows), np.int64)
    for number in range(topics):
        mine = topic == number
        drawn[mine] = rng.permutation(words)[np.searchsorted(chances[number], rng.random(mine.sum())) % words]
    return sp.csr_array((np.ones(len(rows), np.float32), (rows, drawn)), shape=(documents, words))


def starts(X: object, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a positive start W (samples, rank) and H (rank, features) at the scale of X."""
    rng = np.random.default_rng(1)
    scale = np.sqrt(X.sum() / X.shape[0] / X.shape[1] / rank)
    W, H = rng.random((X.shape[0], rank)) + 0.1, rng.random((rank, X.shape[1])) + 0.1
    return (W * scale).astype(X.dtype), (H * scale).astype(X.dtype)


def timed(act: Callable[[], object]) -> tuple[object, float, int]:
    """Return the result of an action, its seconds, and its peak memory minus the memory before."""
    with peak_memory() as memory:
        start = time.perf_counter()
        found = act()
        seconds = time.perf_counter() - start
    return found, seconds, memory["peak"] - memory["before"]


def theirs(X: object, rank: int, iterations: int, **options: object) -> tuple[object, float, int]:
    """Run scikit-learn for a number of iterations on one thread."""
    W, H = starts(X, rank)
    options = {"n_components": rank, "init": "custom", "tol": 0, "max_iter": iterations, **options}
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        return timed(lambda: non_negative_factorization(X, W.copy(), H.copy(), **options))


def ours(
    X: object, rank: int, passes: int, target: float | None = None, **options: object
) -> tuple[object, float, int]:
    """Run dnmf for a number of passes, or to a relative error, on one thread."""

    def run() -> object:
        for result in dnmf.iterate(X, rank, init=starts(X, rank), max_passes=passes, tol=0, threads=1, **options):
            if target is not None and result.relative_error <= target:
                break
        return result

    return timed(run)


def report(name: str, ratios: list[float], unit: str, aim: str) -> None:
    """Print the ratio of every round, and their median."""
    listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"{name}: {statistics.median(ratios):.2f} {unit} (rounds: {listed}; aim: {aim})", flush=True)


def kullback_leibler(name: str, X: object, rank: int, rounds: int, aim: str) -> None:
    """Compare seconds and memory per iteration with scikit-learn, and the loss that is reached."""
    for solver, sweeps in (("mu", 1), ("mu", None), ("cd", None)):
        options = {"loss": "kullback-leibler", "solver": solver, "sweeps": sweeps}
        ours(X, rank, 2, **options)
        ratios, memory = [], []
        for _ in range(rounds):
            found, seconds, extra = ours(X, rank, PASSES, **options)
            peer, peer_seconds, peer_extra = theirs(X, rank, PASSES, solver="mu", beta_loss="kullback-leibler")
            ratios.append(peer_seconds / seconds)
            memory.append(peer_extra / max(extra, 1))
        label = f"{name}, {solver}, {sweeps or 4} updates of H a pass"
        report(label, ratios, "times faster per iteration", aim)
        report(label, memory, "times less extra memory", "10" if sp.issparse(X) else "none")
        print(f"  loss after {PASSES}: dnmf {found.loss:.6g}, scikit-learn {divergence(X, *peer[:2]):.6g}")


def divergence(X: object, W: np.ndarray, H: np.ndarray) -> float:
    """Return the generalised Kullback–Leibler divergence of a matrix from WH."""
    X = sp.coo_array(X)
    product = np.concatenate(
        [np.einsum("ij,ji->i", W[X.row[i : i + 10**6]], H[:, X.col[i : i + 10**6]]) for i in range(0, X.nnz, 10**6)]
    )
    used = X.data > 0
    fit = (X.data[used] * np.log(X.data[used] / product[used].astype(float))).sum() - X.data.sum(dtype=float)
    return float(fit + W.sum(axis=0, dtype=float) @ H.sum(axis=1, dtype=float))


def frobenius(name: str, X: object, rank: int, rounds: int, aim: str) -> None:
    """Compare the seconds to the error that scikit-learn's coordinate descent has after 20 iterations."""
    norm = np.sqrt((X.multiply(X) if sp.issparse(X) else X * X).sum(dtype=float))
    ratios = []
    ours(X, rank, 2)
    for _ in range(rounds):
        peer, peer_seconds, _ = theirs(X, rank, 20, solver="cd")
        target = error_of(X, norm, *peer[:2])
        found, seconds, _ = ours(X, rank, 1000, target)
        ratios.append(peer_seconds / seconds)
    report(name, ratios, "times faster to the same error", aim)
    print(f"  error {target:.6f} after 20 iterations; dnmf {found.relative_error:.6f} after {found.passes} passes")


def error_of(X: object, norm: float, W: np.ndarray, H: np.ndarray) -> float:
    """Return ‖X − WH‖/‖X‖ without forming WH."""
    W, H = W.astype(float), H.astype(float)
    square = norm**2 - 2 * np.sum((X @ H.T) * W) + np.sum((W.T @ W) * (H @ H.T))
    return float(np.sqrt(max(square, 0)) / norm)


def ratings(size: float, rounds: int) -> None:
    """Compare a pass over ratings with entries that are not stored taken as missing, and taken as zero."""
    rng = np.random.default_rng(0)
    users, items, rank = int(50000 * size), int(5000 * size), 20
    X = sp.random_array((users, items), density=0.01, format="csr", rng=rng, dtype=np.float32)
    W, H = rng.random((users, 10), dtype=np.float32), rng.random((10, items), dtype=np.float32)
    X.data = np.einsum("ij,ji->i", W[np.repeat(np.arange(users), np.diff(X.indptr))], H[:, X.indices])
    for solver in ("hals", "mu"):
        ratios = []
        for _ in range(rounds):
            seconds = {}
            for missing in ("none", "zeros"):
                found, _, _ = ours(X, rank, PASSES, missing=missing, solver=solver)
                passes = np.diff([record.seconds for record in found.history])
                seconds[missing] = statistics.median(passes)
            ratios.append(seconds["zeros"] / seconds["none"])
        report(f"ratings {users} × {items}, {solver}", ratios, "sparse Frobenius passes for one over ratings", "≤ 10")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["sparse-kl", "dense-kl", "sparse-frobenius", "dense-frobenius", "ratings"]
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(names))
    parser.add_argument("--counts", help="a scipy.sparse .npz of samples × features")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=float, default=1.0, help="share of the full size of the generated matrices")
    options = parser.parse_args()
    print(machine())
    counts = sp.load_npz(options.counts) if options.counts else topic_counts(options.size)
    counts = sp.csr_array(counts).astype(np.float32)
    rng = np.random.default_rng(0)
    dense = rng.poisson(rng.gamma(0.5, 2, (2000, 16)) @ rng.gamma(0.5, 2, (16, int(20000 * options.size))))
    dense = dense.astype(np.float32)
    work = {
        "sparse-kl": lambda: kullback_leibler("sparse KL", counts, 20, options.rounds, "10"),
        "dense-kl": lambda: kullback_leibler("dense KL", dense, 16, options.rounds, "3"),
        "sparse-frobenius": lambda: frobenius("sparse Frobenius", tf_idf(counts), 20, options.rounds, "3"),
        "dense-frobenius": lambda: frobenius("dense Frobenius", dense, 32, options.rounds, "3.35"),
        "ratings": lambda: ratings(options.size, options.rounds),
    }
    for name in options.names or names:
        if name not in work:
            parser.error(f"{name!r} is not known; allowed are {', '.join(names)}.")
        work[name]()


def tf_idf(counts: sp.csr_array) -> sp.csr_matrix:
    """Return the tf-idf of counts."""
    return TfidfTransformer(sublinear_tf=True).fit_transform(sp.csr_matrix(counts)).astype(np.float32)


if __name__ == "__main__":
    main()
