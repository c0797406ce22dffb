"""An atlas of cells, larger than memory: counts are generated, written, and factorised within a memory limit.

    python benchmarks/atlas.py --cells 1000000 --out FOLDER [--losses frobenius kullback-leibler] [--kill]

- The counts of 20,000 genes are drawn from programmes: the total of a cell is log-normal, its usage of the programmes
  is Gamma, and every count is a gene of one of them. So they are an exact Poisson factor model, with about 1000 genes
  in a cell. The bits depend on the number of the block alone.
- They are written as a CSR matrix of 16-bit integers by `dnmf.convert`, which is used again if it is in FOLDER.
- `dnmf fit` factorises them in a process of its own: by Frobenius after `--prepare log-normalize`, and by
  Kullback-Leibler as they are. With `--kill`, a second process is killed with -9 in the middle of a pass and resumed.

The reads are counted until the loss is within 0.1 % of that at the end; GB are those on the disk. A programme is found
if the genes of a component correlate with it by more than 0.9.
"""

import argparse
import concurrent.futures
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
from measure import anonymous_bytes, machine
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csc_array

import dnmf
from dnmf.sources import Layout, SharedSource

GENES, PROGRAMMES, CELLS_OF_BLOCK = 20_000, 20, 1024
# Median of the counts of a cell, and the standard deviation of their logarithm; shape of the usage of a programme.
DEPTH, SPREAD, USAGE = 1500.0, 0.4, 0.2
FLAGS: dict[str, list[str]] = {"frobenius": ["--prepare", "log-normalize"], "kullback-leibler": []}


def programmes(seed: int = 0) -> NDArray[np.float64]:
    """Draw the share of every gene in every programme (k, g): a common profile times one of its own."""
    rng = np.random.default_rng(seed)
    shares = rng.gamma(0.1, size=GENES) * rng.gamma(0.5, size=(PROGRAMMES, GENES))
    return shares / shares.sum(axis=1, keepdims=True)


@numba.njit(cache=True)
def alias_tables(shares: Any) -> Any:
    """Return the tables of Walker's method: a uniform gene is kept below its threshold, else replaced by its alias."""
    kinds, genes = shares.shape
    keep, alias = np.ones((kinds, genes)), np.zeros((kinds, genes), np.int32)
    for k in range(kinds):
        left = shares[k] * genes
        small, large = [g for g in range(genes) if left[g] < 1], [g for g in range(genes) if left[g] >= 1]
        while len(small) and len(large):
            low, high = small.pop(), large.pop()
            keep[k, low], alias[k, low] = left[low], high
            left[high] -= 1 - left[low]
            if left[high] < 1:
                small.append(high)
            else:
                large.append(high)
    return np.minimum(keep * 2.0**32, 2.0**32 - 1).astype(np.uint32), alias


