"""Every format gives back the matrix that it was made from, with its names, from several threads and processes."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
from formats import CELLS, GENES, GIVEN, STORED, columns_named, dense, is_sparse, read_back, rows_named
from strategies import low_rank

import dnmf
from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.sources import open_matrix

KINDS = STORED | GIVEN
COMPRESSED = ("h5ad, csr", "h5ad, csc", "anndata zarr, csr", "anndata zarr, csc", "sparse zarr", "10x", "npz, csr")
COMPRESSED += ("anndata zarr, csr, zip", "matlab, sparse", "matlab 7.3, sparse")


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr("dnmf.sources.bounds.BLOCK_BYTES", 4000)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_blocks_laid_together_are_the_matrix(kind, dtype, tmp_path):
    V = (low_rank(30, 200, 3) * 50).astype(dtype)
    source = open_matrix(KINDS[kind](V, tmp_path))
    np.testing.assert_array_equal(read_back(source), V)
    layout = source.layout
    assert layout.user_shape == V.shape
    assert layout.sparse is is_sparse(kind)
    assert (layout.location is not None) is (kind in STORED)
    assert layout.names.rows is None or layout.names.rows.tolist() == CELLS
    assert layout.names.columns is None or layout.names.columns.tolist() == GENES
    assert (layout.names.rows is not None) is rows_named(kind)
    assert (layout.names.columns is not None) is columns_named(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_many_threads_and_another_process_read_the_same_blocks(kind, small_blocks, tmp_path):
    V = low_rank(30, 200, 3)
    source = open_matrix(KINDS[kind](V, tmp_path))
    expected = V.T if source.layout.transposed else V
    blocks = range(source.layout.blocks)
    assert len(blocks) > 1 or "zarr" in kind

    def read(block):
        source.expect(block)
        part = dense(source.read(block, Scratch()))
        np.testing.assert_array_equal(part, expected[:, source.layout.columns(block)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, [*blocks] * 5))
    part = source.part(blocks)
    sent = pickle.loads(pickle.dumps(part))
    for block in blocks:
        got = dense(sent.read(block, Scratch()))
        np.testing.assert_array_equal(got, expected[:, source.layout.columns(block)])
    if kind in STORED and part.small:
        assert len(pickle.dumps(part)) < 3000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("streamed", ["rows", "columns"])
def test_either_axis_is_streamed_where_that_costs_no_more(kind, streamed, tmp_path):
    V = low_rank(30, 200, 3)
    given = KINDS[kind](V, tmp_path)
    own = open_matrix(given).layout
    if kind in COMPRESSED and own.transposed is (streamed == "columns"):
        with pytest.raises(DataError, match=rf"rewrite it with: dnmf convert .* --by {streamed}"):
            open_matrix(given, streamed)
        return
    if not (kind.startswith(("h5ad", "anndata", "10x")) and is_sparse(kind)):
        source = open_matrix(given, streamed)
        assert source.layout.transposed is (streamed == "rows")
        np.testing.assert_array_equal(read_back(source), V)


@pytest.mark.parametrize("kind", KINDS)
def test_the_factors_are_those_of_the_same_matrix_in_memory(kind, tmp_path):
    V = low_rank(30, 200, 3)
    given = KINDS[kind](V, tmp_path)
    axis = "rows" if open_matrix(given).layout.transposed else "columns"
    same = sp.csr_array(V) if axis == "rows" else sp.csc_array(V)
    options = {"max_passes": 3, "solver": "hals", "init": "random", "seed": 1}
    found = dnmf.factorize(given, 2, **options)
    expected = dnmf.factorize(same, 2, **options)
    for factor in ("W", "H"):
        np.testing.assert_allclose(np.asarray(getattr(found, factor)), np.asarray(getattr(expected, factor)), rtol=1e-9)


@pytest.mark.parametrize("kind", STORED)
def test_a_run_goes_on_from_its_store_alone(kind, tmp_path):
    V = low_rank(30, 200, 3)
    given = STORED[kind](V, tmp_path)
    dnmf.factorize(given, 2, max_passes=2, tol=0, store=tmp_path / "run.zarr")
    assert dnmf.resume(tmp_path / "run.zarr", max_passes=3).passes == 3
