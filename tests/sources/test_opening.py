"""What the door lets in, how it is cut, and what it says of the rest."""

import itertools

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from hypothesis import given, settings
from strategies import SOURCES, awkward, cuts, low_rank

from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import BadEntry
from dnmf.sources import open_matrix
from dnmf.sources.bounds import BLOCK_BYTES, SPARSE_BLOCK_COLUMNS, bounds_by_entries, even_bounds, uncut_bounds
from dnmf.sources.identity import fingerprint
from dnmf.sources.memory import SparseSource


def whole(source):
    scratch, parts = Scratch(), []
    for block in range(source.layout.blocks):
        part = source.read(block, scratch)
        parts.append(part.toarray() if sp.issparse(part) else np.array(part))
    matrix = np.concatenate(parts, axis=1)
    return matrix.T if source.layout.transposed else matrix


@given(awkward(), cuts(9), cuts(30))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_any_chunks_of_any_matrix_are_read_back(V, rows, columns):
    V = np.pad(V, [(0, 9 - V.shape[0]), (0, 30 - V.shape[1])])
    source = open_matrix(da.from_array(V, chunks=(rows, columns)))
    np.testing.assert_array_equal(whole(source), V)
    assert np.diff(source.layout.bounds).tolist() == list(rows if source.layout.transposed else columns)


@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_says_what_it_is(kind, tmp_path):
    V = low_rank(30, 200, 3, dtype="float32")
    matrix = SOURCES[kind](V, tmp_path)
    layout = open_matrix(matrix).layout
    assert layout.sparse is ("cs" in kind)
    assert layout.on_disk is (kind.startswith(("zarr", "npy")) or kind == "memory map")
    assert (layout.location is not None) is kind.startswith(("zarr", "npy"))
    if layout.location is not None:
        np.testing.assert_array_equal(whole(open_matrix(layout.location)), V)
    assert layout.widest == max(stop - start for start, stop in itertools.pairwise(layout.bounds))
    assert fingerprint(open_matrix(matrix)) == fingerprint(open_matrix(matrix))


@pytest.mark.parametrize("streamed", ["rows", "columns"])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, sp.csc_array])
def test_an_uncut_matrix_is_cut_into_blocks_of_bounded_size(form, streamed, monkeypatch):
    for size in ("BLOCK_BYTES", "NARROWEST_BYTES"):
        monkeypatch.setattr(f"dnmf.sources.bounds.{size}", 4000)
    V = low_rank(30, 200, 3)
    source = open_matrix(form(V), streamed)
    np.testing.assert_array_equal(whole(source), V)
    assert source.layout.blocks > 4
    for block in range(source.layout.blocks):
        part = source.read(block, Scratch())
        size = part.data.nbytes + part.indices.nbytes if sp.issparse(part) else part.nbytes
        assert size <= 4000


def test_a_sparse_column_above_the_size_of_a_block_is_a_block_and_empty_ones_are_bounded(monkeypatch):
    monkeypatch.setattr("dnmf.sources.bounds.BLOCK_BYTES", 12)
    dense_first = np.eye(5, 7)
    dense_first[:, 0] = 1
    assert SparseSource(sp.csc_array(dense_first)).layout.bounds == (0, 1, 2, 3, 4, 7)
    empty = sp.csc_array((3, 2 * SPARSE_BLOCK_COLUMNS + 1))
    assert np.diff(SparseSource(empty).layout.bounds).tolist() == [SPARSE_BLOCK_COLUMNS, SPARSE_BLOCK_COLUMNS, 1]


def test_bounds_cover_every_column_once():
    assert even_bounds(4, 100) == (0, 4)
    assert uncut_bounds((10**9, 3), np.dtype("float64")) == (0, 1, 2, 3)
    assert max(np.diff(uncut_bounds((100, 10**6), np.dtype("uint8")))) * 100 * 4 <= BLOCK_BYTES


@pytest.mark.parametrize(("grid", "rows"), [((-1, 20), False), ((10, -1), True), ((10, 20), False), ((-1, -1), False)])
def test_the_axis_that_is_cut_is_streamed(grid, rows):
    assert open_matrix(da.ones((30, 200), chunks=grid)).layout.transposed is rows
    assert open_matrix(da.ones((200, 30), chunks=grid[::-1])).layout.transposed is (not rows)


