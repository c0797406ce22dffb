"""`convert` writes any format as one that is read fast: the same matrix, with its names, whole or not at all."""

import asyncio
import errno
import os
import re
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from click.testing import CliRunner
from formats import CELLS, GENES, GIVEN, STORED, columns_named, csv, is_sparse, read_back, rows_named
from runs import stored
from strategies import SOURCES, low_rank
from zarr.codecs import ZstdCodec
from zarr.core.common import concurrent_map
from zarr.core.sync import sync

from dnmf.checkpoint import appearing
from dnmf.cli.app import main
from dnmf.conversion import buckets as sorting
from dnmf.conversion import convert
from dnmf.conversion.dense import chunks_at_once
from dnmf.errors import DataError, DataWarning, SettingsError, StoreError
from dnmf.sources import open_matrix
from dnmf.sources.formats.entry_list import HELD_ENTRIES
from dnmf.storage.zarr_tasks import finish_tasks


@pytest.mark.parametrize("kind", STORED | GIVEN)
@pytest.mark.parametrize("by", ["rows", "columns"])
def test_what_is_written_is_the_matrix_with_its_names(kind, by, tmp_path):
    V = low_rank(30, 200, 3)
    given = (STORED | GIVEN)[kind](V, tmp_path)
    reports = []
    by = None if (by == "columns") is not open_matrix(given).layout.transposed else by
    convert(given, tmp_path / "new.zarr", by=by, memory_limit="30kB", progress=lambda *at: reports.append(at))
    source = open_matrix(tmp_path / "new.zarr")
    np.testing.assert_array_equal(read_back(source), V)
    assert source.layout.sparse is is_sparse(kind)
    assert by in (None, "rows" if source.layout.transposed else "columns") or not source.layout.sparse
    names = source.layout.names
    assert (names.rows.tolist() if rows_named(kind) else names.rows) == (CELLS if rows_named(kind) else None)
    assert (names.columns.tolist() if columns_named(kind) else names.columns) == (
        GENES if columns_named(kind) else None
    )
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert reports[-1][0] == reports[-1][1]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("by", ["rows", "columns"])
@pytest.mark.parametrize("kind", ["h5ad, csr", "csv, gzip"])
def test_anndata_reads_what_is_written(kind, by, tmp_path):
    import anndata

    V = low_rank(30, 200, 3)
    convert(STORED[kind](V, tmp_path), tmp_path / "new.zarr", by=by)
    group = zarr.open_group(tmp_path / "new.zarr", mode="r")
    assert group.metadata.zarr_format == 3
    found = anndata.io.read_elem(group)
    assert found.format == {"rows": "csr", "columns": "csc"}[by]
    np.testing.assert_array_equal(found.toarray(), V)
    lazy = anndata.io.sparse_dataset(group)
    assert lazy.shape == V.shape
    np.testing.assert_array_equal(lazy[2:5].toarray(), V[2:5])
    if rows_named(kind):
        assert anndata.io.read_elem(group["obs"]).index.tolist() == CELLS
        assert anndata.io.read_elem(group["var"]).index.tolist() == GENES


def test_entries_at_one_place_are_added_up_in_their_order(tmp_path):
    (tmp_path / "V.csv").write_text("row,column,value\n" + "1,2,0.1\n0,0,1\n1,2,0.2\n2,1,4\n1,2,0.3\n")
    added = "several entries at the same place: 2 entries were added to an earlier one"
    with pytest.warns(DataWarning, match=added):
        convert(tmp_path / "V.csv", tmp_path / "V.zarr")
    with pytest.warns(DataWarning, match=added):
        held = open_matrix(tmp_path / "V.csv")
    expected = [[1, 0, 0], [0, 0, 0.1 + 0.2 + 0.3], [0, 4, 0]]
    for source in (open_matrix(tmp_path / "V.zarr"), held):
        np.testing.assert_allclose(read_back(source), expected, rtol=1e-15)


