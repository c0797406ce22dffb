"""The cost and the gain of a Dask cluster on this machine, with worker processes of one thread each.

    python benchmarks/cluster.py [efficiency] [overhead] [blocks] [death] [checkpoint] [--matrix V.zarr] [--rank 20]

- efficiency: passes of one worker and of two in turn, and a plain NumPy loop by one process and by two in between;
  a larger `--rank` makes its tasks longer.
- overhead: the time of a pass beyond the work on its blocks, for many small blocks, and whether it grows.
- blocks: the processor time and the memory of the driver for up to `--most` blocks, and whether they grow from pass to
  pass. A block is tiny, but there are as many tasks as for blocks of 16 MB. H is in every second checkpoint.
- death: the cost of losing one of two workers at a pass between two checkpoints, replaced or not.
- checkpoint: a checkpoint of H (20 × 1,000,000) against a pass over V (2000 × 1,000,000, 8 GB), or `--size` of that,
  in a folder, at `--store URL`, or, with `--s3`, in an S3 server (moto_server) on this machine.

By default all are run. `--matrix` is for efficiency and death; otherwise V is generated in the tasks, so that no
disk is involved.
"""

import argparse
import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from measure import anonymous_bytes, machine
from threadpoolctl import threadpool_limits

import dnmf
from dnmf.errors import StoreError
from dnmf.run.watcher import Watcher
from dnmf.sources import Layout, SharedSource, even_bounds

median = statistics.median


# The plain rule: its passes all do the same.
PLAIN = {"solver": "hals", "init": "random", "tol": 0}


def chunk(rows: int, width: int, dtype: str, seed: int) -> np.ndarray:
    """Make a block of V."""
    rng = np.random.default_rng(seed)
    if dtype == "uint8":
        return rng.integers(0, 256, (rows, width), np.uint8)
    return rng.random((rows, width), np.float32)


def generated(rows: int, width: int, blocks: int, dtype: str = "float32") -> da.Array:
    """Return a matrix whose blocks are generated in the tasks that visit them."""

    def block(block_info: Any = None) -> np.ndarray:
        return chunk(rows, width, dtype, block_info[None]["chunk-location"][1])

    chunks = ((rows,), (width,) * blocks)
    return da.map_blocks(block, chunks=chunks, dtype=dtype, meta=np.ones((1, 1), dtype))


