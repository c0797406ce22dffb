"""Graph-regularised runs: objective by reads, monotony, correlation by weight, the product, and memory against plan.

    python benchmarks/graphs.py [objective product memory] [--side 100] [--columns 1000000]

`objective` factorises counts at the spots of a grid, whose maps are known (examples/neighbours.py), by the sketch and
by plain passes of HALS. `product` multiplies H̃ by the graph of 15 neighbours, near or random ones. `memory` runs a
matrix with a graph of 16 neighbours, both on the disk, in processes of their own.
"""

import argparse
import subprocess
import sys
import tempfile
import time

import numpy as np
import scipy.sparse as sp
from measure import machine
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment

import dnmf
from dnmf.sources.graphs import open_graph

WEIGHTS = (0.0, 0.3, 1.0, 3.0, 10.0, 100.0)
PLAIN = (20, 60, 200)


def counts(side: int, seed: int = 0) -> tuple[sp.csc_array, np.ndarray]:
    """Return counts of 200 genes at the spots of a grid, and the maps of their six programmes."""
    rng = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(rng.standard_normal((side, side)), 0.08 * side) for _ in range(6)])
    truth = np.exp(1.2 * fields / fields.std(axis=(1, 2), keepdims=True)).reshape(6, -1)
    truth *= 60 / truth.sum(axis=0)
    genes = rng.gamma(0.1, size=(200, 6))
    return sp.csc_array(rng.poisson(genes / genes.sum(axis=0) @ truth).astype("float32")), truth


def correlation(H: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean correlation of the maps with the true ones, in the best order."""
    found = np.nan_to_num(np.corrcoef(truth, H)[: len(truth), len(truth) :])
    return float(found[linear_sum_assignment(-found)].mean())


def objective(side: int) -> None:
    """Print the objective and the correlation after a few reads, and after many plain passes."""
    V, truth = counts(side)
    graph = dnmf.graphs.grid((side, side))
    print("weight  reads  solver  objective     correlation  monotone  seconds")
    for weight in WEIGHTS:
        options = {"graph_H": graph, "graph_weight": weight, "tol": 0.0}
        runs = [("sketch", {"solver": "sketch"}, (2, 3, 4))]
        runs += [("hals", {"solver": "hals", "init": "random", "extrapolate": False}, PLAIN)]
        for name, solver, moments in runs:
            start, losses = time.perf_counter(), list[float]()
            for result in dnmf.iterate(V, 6, **options, **solver, max_passes=moments[-1]):
                losses.append(result.loss)
                if result.passes in moments:
                    falls = bool((np.diff(losses) <= 1e-7 * losses[0]).all())
                    seconds = time.perf_counter() - start
                    near = correlation(np.asarray(result.H), truth)
                    row = f"{weight:6g}  {result.passes:5}  {name:6}  {result.loss:12.2f}  {near:11.4f}  {falls!s:8}"
                    print(f"{row}  {seconds:7.1f}", flush=True)


def product(columns: int) -> None:
    """Print the seconds of H̃A and of the roughness, on one thread, at r = 20 with 15 neighbours."""
    rng = np.random.default_rng(0)
    rows = rng.random((columns, 20), np.float32)
    for name in ("random", "near"):
        steps = rng.integers(1, columns if name == "random" else 30, (columns, 15))
        places = (np.arange(columns)[:, None] + steps) % columns
        ends = np.repeat(np.arange(columns), 15), places.ravel()
        A = sp.csc_array((np.ones(len(ends[0]), np.float32), ends), shape=(columns, columns))
        graph = open_graph((A + A.T) / 2, columns, "graph_H")
        graph.product(rows[:10], slice(0, 0)), graph.roughness(rows)
        start = time.perf_counter()
        graph.product(rows, slice(0, columns))
        middle = time.perf_counter()
        graph.roughness(rows)
        end = time.perf_counter()
        edges = len(graph.weights) / columns
        print(
            f"{columns} columns, {name} neighbours ({edges:.0f} each): product {middle - start:.2f} s, "
            f"roughness {end - middle:.2f} s, graph {graph.nbytes / 1e6:.0f} MB",
            flush=True,
        )


CHILD = """
import sys, time, dnmf
from measure import peak_memory
path, graph, limit = sys.argv[1:]
options = dict(graph_W=graph, max_passes=4, tol=0, memory_limit=limit, solver="hals", init="random")
plan, times = dnmf.plan(path, 5, **options), []
with peak_memory() as memory:
    dnmf.factorize(path, 5, **options, watchers=[lambda record: times.append(time.perf_counter())])
print(plan.factor_in_memory, plan.peak_bytes / 1e6, memory["peak"] / 1e6, (times[-1] - times[0]) / 3)
"""


def memory(columns: int) -> None:
    """Print the memory of runs on a matrix and a graph on the disk, that of their plans, and the seconds of a pass."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path, graph = f"{folder}/V.npy", f"{folder}/A.npz"
        V = np.lib.format.open_memmap(path, "w+", np.float32, (columns, 20))
        for first in range(0, columns, 10**5):
            V[first : first + 10**5] = rng.random(V[first : first + 10**5].shape, np.float32)
        V.flush()
        steps = rng.choice(np.arange(1, columns // 2), 8, replace=False)
        places = (np.arange(columns)[:, None] + np.concatenate([steps, -steps])) % columns
        places = np.sort(places.astype(np.int32), axis=1).ravel()
        starts = np.arange(0, len(places) + 1, 16)
        A = sp.csc_array((np.ones(len(places), np.float32), places, starts), shape=(columns, columns))
        sp.save_npz(graph, A, compressed=False)
        size = 8 * len(places)
        for place, limit in (("mapped", int(600e6 + 100 * columns)), ("in memory", int(600e6 + 16 * size))):
            command = [sys.executable, "-c", CHILD, path, graph, str(limit)]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            if ended.returncode:
                print(f"limit {limit / 1e6:.0f} MB: {ended.stderr.strip().splitlines()[-1]}")
                continue
            held, planned, peak, seconds = ended.stdout.split()
            print(
                f"graph {place}, factors in memory {held}: plan {float(planned):.0f} MB, peak {float(peak):.0f} MB, "
                f"{float(seconds):.1f} s a pass",
                flush=True,
            )


def main() -> None:
    """Run the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["objective", "product", "memory"])
    parser.add_argument("--side", type=int, default=100)
    parser.add_argument("--columns", type=int, default=10**6)
    options = parser.parse_args()
    print(machine())
    if "objective" in options.parts:
        objective(options.side)
    if "product" in options.parts:
        product(options.columns)
    if "memory" in options.parts:
        memory(options.columns)


if __name__ == "__main__":
    main()
