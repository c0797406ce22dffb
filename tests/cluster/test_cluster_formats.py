"""Workers open files of every format themselves, with the same bits."""

import pytest
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