@contextlib.contextmanager
def workers(count: int, nanny: bool = True) -> Iterator[Client]:
    """Yield a client of a scheduler in this process with `count` worker processes of one thread."""
    flags = ["--nthreads", "1", "--no-dashboard", "--memory-limit", "4GB", "--nanny" if nanny else "--no-nanny"]
    quiet = {"distributed.logging.distributed": "error", "distributed.scheduler.allowed-failures": 10}
    with (
        dask.config.set(quiet),
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        LocalCluster(n_workers=0, dashboard_address=":0", protocol="tcp") as cluster,
        Client(cluster, set_as_default=False) as client,
        contextlib.ExitStack() as stack,
    ):
        command = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address, *flags]
        for _ in range(count):
            process = subprocess.Popen([*command, "--local-directory", folder], stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        client.wait_for_workers(count, timeout=60)
        yield client


class Clock(Watcher):
    """Notes when passes were made and checkpoints written, and does something after one of the passes."""

    def __init__(self, at: int = 0, act: Callable[[], None] = lambda: None) -> None:
        self.at, self.act = at, act
        self.passes: list[float] = []
        self.busy: list[float] = []
        self.saves: list[float] = []

    def started(self, plan: Any, passes: int, max_passes: int) -> None:
        self.plan = plan

    def passed(self, record: Any) -> None:
        self.passes.append(time.perf_counter())
        self.busy.append(time.process_time())
        if record.passes == self.at:
            self.act()

    def saved(self, passes: int, store: str) -> None:
        self.saves.append(time.perf_counter())


# --- efficiency


def plain_loop(rows: int, width: int, rank: int, blocks: Sequence[int]) -> None:
    """Generate blocks and multiply them by both factors: about the work of a pass, in plain NumPy."""
    with threadpool_limits(1):
        W, H = (np.ones(shape, np.float32) for shape in ((rows, rank), (rank, width)))
        for block in blocks:
            V = chunk(rows, width, "uint8", block).astype("float32")
            W.T @ V, V @ H.T


def efficiency(options: argparse.Namespace) -> None:
    """Compare one worker with two, and a plain loop by one process with one by two."""
    rows, width, blocks = 2000, 4000, max(16, round(options.size * 64))
    V = options.matrix or generated(rows, width, blocks, "uint8")
    loop = functools.partial(plain_loop, rows, width, options.rank)
    shares = np.array_split(np.arange(blocks), 2)
    context = multiprocessing.get_context("spawn")
    rates: list[list[float]] = []
    with (
        workers(1) as single,
        workers(2) as double,
        concurrent.futures.ProcessPoolExecutor(2, context) as pool,
    ):
        clock = Clock()
        both = {**PLAIN, "max_passes": options.rounds + 1}
        runs = [dnmf.iterate(V, options.rank, client=each, watchers=[clock], **both) for each in (single, double)]
        acts: list[Callable[[], Any]] = [functools.partial(next, run) for run in runs]
        acts += [
            lambda: pool.submit(loop, np.concatenate(shares)).result(),
            lambda: list(pool.map(loop, shares)),
        ]
        for number in range(options.rounds + 1):
            spent = [seconds(act) for act in acts]
            if number:  # the first pass checks every entry and compiles kernels
                rates.append(spent)
                print(f"round {number}: 1 worker {spent[0]:.2f} s, 2 workers {spent[1]:.2f} s; ", end="")
                print(f"plain loop {spent[2]:.2f} s and {spent[3]:.2f} s", flush=True)
        for run in runs:
            run.close()
    gains = [(one / two, plain / pair) for one, two, plain, pair in rates]
    ratios = [ours / theirs for ours, theirs in gains]
    print(f"{clock.plan.groups} tasks a pass, of {median(each[0] for each in rates) / clock.plan.groups:.2f} s each")
    print(f"seconds per pass: {median(each[0] for each in rates):.2f} by 1 worker, ", end="")
    print(f"{median(each[1] for each in rates):.2f} by 2")
    print(f"gain by the second: {median(ours for ours, _ in gains):.2f}, of a plain loop ", end="")
    print(f"{median(theirs for _, theirs in gains):.2f}")
    print(f"efficiency, pair by pair: median {median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f} (aim 0.9)")


def seconds(act: Callable[[], Any]) -> float:
    """Return the seconds that an action takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


# --- overhead


def overhead(options: argparse.Namespace) -> None:
    """Compare passes over small blocks on two workers with the same work in this process."""
    print("                                        per block (ms):  CPU of driver")
    print("  blocks  tasks  pass (ms)  work (ms)  overhead          and scheduler  first third  last third")
    with workers(2) as client:
        for blocks in (100, 1000, 10_000):
            V, there, here = generated(20, 20, blocks), Clock(), Clock()
            both = {"rank": 5, **PLAIN, "max_passes": options.passes}
            dnmf.factorize(V, client=client, watchers=[there], **both)
            dnmf.factorize(V, client="threads", threads=1, watchers=[here], **{**both, "max_passes": 5})
            work = median(np.diff(here.passes)) / 2
            spent, busy = np.diff(there.passes), np.diff(there.busy)
            over, third = 1e3 * (spent - work) / blocks, len(spent) // 3
            print(f"{blocks:8d}  {there.plan.groups:5d}  {1e3 * median(spent):9.0f}  {1e3 * work:9.0f}", end="")
            print(f"  {median(over):8.3f}          {1e3 * median(busy) / blocks:13.3f}  ", end="")
            print(f"{median(over[:third]):11.3f}  {median(over[-third:]):10.3f}", flush=True)
    print("work: the pass by one thread of this process, halved for two workers (aim: at most 1 ms, and flat)")


# --- blocks


class Tiny(SharedSource):
    """A matrix of tiny blocks that are planned as if they had 16 MB."""

    def __init__(self, blocks: int) -> None:
        self.values = np.random.default_rng(0).random((20, 20), np.float32)
        self.layout = Layout(
            shape=(20, 20 * blocks),
            dtype=self.values.dtype,
            bounds=even_bounds(20 * blocks, 20),
            transposed=False,
            read_bytes=self.values.nbytes,
            stored_bytes=2**24 * blocks,
            sparse=False,
            on_disk=False,
            kind="tiny blocks",
        )

    def read(self, block: int, scratch: Any) -> np.ndarray:
        """Return a block."""
        return np.roll(self.values, block, axis=1)


class Sizes(Clock):
    """Notes the memory of this process after every pass, too."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = [anonymous_bytes()]

    def passed(self, record: Any) -> None:
        super().passed(record)
        self.memory.append(anonymous_bytes())


def many_blocks(options: argparse.Namespace) -> None:
    """Measure the driver, and a run on one thread of this process, by the number of blocks."""
    print("                          ms of the processor per block:                MB, after the ")
    print("            blocks  tasks  first pass  third pass  last pass  checkpoint  first pass  last pass")
    both = {"rank": 5, **PLAIN, "max_passes": 10, "checkpoint_every": 5}
    counts = [count for count in (1000, 10_000, 100_000) if count <= options.most]
    with workers(2) as client, tempfile.TemporaryDirectory() as folder:
        for name, where in (("driver", {"client": client}), ("threads", {"client": "threads", "threads": 1})):
            for blocks in (100, *counts):
                sizes, start = Sizes(), time.process_time()
                store = f"{folder}/{name}-{blocks}.zarr"
                dnmf.factorize(Tiny(blocks), store=store, watchers=[sizes], **both, **where)
                spent = 1e3 * np.diff([start, *sizes.busy]) / blocks
                held = (np.array(sizes.memory) - sizes.memory[0]) / 1e6
                if blocks > 100:  # the first run compiles
                    print(f"{name:8}  {blocks:8d}  {sizes.plan.groups:5d}  {spent[0]:10.3f}  ", end="")
                    print(f"{spent[2]:10.3f}  {spent[-1]:9.3f}  {spent[5]:10.3f}  ", end="")
                    print(f"{held[1]:10.0f}  {held[-1]:9.0f}", flush=True)


# --- death


def death(options: argparse.Namespace) -> None:
    """Kill one of two workers, and compare with a run in which none dies."""
    V = options.matrix or generated(1000, 2000, 48)
    both = {"rank": options.rank, **PLAIN, "max_passes": 40, "checkpoint_every": 10}
    with tempfile.TemporaryDirectory() as folder:
        for nanny in (True, False):
            taken, results = [], []
            for dies in (False, True):
                with workers(2, nanny) as client:
                    clock = Clock(25 if dies else 0, functools.partial(kill_one, client))
                    store = f"{folder}/{uuid.uuid4().hex}.zarr"
                    results.append(dnmf.factorize(V, client=client, store=store, watchers=[clock], **both))
                    taken.append(clock.passes[-1] - clock.passes[0])
                    gaps = np.diff(clock.passes)
            assert np.array_equal(results[0].W, results[1].W), "W differs"
            assert np.array_equal(np.asarray(results[0].H), np.asarray(results[1].H)), "H differs"
            print(f"{'its nanny starts another' if nanny else 'one worker is left'}: ", end="")
            print(
                f"{gaps[24] - median(gaps[14:24]):.1f} s lost in the pass of the death, same bits; a pass took ", end=""
            )
            print(
                f"{median(gaps[14:24]):.2f} s before it, {gaps[24]:.2f} with it, {median(gaps[25:]):.2f} after it; ",
                end="",
            )
            print(f"40 passes {taken[1]:.1f} s, and {taken[0]:.1f} s in peace", flush=True)


def kill_one(client: Client) -> None:
    """Kill one of the workers."""
    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)