@pytest.mark.parametrize("kind", ["csr", "csc", "numpy", "numpy Fortran"])
def test_a_matrix_in_memory_is_not_copied(kind, tmp_path):
    matrix = SOURCES[kind](low_rank(30, 200, 3), tmp_path)
    part = open_matrix(matrix).read(0, Scratch())
    assert np.shares_memory(*((part.data, matrix.data) if sp.issparse(part) else (part, matrix)))


@pytest.mark.parametrize("streamed", ["rows", "columns"])
def test_a_bad_entry_is_placed_in_the_matrix_that_was_given(streamed):
    layout = open_matrix(da.ones((30, 200), chunks=(10, 20)), streamed).layout
    at = r"V\[25, 3\]" if streamed == "rows" else r"V\[3, 45\]"
    with pytest.raises(DataError, match=rf"{at} is -1, which is negative; V must hold finite numbers of at least 0"):
        raise layout.place(2, BadEntry(-1.0, 3, 5))
    assert "not finite" in str(layout.place(0, BadEntry(-np.inf, 0, 0)))


@pytest.mark.parametrize("change", [(0, 0), (29, 36)])
@pytest.mark.parametrize("kind", ["zarr", "csc", "dask of csr"])
def test_a_fingerprint_tells_matrices_apart_by_their_first_block(kind, change, tmp_path):
    V = low_rank(30, 200, 3)
    before = fingerprint(open_matrix(SOURCES[kind](V, tmp_path)))
    V[change] += 1
    after = fingerprint(open_matrix(SOURCES[kind](V, tmp_path)))
    assert {name for name in before if before[name] != after[name]} >= {"sample"}


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: da.ones((4, 9))[:, da.ones(9) > 0], "chunk sizes are not known; call V.compute_chunk_sizes"),
        (lambda: da.ones((4, 9), dtype=complex), "has dtype complex128, which is not a real number"),
        (lambda: da.ones(9), r"has 1 dimension\(s\)"),
        (lambda: da.ones((4, 0)), "is empty"),
        (lambda: np.ma.masked_array(np.ones((2, 2)), np.eye(2)), r"is a masked array.* give V.filled\(0\), or V.data"),
        (lambda: sp.dok_array((3, 3)), "is sparse in dok form; give CSR or CSC"),
        (lambda: 7, "V is a builtins.int; give a NumPy array"),
        (lambda: "no/such/folder", "no/such/folder does not exist"),
    ],
)
def test_what_is_no_matrix_is_refused_in_a_sentence(make, sentence):
    with pytest.raises(DataError, match=sentence):
        open_matrix(make())


@pytest.mark.parametrize("what", ["object", "structure", "vector", "text"])
def test_a_file_that_holds_no_matrix_is_refused_and_not_run(what, tmp_path):
    content = {
        "object": np.array([[{"a": 1}]], dtype=object),
        "structure": np.zeros((2, 2), dtype=[("x", "f4")]),
        "vector": np.zeros(2),
        "text": np.array([["a"]]),
    }[what]
    np.save(tmp_path / "V.npy", content)
    with pytest.raises(DataError, match="which is not a real number" if what != "vector" else r"has 1 dimension\(s\)"):
        open_matrix(tmp_path / "V.npy")


def test_a_group_is_refused_with_the_names_of_its_arrays(tmp_path):
    group = zarr.create_group(tmp_path / "g.zarr")
    with pytest.raises(DataError, match="is a Zarr group, not an array; it holds no array"):
        open_matrix(tmp_path / "g.zarr")
    group.create_array("counts", shape=(2, 2), dtype="f4")
    assert open_matrix(tmp_path / "g.zarr").layout.shape == (2, 2)
    group.create_array("more", shape=(2, 3), dtype="f4")
    with pytest.raises(
        DataError, match=r"is a Zarr group, not an array; give one of its arrays: counts, more; as .*::"
    ):
        open_matrix(tmp_path / "g.zarr")
    assert open_matrix(tmp_path / "g.zarr" / "more").layout.shape == (2, 3)
    assert open_matrix(f"{tmp_path / 'g.zarr'}::more").layout.shape == (2, 3)


