"""A chunk or file that is damaged, cut short or gone is an error that names it, and never a wrong number."""

import dask.array as da
import numpy as np
import pytest
import zarr
from strategies import SOURCES, low_rank

from dnmf.errors import ReadError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.sources import open_matrix

V = low_rank(30, 200, 3)


def chunk_files(root):
    """Return the files of the chunks by their place in the grid."""
    files = (path for path in (root / "c").rglob("*") if path.is_file())
    return {tuple(int(part) for part in path.relative_to(root / "c").parts): path for path in files}


def written(folder, kind):
    """Return the source of a stored matrix, opened while it was whole, and the files of its chunks."""
    path = SOURCES[kind](V, folder)
    return open_matrix(path), chunk_files(folder / path)


def read_all_but(source, block):
    for other in set(range(source.layout.blocks)) - {block}:
        part = source.read(other, Scratch())
        whole = V.T if source.layout.transposed else V
        np.testing.assert_array_equal(part, whole[:, source.layout.columns(other)])


@pytest.mark.parametrize("left", [0, 100, -1])
@pytest.mark.parametrize(("kind", "chunk", "block"), [("zarr", (0, 2), 2), ("zarr, rows", (3, 0), 3)])
def test_a_truncated_chunk_that_is_read_directly_is_named_by_its_file(kind, chunk, block, left, tmp_path):
    source, files = written(tmp_path, kind)
    assert source.files is not None
    whole = files[chunk].read_bytes()
    files[chunk].write_bytes(whole[:left])
    with pytest.raises(ReadError, match=rf"{files[chunk]} is truncated: it ends at byte {len(whole[:left])}, and"):
        source.read(block, Scratch())
    read_all_but(source, block)


@pytest.mark.parametrize("kind", ["zarr, compressed", "zarr, sharded"])
@pytest.mark.parametrize("how", ["truncated", "overwritten"])
def test_a_damaged_chunk_that_is_read_through_zarr_is_named_by_its_block(kind, how, tmp_path):
    source, files = written(tmp_path, kind)
    assert source.files is None
    content = files[0, 2].read_bytes()
    files[0, 2].write_bytes(content[: len(content) // 2] if how == "truncated" else b"\x07" * len(content))
    columns = source.layout.columns(2)
    where = rf"block 2 \(columns {columns.start} to {columns.stop - 1}\) of .*\.zarr could not be read"
    with pytest.raises(ReadError, match=where):
        source.read(2, Scratch())
    read_all_but(source, 2)


@pytest.mark.parametrize("kind", ["zarr", "zarr, compressed", "zarr, rows"])
def test_a_chunk_that_is_missing_reads_as_the_fill_value(kind, tmp_path):
    source, files = written(tmp_path, kind)
    files[(0, 2) if kind != "zarr, rows" else (2, 0)].unlink()
    assert not source.read(2, Scratch()).any()
    read_all_but(source, 2)


@pytest.mark.parametrize("fill", [np.nan, -1.0])
def test_a_fill_value_that_is_no_data_is_found_like_any_other_entry(fill, tmp_path):
    array = zarr.create_array(
        tmp_path / "V.zarr", shape=(4, 9), chunks=(4, 3), dtype="f4", compressors=None, fill_value=fill
    )
    array[:, :6] = 1
    np.testing.assert_array_equal(open_matrix(tmp_path / "V.zarr").read(2, Scratch()), np.full((4, 3), fill))


@pytest.mark.parametrize("streamed", ["rows", "columns"])
@pytest.mark.parametrize("kind", ["npy", "npy Fortran"])
def test_a_file_cut_short_or_deleted_while_it_is_read_is_an_error(kind, streamed, tmp_path):
    path = SOURCES[kind](V, tmp_path)
    source = open_matrix(path, streamed)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ReadError, match=rf"{path} is truncated: it ends at byte"):
        source.read(source.layout.blocks - 1, Scratch())
    path.unlink()
    source.expect(0)
    with pytest.raises(ReadError, match=rf"{path} could not be read \(No such file or directory\)"):
        source.read(0, Scratch())


def test_a_chunk_that_cannot_be_opened_is_named(tmp_path):
    source, files = written(tmp_path, "zarr")
    files[0, 1].unlink()
    files[0, 1].mkdir()
    with pytest.raises(ReadError, match=rf"{files[0, 1]} could not be read \(Is a directory\); check the disk"):
        source.read(1, Scratch())


def test_a_dask_chunk_that_fails_is_named_by_its_block_and_its_reason():
    def load(block_info=None):
        if block_info[None]["chunk-location"] == (0, 1):
            raise ValueError("the moon was in the way")
        return np.ones((4, 3))

    source = open_matrix(da.map_blocks(load, chunks=((4,), (3, 3)), dtype=float, meta=np.empty((0, 0))))
    with pytest.raises(ReadError, match=r"block 1 \(columns 3 to 5\) of the Dask array .*the moon was in the way"):
        source.read(1, Scratch())


@pytest.mark.parametrize("failing", [0, 1])
def test_a_dask_chunk_that_fails_tells_no_secret(failing, monkeypatch):
    def load(block_info=None):
        if block_info and block_info[None]["chunk-location"] == (0, failing):
            raise OSError("no answer with not-for-you to\nGET /V.zarr?X-Amz-Signature=abcdef")
        return np.ones((4, 3))

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-for-you")
    array = da.map_blocks(load, chunks=((4,), (3, 3)), dtype=float, meta=np.empty((0, 0)))
    with pytest.raises(ReadError, match=rf"block {failing} .*no answer with … to GET .*Signature=…") as caught:
        open_matrix(array).read(1, Scratch())
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