# --- checkpoint


def checkpoint(options: argparse.Namespace) -> None:
    """Write a checkpoint after every pass, and compare their times."""
    width = 4000
    blocks = max(1, round(250 * options.size))
    with store_of(options) as store, workers(2) as client:
        clock = Clock()
        both = {**PLAIN, "max_passes": options.rounds + 1, "checkpoint_every": 1, "overwrite": True}
        dnmf.factorize(generated(2000, width, blocks), 20, client=client, store=store, watchers=[clock], **both)
    passes = [made - saved for saved, made in zip(clock.saves[:-1], clock.passes[1:], strict=True)]
    saves = [saved - made for made, saved in zip(clock.passes, clock.saves, strict=True)][1:]
    size = 20 * width * blocks * 4
    print(f"H of {size / 1e6:.0f} MB to {store}, V of {size / 1e7:.1f} GB")
    print(f"seconds per pass {median(passes):.2f}, per checkpoint {median(saves):.2f}: ", end="")
    shares = [save / made for save, made in zip(saves, passes, strict=True)]
    print(
        f"{100 * median(shares):.1f} % of a pass, pair by pair ({100 * min(shares):.1f} to {100 * max(shares):.1f} %)"
    )


@contextlib.contextmanager
def store_of(options: argparse.Namespace) -> Iterator[str]:
    """Yield the store of the checkpoints."""
    if options.store:
        yield options.store
    elif options.s3:
        with played_s3() as bucket:
            yield f"s3://{bucket}/run.zarr"
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield f"{folder}/run.zarr"


