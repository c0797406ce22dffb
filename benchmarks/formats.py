"""The same matrix from every format: GB/s of a pass, and of only reading the blocks.

    python benchmarks/formats.py [--matrix data.h5ad] [--rows 100000] [--columns 20000] [--density 0.02] [--warm]

Without `--matrix`, a sparse matrix of counts, rows × columns, a dense one of the same size, and a stack of images are
written in each format. With it, the matrix is read as it is, and as `dnmf convert` writes it. To be comparable, a GB is
one of the matrix in memory: float32 values and, if it is sparse, 4 bytes for the index of each. Processor seconds of
reading are reported too, since other work on the machine affects them less. Tables are read into memory when they are
opened, so they have 4 million numbers, and the speed of opening them is compared with that of pandas. Before each read
and each pass the page cache is emptied, if that is permitted, unless `--warm` is given. `through h5py` is reading alone
with the HDF5 library, which admits one thread at a time. Needs dnmf[formats].
"""

import argparse
import re
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.sparse as sp
import zarr
from measure import drop_caches, machine
from out_of_core import read_only
from scipy.io import mmwrite

import dnmf
from dnmf.conversion import convert
from dnmf.settings import Settings
from dnmf.sources import open_matrix
from dnmf.sources.formats.entry_list import HELD_ENTRIES
from dnmf.sources.formats.hdf5_array import Hdf5Array

DENSE_ROWS, TABLE_COLUMNS, FRAMES = 2000, 2000, 500
forget: Callable[[], bool] = drop_caches
PACKED = {"dtype": "i2", "scale_factor": 1e-3, "_FillValue": -1}


def counts(rows: int, columns: int, density: float) -> sp.csr_array:
    """Return counts of low rank, most of them 1, like those of cells × genes."""
    rng = np.random.default_rng(0)
    popular = rng.permutation(rng.pareto(1.5, columns) + 0.1)
    per_row = np.maximum(1, rng.poisson(density * columns, rows))
    draws = np.searchsorted(np.cumsum(popular) / popular.sum(), rng.random(per_row.sum())).clip(max=columns - 1)
    places = np.repeat(np.arange(rows), per_row)
    return sp.coo_array((np.ones(len(draws), np.float32), (places, draws)), shape=(rows, columns)).tocsr()


def sparse_forms(V: sp.csr_array, folder: Path) -> Iterator[tuple[str, Any]]:
    """Write a sparse matrix in each format, and yield its path."""
    import anndata

    yield "SciPy CSR in memory", V
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = anndata.AnnData(sp.csr_matrix(V))
        adata.write_h5ad(folder / "V.h5ad")
        adata.write_h5ad(folder / "V-gzip.h5ad", compression="gzip")
        adata.write_zarr(folder / "anndata.zarr")
    yield ".h5ad", folder / "V.h5ad"
    yield ".h5ad, gzip", folder / "V-gzip.h5ad"
    with h5py.File(folder / "10x.h5", "w") as file:
        group = file.create_group("matrix")
        for name, values in (("data", V.data.astype(np.int32)), ("indices", V.indices.astype(np.int64))):
            group.create_dataset(
                name, data=values, chunks=(min(80_000, len(values)),), compression="gzip", shuffle=True
            )
        group["indptr"], group["shape"] = V.indptr.astype(np.int64), np.array(V.shape[::-1], np.int32)
        group["barcodes"] = np.array([f"cell-{i}" for i in range(V.shape[0])], "S")
    yield "10x .h5", folder / "10x.h5"
    yield from folder_forms(V, folder)
    yield "AnnData .zarr", folder / "anndata.zarr"
    sp.save_npz(folder / "V.npz", V, compressed=False)
    yield ".npz, not compressed", folder / "V.npz"
    for compressor in ("none", "zstd"):
        convert(folder / "V.npz", folder / f"{compressor}.zarr", compressor=compressor)
        yield f"dnmf convert, {compressor}", folder / f"{compressor}.zarr"


