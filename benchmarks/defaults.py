"""scikit-learn's NMF and dnmf's, as their users call them: with the defaults, each stopping by itself.

    python benchmarks/defaults.py [--only NAME ...] [--matrix FILE:RANK[:LOSS] ...] [--repeats 5]

Every matrix is factorised in turn by `sklearn.decomposition.NMF`, by `dnmf.NMF` with the same parameters, by
`dnmf.NMF(solver="auto")`, and by the last with the smallest `max_iter` that reaches the loss of scikit-learn, each on
one thread; seconds are medians of those of the processor, which other work on the machine changes little. One judge
measures all factors in float64. A matrix of your own is a .npy file, or a sparse one in a .npz file of SciPy, of
samples × features; LOSS is a name or a number.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import sklearn.datasets
from losses import topic_counts
from measure import machine
from problems import counts, tfidf
from results import short, table
from scipy.special import xlogy
from sklearn.decomposition import NMF
from threadpoolctl import threadpool_limits

import dnmf

KL, IS = "kullback-leibler", "itakura-saito"
# A loss counts as that of scikit-learn if it is higher by no more than this share.
SAME = 1e-4


class Problem(NamedTuple):
    """A matrix (samples, features), given by a function, with a rank and a loss."""

    name: str
    make: Callable[[], Any]
    rank: int
    loss: str | float = "frobenius"


def planted(rows: int, columns: int, rank: int) -> np.ndarray:
    """Return a dense matrix of a rank, with noise."""
    rng = np.random.default_rng(0)
    W, H = rng.gamma(0.5, size=(rows, rank)), rng.gamma(0.5, size=(rank, columns))
    return np.asarray(W @ H + 0.2 * rng.random((rows, columns)), np.float32)


def log_counts() -> sp.csr_array:
    """Return the logarithms of sparse counts, as those of genes in cells."""
    found = sp.csr_array(counts(6000, 3000))
    found.data = np.log1p(found.data)
    return found


def spectrogram() -> np.ndarray:
    """Return the powers of a mixture of four sounds: exponentially distributed about a matrix of rank 4."""
    rng = np.random.default_rng(0)
    means = rng.gamma(0.5, size=(513, 4)) @ rng.gamma(0.5, size=(4, 600))
    return means * rng.exponential(size=means.shape) + 1e-6


def digits() -> np.ndarray:
    """Return the images of digits that scikit-learn has (1797, 64)."""
    return np.asarray(sklearn.datasets.load_digits().data)


PROBLEMS = [
    Problem("tiny", lambda: planted(100, 50, 5), 5),
    Problem("digits", digits, 16),
    Problem("dense 2000 × 500", lambda: planted(2000, 500, 10), 10),
    Problem("dense 5000 × 1000", lambda: planted(5000, 1000, 20), 20),
    Problem("dense 20000 × 1000", lambda: planted(20000, 1000, 20), 20),
    Problem("tf-idf", lambda: tfidf(0.5), 20),
    Problem("log counts, sparse", log_counts, 20),
    Problem("digits, KL", digits, 10, KL),
    Problem("few samples, KL", lambda: counts(40, 5000) + 20, 3, KL),
    Problem("word counts, KL", lambda: topic_counts(0.2), 20, KL),
    Problem("spectrogram, IS", spectrogram, 4, IS),
]


def loss_of(V: Any, W: np.ndarray, H: np.ndarray, loss: str | float) -> float:
    """Return the β-divergence D(V, WH) in float64."""
    W, H = W.astype(np.float64), H.astype(np.float64)
    if loss == "frobenius":
        product = np.vdot(W.T @ W, H @ H.T) - 2 * np.vdot(np.asarray(V @ H.T, np.float64), W)
        values = (V.data if sp.issparse(V) else V).astype(np.float64)
        return 0.5 * float(np.vdot(values, values) + product)
    if sp.issparse(V):  # Kullback–Leibler
        X = sp.coo_array(V)
        y = np.einsum("ij,ij->i", W[X.row], H[:, X.col].T)
        return float((xlogy(X.data, X.data / y) - X.data).sum() + W.sum(axis=0) @ H.sum(axis=1))
    Y, V = W @ H, V.astype(np.float64)
    if loss == KL:
        return float((xlogy(V, V / np.maximum(Y, 1e-300)) - V + Y).sum())
    return float((V / Y - np.log(V / Y) - 1).sum())


def fit(model: Any, V: Any) -> tuple[float, np.ndarray, np.ndarray]:
    """Fit a model; return the seconds of the processor, W and H."""
    start = time.process_time()
    W = model.fit_transform(V)
    return time.process_time() - start, W, model.components_


def compare(problem: Problem, repeats: int) -> list[str]:
    """Run the three in turn on one thread, and return a line of the table."""
    with threadpool_limits(1):  # the judge too: after a product, the other threads of BLAS spin for .1 s, which counts
        return _compared(problem, repeats)


def _compared(problem: Problem, repeats: int) -> list[str]:
    V, loss = problem.make(), problem.loss
    solver = "cd" if loss == "frobenius" else "mu"
    own = {"n_components": problem.rank, "beta_loss": loss, "random_state": 0}
    makes: dict[str, Callable[[], Any]] = {
        "scikit-learn": lambda: NMF(solver=solver, **own),
        "same": lambda: dnmf.NMF(solver=solver, threads=1, **own),
        "auto": lambda: dnmf.NMF(solver="auto", threads=1, **own),
    }
    for make in makes.values():
        fit(make().set_params(max_iter=2), V)
    enough = passes_to(loss_of(V, *fit(makes["scikit-learn"](), V)[1:], loss), makes["auto"], V, loss)
    if enough is not None:
        makes["reach"] = lambda: makes["auto"]().set_params(max_iter=enough)
    seconds: dict[str, list[float]] = {name: [] for name in makes}
    losses, iterations = {}, {}
    for _ in range(repeats):
        for name, make in makes.items():
            model = make()
            spent, W, H = fit(model, V)
            seconds[name].append(spent)
            losses[name], iterations[name] = loss_of(V, W, H, loss), model.n_iter_
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    cells = [problem.name, f"{V.shape[0]} × {V.shape[1]}", str(problem.rank)]
    for name in ("scikit-learn", "same", "auto"):
        above = "" if name == "scikit-learn" else f", {100 * (losses[name] / losses['scikit-learn'] - 1):+.2f} %"
        cells.append(f"{short(middle[name])} s, {iterations[name]} iterations{above}")
    for name in ("same", "auto", "reach"):
        times = zip(seconds["scikit-learn"], seconds.get(name, []), strict=name in makes)
        ratios = [peer / mine for peer, mine in times]
        cells.append(f"{statistics.median(ratios):.2f}" if ratios else "–")
    return cells


def passes_to(target: float, make: Callable[[], Any], V: Any, loss: str | float) -> int | None:
    """Return the smallest `max_iter` with which a model's loss is within `SAME` of a target, or lower, or None."""
    for limit in range(1, make().max_iter + 1):
        model = make().set_params(max_iter=limit)
        _, W, H = fit(model, V)
        if loss_of(V, W, H, loss) <= (1 + SAME) * target:
            return limit
        if model.n_iter_ < limit:
            return None
    return None