@contextlib.contextmanager
def played_s3() -> Iterator[str]:
    """Yield the name of a bucket in an S3 server on this machine, for this process and its children."""
    program = shutil.which("moto_server", path=os.path.dirname(sys.executable)) or shutil.which("moto_server")
    if program is None:
        raise SystemExit("--s3 needs moto_server; pip install 'moto[server]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    names = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
    os.environ.update({**names, "AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"})
    with subprocess.Popen([program, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            make_bucket(url, "dnmf")
            yield "dnmf"
        finally:
            server.terminate()


def make_bucket(url: str, name: str) -> None:
    """Make a bucket as soon as the server answers; S3 needs only a PUT for a public one."""
    import urllib.request

    end = time.monotonic() + 30
    request = urllib.request.Request(f"{url}/{name}", method="PUT")
    while True:
        try:
            urllib.request.urlopen(request, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise


PARTS = {
    "efficiency": efficiency,
    "overhead": overhead,
    "blocks": many_blocks,
    "death": death,
    "checkpoint": checkpoint,
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--matrix", help="A Zarr array or a .npy file.")
    parser.add_argument("--rank", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5, help="Rounds of efficiency and checkpoint.")
    parser.add_argument("--passes", type=int, default=24, help="Passes of overhead.")
    parser.add_argument("--most", type=int, default=100_000, help="Largest number of blocks.")
    parser.add_argument(
        "--size", type=float, default=1.0, help="Share of the full size, for efficiency and checkpoint."
    )
    parser.add_argument("--store", help="Store of the checkpoints, as s3://bucket/run.zarr.")
    parser.add_argument(
        "--s3", action="store_true", help="Write the checkpoints to an S3 server (moto_server) on this machine."
    )
    options = parser.parse_args()
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"{part!r} is not a part; choose from {', '.join(PARTS)}")
    print(f"{machine()}, dnmf {dnmf.__version__}")
    for part in options.parts or PARTS:
        print(f"\n{part}", flush=True)
        try:
            PARTS[part](options)
        except StoreError as error:
            print(f"it cannot run: {error}")


if __name__ == "__main__":
    main()