@pytest.mark.parametrize("room", [1, 2000, 10**9])
def test_buckets_hold_what_they_may_and_give_the_entries_in_order(room, monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    major, minor, values = rng.integers(0, 40, 3000) ** 2 // 40, rng.integers(0, 50, 3000), rng.random(3000)
    counts = np.bincount(major, minlength=45)
    sizes = []
    monkeypatch.setattr(
        sorting, "_sorted", lambda entries, *at, kept=sorting._sorted: sizes.append(len(entries)) or kept(entries, *at)
    )

    def parts():
        for start in range(0, 3000, 700):
            some = slice(start, start + 700)
            yield sorting.Part(major[some], minor[some], values[some], 0.0)

    found = list(sorting.sort_entries(parts, counts, room, tmp_path))
    indptr = np.cumsum(np.concatenate([[0], *(part[0] for part in found)]))
    indices, data = (np.concatenate([part[i] for part in found]) for i in (1, 2))
    matrix = sp.csr_array((data, indices, indptr), shape=(45, 50))
    assert matrix.has_canonical_format
    np.testing.assert_allclose(matrix.toarray(), sp.coo_array((values, (major, minor)), shape=(45, 50)).toarray())
    assert max(sizes) <= max(room // sorting.ENTRY_BYTES, counts.max())
    assert list(tmp_path.iterdir()) == []


def test_a_list_that_is_too_long_for_memory_is_refused_by_its_size_and_converted(monkeypatch, tmp_path):
    V = low_rank(30, 200, 3)
    places = {kind: STORED[kind](V, tmp_path) for kind in ("csv, gzip", "parquet", "mtx", "npz, csc, compressed")}
    monkeypatch.setattr("dnmf.sources.formats.entry_list.HELD_ENTRIES", 1000)
    for kind, place in places.items():
        with pytest.raises(DataError, match=r"up to 1000 are read into memory.*with: dnmf convert .* V\.zarr"):
            open_matrix(place)
        shown = CliRunner().invoke(main, ["info", str(place)])
        assert shown.exit_code == 0
        assert "entries" in shown.stdout
        assert "dnmf convert" in shown.stderr
        convert(place, tmp_path / f"{kind}.zarr", memory_limit="20kB")
        np.testing.assert_array_equal(read_back(open_matrix(tmp_path / f"{kind}.zarr")), V)
    assert HELD_ENTRIES == 4_000_000


def test_texts_are_names_in_the_order_in_which_they_come(tmp_path):
    lines = ["user,film,stars", "ada,Alien,4", "bob,Brazil,2.5", "ada,Brazil,5", "cy,Alien,1"]
    (tmp_path / "V.csv").write_text("\n".join(lines))
    convert(f"{tmp_path / 'V.csv'}::film,user,stars", tmp_path / "V.zarr")
    for place in (f"{tmp_path / 'V.csv'}::film,user,stars", tmp_path / "V.zarr"):
        source = open_matrix(place)
        assert source.layout.names.rows.tolist() == ["Alien", "Brazil"]
        assert source.layout.names.columns.tolist() == ["ada", "bob", "cy"]
        np.testing.assert_array_equal(read_back(source), [[4, 0, 1], [5, 2.5, 0]])


@pytest.mark.parametrize("kind", ["csv", "h5ad, csr", "zarr"])
def test_a_conversion_that_fails_leaves_nothing(kind, tmp_path):
    def fail(done, total):
        raise RuntimeError("stop")

    given = (STORED | SOURCES)[kind](low_rank(30, 200, 3), tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="stop"):
        convert(given, tmp_path / "new.zarr", by="columns", progress=fail)
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_there_is_kept_unless_it_is_to_go(tmp_path):
    given = csv("V.csv")(low_rank(6, 9, 2), tmp_path)
    convert(given, tmp_path / "new.zarr")
    with pytest.raises(StoreError, match="already exists"):
        convert(given, tmp_path / "new.zarr")
    convert(given, tmp_path / "new.zarr", by="rows", overwrite=True)
    assert open_matrix(tmp_path / "new.zarr").layout.transposed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunks": (5, 5)}, r"chunks=\(5, 5\) is for dense matrices, and this one is sparse; give by='rows'"),
        ({"by": "row"}, "by='row' is not known; allowed are 'rows' and 'columns'. Did you mean 'rows'?"),
        ({"compressor": "zip"}, "compressor='zip' is not known"),
    ],
)
def test_invalid_options_are_refused(options, message, tmp_path):
    with pytest.raises(SettingsError, match=message.replace("?", r"\?")):
        convert(csv("V.csv")(low_rank(6, 9, 2), tmp_path), tmp_path / "new.zarr", **options)


def test_the_command_shows_the_next_command(tmp_path):
    given = STORED["10x"](low_rank(30, 200, 3), tmp_path)
    ended = CliRunner().invoke(main, ["convert", str(given), str(tmp_path / "new.zarr"), "--by", "columns"])
    assert ended.exit_code == 0, ended.output
    assert "factorise it with: dnmf fit" in ended.stderr
    assert "CSC" in open_matrix(tmp_path / "new.zarr").layout.kind


