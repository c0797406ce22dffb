"""Factors as Zarr arrays: whole chunks, each with a checksum and a digest."""

import pickle

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from dnmf.checkpoint import arrays
from dnmf.checkpoint.arrays import StoredFactor, chunk_columns, digest, write_factors
from dnmf.checkpoint.verify import damaged_chunk
from dnmf.engine.factor import ArrayFactor
from dnmf.storage.folder import Folder

bounds_of = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(
    lambda widths: [0, *(int(b) for b in np.cumsum(widths))]
)


def write(folder, bounds, dtype=np.float32, transposed=False):
    """Write factors of rank 3 with zeros in them; return W, H and the digests."""
    rng = np.random.default_rng(len(bounds))
    W, H = rng.random((5, 3)).astype(dtype), rng.random((3, bounds[-1])).astype(dtype)
    H[:, : bounds[1]] = 0
    return W, H, write_factors(Folder(folder.parent), folder.name, W, ArrayFactor(H, bounds), bounds, transposed)


@pytest.mark.parametrize("transposed", [False, True], ids=["columns", "rows"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bounds", [[0, 7], [0, 3, 6, 7], [0, 1, 6, 7, 20]], ids=str)
def test_what_is_written_is_what_is_read(bounds, dtype, transposed, tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 60)
    W, H, digests = write(tmp_path / "group", bounds, dtype, transposed)
    stored = {name: zarr.open_array(tmp_path / "group" / name, mode="r") for name in "WH"}
    expected = {"H": W.T, "W": H.T} if transposed else {"W": W, "H": H}
    for name in "WH":
        assert stored[name].dtype == dtype
        np.testing.assert_array_equal(stored[name][...], expected[name])
        metadata = (tmp_path / "group" / name / "zarr.json").read_bytes()
        assert damaged_chunk(Folder(tmp_path), f"group/{name}", metadata, digests[name]) is None
        assert [codec["name"] for codec in stored[name].metadata.to_dict()["codecs"]] == ["bytes", "crc32c"]
    factor = StoredFactor(stored["W" if transposed else "H"], bounds, transposed)
    for block in range(len(bounds) - 1):
        part = factor.read(block)
        assert part.flags.c_contiguous
        assert part.flags.writeable
        np.testing.assert_array_equal(part, H[:, bounds[block] : bounds[block + 1]])


def test_a_digest_belongs_to_each_chunk_and_zeros_are_written_too(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 1)
    bounds = [0, 4, 8, 11]
    _, H, digests = write(tmp_path / "group", bounds)
    assert digests["H"] == [digest(np.ascontiguousarray(H[:, i : i + 4])) for i in (0, 4, 8)]
    assert len([path for path in (tmp_path / "group" / "H" / "c").rglob("*") if path.is_file()]) == 3


@pytest.mark.parametrize("transposed", [False, True], ids=["columns", "rows"])
def test_of_narrow_blocks_every_chunk_is_read_once(transposed, tmp_path, monkeypatch):
    bounds = [0, 2, 3, 7, 8, 9, 11, 16, 18, 19, 30, 41, 42, 47]
    monkeypatch.setattr(arrays, "chunk_columns", lambda *sizes: 20)
    _, H, _ = write(tmp_path / "group", bounds, transposed=transposed)
    factor = StoredFactor(
        zarr.open_array(tmp_path / "group" / ("W" if transposed else "H"), mode="r"), bounds, transposed
    )
    reads, read = [], StoredFactor._columns
    monkeypatch.setattr(StoredFactor, "_columns", lambda self, *place: reads.append(place) or read(self, *place))
    for block in range(len(bounds) - 1):
        part = factor.read(block)
        assert part.flags.c_contiguous
        np.testing.assert_array_equal(part, H[:, bounds[block] : bounds[block + 1]])
        part[:] = -1
    assert reads == [(0, 20), (20, 40), (40, 60)]
    again = pickle.loads(pickle.dumps(factor))
    np.testing.assert_array_equal(again.read(8), H[:, 18:19])


def test_a_chunk_that_is_missing_reads_as_no_number(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 1)
    write(tmp_path / "group", [0, 4, 8, 11])
    (tmp_path / "group" / "H" / "c" / "0" / "1").unlink()
    H = zarr.open_array(tmp_path / "group" / "H", mode="r")[...]
    assert np.isnan(H[:, 4:8]).all()
    assert np.isfinite(H[:, [0, 1, 2, 3, 8, 9, 10]]).all()


def test_a_digest_knows_order_and_dtype_of_the_numbers():
    numbers = np.arange(6.0).reshape(2, 3)
    assert digest(numbers) == digest(np.asfortranarray(numbers))
    assert digest(numbers) != digest(numbers.astype(np.float32))
    assert digest(numbers) != digest(numbers + 1e-15)
    assert digest(np.zeros(2)) != digest(-np.zeros(2))


def test_digests_of_another_number_of_chunks_are_no_match(tmp_path):
    _, _, digests = write(tmp_path / "group", [0, 4, 8])
    metadata = (tmp_path / "group" / "H" / "zarr.json").read_bytes()
    assert damaged_chunk(Folder(tmp_path), "group/H", metadata, [*digests["H"], "more"]) == "the shape of H"


@given(bounds_of, st.integers(1, 30), st.sampled_from([4, 8]))
def test_a_chunk_is_one_block_or_several(bounds, rank, itemsize):
    width = chunk_columns(bounds, rank, itemsize)
    widest = max(np.diff(bounds))
    assert 1 <= width <= bounds[-1]
    assert width == bounds[-1] or (width % widest == 0 and width * rank * itemsize <= max(arrays.CHUNK_BYTES, 0))
