"""A matrix of 8 GB in 1 GB of memory: peak memory, and a pass compared with only reading the blocks.

    python benchmarks/out_of_core.py [--matrix V.zarr | --rows 2000 --columns 1000000] [--rank 20] [--memory-limit 1GB]

Reads and passes alternate, each with the page cache emptied before it if that is permitted.
"""

import argparse
import concurrent.futures
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from measure import drop_caches, machine, peak_memory

import dnmf
from dnmf.engine import ThreadEngine
from dnmf.kernels.blocks.sums import Stats
from dnmf.run.open import plan_of
from dnmf.settings import Settings
from dnmf.sources import open_matrix


def write_matrix(path: Path, rows: int, columns: int, rank: int = 20, width: int = 4000) -> None:
    """Write a matrix of low rank with noise, float32, in uncompressed chunks of `width` columns."""
    rng = np.random.default_rng(0)
    W = rng.gamma(0.5, size=(rows, rank)).astype("float32")
    array = zarr.create_array(path, shape=(rows, columns), chunks=(rows, width), dtype="float32", compressors=None)
    for start in range(0, columns, width):
        count = min(width, columns - start)
        H = rng.gamma(0.5, size=(rank, count)).astype("float32")
        array[:, start : start + count] = W @ H + rng.random((rows, count), dtype=np.float32)


class Reading:
    """The work of a pass that only reads."""

    def zero(self) -> Stats:
        return Stats.zero(1, 1)

    def visit(self, block: int, V: Any, H: Any, stats: Stats, scratch: Any) -> None:
        pass


def read_only(matrix: str, settings: Settings) -> float:
    """Return the seconds of reading every block through the same source, with the same threads."""
    source = open_matrix(matrix)
    plan = plan_of(source.layout, settings)
    engine = ThreadEngine(source, plan.groups, plan.threads)
    start = time.perf_counter()
    engine.one_pass(Reading())
    return time.perf_counter() - start


def measure(matrix: str, folder: Path, rank: int, limit: str, passes: int) -> None:
    """Alternate reads and passes, and print their times."""
    settings = Settings(rank=rank, init="random", memory_limit=limit, max_passes=passes)  # type: ignore[arg-type]
    print(dnmf.plan(matrix, rank, memory_limit=limit, solver="hals", init="random"))
    cold = drop_caches()
    reads, works = [], []
    with peak_memory() as memory:
        run = dnmf.iterate(
            matrix,
            rank,
            store=folder / "run.zarr",
            memory_limit=limit,
            max_passes=passes,
            tol=0,
            solver="hals",
            init="random",
            checkpoint_every=passes,
        )
        for _ in range(passes):
            drop_caches()
            start = time.perf_counter()
            result = next(run)
            works.append(time.perf_counter() - start)
            drop_caches()
            reads.append(read_only(matrix, settings))
            print(f"pass {result.passes}: {works[-1]:.2f} s, reading alone {reads[-1]:.2f} s, {result}")
        for _ in run:
            pass
    # The first pass checks every entry, and the last one ends with a checkpoint: print them, but leave them out.
    ratios = [work / read for work, read in zip(works[1:-1], reads[1:-1], strict=True)]
    print(f"\n{machine()}, page cache {'emptied' if cold else 'as it was'}, dnmf {dnmf.__version__}")
    print(f"peak anonymous memory {memory['peak'] / 1e9:.3f} GB (limit {limit})")
    print(
        f"seconds per pass {statistics.median(works[1:-1]):.2f}, of reading alone {statistics.median(reads[1:-1]):.2f}"
    )
    print(f"ratio, pair by pair: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matrix")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--columns", type=int, default=1_000_000)
    parser.add_argument("--rank", type=int, default=20)
    parser.add_argument("--memory-limit", default="1GB")
    parser.add_argument("--passes", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        matrix = options.matrix
        if matrix is None:
            # Write it in another process, whose memory is not counted.
            matrix = str(folder / "V.zarr")
            with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                pool.submit(write_matrix, Path(matrix), options.rows, options.columns).result()
        measure(matrix, folder, options.rank, options.memory_limit, options.passes)


if __name__ == "__main__":
    main()