def folder_forms(V: sp.csr_array, folder: Path) -> Iterator[tuple[str, Any]]:
    """Write the rows that are read into memory as a folder of 10x counts, and yield it, and the Zarr of all rows."""
    rows = int(np.searchsorted(V.indptr, HELD_ENTRIES, side="right")) - 1
    for name, part in (("10x-held", V[: max(1, rows)]), ("10x-all", V)):
        place = folder / name
        place.mkdir()
        mmwrite(place / "matrix.mtx", sp.coo_array(part.T.astype(np.int32)), symmetry="general")
        (place / "barcodes.tsv").write_text("".join(f"cell-{i}\n" for i in range(part.shape[0])))
        (place / "features.tsv").write_text("".join(f"id-{j}\tgene-{j}\tGene\n" for j in range(part.shape[1])))
    yield f"10x folder, {max(1, rows)} rows", folder / "10x-held"
    start = time.perf_counter()
    convert(folder / "10x-all", folder / "10x.zarr", by="rows")
    seconds = time.perf_counter() - start
    print(f"10x folder, dnmf convert {8 * V.nnz / 1e9 / seconds:.3f} GB/s ({seconds:.0f} s)", flush=True)
    yield "10x folder, converted", folder / "10x.zarr"


def dense_forms(V: np.ndarray, folder: Path) -> Iterator[tuple[str, Any]]:
    """Write a dense matrix in each format, and yield its path."""
    import xarray

    yield "NumPy in memory", V
    np.save(folder / "V.npy", V)
    yield ".npy", folder / "V.npy"
    V.tofile(folder / "V.bin")
    yield "raw", f"{folder / 'V.bin'}::float32,{V.shape[0]}x{V.shape[1]}"
    with h5py.File(folder / "V.h5", "w") as file:
        file["plain"] = V
        file.create_dataset("tiles", data=V, chunks=(min(500, V.shape[0]), min(500, V.shape[1])))
        file.create_dataset("gzip", data=V, chunks=(min(500, V.shape[0]), min(500, V.shape[1])), compression="gzip")
    for name in ("plain", "tiles", "gzip"):
        yield f"HDF5, {name}", f"{folder / 'V.h5'}::{name}"
    data = xarray.Dataset({"V": (("row", "column"), V)})
    data.to_netcdf(folder / "V.nc", engine="h5netcdf")
    yield "NetCDF", folder / "V.nc"
    data.to_netcdf(folder / "packed.nc", engine="h5netcdf", encoding={"V": PACKED})
    yield "NetCDF, decoded by xarray", folder / "packed.nc"
    for compressor in ("none", "zstd"):
        convert(folder / "V.npy", folder / f"{compressor}.zarr", compressor=compressor)
        yield f"dnmf convert, {compressor}", folder / f"{compressor}.zarr"


def stack_forms(V: np.ndarray, folder: Path) -> Iterator[tuple[str, Any]]:
    """Write a stack of images (t, y, x) in each format that holds one, and yield its address."""
    yield "NumPy in memory", V
    np.save(folder / "stack.npy", V)
    yield ".npy, y × x as rows", f"{folder / 'stack.npy'}::(1,2)x(0)"
    yield ".npy, t as rows", folder / "stack.npy"
    count, *sides = V.shape
    frames, tiles = (min(25, count), *sides), (min(100, count), min(64, sides[0]), min(256, sides[1]))
    with h5py.File(folder / "stack.h5", "w") as file:
        file["plain"] = V
        file.create_dataset("gzip", data=V, chunks=tiles, compression="gzip", compression_opts=1)
    for name in ("plain", "gzip"):
        yield f"HDF5, {name}", f"{folder / 'stack.h5'}::{name}"
    options: dict[str, Any] = {"shape": V.shape, "dtype": V.dtype}
    for name, chunks, compressors in (
        ("frames", frames, None),
        ("frames, zstd", frames, "auto"),
        ("tiles, zstd", tiles, "auto"),
    ):
        zarr.create_array(folder / name, chunks=chunks, compressors=compressors, **options)[...] = V
        yield f"Zarr, {name}", folder / name
    convert(folder / "frames, zstd", folder / "columns.zarr", by="columns")
    yield "dnmf convert, by columns", folder / "columns.zarr"


