"""The memory of runs of every kind, compared with their plans and limits.

    python benchmarks/memory.py [--only WORD ...] [--exactly NAME ...] [--cold] [--folder FOLDER]

Every setting runs in its own process, whose anonymous memory is read from outside every 2 ms. The plan is that of the
run itself, the largest one if it makes several. As in plans, V in memory is not counted. With `--cold` every process
compiles its kernels, which takes memory too.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import anonymous_bytes, machine

import dnmf

ROWS, COLUMNS = 500, 60000


@dataclasses.dataclass(frozen=True)
class Setting:
    """An action on a kind of matrix, within a limit in MB."""

    name: str
    kind: str
    action: str
    limit: int
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


# ---------------------------------------------------------------------------------------------------------- matrices


def numbers(columns: slice, rows: int, dtype: str, seed: int, rank: int = 6) -> Any:
    """Return a range of columns of a positive matrix of low rank with noise."""
    left = np.random.default_rng(seed).random((rows, rank), np.float32)
    rng = np.random.default_rng([seed, columns.start])
    count = columns.stop - columns.start
    made = left @ rng.random((rank, count), np.float32) + 0.1 * rng.random((rows, count), np.float32) + 0.01
    return (made * 20).astype(dtype) if np.dtype(dtype).kind == "u" else made.astype(dtype)


def write_zarr(
    path: Path,
    shape: tuple[int, int] = (ROWS, COLUMNS),
    width: int = 4000,
    dtype: str = "float32",
    seed: int = 1,
    compressed: bool = False,
    missing: float = 0.0,
    by: str = "columns",
) -> None:
    """Write a dense matrix as a Zarr array, cut along an axis into chunks of a width."""
    import zarr

    rows, columns = shape if by == "columns" else shape[::-1]
    chunks = (rows, width) if by == "columns" else (width, rows)
    array = zarr.create_array(path, shape=shape, chunks=chunks, dtype=dtype, compressors="auto" if compressed else None)
    for start in range(0, columns, width):
        where = slice(start, min(start + width, columns))
        part = numbers(where, rows, dtype, seed)
        if missing:
            part[np.random.default_rng([7, start]).random(part.shape) < missing] = np.nan
        if by == "columns":
            array[:, where] = part
        else:
            array[where, :] = part.T


def counts(rows: int, columns: int, density: float, dtype: Any = np.float32, seed: int = 1) -> Any:
    """Return a sparse matrix of counts in CSR form."""
    import scipy.sparse

    rng = np.random.default_rng(seed)
    starts = np.zeros(rows + 1, np.int64)
    np.cumsum(rng.poisson(density * columns, rows), out=starts[1:])
    total = int(starts[-1])
    indices = rng.integers(0, columns, total).astype(np.int32)
    matrix = scipy.sparse.csr_array((rng.integers(1, 9, total).astype(dtype), indices, starts), shape=(rows, columns))
    matrix.sum_duplicates()
    return matrix


def write_h5ad(path: Path, form: str) -> None:
    """Write a sparse matrix of 60000 × 2000 with 12 % of its entries as an `.h5ad` file."""
    import anndata

    matrix = counts(60000, 2000, 0.12)
    anndata.AnnData(matrix if form == "csr" else matrix.tocsc()).write_h5ad(path)


def write_npy(path: Path, seed: int = 1) -> None:
    """Write a dense matrix as a `.npy` file."""
    file = np.lib.format.open_memmap(path, "w+", np.float32, (ROWS, COLUMNS))
    for start in range(0, COLUMNS, 4000):
        file[:, start : start + 4000] = numbers(slice(start, start + 4000), ROWS, "float32", seed)


def write_npz(path: Path, form: str, weights: bool = False) -> None:
    """Write the same sparse matrix as `write_h5ad`, or weights of its entries, as SciPy does."""
    import scipy.sparse

    matrix = counts(60000, 2000, 0.12).asformat(form)
    if weights:
        matrix.data[:] = np.random.default_rng(2).random(len(matrix.data), np.float32)
    scipy.sparse.save_npz(path, matrix, compressed=False)


MAKERS: dict[str, Callable[[Path], Any]] = {
    "wide.zarr": write_zarr,
    "weights.zarr": lambda path: write_zarr(path, seed=2),
    "pressed.zarr": lambda path: write_zarr(path, compressed=True),
    "pressed-weights.zarr": lambda path: write_zarr(path, seed=2, compressed=True),
    "tall.zarr": lambda path: write_zarr(path, (COLUMNS, ROWS), by="rows"),
    "tall-weights.zarr": lambda path: write_zarr(path, (COLUMNS, ROWS), by="rows", seed=2),
    "double.zarr": lambda path: write_zarr(path, (ROWS, 40000), dtype="float64"),
    "bytes.zarr": lambda path: write_zarr(path, (ROWS, 200000), 16000, dtype="uint8"),
    "byte-weights.zarr": lambda path: write_zarr(path, (ROWS, 200000), 16000, dtype="uint8", seed=2),
    "missing.zarr": lambda path: write_zarr(path, missing=0.1),
    "half.zarr": lambda path: write_zarr(path, missing=0.5),
    "long.zarr": lambda path: write_zarr(path, (400000, 60), width=10),
    "wide.npy": write_npy,
    "weights.npy": lambda path: write_npy(path, seed=2),
    "csr.npz": lambda path: write_npz(path, "csr"),
    "csr-weights.npz": lambda path: write_npz(path, "csr", weights=True),
    "csr.h5ad": lambda path: write_h5ad(path, "csr"),
    "csc.h5ad": lambda path: write_h5ad(path, "csc"),
}


def opened(kind: str, folder: Path) -> tuple[Any, int]:
    """Return a matrix of a kind, and the bytes of it that are in memory."""
    import dask.array as da
    import zarr

    if kind.startswith("="):
        if kind.endswith(".npy"):
            V = np.load(folder / kind[1:])
            return V, V.nbytes
        import scipy.sparse

        matrix = scipy.sparse.load_npz(folder / kind[1:])
        return matrix, matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
    if kind == "dask":
        return da.from_zarr(zarr.open_array(str(folder / "wide.zarr"))), 0
    if kind == "dask-sparse":
        import scipy.sparse

        rows = da.random.default_rng(1).integers(1, 9, (60000, 2000), np.uint8, chunks=(4000, 2000))
        return rows.map_blocks(lambda part: scipy.sparse.csr_array(np.where(part > 7, part, 0)), dtype=np.int64), 0
    if kind == "prepared":
        from dnmf.preprocessing import prepare

        return prepare(
            str(folder / "wide.zarr"), ["log-normalize", "tfidf"], samples="columns", memory_limit="400MB"
        ), 0
    return str(folder / kind), 0


# ----------------------------------------------------------------------------------------------------------- actions


def factorize(V: Any, folder: Path, limit: int, options: dict[str, Any]) -> Any:
    """Run two passes."""
    return dnmf.factorize(V, memory_limit=limit, store=str(folder / "run"), **{"rank": 10, "max_passes": 2, **options})


def survey(V: Any, folder: Path, limit: int, options: dict[str, Any]) -> Any:
    """Choose a rank."""
    return dnmf.select_rank(V, memory_limit=limit, **{"ranks": [4, 8], "n_runs": 2, "cv": 2, **options})


def fit_transform(V: Any, folder: Path, limit: int, options: dict[str, Any]) -> Any:
    """Fit an estimator."""
    options = {"n_components": 10, "max_iter": 2, **options}
    return dnmf.NMF(memory_limit=limit, tol=0, init="random", **options).fit_transform(V)


def minibatches(V: Any, folder: Path, limit: int, options: dict[str, Any]) -> Any:
    """Fit an estimator by batches."""
    return dnmf.MiniBatchNMF(**{"n_components": 10, "max_iter": 1, **options}).fit_transform(V)


def fitted(V: Any, folder: Path, limit: int, options: dict[str, Any]) -> Any:
    """Make a result from random factors, as if it had been fitted to V."""
    options = {"rank": 10, "max_passes": 1, "memory_limit": "4GB", **options}
    wanted = {
        name: options[name] for name in ("rank", "loss", "solver", "missing", "max_passes", "init") if name in options
    }
    weights = options.get("weights")
    return dnmf.factorize(
        V, store=str(folder / "fitted"), **wanted, **({} if weights is None else {"weights": weights})
    )


def transform(V: Any, folder: Path, limit: int, options: dict[str, Any]) -> Any:
    """Project V on fitted factors."""
    known = {name: options[name] for name in ("axis", "weights") if name in options}
    return dnmf.transform(str(folder / "fitted"), V, memory_limit=limit, out=str(folder / "out.zarr"), **known)


def report(V: Any, folder: Path, limit: int, options: dict[str, Any]) -> Any:
    """Write a page with the residuals."""
    known = {name: options[name] for name in ("weights",) if name in options}
    return dnmf.write_report(str(folder / "fitted"), folder / "page.html", V, memory_limit=limit, **known)


def convert(V: Any, folder: Path, limit: int, options: dict[str, Any]) -> Any:
    """Write V again, in other blocks."""
    from dnmf.conversion import convert as write

    return write(V, folder / "converted.zarr", memory_limit=limit, **options)


def export(V: Any, folder: Path, limit: int, options: dict[str, Any]) -> Any:
    """Write the factors as tables."""
    return dnmf.export(str(folder / "fitted"), folder / "exported", **options)


ACTIONS = {
    act.__name__: act
    for act in (factorize, survey, fit_transform, minibatches, fitted, transform, report, convert, export)
}
FITTED_FIRST = ("transform", "report", "export")

HALS: dict[str, Any] = {"solver": "hals", "init": "random"}
KL = {"loss": "kullback-leibler"}


def weighted(name: str = "weights.zarr", **options: Any) -> dict[str, Any]:
    """Return options with weights."""
    return {"weights": name, **options}


SETTINGS = [
    Setting("weights", "wide.zarr", "factorize", 400, weighted()),
    Setting("weights, 2 threads", "wide.zarr", "factorize", 400, weighted(threads=2)),
    Setting("weights, 1 thread", "wide.zarr", "factorize", 400, weighted(threads=1)),
    Setting("weights, rank 5, 1 thread", "wide.zarr", "factorize", 400, weighted(threads=1, rank=5)),
    Setting("weights, rank 20, 1 thread", "wide.zarr", "factorize", 400, weighted(threads=1, rank=20)),
    Setting("weights, hals, 2 threads", "wide.zarr", "factorize", 400, weighted(threads=2, **HALS)),
    Setting("weights, kl, 2 threads", "wide.zarr", "factorize", 400, weighted(threads=2, **KL)),
    Setting("weights, kl, cd", "wide.zarr", "factorize", 400, weighted(**KL, solver="cd")),
    Setting("weights, kl, mu", "wide.zarr", "factorize", 400, weighted(**KL, solver="mu")),
    Setting("weights, mu, 2 threads", "wide.zarr", "factorize", 400, weighted(threads=2, solver="mu")),
    Setting("weights, β=0.5", "wide.zarr", "factorize", 400, weighted(loss=0.5)),
    Setting("weights, compressed", "pressed.zarr", "factorize", 400, weighted("pressed-weights.zarr")),
    Setting("weights, rows", "tall.zarr", "factorize", 400, weighted("tall-weights.zarr")),
    Setting("weights, bytes", "bytes.zarr", "factorize", 600, weighted("byte-weights.zarr")),
    Setting("weights, bytes, kl", "bytes.zarr", "factorize", 600, weighted("byte-weights.zarr", **KL)),
    Setting("weights, array", "=wide.npy", "factorize", 400, weighted("=weights.npy")),
    Setting("weights, n_runs=3", "wide.zarr", "factorize", 500, weighted(n_runs=3)),
    Setting("weights, transform", "wide.zarr", "transform", 400, weighted()),
    Setting("weights, transform, kl", "wide.zarr", "transform", 400, weighted(**KL)),
    Setting("weights, report", "wide.zarr", "report", 400, weighted()),
    Setting("weights, report, kl", "wide.zarr", "report", 400, weighted(**KL)),
    Setting("weights, csr in memory", "=csr.npz", "factorize", 500, weighted("=csr-weights.npz", missing="zeros")),
    Setting("weights, csr, zeros count", "=csr.npz", "factorize", 600, weighted("=csr-weights.npz")),
    Setting("missing", "missing.zarr", "factorize", 400, {"missing": "nan"}),
    Setting("half missing", "half.zarr", "factorize", 400, {"missing": "nan"}),
    Setting("missing, kl", "missing.zarr", "factorize", 400, {"missing": "nan", **KL}),
    Setting("missing, mu", "missing.zarr", "factorize", 400, {"missing": "nan", "solver": "mu"}),
    Setting("missing, transform", "half.zarr", "transform", 400, {"missing": "nan"}),
    Setting("missing, report", "half.zarr", "report", 400, {"missing": "nan"}),
    Setting("missing zeros, h5ad", "csr.h5ad", "factorize", 400, {"missing": "zeros"}),
    Setting("missing zeros, kl, h5ad", "csr.h5ad", "factorize", 400, {"missing": "zeros", **KL}),
    Setting("sketch", "wide.zarr", "factorize", 300),
    Setting("sketch, compressed", "pressed.zarr", "factorize", 400),
    Setting("sketch, rank 60", "wide.zarr", "factorize", 500, {"rank": 60}),
    Setting("sketch, double", "double.zarr", "factorize", 400),
    Setting("sketch, bytes", "bytes.zarr", "factorize", 400),
    Setting("sketch, npy", "wide.npy", "factorize", 300),
    Setting("sketch, array", "=wide.npy", "factorize", 300),
    Setting("sketch, dask", "dask", "factorize", 400),
    Setting("sketch, dask sparse", "dask-sparse", "factorize", 500),
    Setting("sketch, prepared", "prepared", "factorize", 400),
    Setting("sketch, csr.h5ad", "csr.h5ad", "factorize", 400),
    Setting("sketch, csc.h5ad", "csc.h5ad", "factorize", 600),
    Setting("sketch, csr in memory", "=csr.npz", "factorize", 400),
    Setting("hals", "wide.zarr", "factorize", 300, HALS),
    Setting("hals, rows", "tall.zarr", "factorize", 300, HALS),
    Setting("als, nndsvd", "wide.zarr", "factorize", 300, {"solver": "als", "init": "nndsvd"}),
    Setting("als, spa", "wide.zarr", "factorize", 300, {"solver": "als", "init": "spa"}),
    Setting("als, spa_rows", "wide.zarr", "factorize", 300, {"solver": "als", "init": "spa_rows"}),
    Setting("als, spa, csr.h5ad", "csr.h5ad", "factorize", 400, {"solver": "als", "init": "spa"}),
    Setting("volume", "wide.zarr", "factorize", 300, {"volume_W": 0.2}),
    Setting("mu", "wide.zarr", "factorize", 300, {"solver": "mu", "init": "random"}),
    Setting("mu, kl", "wide.zarr", "factorize", 300, {"solver": "mu", "init": "random", **KL}),
    Setting("minibatch", "wide.zarr", "factorize", 300, {"solver": "minibatch", "init": "random"}),
    Setting("minibatch, h5ad", "csr.h5ad", "factorize", 300, {"solver": "minibatch", "init": "random"}),
    Setting("newton, kl", "wide.zarr", "factorize", 400, KL),
    Setting("newton, kl, dask", "dask", "factorize", 400, KL),
    Setting("newton, kl, rank 40", "wide.zarr", "factorize", 500, {**KL, "rank": 40}),
    Setting("newton, kl, csr.h5ad", "csr.h5ad", "factorize", 400, KL),
    Setting("newton, kl, csc.h5ad", "csc.h5ad", "factorize", 600, KL),
    Setting("newton, kl, dask sparse", "dask-sparse", "factorize", 500, KL),
    Setting("cd, kl", "wide.zarr", "factorize", 400, {**KL, "solver": "cd"}),
    Setting("cd, kl, double", "double.zarr", "factorize", 400, {**KL, "solver": "cd"}),
    Setting("β=0.5", "wide.zarr", "factorize", 300, {"loss": 0.5}),
    Setting("β=1.5, csr.h5ad", "csr.h5ad", "factorize", 500, {"loss": 1.5}),
    Setting("n_runs=3", "wide.zarr", "factorize", 400, {"n_runs": 3}),
    Setting("n_runs=3, kl", "wide.zarr", "factorize", 400, {"n_runs": 3, **KL}),
    Setting("survey", "wide.zarr", "survey", 500),
    Setting("survey, kl", "wide.zarr", "survey", 500, {**KL, "max_passes": 2}),
    Setting("survey, speckled", "wide.zarr", "survey", 500, {"holdout": "speckled", "max_passes": 2}),
    Setting("survey, h5ad", "csr.h5ad", "survey", 500),
    Setting("survey, h5ad, speckled", "csr.h5ad", "survey", 700, {"holdout": "speckled", "max_passes": 2}),
    Setting("NMF", "dask", "fit_transform", 400),
    Setting("NMF, kl", "dask", "fit_transform", 400, {"beta_loss": "kullback-leibler", "solver": "mu"}),
    Setting("NMF, rows", "tall.zarr", "fit_transform", 400),
    Setting("NMF, h5ad", "csr.h5ad", "fit_transform", 400),
    Setting("NMF, array", "=wide.npy", "fit_transform", 400),
    Setting("NMF, csr in memory", "=csr.npz", "fit_transform", 400),
    Setting("MiniBatchNMF", "tall.zarr", "minibatches", 400),
    Setting("MiniBatchNMF, h5ad", "csr.h5ad", "minibatches", 400),
    Setting("transform", "wide.zarr", "transform", 300),
    Setting("transform, other axis", "wide.zarr", "transform", 700, {"axis": "rows"}),
    Setting("transform, kl", "wide.zarr", "transform", 300, KL),
    Setting("transform, β=0.5", "wide.zarr", "transform", 400, {"loss": 0.5}),
    Setting("transform, csr.h5ad", "csr.h5ad", "transform", 300),
    Setting("transform, csr.h5ad, kl", "csr.h5ad", "transform", 400, KL),
    Setting("transform, tall columns", "long.zarr", "transform", 700, {"rank": 8, "axis": "columns"}),
    Setting("transform, tall columns, kl", "long.zarr", "transform", 900, {"rank": 8, "axis": "columns", **KL}),
    Setting("report", "wide.zarr", "report", 300),
    Setting("report, kl", "wide.zarr", "report", 300, KL),
    Setting("report, csr.h5ad", "csr.h5ad", "report", 300),
    Setting("convert", "wide.zarr", "convert", 300, {"by": "rows"}),
    Setting("convert, npy", "wide.npy", "convert", 300),
    Setting("convert, csr.h5ad", "csr.h5ad", "convert", 300),
    Setting("convert, csr.h5ad by columns", "csr.h5ad", "convert", 300, {"by": "columns"}),
    Setting("convert, dask", "dask", "convert", 400),
    Setting("export", "wide.zarr", "export", 300),
]


# ------------------------------------------------------------------------------------------------------ measurements


def child(setting: Setting, folder: Path) -> None:
    """Run a setting in this process, and print a line of JSON."""
    import dnmf.engine.session

    plans: list[int] = []
    make_plan = dnmf.engine.session.make_plan

    def noted(*given: Any, **named: Any) -> Any:
        plan = make_plan(*given, **named)
        plans.append(plan.peak_bytes)
        return plan

    dnmf.engine.session.make_plan = noted  # type: ignore[attr-defined]
    V, inside = opened(setting.kind, folder)
    options = dict(setting.options)
    if "weights" in options:
        given = options["weights"]
        options["weights"], more = opened(given, folder)
        inside += more
    (folder / "begun").touch()
    result = ACTIONS[setting.action](V, folder, setting.limit * 10**6, options)
    print(json.dumps({"plan": max(plans, default=0), "inside": inside, "result": type(result).__name__}))


def measure(setting: Setting, folder: Path, cold: bool = False) -> dict[str, Any]:
    """Run a setting in a process of its own; return its plan, its peak and its limit in bytes.

    A process that has compiled kernels is measured again, unless it was to.
    """
    found = _measured(setting, folder, cold)
    return _measured(setting, folder, cold) if found.pop("compiled") and not cold else found


def _measured(setting: Setting, folder: Path, cold: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        scratch = Path(name)
        for path in folder.iterdir():
            if path != scratch:
                (scratch / path.name).symlink_to(path)
        if setting.action in FITTED_FIRST:
            watched(dataclasses.replace(setting, action="fitted"), scratch, cold=False)
        begun = time.perf_counter()
        peak, report = watched(setting, scratch, cold)
        return {
            "name": setting.name,
            "plan": report["plan"],
            "peak": peak - report["inside"],
            "limit": setting.limit * 10**6,
            "seconds": time.perf_counter() - begun,
            "compiled": report["compiled"],
        }


def watched(setting: Setting, folder: Path, cold: bool) -> tuple[int, dict[str, Any]]:
    """Return the peak anonymous memory of a process, measured from outside, and its report."""
    variables = os.environ | {"NUMBA_DEBUG_CACHE": "1"}  # prints what it saves
    if cold:
        variables["NUMBA_CACHE_DIR"] = str(folder / "numba")
    (folder / "begun").unlink(missing_ok=True)
    command = [sys.executable, __file__, "--child", json.dumps(dataclasses.asdict(setting)), "--folder", str(folder)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(command, stdout=out, stderr=complaints, env=variables)
        peak, begun = 0, False
        while process.poll() is None:
            with contextlib.suppress(OSError):
                peak = max(peak, anonymous_bytes(process.pid))
            if not begun and (folder / "begun").exists():  # the memory for generating V does not count
                peak, begun = 0, True
            time.sleep(0.002)
        out.seek(0)
        complaints.seek(0)
        if process.returncode:
            raise RuntimeError(f"{setting.name}: {complaints.read()[-3000:]}")
        printed = out.read()
        report: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return peak, {"compiled": "[cache] data saved" in printed, **report}


def matrices(settings: list[Setting]) -> list[str]:
    """Return the files that the settings need."""
    named = {str(name).lstrip("=") for setting in settings for name in (setting.kind, setting.options.get("weights"))}
    named |= {"wide.zarr"} if named & {"dask", "prepared"} else set()
    return [name for name in MAKERS if name in named]


def main() -> None:
    """Measure the settings, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="words of the settings to measure")
    parser.add_argument("--exactly", nargs="*", default=[], help="names of the settings to measure")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--folder", type=Path, help="folder that keeps the matrices for later runs")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(Setting(**json.loads(given.child)), given.folder)
        return
    settings = [one for one in SETTINGS if one.name in given.exactly or any(word in one.name for word in given.only)]
    settings = settings if given.exactly or given.only else SETTINGS
    with tempfile.TemporaryDirectory() as name:
        folder = given.folder or Path(name)
        folder.mkdir(exist_ok=True)
        for file in matrices(settings):
            if not (folder / file).exists():
                MAKERS[file](folder / file)
        print(f"{machine()}{', kernels compiled' if given.cold else ''}\n")
        print("| setting | plan MB | peak MB | limit MB | s | |\n|---|---|---|---|---|---|")
        for setting in settings:
            try:
                found = measure(setting, folder, given.cold)
            except RuntimeError as error:
                print(f"| {setting.name} | failed: {str(error)[-300:]!r}", flush=True)
                continue
            plan, peak, limit = (round(found[key] / 1e6) for key in ("plan", "peak", "limit"))
            verdict = ("above its plan " if 0 < plan < peak else "") + ("above its limit" if limit < peak else "")
            print(f"| {setting.name} | {plan} | {peak} | {limit} | {found['seconds']:.0f} | {verdict} |", flush=True)


if __name__ == "__main__":
    main()
