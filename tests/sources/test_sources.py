"""Every source gives back the matrix it was made from, by the path that is meant for it."""

import itertools
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from strategies import SOURCES, low_rank

from dnmf.conversion import convert
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.sources import open_matrix
from dnmf.sources.base import relabelled
from dnmf.sources.blocks import read_block
from dnmf.sources.bounds import SPARSE_BLOCK_COLUMNS, bounds_by_entries
from dnmf.sources.memory import SparseSource


def read_back(source):
    scratch, parts = Scratch(), []
    for block in range(source.layout.blocks):
        part = source.read(block, scratch)
        parts.append(part.toarray() if sp.issparse(part) else part.copy())
    whole = np.concatenate(parts, axis=1)
    return whole.T if source.layout.transposed else whole


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("streamed", [None, "rows", "columns"])
def test_blocks_laid_together_are_the_matrix(kind, dtype, streamed, tmp_path):
    V = (low_rank(30, 200, 3) * 50).astype(dtype)
    source = open_matrix(SOURCES[kind](V, tmp_path), streamed)
    np.testing.assert_array_equal(read_back(source), V)
    assert source.layout.dtype == dtype
    assert source.layout.user_shape == V.shape
    assert sum(map(source.layout.block_bytes, range(source.layout.blocks))) == source.layout.stored_bytes
    assert streamed in (None, "rows" if source.layout.transposed else "columns")


@pytest.mark.parametrize(
    ("kind", "direct"),
    [
        ("zarr", True),
        ("zarr, rows", True),
        ("zarr, format 2", True),
        ("zarr, compressed", False),
        ("zarr, sharded", False),
    ],
)
def test_plain_chunks_are_read_directly_and_no_others(kind, direct, tmp_path):
    source = open_matrix(SOURCES[kind](low_rank(30, 200, 3), tmp_path))
    assert (source.files is not None) is direct


@pytest.mark.parametrize(("dtype", "fill"), [("float32", 2.5), ("uint8", 7), ("float64", None)])
def test_a_chunk_that_was_never_written_is_its_fill_value(dtype, fill, tmp_path):
    array = zarr.create_array(
        tmp_path / "V.zarr", shape=(5, 9), chunks=(5, 4), dtype=dtype, compressors=None, fill_value=fill
    )
    array[:, :4] = 1
    source = open_matrix(tmp_path / "V.zarr")
    assert source.files is not None
    np.testing.assert_array_equal(read_back(source), array[...])


def test_big_endian_numbers_are_read_through_zarr(tmp_path):
    V = low_rank(6, 20, 2)
    array = zarr.create_array(
        tmp_path / "V.zarr",
        shape=V.shape,
        chunks=(6, 7),
        dtype="f8",
        serializer=zarr.codecs.BytesCodec(endian="big"),
        compressors=None,
    )
    array[...] = V
    source = open_matrix(tmp_path / "V.zarr")
    assert source.files is None
    np.testing.assert_array_equal(read_back(source), V)


def test_a_memory_map_is_not_copied(tmp_path):
    V = low_rank(6, 20, 2)
    np.save(tmp_path / "V.npy", V)
    mapped = np.load(tmp_path / "V.npy", mmap_mode="r")
    source = open_matrix(mapped)
    assert np.shares_memory(source.read(0, Scratch()), mapped)


def test_duplicates_of_a_sparse_matrix_are_added_up_and_the_matrix_left_alone():
    V = sp.csc_array((np.array([1.0, 2.0, 4.0]), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 2))
    source = open_matrix(V)
    np.testing.assert_array_equal(source.read(0, Scratch()).toarray(), [[0, 4], [3, 0]])
    assert V.nnz == 3


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("entries", [1, 7, 1000])
def test_blocks_of_sparse_columns_are_cut_by_their_entries(dtype, entries):
    starts = np.concatenate([[0], np.cumsum(np.random.default_rng(entries).integers(0, 9, 40000))]).astype(dtype)
    bounds = bounds_by_entries(starts, entries)
    assert (bounds[0], bounds[-1]) == (0, 40000)
    for first, stop in itertools.pairwise(bounds):
        assert stop == first + 1 or starts[stop] - starts[first] <= entries
        full = stop == 40000 or starts[stop + 1] - starts[first] > entries
        assert full or stop - first == SPARSE_BLOCK_COLUMNS


def test_a_cut_of_many_columns_copies_none_of_what_it_is_cut_by():
    starts = np.zeros(4_000_001, np.int32)
    tracemalloc.start()
    bounds_by_entries(starts, 1000)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < starts.nbytes / 10


def test_a_compressed_chunk_is_decoded_once_for_the_blocks_that_share_it(monkeypatch, tmp_path):
    monkeypatch.setattr("dnmf.conversion.sparse.CHUNK_ENTRIES", 500)
    monkeypatch.setattr("dnmf.sources.bounds.BLOCK_BYTES", 3000)
    V = sp.random_array((400, 60), density=0.2, format="csr", rng=np.random.default_rng(0), dtype=np.float32)
    convert(V, tmp_path / "V.zarr", compressor="lz4")
    source = open_matrix(tmp_path / "V.zarr")
    regions = []
    for vector in (source.data, source.indices):
        monkeypatch.setattr(vector, "array", Recorder(vector.array, regions))
    for _ in range(2):
        regions.clear()
        np.testing.assert_array_equal(read_back(source), V.toarray())
        chunks = [chunk for start, stop in regions for chunk in range(start // 500, -(-stop // 500))]
        assert len(chunks) == 2 * -(-V.nnz // 500) < 2 * source.layout.blocks


class Recorder:
    """A stored array that records the regions that are read."""

    def __init__(self, array, regions):
        self.array, self.regions = array, regions

    def __getitem__(self, slices):
        self.regions.append((slices[0].start, slices[0].stop))
        return self.array[slices]


def test_blocks_of_a_sparse_matrix_in_memory_are_made_once_and_are_those_of_scipy():
    V = sp.random_array((30, 40), density=0.3, format="csc", rng=np.random.default_rng(0), dtype=np.float32)
    source = relabelled(SparseSource(V), bounds=(0, 15, 40))
    blocks = [read_block(source, block, Scratch()) for block in range(2)]
    assert all(read_block(source, block, Scratch()) is blocks[block] for block in range(2))
    before = V.toarray()
    V.data = V.data * 2  # other memory, which the source does not share
    for block, columns in zip(blocks, (slice(0, 15), slice(15, 40)), strict=True):
        np.testing.assert_array_equal(block.toarray(), before[:, columns])
    recut = relabelled(source, bounds=(0, 10, 20, 40))
    np.testing.assert_array_equal(read_block(recut, 1, Scratch()).toarray(), before[:, 10:20])