def test_counts_that_repeat_are_compressed_and_others_are_not(tmp_path):
    rng = np.random.default_rng(0)
    counts = sp.csr_array(rng.poisson(0.02, (300, 2000)).astype(np.float32))
    noise = counts.copy()
    noise.data = rng.random(noise.nnz)
    for matrix, packed in ((counts, True), (noise, False)):
        sp.save_npz(tmp_path / "V.npz", matrix, compressed=False)
        convert(tmp_path / "V.npz", tmp_path / "V.zarr", overwrite=True)
        assert bool(zarr.open_group(tmp_path / "V.zarr")["data"].compressors) is packed
        np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "V.zarr")), matrix.toarray())


def test_integers_are_compressed_by_their_bytes(tmp_path):
    counts = sp.random_array((2000, 3000), density=0.1, format="csr", rng=np.random.default_rng(0))
    counts.data = np.ceil(3 * counts.data).astype(np.uint16)
    counts = counts.astype(np.uint16)
    convert(counts, tmp_path / "V.zarr", compressor="zstd")
    group = zarr.open_group(tmp_path / "V.zarr")
    for name, ratio in (("data", 5), ("indices", 2.8)):
        array = group[name]
        plain = zarr.create_array({}, data=array[...], chunks=array.chunks, compressors=[ZstdCodec(level=3)])
        assert array.nbytes_stored() < min(plain.nbytes_stored(), array.nbytes / ratio)
    np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "V.zarr")), counts.toarray())


def test_the_next_block_is_expected_while_one_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr("dnmf.sources.bounds.BLOCK_BYTES", 2**10)
    V = sp.random_array((300, 50), density=0.2, format="csr", rng=np.random.default_rng(0))
    sp.save_npz(tmp_path / "V.npz", V, compressed=False)
    source, order = open_matrix(tmp_path / "V.npz"), []
    for act in ("read", "expect"):
        monkeypatch.setattr(source, act, recorded(order, act, getattr(source, act)))
    convert(source, tmp_path / "V.zarr")
    reads = [("read", block) for block in range(source.layout.blocks)]
    assert len(reads) > 3
    assert order == [step for read in reads for step in (("expect", read[1]), read)][1:]


def recorded(order, act, method):
    def call(block, *others):
        order.append((act, block))
        return method(block, *others)

    return call


def test_few_chunks_are_read_at_once_where_those_of_the_origin_are_large(tmp_path):
    source = open_matrix(stored(tmp_path / "V.zarr", np.ones((200, 100), "float32"), (100, 100)))
    assert [chunks_at_once(source, 400, room) for room in (10**6, 85_000, 0)] == [10, 2, 1]


def test_a_conversion_holds_no_more_of_a_longer_matrix(monkeypatch, tmp_path):
    monkeypatch.setattr("dnmf.conversion.sparse.CHUNK_ENTRIES", 2**13)
    monkeypatch.setattr("dnmf.sources.bounds.BLOCK_BYTES", 2**16)
    peaks = []
    for rows in (400, 1600):
        matrix = sp.random_array((rows, 500), density=0.2, format="csr", rng=np.random.default_rng(0))
        sp.save_npz(tmp_path / "V.npz", matrix, compressed=False)
        size = 12 * matrix.nnz
        options = {"by": "columns", "memory_limit": "1MB", "overwrite": True}
        convert(tmp_path / "V.npz", tmp_path / "V.zarr", **options)  # compiles, which takes memory of its own
        found = []
        for _ in range(3):
            tracemalloc.start()
            convert(tmp_path / "V.npz", tmp_path / "V.zarr", **options)
            found.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        peaks.append(min(found))  # what is imported or compiled on the way is held once
    assert peaks[1] < size / 2
    assert peaks[1] < 1.5 * peaks[0]


def test_a_draft_is_deleted_after_the_last_write_into_it(tmp_path):
    """Zarr raises the error of the first chunk that fails, and writes the others meanwhile."""

    async def write(number, draft):
        if number == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for _ in range(10_000):
            await asyncio.sleep(0)  # until the error is raised
        draft.mkdir()

    with pytest.raises(StoreError, match="No space left on device"), appearing(tmp_path / "V.zarr") as draft:
        sync(concurrent_map([(number, draft) for number in range(2)], write))
    finish_tasks()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_chunk_is_one_sentence(tmp_path):
    V = zarr.create_array(tmp_path / "V.zarr", shape=(200, 2000), chunks=(10, 100), dtype="f4")
    V[...] = np.random.default_rng(0).random(V.shape, np.float32)
    chunk = tmp_path / "V.zarr" / "c" / "3" / "4"
    chunk.write_bytes(chunk.read_bytes()[:100])
    command = [sys.executable, "-m", "dnmf", "convert", str(tmp_path / "V.zarr"), str(tmp_path / "new.zarr")]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode in (1, 2)
    assert re.fullmatch(r"dnmf: rows 0 to 199, columns .* could not be read .*\n", ended.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["V.zarr"]