def table_forms(V: np.ndarray, folder: Path) -> Iterator[tuple[str, Path, Callable[[Path], Any]]]:
    """Write a dense table in each format, and yield its path and the function of pandas that reads it."""
    import pandas

    frame = pandas.DataFrame(
        V, index=[f"cell-{i}" for i in range(V.shape[0])], columns=[f"gene-{j}" for j in range(V.shape[1])]
    )
    narrow = pandas.DataFrame(V.ravel()[: V.size // 20 * 20].reshape(-1, 20), columns=[f"gene-{j}" for j in range(20)])
    frame.to_csv(folder / "V.csv")
    yield "wide .csv", folder / "V.csv", lambda path: pandas.read_csv(path, index_col=0)
    narrow.to_csv(folder / "narrow.csv", index_label="")
    yield "narrow .csv", folder / "narrow.csv", lambda path: pandas.read_csv(path, index_col=0)
    frame.to_csv(folder / "V.tsv.gz", sep="\t", compression={"method": "gzip", "compresslevel": 1})
    yield "wide .tsv.gz", folder / "V.tsv.gz", lambda path: pandas.read_csv(path, index_col=0, sep="\t")
    frame.to_parquet(folder / "V.parquet")
    yield "wide .parquet", folder / "V.parquet", pandas.read_parquet


def opened(name: str, V: Any, read: Callable[[Path], Any], repeats: int) -> None:
    """Print the speed of opening a table, in bytes of float32 as elsewhere, and that of pandas."""
    costs = []
    for call in (open_matrix, read):
        found = []
        for _ in range(repeats):
            forget()
            start, used = time.perf_counter(), time.process_time()
            call(V)
            found.append((time.perf_counter() - start, time.process_time() - used))
        costs.append([statistics.median(values) for values in zip(*found, strict=True)])
    size = np.prod(open_matrix(V).layout.shape) * 4 / 1e9
    (ours, used), (theirs, also) = costs
    print(
        f"{name:26} opened {size / ours:6.3f} GB/s ({used / size:.0f} s of processor a GB), by pandas "
        f"{size / theirs:6.3f} ({also / size:.0f} s); {theirs / ours:.2f} times as fast",
        flush=True,
    )


def seconds_of_pass(V: Any, rank: int, passes: int) -> list[float]:
    """Return the seconds of each pass but the first, which checks every entry, and the last, which writes."""
    found = []
    run = dnmf.iterate(V, rank, solver="hals", init="random", tol=0, max_passes=passes + 2)
    for _ in range(passes + 2):
        forget()
        start = time.perf_counter()
        next(run)
        found.append(time.perf_counter() - start)
    run.close()
    return found[1:-1]


def cost_of_reading(V: Any, settings: Settings) -> tuple[float, float]:
    """Return the seconds and the processor seconds of reading the blocks."""
    forget()
    used = time.process_time()
    return read_only(V, settings), time.process_time() - used


def through_library(V: Any, settings: Settings) -> tuple[float, float] | None:
    """Return the cost of reading the blocks through the HDF5 library, if dnmf bypasses it."""
    if not str(V).partition("::")[0].endswith((".h5", ".h5ad")):
        return None
    before = Hdf5Array.__init__

    def indirect(self: Any, path: Path, dataset: Any) -> None:
        before(self, path, dataset)
        self.offset = self.table = None

    Hdf5Array.__init__ = indirect  # type: ignore[method-assign]
    try:
        return cost_of_reading(V, settings)
    finally:
        Hdf5Array.__init__ = before  # type: ignore[method-assign]


def measure(name: str, V: Any, rank: int, passes: int) -> None:
    """Print the speed of reading a matrix, and of a pass; and that of opening one that is read into memory."""
    start = time.perf_counter()
    layout = open_matrix(V).layout
    opening = time.perf_counter() - start
    settings = Settings(rank=rank, init="random")
    entries = int(re.split(r" (?:stored )?entries", layout.kind)[0].rpartition(" ")[2]) if layout.sparse else None
    size = (layout.shape[0] * layout.shape[1] * 4 if entries is None else entries * 8) / 1e9
    held = f", opened at {size / opening:.2f} GB/s" if "read into memory" in layout.kind else ""
    reads = [cost_of_reading(V, settings) for _ in range(passes)]
    read, used = (statistics.median(values) for values in zip(*reads, strict=True))
    work = statistics.median(seconds_of_pass(V, rank, passes))
    library = through_library(V, settings)
    more = "" if library is None else f", through h5py {size / library[0]:.2f} ({library[1] / size:.2f} s)"
    reading = (
        f"reading alone {size / read:5.2f} ({used / size:.2f} s of processor a GB){more}; {work / read:.2f} times{held}"
    )
    print(f"{name:26} pass {size / work:5.2f} GB/s, {reading}", flush=True)


def each(forms: Callable[[Any, Path], Iterator[tuple[str, Any]]], V: Any, rank: int, passes: int) -> None:
    """Measure a matrix in each format."""
    with tempfile.TemporaryDirectory() as name:
        for words, place in forms(V, Path(name)):
            measure(words, str(place) if isinstance(place, Path) else place, rank, passes)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matrix")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=20_000)
    parser.add_argument("--density", type=float, default=0.02)
    parser.add_argument("--rank", type=int, default=20)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--warm", action="store_true")
    options = parser.parse_args()
    global forget
    forget = (lambda: False) if options.warm else drop_caches
    print(f"{machine()}, page cache {'emptied' if forget() else 'as it was'}, dnmf {dnmf.__version__}")
    if options.matrix is not None:
        with tempfile.TemporaryDirectory() as name:
            measure(options.matrix, options.matrix, options.rank, options.passes)
            convert(options.matrix, Path(name) / "V.zarr")
            measure("dnmf convert", f"{name}/V.zarr", options.rank, options.passes)
        return
    V = counts(options.rows, options.columns, options.density)
    print(f"\n{V.shape[0]} × {V.shape[1]} counts, {V.nnz} stored, {8 * V.nnz / 1e9:.2f} GB")
    each(sparse_forms, V, options.rank, options.passes)
    rows = min(DENSE_ROWS, options.rows)
    columns = max(1, 2 * V.nnz // rows)
    del V
    dense = np.random.default_rng(0).random((rows, columns), np.float32).round(2)
    print(f"\n{rows} × {columns} float32, {dense.nbytes / 1e9:.2f} GB")
    each(dense_forms, dense, options.rank, options.passes)
    frames = min(FRAMES, options.rows)
    side = max(16, int(np.sqrt(dense.size / frames)))
    stack = np.random.default_rng(0).random((frames, side, side), np.float32).round(2)
    print(f"\nstack of {frames} images of {side} × {side} float32, {stack.nbytes / 1e9:.2f} GB")
    each(stack_forms, stack, options.rank, options.passes)
    table = np.ascontiguousarray(dense[:, :TABLE_COLUMNS])
    print(f"\n{table.shape[0]} × {table.shape[1]} numbers in tables, {table.nbytes / 1e9:.3f} GB")
    with tempfile.TemporaryDirectory() as name:
        for words, path, read in table_forms(table, Path(name)):
            opened(words, path, read, options.passes)
            measure(words, str(path), options.rank, options.passes)


if __name__ == "__main__":
    main()