@numba.njit(nogil=True, cache=True)
def draw_cells(rng: Any, seed: int, cells: int, keep: Any, alias: Any) -> Any:
    """Draw the counts of cells: the starts, genes and values of their entries."""
    state = np.uint64(seed) << np.uint64(32)  # SplitMix64, of which a block uses far fewer numbers
    kinds, genes = alias.shape
    counts, seen = np.zeros(genes, np.uint16), np.zeros(genes // 64 + 1, np.uint64)
    starts = np.zeros(cells + 1, np.int32)
    found, values = np.empty(cells * genes // 8, np.int32), np.empty(cells * genes // 8, np.uint16)
    usage = np.empty(kinds)
    for cell in range(cells):
        for k in range(kinds):
            usage[k] = rng.gamma(USAGE, 1.0)
        usage *= DEPTH * math.exp(SPREAD * rng.normal()) / usage.sum()
        for k in range(kinds):
            for _ in range(rng.poisson(usage[k])):
                state += np.uint64(1)
                mixed = state * np.uint64(0x9E3779B97F4A7C15)
                mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
                mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
                mixed ^= mixed >> np.uint64(31)
                gene = np.int64(((mixed >> np.uint64(32)) * np.uint64(genes)) >> np.uint64(32))
                if np.uint32(mixed) >= keep[k, gene]:
                    gene = np.int64(alias[k, gene])
                counts[gene] += 1
                seen[gene >> 6] |= np.uint64(1) << np.uint64(gene & 63)
        stop = starts[cell]
        for word in range(len(seen)):
            if seen[word]:
                for gene in range(64 * word, min(64 * word + 64, genes)):
                    if counts[gene]:
                        found[stop], values[stop], counts[gene] = gene, counts[gene], 0
                        stop += 1
                seen[word] = 0
        starts[cell + 1] = stop
    return starts, found[: starts[-1]].copy(), values[: starts[-1]].copy()


class Atlas(SharedSource):
    """Counts of cells (n, 20000), generated block by block on threads, ahead of the reader."""

    def __init__(self, cells: int, pool: concurrent.futures.Executor) -> None:
        self._tables, self._pool = alias_tables(programmes()), pool
        self._coming: dict[int, concurrent.futures.Future[Any]] = {}
        bounds = (*range(0, cells, CELLS_OF_BLOCK), cells)
        self.layout = Layout(
            shape=(GENES, cells),
            dtype=np.dtype(np.uint16),
            bounds=bounds,
            transposed=True,
            read_bytes=CELLS_OF_BLOCK * GENES,
            stored_bytes=6000 * cells,
            sparse=True,
            on_disk=False,
            kind="counts generated",
        )

    def expect(self, block: int) -> None:
        """Begin to generate a block and the next one."""
        for coming in range(block, min(block + 2, self.layout.blocks)):
            if coming not in self._coming:
                columns = self.layout.columns(coming)
                given = (np.random.default_rng(coming), coming, columns.stop - columns.start, *self._tables)
                self._coming[coming] = self._pool.submit(draw_cells, *given)

    def read(self, block: int, scratch: Any) -> csc_array:
        """Return a block (20000, w)."""
        self.expect(block)
        starts, genes, values = self._coming.pop(block).result()
        return csc_array((values, genes, starts), (GENES, len(starts) - 1))


def write(cells: int, path: Path) -> None:
    """Write the counts, unless they are there."""
    if path.exists():
        return
    started, busy = time.perf_counter(), time.process_time()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        dnmf.convert(Atlas(cells, pool), path)
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    size = disk_bytes(path)
    print(f"written in {seconds:.0f} s, {busy:.0f} s of the processor: {size / 1e9:.2f} GB, ", end="")
    print(f"{size / cells:.0f} bytes a cell", flush=True)


def disk_bytes(path: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


class Run:
    """A command in a process of its own, with the records of its passes, its seconds and its memory.

    With `kill`, it is killed in the middle of the pass after the first record.
    """

    def __init__(self, *command: object, kill: bool = False) -> None:
        self.records: list[dict[str, Any]] = []
        self.peak, self.killed = 0, False
        arguments = [sys.executable, "-m", "dnmf", *map(str, command), "--json"]
        started, before = time.perf_counter(), os.times()
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
            watcher = threading.Thread(target=self._watch, args=(child,))
            watcher.start()
            assert child.stdout is not None
            for line in child.stdout:
                self.records.append(json.loads(line))
                if kill and len(self.records) == 1:
                    delay = self.records[0]["seconds"] / self.records[0]["passes"] / 4
                    threading.Timer(delay, child.send_signal, (signal.SIGKILL,)).start()
            child.wait()
            self.killed = child.returncode == -signal.SIGKILL
            watcher.join()
        if child.returncode and not (kill and self.killed):
            raise SystemExit(f"dnmf {command[0]} failed: {self.records}")
        self.records = [record for record in self.records if "optimality" in record]
        self.seconds, after = time.perf_counter() - started, os.times()
        self.busy = after.children_user + after.children_system - before.children_user - before.children_system

    def _watch(self, child: "subprocess.Popen[str]") -> None:
        while child.poll() is None:
            try:
                self.peak = max(self.peak, anonymous_bytes(child.pid))
            except OSError:
                return
            time.sleep(0.01)

    def reads_to(self, share: float) -> int:
        """Return the reads until the loss is within a share of that at the end."""
        end = self.records[-1]["loss"]
        return next(int(record["passes"]) for record in self.records if record["loss"] <= (1 + share) * end)


def recovered(components: NDArray[Any], planted: NDArray[Any]) -> tuple[int, float]:
    """Return how many programmes have a component that correlates by more than 0.9, and the median correlation."""
    count = len(planted)
    found = np.corrcoef(planted, components)[:count, count:]
    rows, columns = linear_sum_assignment(-found)
    best = found[rows, columns]
    return int((best > 0.9).sum()), float(np.median(best))


def same_factors(one: Path, other: Path) -> bool:
    """Return whether two stores have the same bits, of W and H, cell by cell."""
    first, second = dnmf.load(one), dnmf.load(other)
    longs = (np.asarray(result.W) for result in (first, second))
    return np.array_equal(*longs) and np.array_equal(np.asarray(first.H), np.asarray(second.H))


def measure(path: Path, loss: str, options: argparse.Namespace) -> None:
    """Factorise by a loss, print a row of the table, and kill and resume if asked to."""
    store = options.out / f"{loss}.zarr"
    flags = ["--rank", PROGRAMMES, "--loss", loss, *FLAGS[loss], "--memory-limit", options.memory_limit]
    flags += ["--max-passes", options.passes, "--threads", options.threads, "--overwrite"]
    run = Run("fit", path, "--store", store, *flags, "--checkpoint-every", options.checkpoint_every)
    last, result = run.records[-1], dnmf.load(store)
    planted = programmes()
    if loss == "frobenius":
        planted = np.log1p(1e4 * planted)
    found, correlation = recovered(np.asarray(result.H), planted)
    reads, size = last["passes"], disk_bytes(path)
    error = last["loss"] if last["relative_error"] is None else last["relative_error"]
    print(f"| {loss} | {options.cells} | {reads} | {run.reads_to(1e-3)} | {run.seconds:.0f} | {run.busy:.0f} ", end="")
    print(f"| {run.busy / reads / options.cells * 1e6:.0f} | {reads * size / 1e9:.1f} | {run.peak / 1e9:.2f} ", end="")
    print(f"| {error:.6g} | {found} of {PROGRAMMES}, {correlation:.3f} |", flush=True)
    if options.kill:
        other = options.out / f"{loss}-killed.zarr"
        first = Run("fit", path, "--store", other, *flags, "--checkpoint-every", 1, kill=True)
        Run("resume", other)
        same = same_factors(store, other)
        how = f"killed after {first.records[-1]['passes']} reads" if first.killed else "NOT KILLED"
        print(f"  {how}, resumed: {'same bits' if same else 'OTHER BITS'}", flush=True)
        shutil.rmtree(other)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--out", type=Path, required=True, help="Folder of the matrix and the stores.")
    parser.add_argument("--losses", nargs="+", default=list(FLAGS), choices=list(FLAGS))
    parser.add_argument("--memory-limit", default="4GB")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=10, help="Largest number of passes.")
    parser.add_argument("--checkpoint-every", type=int, default=1)
    parser.add_argument("--kill", action="store_true", help="Repeat each run, kill it, and resume it.")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"{machine()}, dnmf {dnmf.__version__}, {options.cells} × {GENES}, memory_limit={options.memory_limit}")
    path = options.out / f"atlas-{options.cells}.zarr"
    write(options.cells, path)
    print("| loss | cells | reads | to 0.1 % | seconds | of the processor | µs a read and cell | GB read ", end="")
    print("| peak GB | error | programmes, median correlation |\n|" + " --- |" * 11)
    for loss in options.losses:
        measure(path, loss, options)


if __name__ == "__main__":
    main()