@pytest.mark.parametrize(
    "options",
    [
        {"compressors": None, "filters": None},
        {
            "compressors": None,
            "filters": None,
            "zarr_format": 2,
            "chunk_key_encoding": {"name": "v2", "separator": "/"},
        },
        {"compressors": None, "filters": None, "zarr_format": 2, "order": "F"},
        {"compressors": [zarr.codecs.Crc32cCodec()]},
        {"compressors": None, "filters": [zarr.codecs.TransposeCodec(order=(1, 0))]},
        {"compressors": None, "filters": None, "chunk_key_encoding": {"name": "v2", "separator": "."}},
    ],
    ids=["plain", "format 2, nested", "format 2, order F", "checksum", "transposed", "other keys"],
)
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int16"])
def test_every_way_of_storing_numbers_reads_back(options, dtype, tmp_path):
    V = (low_rank(10, 30, 2) * 50).astype(dtype)
    array = zarr.create_array(tmp_path / "V.zarr", shape=V.shape, chunks=(10, 7), dtype=dtype, **options)
    array[...] = V
    source = open_matrix(tmp_path / "V.zarr")
    np.testing.assert_array_equal(whole(source), V)
    plain = options.get("filters") is None and options["compressors"] is None and options.get("order") != "F"
    assert (source.files is not None) is plain


def test_an_array_inside_a_group_or_in_memory_is_read(tmp_path):
    V = low_rank(10, 30, 2)
    group = zarr.create_group(tmp_path / "g.zarr")
    for array in (group.create_array("a/b", data=V, chunks=(10, 4), compressors=None), zarr.array(V, chunks=(4, 30))):
        source = open_matrix(array)
        np.testing.assert_array_equal(whole(source), V)
        assert (source.layout.location is None) is (source.files is None)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_blocks_of_a_sparse_matrix_have_few_entries_or_one_column(dtype):
    starts = np.array([0, 0, 3, 3, 9, 10, 2**31 - 5, 2**31 - 2, 2**31 - 1], dtype)
    bounds = bounds_by_entries(starts, 5)
    assert (bounds[0], bounds[-1]) == (0, 8)
    for start, stop in itertools.pairwise(bounds):
        held = [int(starts[end]) - int(starts[start]) for end in (stop, min(stop + 1, 8))]
        assert held[0] <= 5 or stop == start + 1
        assert held[1] > 5 or stop == 8


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        (
            "https://localhost:9/V.csv",
            r"is a file on the web, where only Zarr is read; download it, as by `curl -LO https",
        ),
        (
            "HTTP://localhost:9/V.npy",
            r"is a file on the web, where only Zarr is read; download it, as by `curl -LO HTTP",
        ),
        ("s3://bucket/V.csv", r"lies in an object store, where only Zarr is read; copy it to a disk, and rewrite it"),
        ("nosuch://place/V.zarr", r"has a scheme that is not known; give a path, or a URL of s3://.* https://\.$"),
        ("", r"^V is an empty text; give the path or URL"),
    ],
)
def test_an_address_that_cannot_be_read_gets_advice(address, sentence):
    with pytest.raises(DataError, match=sentence):
        open_matrix(address)


def test_a_site_without_the_matrix_is_named_with_the_reason(monkeypatch):
    def refused(*given, **options):
        raise ConnectionError("Connection refused")

    monkeypatch.setattr("zarr.open", refused)
    sentence = (
        r"V.zarr is not a Zarr array that can be reached \(ConnectionError: .*\); check the address .* or download it"
    )
    with pytest.raises(DataError, match=sentence):
        open_matrix("https://localhost:9/V.zarr")


def test_a_folder_without_a_matrix_is_described_by_what_it_holds(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    with pytest.raises(
        DataError, match=rf"^{folder} is an empty folder, which is not a Zarr array; give the path or URL"
    ):
        open_matrix(folder)
    (folder / "notes.log").write_text("")
    with pytest.raises(DataError, match=r"is not a Zarr array or group, but another folder; give the path or URL"):
        open_matrix(folder)
    np.savetxt(folder / "a.csv", np.ones((3, 4)), delimiter=",")
    with pytest.raises(DataError, match=rf"give a matrix in it, as {folder}/a\.csv\.$"):
        open_matrix(folder)
    np.savetxt(folder / "b.csv", np.ones((3, 4)), delimiter=",")
    pattern = rf"give a matrix in it, as {folder}/a\.csv, or several to be joined, as '{folder}/\*\.csv'\.$"
    with pytest.raises(DataError, match=pattern):
        open_matrix(folder)
    assert open_matrix(f"{folder}/a.csv").layout.user_shape == (3, 4)
