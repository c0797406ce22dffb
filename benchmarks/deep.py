"""Several layers fitted together: relative errors of every layer by the number of reads.

    python benchmarks/deep.py [MATRIX.npy] [--ranks 100,49,25]

The matrix is one of NumPy, with the samples in its columns, divided by its largest entry. By default it is synthetic:
sparse parts that are made of sparse parts, in three layers, with noise. Every rank by itself has the lowest errors that
layers could reach; layers one after another, of which only the first sees the matrix, are the usual multilayer scheme.
"""

import argparse
import time

import numpy as np
from measure import machine

import dnmf


def planted(seed: int = 0) -> np.ndarray:
    """Return 400 × 3000 numbers of three layers with 60, 20 and 8 components."""
    rng = np.random.default_rng(seed)
    parts = [rng.gamma(1.0, size=shape) * (rng.random(shape) < part) for shape, part in PLANTED]
    product = parts[0] @ parts[1] @ parts[2] @ rng.gamma(0.5, size=(8, 3000))
    return product / product.max() + 0.02 * rng.random(product.shape)


PLANTED = [((400, 60), 0.05), ((60, 20), 0.15), ((20, 8), 0.3)]


def main() -> None:
    """Print a line for every run and number of reads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("matrix", nargs="?")
    parser.add_argument("--ranks", default="60,20,8")
    options = parser.parse_args()
    ranks = [int(rank) for rank in options.ranks.split(",")]
    V = planted() if options.matrix is None else np.asarray(np.load(options.matrix), float)
    V = np.asfortranarray(V / V.max())
    print(machine())
    print(
        f"{V.shape[0]} × {V.shape[1]}, ranks {ranks}\n\nrun                       reads  seconds  errors of the layers"
    )

    def show(name: str, reads: int, start: float, errors: list[float]) -> None:
        print(
            f"{name:24}  {reads:5}  {time.perf_counter() - start:7.1f}  {'  '.join(f'{e:.4f}' for e in errors)}",
            flush=True,
        )

    start = time.perf_counter()
    flat = [dnmf.factorize(V, rank, max_passes=60, tol=0) for rank in ranks]
    show("each rank by itself", 60 * len(ranks), start, [result.relative_error for result in flat])
    start = time.perf_counter()
    greedy = dnmf.factorize(V, ranks, layer_weights="greedy", max_passes=60, tol=0)
    show("one after another", greedy.passes, start, [layer.relative_error for layer in greedy.layers])
    for name, init, moments in (("together, random", "random", (5, 20, 60)), ("together, sketch", "sketch", (2, 3, 5))):
        start, losses = time.perf_counter(), list[float]()
        for result in dnmf.iterate(V, ranks, init=init, max_passes=moments[-1], tol=0):
            losses.append(result.loss)
            if result.passes in moments:
                show(name, result.passes, start, [layer.relative_error for layer in result.layers])
        assert (np.diff(losses) <= 0).all(), "the objective rose"


if __name__ == "__main__":
    main()
