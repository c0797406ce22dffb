"""One matrix in every format that has a package of its own, as `SOURCES` has those that need none."""

import contextlib
import gzip
import importlib
import io
import pathlib
import warnings
import zipfile

import dask.array as da
import numpy as np
import scipy.io
import scipy.sparse as sp

from dnmf.kernels.blocks.buffers import Scratch

ROWS, COLUMNS = 30, 200
CELLS, GENES = [f"cell {i}" for i in range(ROWS)], [f"gene {j}" for j in range(COLUMNS)]


def annotated(V, X):
    import anndata
    import pandas as pd

    obs, var = (pd.DataFrame(index=names[:size]) for names, size in zip((CELLS, GENES), V.shape, strict=True))
    return anndata.AnnData(X, obs=obs, var=var, layers={"counts": X})


@contextlib.contextmanager
def quiet():
    """Let other packages warn about each other where a file is made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def h5ad(form, part="", **options):
    def make(V, folder):
        with quiet():
            importlib.import_module("hdf5plugin")
            annotated(V, form(V)).write_h5ad(folder / "V.h5ad", **options)
        return f"{folder / 'V.h5ad'}{part}"

    return make


def anndata_zarr(form, part=""):
    def make(V, folder):
        with quiet():
            annotated(V, form(V)).write_zarr(folder / "anndata.zarr")
        return f"{folder / 'anndata.zarr'}{part}"

    return make


def hdf5(**options):
    def make(V, folder):
        import h5py

        with h5py.File(folder / "V.h5", "w") as file:
            file.create_dataset("group/V", data=V, **options)
            file.create_dataset("other", data=np.arange(3))
        return f"{folder / 'V.h5'}::/group/V"

    return make


def tenx(V, folder):
    import h5py

    matrix = sp.csr_array(V)
    with h5py.File(folder / "filtered.h5", "w") as file:
        group = file.create_group("matrix")
        for name in ("data", "indices", "indptr"):
            values = getattr(matrix, name)
            values = values if name == "data" else values.astype(np.int64)
            group.create_dataset(name, data=values, chunks=(min(1000, len(values)),), compression="gzip", shuffle=True)
        group["shape"] = np.array(V.shape[::-1], np.int32)
        group["barcodes"] = np.array(CELLS[: V.shape[0]], "S")
        group["features/id"] = np.array([f"id {j}" for j in range(V.shape[1])], "S")
        group["features/name"] = np.array(GENES[: V.shape[1]], "S")
    return folder / "filtered.h5"


def tenx_folder(prefix="", feature="features.tsv", packed=True):
    def make(V, folder):
        place = folder / "filtered_feature_bc_matrix"
        place.mkdir(exist_ok=True)
        text = io.BytesIO()
        scipy.io.mmwrite(text, sp.coo_array(V.T.astype("float64")), precision=17, symmetry="general")
        lines = [f"id {j}\t{gene}\tGene Expression\n" for j, gene in enumerate(GENES[: V.shape[1]])]
        files = {
            "matrix.mtx": text.getvalue(),
            "barcodes.tsv": "".join(f"{cell}\n" for cell in CELLS[: V.shape[0]]).encode(),
            feature: "".join(lines).encode(),
        }
        for name, content in files.items():
            if packed:
                (place / f"{prefix}{name}.gz").write_bytes(gzip.compress(content))
            else:
                (place / f"{prefix}{name}").write_bytes(content)
        return place

    return make


def dataset(V):
    import xarray

    coords = {"cell": CELLS[: V.shape[0]], "gene": ("gene", GENES[: V.shape[1]])}
    return xarray.Dataset({"V": (("cell", "gene"), V)}, coords=coords)


def netcdf(engine, part="", **encoding):
    def make(V, folder):
        with quiet():
            dataset(V).to_netcdf(folder / "V.nc", engine=engine, encoding={"V": encoding})
        return f"{folder / 'V.nc'}{part}"

    return make


def xarray_zarr(version):
    def make(V, folder):
        with quiet():
            dataset(V).to_zarr(folder / "x.zarr", zarr_format=version, consolidated=False)
        return f"{folder / 'x.zarr'}::V"

    return make


def dataarray(chunks=None):
    def make(V, folder):
        return dataset(V)["V"] if chunks is None else dataset(V)["V"].chunk(chunks)

    return make


def zipped(make):
    """Write a store of Zarr into a ZIP file, as `zarr.storage.ZipStore` has it."""

    def made(V, folder):
        place, _, part = str(make(V, folder)).partition("::")
        with zipfile.ZipFile(f"{place}.zip", "w") as archive:
            for path in sorted(pathlib.Path(place).rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(place))
        return f"{place}.zip{part and '::'}{part}"

    return made


def tiff(**options):
    def make(V, folder):
        import tifffile

        tifffile.imwrite(folder / "V.tif", V, photometric="minisblack", **options)
        return folder / "V.tif"

    return make


def envi(interleave, **options):
    def make(V, folder):
        from spectral.io.envi import save_image

        image = V.reshape(5, -1, V.shape[1])
        save_image(str(folder / "V.hdr"), image, dtype=V.dtype, interleave=interleave, **options)
        return folder / "V.hdr"

    return make


def triplets(V):
    matrix = sp.coo_array(V)
    order = np.random.default_rng(0).permutation(matrix.nnz)
    rows, columns = matrix.coords
    return rows[order], columns[order], matrix.data[order]


def parquet(V, folder):
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table(dict(zip(("i", "j", "v"), triplets(V), strict=True)))
    pyarrow.parquet.write_table(table, folder / "V.parquet", row_group_size=500)
    return folder / "V.parquet"


def csv(name, head="row,column,value\n"):
    def make(V, folder):
        rows, columns, values = triplets(V)
        text = head + "".join(f"{i},{j},{float(v)!r}\n" for i, j, v in zip(rows, columns, values, strict=True))
        opened = gzip.open if name.endswith(".gz") else open
        with opened(folder / name, "wt") as file:
            file.write(text)
        return folder / name

    return make


def dense_csv(V, folder):
    labels = [f'"{name}"' for name in CELLS]
    body = "".join(f"{label},{','.join(map(repr, line))}\n" for label, line in zip(labels, V.tolist(), strict=True))
    (folder / "V.csv").write_text(f"cell,{','.join(GENES)}\n{body}")
    return folder / "V.csv"


def dense_parquet(V, folder):
    pandas()(V, folder).to_parquet(folder / "V.parquet")
    return folder / "V.parquet"


def arrow_table(V, folder):
    import pyarrow

    return pyarrow.Table.from_pandas(pandas()(V, folder))


def market(name, form=sp.coo_array):
    def make(V, folder):
        text = io.BytesIO()
        scipy.io.mmwrite(text, form(V.astype("float64")), comment="a comment", precision=17, symmetry="general")
        opened = gzip.open if name.endswith(".gz") else open
        with opened(folder / name, "wb") as file:
            file.write(text.getvalue())
        return folder / name

    return make


def svmlight(V, folder):
    """Write every digit, of which scikit-learn writes sixteen."""
    lines = (
        f"{label} " + " ".join(f"{j + 1}:{float(value)!r}" for j, value in enumerate(row) if value)
        for label, row in enumerate(V)
    )
    (folder / "V.svm").write_text("\n".join(lines))
    return folder / "V.svm"


def npz(form, compressed):
    def make(V, folder):
        sp.save_npz(folder / "V.npz", form(V), compressed=compressed)
        return folder / "V.npz"

    return make


def dense_npz(save, order="C"):
    def make(V, folder):
        save(folder / "V.npz", V=np.asarray(V, order=order), names=np.array(GENES), other=np.arange(3))
        return folder / "V.npz"

    return make


def matlab(form, **options):
    def make(V, folder):
        scipy.io.savemat(folder / "V.mat", {"V": form(V), "k": 3.0, "label": "x", "y": np.arange(5)}, **options)
        return folder / "V.mat"

    return make


def matlab_hdf5(form=np.asarray, **options):
    """Write a variable as `save -v7.3` does; `mat73` reads it."""

    def make(V, folder):
        import h5py

        def variable(group, name, values, kind=None):
            group[name].attrs["MATLAB_class"] = np.bytes_(kind or {"f": "single", "d": "double", "i": "int32"}[values])

        with h5py.File(folder / "V73.mat", "w", userblock_size=512) as file:
            matrix, code = form(V), V.dtype.char
            if sp.issparse(matrix):
                group = file.create_group("V")
                group.attrs["MATLAB_sparse"] = np.uint64(matrix.shape[0])
                group["data"] = matrix.data
                group["ir"], group["jc"] = matrix.indices.astype(np.uint64), matrix.indptr.astype(np.uint64)
            else:
                file.create_dataset("V", data=V.T, **options)
            variable(file, "V", code)
            file["label"], file["k"], file["#refs#/a"] = np.ones((4, 1), "u2"), np.ones((1, 1)), np.ones((3, 4))
            variable(file, "label", "", "char")
            variable(file, "k", "", "double")
        head = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
        with open(folder / "V73.mat", "r+b") as file:
            file.write(head)
        return folder / "V73.mat"

    return make


def import_loompy():
    """Import loompy without the compilation of its functions for raw reads, which takes seconds."""
    import numba

    disabled, numba.config.DISABLE_JIT = numba.config.DISABLE_JIT, True
    try:
        import loompy
    finally:
        numba.config.DISABLE_JIT = disabled
    return loompy


def loom(V, folder):
    with quiet():
        loompy = import_loompy()
        cells, genes = np.array(CELLS[: V.shape[0]]), np.array(GENES[: V.shape[1]])
        loompy.create(str(folder / "V.loom"), {"": V.T, "twice": 2 * V.T}, {"Gene": genes}, {"CellID": cells})
    return folder / "V.loom"


def raw(order):
    def make(V, folder):
        (folder / "V.bin").write_bytes(b"head" + V.tobytes(order))
        return f"{folder / 'V.bin'}::{V.dtype},{V.shape[0]}x{V.shape[1]},{order},4"

    return make


def converted_sparse(V, folder):
    from dnmf.conversion import convert

    sp.save_npz(folder / "origin.npz", sp.csc_array(V), compressed=False)
    convert(folder / "origin.npz", folder / "sparse.zarr")
    return folder / "sparse.zarr"


def pandas(form="dense"):
    def make(V, folder):
        import pandas as pd

        if form == "sparse":
            return pd.DataFrame.sparse.from_spmatrix(
                sp.csc_matrix(V), index=CELLS[: V.shape[0]], columns=GENES[: V.shape[1]]
            )
        return pd.DataFrame(V, index=CELLS[: V.shape[0]], columns=GENES[: V.shape[1]])

    return make


def polars(V, folder):
    import polars as pl

    return pl.DataFrame(V, schema=GENES[: V.shape[1]])


def dask_frame(V, folder):
    import dask.dataframe as dd

    return dd.from_pandas(pandas()(V, folder), npartitions=4, sort=False)


def coo(V, folder):
    import sparse

    return sparse.COO.from_numpy(V)


def dask_coo(chunks):
    def make(V, folder):
        import sparse

        return da.from_array(V, chunks=chunks).map_blocks(sparse.COO.from_numpy)

    return make


# What lies in a file or a store, and is opened by its address.
STORED = {
    "h5ad, csr": h5ad(sp.csr_matrix),
    "h5ad, csc": h5ad(sp.csc_matrix),
    "h5ad, gzip": h5ad(sp.csr_matrix, compression="gzip"),
    "h5ad, layer": h5ad(sp.csr_matrix, "::layers/counts"),
    "h5ad, dense": h5ad(np.asarray),
    "h5ad, dense, gzip": h5ad(np.asarray, compression="gzip"),
    "h5ad, lzf": h5ad(sp.csr_matrix, compression="lzf"),
    "h5ad, zstd": h5ad(sp.csr_matrix, compression=32015),
    "anndata zarr, csr": anndata_zarr(sp.csr_matrix),
    "anndata zarr, csc": anndata_zarr(sp.csc_matrix, "::layers/counts"),
    "anndata zarr, dense": anndata_zarr(np.asarray),
    "sparse zarr": converted_sparse,
    "anndata zarr, csr, zip": zipped(anndata_zarr(sp.csr_matrix)),
    "xarray zarr, zip": zipped(xarray_zarr(3)),
    "10x": tenx,
    "10x folder": tenx_folder(),
    "hdf5": hdf5(),
    "hdf5, chunks": hdf5(chunks=(7, 50)),
    "hdf5, gzip": hdf5(chunks=(7, 50), compression="gzip", shuffle=True),
    "hdf5, checksum": hdf5(chunks=(7, 50), fletcher32=True),
    "netcdf": netcdf("h5netcdf"),
    "netcdf, chunks": netcdf("h5netcdf", "::V", zlib=True, chunksizes=(10, 40)),
    "netcdf, classic": netcdf("scipy"),
    "xarray zarr": xarray_zarr(3),
    "xarray zarr, format 2": xarray_zarr(2),
    "parquet": parquet,
    "named table, csv": dense_csv,
    "named table, parquet": dense_parquet,
    "csv": csv("V.csv"),
    "csv, gzip": csv("V.csv.gz", ""),
    "mtx": market("V.mtx"),
    "mtx, gzip": market("V.mtx.gz"),
    "mtx, array": market("dense.mtx", np.asarray),
    "npz, csr": npz(sp.csr_array, False),
    "npz, csc, compressed": npz(sp.csc_matrix, True),
    "npz, coo": npz(sp.coo_array, False),
    "npz, coo, compressed": npz(sp.coo_array, True),
    "npz": dense_npz(np.savez),
    "npz, columns, compressed": dense_npz(np.savez_compressed, "F"),
    "matlab": matlab(np.asarray),
    "matlab, compressed": matlab(np.asarray, do_compression=True),
    "matlab, sparse": matlab(sp.csc_array),
    "matlab, sparse, compressed": matlab(sp.csc_array, do_compression=True),
    "matlab 7.3": matlab_hdf5(),
    "matlab 7.3, gzip": matlab_hdf5(chunks=(50, 7), compression="gzip", shuffle=True),
    "matlab 7.3, sparse": matlab_hdf5(sp.csc_array),
    "loom": loom,
    "svmlight, sparse": svmlight,
    "tiff": tiff(),
    "tiff, tiles": tiff(tile=(16, 16), compression="zlib"),
    "envi, bsq": envi("bsq"),
    "envi, bil": envi("bil", byteorder=1),
    "raw": raw("C"),
    "raw, columns": raw("F"),
}

# What another package made in memory, or lazily.
GIVEN = {
    "pandas": pandas(),
    "pandas, sparse": pandas("sparse"),
    "polars": polars,
    "dask frame": dask_frame,
    "named table, pyarrow": arrow_table,
    "xarray": dataarray(),
    "xarray, chunks": dataarray({"gene": 37}),
    "sparse": coo,
    "dask of sparse": dask_coo((-1, 37)),
    "dask of sparse, grid": dask_coo((11, 64)),
    "anndata": lambda V, folder: annotated(V, sp.csr_matrix(V)),
}

NAMED = ("h5ad", "anndata", "10x", "loom", "netcdf", "xarray", "pandas", "dask frame", "named table")
SPARSE = (
    "csr",
    "csc",
    "coo",
    "sparse",
    "10x",
    "h5ad, gzip",
    "h5ad, layer",
    "h5ad, lzf",
    "h5ad, zstd",
    "parquet",
    "csv",
    "mtx",
)


def rows_named(kind):
    """Say whether the rows of a kind have names."""
    return kind.startswith(NAMED)


def columns_named(kind):
    """Say whether the columns of a kind have names."""
    return kind.startswith((*NAMED, "polars"))


def is_sparse(kind):
    """Say whether a kind is read as sparse blocks."""
    return kind == "anndata" or (
        not kind.startswith(("mtx, array", "named table")) and any(word in kind for word in SPARSE)
    )


def dense(block):
    return block.toarray() if sp.issparse(block) else np.array(block)


def read_back(source):
    scratch = Scratch()
    whole = np.concatenate([dense(source.read(block, scratch)) for block in range(source.layout.blocks)], axis=1)
    return whole.T if source.layout.transposed else whole