def lines_of(problems: Sequence[Problem], repeats: int) -> list[str]:
    """Return the lines of the table."""
    head = [
        "matrix",
        "size",
        "rank",
        "scikit-learn",
        "dnmf, same solver",
        'dnmf, solver="auto"',
        "speed",
        "speed, auto",
        "speed, auto, to that loss",
    ]
    words = "Seconds of the processor on one thread: medians of interleaved runs, each with its own stopping rule. "
    words += (
        "The percentage is the loss above that of scikit-learn, the speed the seconds of scikit-learn over ours; in "
    )
    words += "the last column ours stops after the first pass whose loss is no higher. A dash means not reached."
    return [words, "", *table(head, [compare(problem, repeats) for problem in problems])]


def given_problem(text: str) -> Problem:
    """Return the problem of FILE:RANK[:LOSS]."""
    file, rank, *rest = text.split(":")
    loss: str | float = rest[0] if rest else "frobenius"
    if loss not in ("frobenius", KL, IS):
        loss = float(loss)
    make = (lambda: sp.csr_array(sp.load_npz(file))) if file.endswith(".npz") else (lambda: np.load(file))
    return Problem(Path(file).stem + ("" if loss == "frobenius" else f", {loss}"), make, int(rank), loss)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="Names of problems.")
    parser.add_argument("--matrix", nargs="*", default=[], metavar="FILE:RANK[:LOSS]")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    problems = [given_problem(text) for text in options.matrix] or PROBLEMS
    problems = [problem for problem in problems if not options.only or problem.name in options.only]
    print(machine())
    print("\n".join(lines_of(problems, options.repeats)))


if __name__ == "__main__":
    main()
