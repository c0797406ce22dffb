"""One matrix as every kind of source, and matrices that are awkward."""

import dask.array as da
import numpy as np
import scipy.sparse as sp
import zarr
from hypothesis import strategies as st


def sparse_as(kind, index=np.int32):
    def make(V, folder):
        matrix = kind(V)
        matrix.indices, matrix.indptr = matrix.indices.astype(index), matrix.indptr.astype(index)
        return matrix

    return make


def zarr_as(chunks, compressors=None, **options):
    def make(V, folder):
        path = folder / f"V-{len(list(folder.iterdir()))}.zarr"
        sizes = tuple(min(chunk, size) for chunk, size in zip(chunks, V.shape, strict=True))
        array = zarr.create_array(
            path, shape=V.shape, chunks=sizes, dtype=V.dtype, compressors=compressors, filters=None, **options
        )
        array[...] = V
        return str(path)

    return make


def npy_as(order):
    def make(V, folder):
        path = folder / f"V-{order}.npy"
        np.save(path, np.asarray(V, order=order))
        return path

    return make


def mapped(V, folder):
    """A file of bare numbers, mapped into memory."""
    V.tofile(folder / "V.bin")
    return np.memmap(folder / "V.bin", V.dtype, "r", shape=V.shape)


def dask_as(chunks, sparse=None):
    def make(V, folder):
        array = da.from_array(V, chunks=chunks)
        return array.map_blocks(sparse) if sparse else array

    return make


SOURCES = {
    "numpy": lambda V, folder: V,
    "numpy Fortran": lambda V, folder: np.asfortranarray(V),
    "numpy, strided": lambda V, folder: np.repeat(V, 2, axis=1)[:, ::2],
    "memory map": mapped,
    "csr": sparse_as(sp.csr_matrix),
    "csr, 64-bit": sparse_as(sp.csr_array, np.int64),
    "csc": sparse_as(sp.csc_array),
    "csc, 64-bit": sparse_as(sp.csc_matrix, np.int64),
    "dask, columns": dask_as((-1, 37)),
    "dask, rows": dask_as((11, -1)),
    "dask, uneven grid": dask_as(((20, 10), (50, 1, 60, 89))),
    "dask of csr": dask_as((-1, 60), sp.csr_matrix),
    "dask of csr, rows": dask_as((7, -1), sp.csr_array),
    "dask of csc, grid": dask_as(((20, 10), (50, 1, 60, 89)), sp.csc_matrix),
    "zarr": zarr_as((1000, 41)),
    "zarr, rows": zarr_as((7, 1000)),
    "zarr, grid": zarr_as((9, 64)),
    "zarr, compressed": zarr_as((1000, 41), "auto"),
    "zarr, format 2": zarr_as((1000, 41), zarr_format=2),
    "zarr, sharded": zarr_as((30, 20), shards=(30, 40)),
    "npy": npy_as("C"),
    "npy Fortran": npy_as("F"),
}


def low_rank(rows, columns, rank, seed=0, noise=0.1, dtype="float64"):
    """A matrix of low rank with noise, a row and a column of zeros, and a third of its entries zero."""
    rng = np.random.default_rng(seed)
    V = rng.random((rows, rank)) @ rng.random((rank, columns)) + noise * rng.random((rows, columns))
    V *= rng.random(V.shape) < 0.67
    V[rows // 2], V[:, columns // 3] = 0, 0
    return V.astype(dtype)


@st.composite
def awkward(draw):
    """Small matrices with zero rows and columns, of several dtypes and scales."""
    rows, columns = draw(st.integers(2, 9)), draw(st.integers(2, 30))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    dtype = draw(st.sampled_from(["float32", "float64", "uint8", "bool", "int32", "float16"]))
    V = rng.random((rows, columns)) * (rng.random((rows, columns)) < draw(st.sampled_from([0.1, 0.5, 1.0])))
    V[:, rng.random(columns) < 0.2] = 0
    V[rng.random(rows) < 0.2] = 0
    if dtype in ("float32", "float64"):
        V *= draw(st.sampled_from([1e-30, 1e-8, 1.0, 1e8, 1e30]))
    elif dtype != "float16":
        V *= 200 if dtype != "bool" else 2
    return V.astype(dtype)


@st.composite
def cuts(draw, size):
    """Uneven chunks of an axis of this size."""
    inner = draw(st.sets(st.integers(1, size - 1), max_size=4)) if size > 1 else []
    return tuple(int(width) for width in np.diff([0, *sorted(inner), size]))


@st.composite
def cut_matrices(draw):
    """Awkward matrices in float64, with the chunks and the form in which they are presented."""
    V = draw(awkward()).astype("float64")
    form = draw(st.sampled_from([np.asarray, np.asfortranarray, sp.csr_matrix, sp.csc_array]))
    rows, columns = draw(st.sampled_from([("cut", "whole"), ("whole", "cut"), ("cut", "cut")]))
    chunks = [draw(cuts(n)) if how == "cut" else (n,) for how, n in zip((rows, columns), V.shape, strict=True)]
    return V, da.from_array(V, chunks=tuple(chunks)).map_blocks(form)
