"""Workers open files of every format themselves, with the same bits."""

import h5py
import pytest
import scipy.io
import tifffile
from formats import GIVEN, STORED
from runs import assert_same_bits
from strategies import low_rank

import dnmf

KINDS = [
    "h5ad, csr",
    "h5ad, zstd",
    "10x",
    "10x folder",
    "matlab, sparse",
    "anndata zarr, csr, zip",
    "netcdf, classic",
    "sparse zarr",
    "csv",
    "named table, csv",
    "dask of sparse",
    "dask frame",
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cluster_comes_to_the_same_bits(kind, client, tmp_path):
    given = (STORED | GIVEN)[kind](low_rank(30, 200, 3), tmp_path)
    options = {"rank": 2, "max_passes": 3, "tol": 0}
    assert_same_bits(
        dnmf.factorize(given, client=client, **options), dnmf.factorize(given, client="threads", **options)
    )


@pytest.mark.parametrize("kind", ["packed chunks", "memory, turned", "packed pages", "joined"])
def test_a_cluster_unfolds_an_array_to_the_same_bits(kind, client, tmp_path):
    stack = low_rank(30, 200, 3).reshape(30, 20, 10)
    given = dnmf.unfold(stack, (2, 0), 1)
    if kind == "packed chunks":
        with h5py.File(tmp_path / "V.h5", "w") as file:
            file.create_dataset("V", data=stack, chunks=(7, 6, 5), compression="gzip")
        given = f"{tmp_path}/V.h5::V::(2,0)x(1)"
    if kind == "packed pages":
        tifffile.imwrite(tmp_path / "V.tif", stack, photometric="minisblack", compression="zlib")
        given = f"{tmp_path}/V.tif::(2,0)x(1)"
    if kind == "joined":
        scipy.io.savemat(tmp_path / "V.mat", {"V": stack[:20]}, do_compression=True)
        given = dnmf.concat([dnmf.unfold(part, (2, 0), 1) for part in (f"{tmp_path}/V.mat", stack[20:])])
    options = {"rank": 2, "max_passes": 3, "tol": 0}
    one, other = (dnmf.factorize(given, client=where, **options) for where in (client, "threads"))
    assert_same_bits(one, other)
    assert one.row_shape == ((300,) if kind == "joined" else (10, 30))
