"""Compare dnmf with other packages: install them, run all of them in turn, and write the tables of `RESULTS.md`.

    python benchmarks/tables.py [dense sparse counts defaults larger growth blocks faults scripts] [--rounds 3]
                                [--size 1] [--out benchmarks/RESULTS.md] [--place .venv-peers] [--small]

Every table is a section of the file and can be made alone. `--small` takes seconds, installs nothing, and runs only the
peers that need no other packages than dnmf.
"""

import argparse
import dataclasses
import math
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import scipy.sparse as sp
from contenders import BATCHES, CD, CONTESTS, DASK_DISK, HALS_DISK, LIMIT, PRODUCTS, READING, SMALL
from contest import Peer, Run, contest, install, python_of, run
from defaults import PROBLEMS, lines_of
from passes import synthetic
from peers.job import Job
from problems import counts, judge_of, tfidf, write_larger, write_problem
from results import figures, longest, middle, per_iteration, ratio, setup, short, table, write_section

HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Setting:
    """The environment of the peers, the packages that could not be installed, and the options."""

    folder: Path
    place: Path | None
    missing: dict[str, str]
    given: argparse.Namespace

    def peers(self, table: str) -> list[Peer]:
        """Return the installed peers of a table."""
        return [peer for peer in (SMALL if self.given.small else CONTESTS)[table] if peer.name not in self.missing]

    def run(
        self, peer: Peer, folder: Path, rank: int, judge: Callable[..., float | None], *, seconds: float, **words: Any
    ) -> Run:
        """Run a peer on the problem of a folder, with one thread per core; the other arguments are those of a job."""
        job = Job(peer.adapter, str(folder), "", rank, threads=cores(), seconds=seconds, options=peer.options, **words)
        return run(peer, job, python_of(peer, self.place), judge, self.given.patience + seconds)

    def scaled(self, count: int) -> int:
        return max(40, round(count * self.given.size))


def cores() -> int:
    return len(os.sched_getaffinity(0))


def in_memory(name: str, V: Any, rank: int, loss: str, setting: Setting) -> list[str]:
    """Run the peers of a table on a matrix in memory, and return its lines."""
    folder = setting.folder / name
    write_problem(folder, V, rank)
    small = setting.given.small
    judge = judge_of(V, loss)
    size = (V.data.nbytes + V.indices.nbytes + V.indptr.nbytes) if sp.issparse(V) else V.nbytes

    def one(peer: Peer) -> Run:
        iterations = 3 if small else {"dnmf": 15, BATCHES.name: 20, READING: 10, PRODUCTS: 10}.get(peer.name, 200)
        seconds = setting.given.seconds * (10 if peer.rounds == 1 else 1)
        return setting.run(peer, folder, rank, judge, loss=loss, iterations=iterations, seconds=seconds)

    runs = contest([*setting.peers(name), *LIMIT], setting.given.rounds, one)
    density = f", {V.nnz / V.shape[0] / V.shape[1]:.2%} stored" if sp.issparse(V) else ""
    title = f"{V.shape[0]} × {V.shape[1]} float32{density} ({size / 1e6:.0f} MB), rank {rank}, {loss}, "
    title += f"{cores()} threads, {setting.given.rounds} rounds, at most {setting.given.seconds:g} s of steps each."
    return [title, setup(runs), "", *figures(runs, setting.peers(name), size), *missing(setting, name)]


def missing(setting: Setting, name: str) -> list[str]:
    """Return a line for every peer that could not be installed."""
    missed = {peer.name: setting.missing[peer.name] for peer in CONTESTS[name] if peer.name in setting.missing}
    return [f"\n{peer} could not be installed: {why}" for peer, why in missed.items()]


def larger(setting: Setting) -> list[str]:
    """Factorise a matrix under a limit of a quarter of its size."""
    rows, columns, rank = setting.scaled(500_000), setting.scaled(1000), 20
    folder = setting.folder / "larger"
    V = write_larger(folder, rows, columns, rank)
    judge = judge_of(V, "frobenius")
    bound = max(V.nbytes // 4, 2**28 if setting.given.small else 0)

    def one(peer: Peer) -> Run:
        return setting.run(peer, folder, rank, judge, limit=bound, iterations=4, seconds=40)

    runs = contest([*LIMIT, *setting.peers("larger")], 1, one)
    lines = []
    for peer in setting.peers("larger"):
        (done,) = runs[peer.name]
        lines.append(
            [
                peer.name,
                "fails" if done.failed else "finishes",
                longest([done]),
                short(done.lowest),
                short(done.per_iteration),
                f"{done.peak / 1e6:.0f} MB",
                short(ratio([done], runs[READING], per_iteration)),
                short(ratio([done], runs[PRODUCTS], per_iteration)),
            ]
        )
    preface = [
        f"{rows} × {columns} float32 ({V.nbytes / 1e9:.3g} GB), rank {rank}. A peer may hold {bound / 1e6:.0f} MB",
        "of anonymous memory beyond its libraries: it is stopped if it holds more, and a single allocation of twice as",
        "much fails; the heap of Java has the same limit. dnmf and dask.array read Zarr, gensim a stream of documents,",
        "Spark Parquet, the others a mapped file. The page cache is emptied before each, if that is permitted.",
    ]
    head = ["", "", "how", "error", "seconds per iteration", "peak memory"]
    head += ["iteration over reading V", "over the two products"]
    return [*preface, setup(runs), "", *table(head, lines), *missing(setting, "larger")]


def iterated(peers: Sequence[Peer], problems: dict[str, Path], rank: int, setting: Setting) -> list[str]:
    """Return the seconds per iteration of several peers on several problems, and their ratio to the first."""
    found: dict[str, list[Run]] = {f"{peer.name} {label}": [] for peer in peers for label in problems}
    for _ in range(min(setting.given.rounds, 2)):
        for label, folder in problems.items():

            def one(peer: Peer, folder: Path = folder) -> Run:
                return setting.run(peer, folder, rank, lambda **_: None, iterations=6, seconds=60)

            for name, runs in contest(peers, 1, one).items():
                found[f"{name} {label}"] += runs
    rows = []
    for peer in peers:
        values = [middle(map(per_iteration, found[f"{peer.name} {label}"])) for label in problems]
        rows.append([peer.name, *(f"{short(1e3 * value)} (×{short(value / values[0])})" for value in values)])
    return [setup(found), "", *table(["ms per iteration", *problems], rows)]


def growth(setting: Setting) -> list[str]:
    """Use matrices with one, four and sixteen times the rows."""
    rank, problems = 20, {}
    for times in (1, 4, 16):
        V = synthetic(0, setting.scaled(5000) * times, 500)
        problems[f"{len(V)} rows"] = setting.folder / f"growth-{times}"
        write_problem(problems[f"{len(V)} rows"], V, rank, max(1, setting.scaled(5000) // 4))
    preface = f"Rows × 500 float32, rank {rank}, in blocks of {max(1, setting.scaled(5000) // 4)} rows."
    return [preface, *iterated([HALS_DISK, CD, DASK_DISK], problems, rank, setting)]


def blocks(setting: Setting) -> list[str]:
    """Cut one matrix into an increasing number of blocks."""
    rank, problems = 20, {}
    V = synthetic(0, setting.scaled(80_000), 500)
    for count in (8, 32, 128, 512):
        problems[f"{count} blocks"] = setting.folder / f"blocks-{count}"
        write_problem(problems[f"{count} blocks"], V, rank, max(1, math.ceil(len(V) / count)))
    preface = f"{len(V)} × 500 float32 ({V.nbytes / 1e6:.0f} MB), rank {rank}, from a Zarr array."
    return [preface, *iterated([HALS_DISK, DASK_DISK], problems, rank, setting)]


SCRIPTS = [
    "passes.py --seeds 2 --passes 60 --epochs 5 --solvers auto extrapolated hals mu sklearn-cd sklearn-minibatch",
    "out_of_core.py --columns 250000 --memory-limit 500MB",
    "in_memory.py --rows 10000 --repeats 2",
    "kills.py --kills 3 --columns 50000",
]


def output_of(script: str) -> list[str]:
    """Return the output of a script of this folder, or that of its error."""
    print(f"  {script}", flush=True)
    command = [sys.executable, *(str(HERE / word) if word.endswith(".py") else word for word in script.split())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout if done.returncode == 0 else done.stdout + done.stderr).strip().splitlines()


def default_runs(setting: Setting) -> list[str]:
    """Compare the estimators as their users call them."""
    return lines_of(PROBLEMS[:1] if setting.given.small else PROBLEMS, setting.given.rounds)


def scripts(setting: Setting) -> list[str]:
    """Run the scripts that measure one thing each, in smaller forms than for the full-size measurements."""
    lines = []
    for script in SCRIPTS[-1:] if setting.given.small else SCRIPTS:
        lines += [f"`benchmarks/{script}`", "", "```text", *output_of(script), "```", ""]
    return lines[:-1]


def faults(setting: Setting) -> list[str]:
    """Inject faults, and return the table of how they end."""
    script = f"faults.py {20 if setting.given.small else 1000}"
    return [f"`benchmarks/{script}`", "", *output_of(script)]


def dense(setting: Setting) -> list[str]:
    V = synthetic(0, setting.scaled(20000), setting.scaled(1000))
    return in_memory("dense", V, 20, "frobenius", setting)


def sparse(setting: Setting) -> list[str]:
    return in_memory("sparse", tfidf(setting.given.size), 20, "frobenius", setting)


def counted(setting: Setting) -> list[str]:
    V = counts(setting.scaled(5000), setting.scaled(1000))
    return in_memory("counts", V, 10, "kullback-leibler", setting)


TABLES: dict[str, tuple[str, Callable[[Setting], list[str]]]] = {
    "dense": ("Dense, in memory", dense),
    "sparse": ("Sparse, in memory", sparse),
    "counts": ("Counts, in memory", counted),
    "defaults": ("Defaults", default_runs),
    "larger": ("Larger than memory", larger),
    "growth": ("Growth with the number of rows", growth),
    "blocks": ("Growth with the number of blocks", blocks),
    "faults": ("Faults", faults),
    "scripts": ("Scripts of their own", scripts),
}


def options_of(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options, adapted to the small form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--size", type=float, default=1.0, help="Share of the full size.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="Seconds allowed for the steps of a peer in memory.")
    parser.add_argument(
        "--patience", type=float, default=100.0, help="Seconds after which a peer is stopped, including loading."
    )
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    parser.add_argument("--place", type=Path, default=HERE.parent / ".venv-peers")
    parser.add_argument("--small", action="store_true", help="Take seconds, and install nothing.")
    given = parser.parse_args(words)
    for name in given.tables:
        if name not in TABLES:
            parser.error(f"{name!r} is not a table; choose from {', '.join(TABLES)}")
    if given.small:
        given.size, given.rounds = min(given.size, 0.02), 1
    return given


def main() -> None:
    """Make the tables."""
    given = options_of()
    warnings.simplefilter("ignore")
    names = given.tables or list(TABLES)
    place, gone = None, {}
    if not given.small:
        place = given.place.absolute()
        print(f"installing the peers into {place}", flush=True)
        gone = install([peer for name in names for peer in CONTESTS.get(name, [])], place)
    for name in names:
        title, make = TABLES[name]
        print(title, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            lines = make(Setting(Path(folder), place, gone, given))
            write_section(given.out, title, lines, [title for title, _ in TABLES.values()])


if __name__ == "__main__":
    main()
