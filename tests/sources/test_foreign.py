"""What formats hold beside plain matrices, and the sentences about what is missing, damaged or none of them."""

import sys

import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from click.testing import CliRunner
from formats import STORED, annotated, dataset, pandas, quiet, read_back, rows_named
from strategies import low_rank

import dnmf
from dnmf.cli.app import main
from dnmf.errors import DataError, DataWarning, MissingExtraError, ReadError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.sources import open_matrix
from dnmf.sources.addresses import Address, convert_command
from dnmf.sources.formats.entry_list import held
from dnmf.sources.formats.hdf5_array import Hdf5Array
from dnmf.sources.formats.tables import read_table

V = low_rank(30, 200, 3)


@pytest.mark.parametrize(
    ("kind", "package", "extra"),
    [
        ("h5ad, csr", "h5py", "anndata"),
        ("hdf5", "h5py", "hdf5"),
        ("10x", "h5py", "hdf5"),
        ("netcdf", "xarray", "xarray"),
        ("netcdf", "h5netcdf", "xarray"),
        ("xarray zarr", "xarray", "xarray"),
        ("parquet", "pyarrow", "tables"),
        ("csv", "pyarrow", "tables"),
        ("loom", "h5py", "hdf5"),
        ("matlab 7.3", "h5py", "hdf5"),
        ("tiff", "tifffile", "tiff"),
        ("envi, bil", "spectral.io.envi", "envi"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(kind, package, extra, monkeypatch, tmp_path):
    given = STORED[kind](V, tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    sentence = rf"needs the package {package.partition('.')[0]}; install it with: pip install 'dnmf\[{extra}\]'"
    with pytest.raises(MissingExtraError, match=sentence):
        dnmf.factorize(given, 2)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("V.h5ad", "is not a readable HDF5 file"),
        ("V.h5::a", "is not a readable HDF5 file"),
        ("V.nc", "is not a readable NetCDF file"),
        ("V.npz", r"is not a readable \.npz file"),
        ("V.parquet", "is not a readable Parquet table"),
        ("V.csv", "is not a readable CSV table"),
        ("V.mtx", "is not a readable MatrixMarket file"),
        ("V.mtx.gz", "is not a readable MatrixMarket file"),
        ("V.csv.gz", "is not a readable CSV table"),
        ("V.txt", "is not a readable CSV table"),
        ("V.log", "is a file of unknown kind"),
        ("V.bin::float32", r"is a file of unknown kind; give .* raw\.bin::float32,2000x1000"),
        ("V.bin::floot,2x2", "does not describe its numbers"),
        ("V.bin::float32,2x2", "has 17 bytes, and 2 × 2 numbers of float32 after 0 bytes take 16"),
    ],
)
def test_a_file_that_is_not_what_it_is_called_is_refused(name, sentence, tmp_path):
    (tmp_path / name.partition("::")[0]).write_text("this is no matrix")
    with pytest.raises(DataError, match=sentence):
        open_matrix(str(tmp_path / name))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("3 3 2\n1 1 3.5\n", "it has 1 entries, and its head promises 2"),
        ("3 3 2\n1 1 3.5\n4 1 1\n", "it has an entry at 1 or 4 of 3"),
        ("3 3 2\n1 1 3.5\n0 1 1\n", "it has an entry at 0 or 1 of 3"),
        ("3 3 2\n1 1 3.5\n2 x 1\n", "could not convert string 'x'"),
        ("3 3 2\n1 1 3.5\n2 1\n", "requires 3 columns but 2 were found"),
        ("3 3\n", "its line of sizes is incomplete"),
        ("% only\n", "it ends before its line of sizes"),
    ],
)
def test_a_damaged_text_is_named_with_its_reason(body, sentence, tmp_path):
    (tmp_path / "V.mtx").write_text(f"%%MatrixMarket matrix coordinate real general\n{body}")
    with pytest.raises(DataError, match=f"V.mtx is not a readable MatrixMarket file .*{sentence}"):
        open_matrix(tmp_path / "V.mtx")


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        ("coordinate pattern general", "2 3 2\n1 1\n2 3\n", [[1, 0, 0], [0, 0, 1]]),
        ("coordinate integer symmetric", "2 2 2\r\n1 1 7\r\n\r\n2 1 3\r\n", [[7, 3], [3, 0]]),
        ("array real general", "2 2\n1\n2\n3\n4.5", [[1, 3], [2, 4.5]]),
    ],
)
def test_every_kind_of_matrix_market_is_read(head, body, expected, tmp_path):
    (tmp_path / "V.mtx").write_bytes(f"%%MatrixMarket matrix {head}\n% a comment\n\n{body}".encode())
    np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "V.mtx")), expected)


@pytest.mark.parametrize("head", ["coordinate complex general", "array real symmetric"])
def test_what_no_matrix_of_ours_can_be_is_refused(head, tmp_path):
    (tmp_path / "V.mtx").write_text(f"%%MatrixMarket matrix {head}\n2 2{' 1' if 'coord' in head else ''}\n1\n2\n3\n")
    with pytest.raises(DataError, match=r"holds complex numbers|holds a triangle of a symmetric array"):
        open_matrix(tmp_path / "V.mtx")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("row,column,value\n1,-1,3\n", "has -1 in column; places count from 0"),
        ("row,column,value\n1,300000000,3\n", "at row or column 300000000: its numbers are not positions from 0"),
        ("row,column,value\n1,1,\n", "has an entry without value"),
        ("row,column,value\n1,1,x\n", "has string in its column value; values are numbers"),
        ("row,column,value\n1.5,1,1\n", "has double in its column row; rows and columns are integers from 0, or texts"),
        ("a,b,c,d\nx,x,x,1\n", "has the columns a, b, c, d; name those with rows, columns and values"),
        ("row,column,value\n1,1,1\n2,2\n", "V.csv, line 3 has 2 fields, and the first line 3"),
    ],
)
def test_a_table_that_lists_no_entries_is_refused(text, sentence, tmp_path):
    (tmp_path / "V.csv").write_text(text)
    with pytest.raises(DataError, match=sentence):
        open_matrix(tmp_path / "V.csv")


def test_numbers_of_a_column_may_become_other_ones_after_the_first_part(tmp_path):
    lines = [f"{i};0;{i + 1}" for i in range(50)] + ["50;0;0.5"]
    (tmp_path / "V.csv").write_text("\n".join(lines))
    table = read_table(Address.of(tmp_path / "V.csv"), batch_bytes=64)
    np.testing.assert_array_equal(read_back(held(table))[:, 0], [*range(1, 51), 0.5])


def test_a_folder_of_parquet_files_is_one_table(tmp_path):
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "V.parquet").mkdir()
    for part in range(3):
        table = pyarrow.table(
            {"cell": [f"c{part}", "c0"], "gene": [part, 5], "count": pyarrow.array([1, 250], "uint8")}
        )
        pyarrow.parquet.write_table(table, tmp_path / "V.parquet" / f"part-{part}.parquet")
    with pytest.warns(DataWarning, match="several entries at the same place: 2 entries were added to an earlier one"):
        source = open_matrix(f"{tmp_path / 'V.parquet'}::cell,gene,count")
    assert source.layout.names.rows.tolist() == ["c0", "c1", "c2"]
    assert source.layout.dtype == np.float32
    assert read_back(source)[0, 5] == 750


def test_a_file_of_several_matrices_lists_them_and_so_does_info(tmp_path):
    import h5py

    with h5py.File(tmp_path / "V.h5", "w") as file:
        file["a/first"], file["second"], file["no"] = np.ones((3, 4)), np.ones((5, 6)), np.ones(3)
    with pytest.raises(DataError, match=r"is an HDF5 group, not an array; give one of its arrays: a/first, second; as"):
        open_matrix(tmp_path / "V.h5")
    with pytest.raises(DataError, match=r"holds no third; give one of its arrays: a/first, second"):
        open_matrix(f"{tmp_path / 'V.h5'}::third")
    assert open_matrix(f"{tmp_path / 'V.h5'}::a").layout.user_shape == (3, 4)
    shown = CliRunner().invoke(main, ["info", str(tmp_path / "V.h5")])
    assert shown.exit_code == 0
    assert "a/first, second" in shown.stdout
    with h5py.File(tmp_path / "V.h5") as file:
        assert open_matrix(file["second"]).layout.location == f"{tmp_path / 'V.h5'}::second"


@pytest.mark.parametrize("kind", [*STORED])
def test_info_says_what_it_is(kind, tmp_path):
    given = str(STORED[kind](V, tmp_path))
    shown = CliRunner().invoke(main, ["info", given, "--rank", "3"])
    assert shown.exit_code == 0, shown.output
    assert "30 × 200" in shown.stdout
    assert ("cell 0, cell 1, cell 2, …" in shown.stdout) is rows_named(kind)


@pytest.mark.parametrize("kind", ["hdf5", "npz", "matlab", "10x folder", "netcdf", "loom", "xarray zarr, zip", "csv"])
def test_info_exits_with_2_if_nothing_can_be_read(kind, tmp_path):
    place = str(STORED[kind](V, tmp_path)).partition("::")[0]
    assert CliRunner().invoke(main, ["info", f"{place}::not/there"]).exit_code == 2
    for path in (tmp_path / place).rglob("*") if (tmp_path / place).is_dir() else [tmp_path / place]:
        path.write_bytes(b"no matrix")
    shown = CliRunner().invoke(main, ["info", place])
    assert shown.exit_code == 2
    assert place in shown.stderr.replace("\n", "")


def test_the_parts_of_an_annotated_matrix_have_the_names_of_their_axes(tmp_path):
    import h5py
    import pandas as pd

    adata = annotated(V, sp.csr_matrix(V))
    adata.raw = adata.copy()
    adata = adata[:, 5:50].copy()
    adata.obsm["parts"] = V[:, :7]
    adata.obs.index = pd.Index([f"c{i}" for i in range(30)], name="barcode")
    with quiet():
        adata.write_h5ad(tmp_path / "V.h5ad")
    raw = open_matrix(f"{tmp_path / 'V.h5ad'}::raw/X").layout
    assert raw.user_shape == (30, 200)
    assert raw.names.columns[199] == "gene 199"
    assert raw.names.rows[0] == "c0"
    parts = open_matrix(f"{tmp_path / 'V.h5ad'}::obsm/parts").layout
    assert parts.names.rows[29] == "c29"
    assert parts.names.columns is None
    assert open_matrix(tmp_path / "V.h5ad").layout.names.columns[0] == "gene 5"
    with h5py.File(tmp_path / "V.h5ad", "a") as file:
        del file["X"]
    with pytest.raises(DataError, match="give one of its arrays: layers/counts"):
        open_matrix(tmp_path / "V.h5ad")
    backed = annotated(V, V)
    with quiet():
        backed.write_h5ad(tmp_path / "W.h5ad")
        backed.file.close()
        import anndata

        backed = anndata.read_h5ad(tmp_path / "W.h5ad", backed="r")
    assert open_matrix(backed).layout.location == str(tmp_path / "W.h5ad")
    with pytest.raises(DataError, match=r"V is a part of the AnnData in .*W.h5ad, .* give V.to_memory\(\), or V.copy"):
        open_matrix(backed[:5])
    with quiet():
        assert open_matrix(backed[:5].to_memory()).layout.user_shape == (5, V.shape[1])
        assert open_matrix(backed[:5].copy(tmp_path / "part.h5ad")).layout.user_shape == (5, V.shape[1])
    backed.file.close()


def test_old_and_unusual_annotations_are_read(tmp_path):
    import h5py

    matrix = sp.csr_array(V)
    names = np.array([(f"c{i}".encode(), i) for i in range(30)], dtype=[("index", "S8"), ("n", "i4")])
    with h5py.File(tmp_path / "old.h5ad", "w") as file:
        group = file.create_group("X")
        group.attrs["h5sparse_format"], group.attrs["h5sparse_shape"] = "csr", (30, 200)
        for part in ("data", "indices", "indptr"):
            group[part] = getattr(matrix, part)
        file["obs"] = names
        var = file.create_group("var")
        var.attrs["_index"] = "gene"
        index = var.create_group("gene")
        index["categories"], index["codes"] = np.array([b"x", b"y"]), np.arange(200) % 2
    source = open_matrix(tmp_path / "old.h5ad")
    np.testing.assert_array_equal(read_back(source), V)
    assert source.layout.names.rows[3] == "c3"
    assert source.layout.names.columns[:3].tolist() == ["x", "y", "x"]
    with h5py.File(tmp_path / "multi.h5mu", "w") as file, h5py.File(tmp_path / "old.h5ad") as old:
        old.copy(old["/"], file.create_group("mod"), "rna")
    assert open_matrix(f"{tmp_path / 'multi.h5mu'}::mod/rna").layout.names.rows[3] == "c3"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (7, 50)},
        {"chunks": (7, 50), "compression": "gzip", "shuffle": True},
        {"chunks": (30, 1), "compression": "gzip"},
        {"chunks": (7, 50), "compression": "lzf"},
        {"chunks": (7, 50), "fletcher32": True},
    ],
)
@pytest.mark.parametrize("dtype", [">f4", "<f8", "bool", "u1", "f2"])
def test_every_way_of_storing_numbers_in_hdf5_reads_back(options, dtype, tmp_path):
    import h5py

    content = (V > 1 if dtype == "bool" else V * 20).astype(dtype)
    with h5py.File(tmp_path / "V.h5", "w") as file:
        data = file.create_dataset("V", data=content, **options)
        array = Hdf5Array(tmp_path / "V.h5", data)
        assert array.direct is not (options.get("compression") == "lzf" or "fletcher32" in options)
    for streamed in ("rows", "columns"):
        np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "V.h5", streamed)), content)


def test_chunks_that_were_never_written_are_the_fill_value(tmp_path):
    import h5py

    with h5py.File(tmp_path / "V.h5", "w", userblock_size=512) as file:
        file.create_dataset("V", (30, 40), "f4", chunks=(30, 10), fillvalue=2.5)[:, :10] = 1
    with h5py.File(tmp_path / "W.h5", "w") as file:
        file.create_dataset("V", (30, 40), "f4", chunks=(30, 10), fillvalue=2.5)[:, :10] = 1
        file.create_dataset("none", (30, 40), "f4", fillvalue=3)
    for name in ("V.h5", "W.h5::V"):
        whole = read_back(open_matrix(str(tmp_path / name)))
        assert whole[0, 0] == 1
        assert (whole[:, 10:] == 2.5).all()
    assert (read_back(open_matrix(f"{tmp_path / 'W.h5'}::none")) == 3).all()


@pytest.mark.parametrize("kind", ["hdf5", "hdf5, gzip", "h5ad, csr", "h5ad, gzip", "npz, csr", "raw"])
def test_a_file_that_is_cut_short_while_it_is_read_is_an_error_that_names_it(kind, tmp_path):
    given = STORED[kind](V, tmp_path)
    source = open_matrix(given)
    path = type(tmp_path)(str(given).partition("::")[0])
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(ReadError, match=rf"{path} is truncated"):
        source.read(source.layout.blocks - 1, Scratch())


@pytest.mark.parametrize("kind", ["hdf5, gzip", "10x"])
def test_a_chunk_that_cannot_be_inflated_is_an_error_that_names_it(kind, tmp_path):
    given = STORED[kind](V, tmp_path)
    source = open_matrix(given)
    path = type(tmp_path)(str(given).partition("::")[0])
    array = source.array if kind != "10x" else source.data
    offset, size, _ = array.table.reshape(-1, 3)[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + size] = b"\x07" * size
    path.write_bytes(content)
    with pytest.raises(ReadError, match=rf"{path} is damaged: chunk \(0.*\) of .* cannot be unpacked"):
        source.read(0, Scratch())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda parts: parts["indptr"].__setitem__(3, 10**6), "is damaged: its indptr goes from 0 to"),
        (lambda parts: parts["indptr"].__setitem__(-1, 5), "is damaged: its indptr goes from 0 to 5"),
        (lambda parts: parts.update(indptr=parts["indptr"][:-2]), "its indptr has 29 entries, and its shape needs 31"),
        (lambda parts: parts.update(indices=parts["indices"] * 1.0), "has indices of dtype float64"),
    ],
)
def test_a_compressed_matrix_whose_parts_do_not_fit_is_refused(change, sentence, tmp_path):
    matrix = sp.csr_array(V)
    parts = {name: getattr(matrix, name).copy() for name in ("data", "indices", "indptr")}
    change(parts)
    group = zarr.create_group(tmp_path / "V.zarr", attributes={"encoding-type": "csr_matrix", "shape": [30, 200]})
    for name, values in parts.items():
        group.create_array(name, data=values)
    with pytest.raises(DataError, match=sentence):
        open_matrix(tmp_path / "V.zarr")


def stored_csr(store):
    """Store a CSR matrix with names as AnnData does, and return its group."""
    matrix = sp.csr_array(V)
    group = zarr.create_group(store, attributes={"encoding-type": "csr_matrix", "shape": [30, 200]})
    for name in ("data", "indices", "indptr"):
        group.create_array(name, data=getattr(matrix, name))
    group.create_group("obs", attributes={"_index": "cell"}).create_array("cell", data=np.arange(30))
    return group


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("indptr/c/0", r"indptr of {} could not be read \(.*Zstd decompression error.*\); its storage is damaged"),
        ("obs/cell/c/0", r"{} could not be read \(.*Zstd decompression error.*\); its storage is damaged"),
        ("indices/zarr.json", r"{} could not be read \(JSONDecodeError: .*\); its storage is damaged"),
    ],
)
def test_what_is_read_to_open_a_compressed_matrix_may_be_damaged(file, sentence, tmp_path):
    stored_csr(tmp_path / "V.zarr")
    (tmp_path / "V.zarr" / file).write_bytes(b"\x07" * 60)
    with pytest.raises(ReadError, match="^" + sentence.format(tmp_path / "V.zarr")) as caught:
        open_matrix(tmp_path / "V.zarr")
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("kind", ["h5ad", "nc"])
def test_names_in_a_file_may_be_damaged(kind, tmp_path):
    import h5py

    path, labels = tmp_path / f"V.{kind}", np.arange(30.0)
    if kind == "nc":
        data = dataset(V).drop_vars("cell").assign_coords(label=("cell", labels))
        data.to_netcdf(path, encoding={"label": {"zlib": True}})
        name = "label"
    else:
        with h5py.File(path, "w") as file:
            file["X"], name = V, "obs/cell"
            file.create_group("var")
            file.create_group("obs").attrs["_index"] = "cell"
            file.create_dataset(name, data=labels, compression="gzip")
    with h5py.File(path) as file:
        chunk = file[name].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\x07" * chunk.size
    path.write_bytes(content)
    with pytest.raises(ReadError, match=rf"^{path} could not be read \(.*\); its storage is damaged"):
        open_matrix(path)


def test_what_cannot_be_reached_to_open_a_compressed_matrix_tells_no_secret(monkeypatch):
    def read(vector, start, out):
        raise RuntimeError("no answer to\nGET /V.zarr?X-Amz-Signature=abcdef")

    stored_csr("memory://unreached/V.zarr")
    monkeypatch.setattr("dnmf.sources.formats.stored_vectors.ZarrVector.read", read)
    with pytest.raises(ReadError, match=r"^indptr of memory://unreached/V.zarr could not be read \(.*to GET") as caught:
        open_matrix("memory://unreached/V.zarr")
    assert "abcdef" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_index_beyond_the_shape_is_found_before_it_is_used(tmp_path):
    matrix = sp.csr_array(V)
    matrix.indices[5] = 200
    group = zarr.create_group(tmp_path / "V.zarr", attributes={"encoding-type": "csr_matrix", "shape": [30, 200]})
    for name in ("data", "indices", "indptr"):
        group.create_array(name, data=getattr(matrix, name), compressors=None)
    with pytest.raises(ReadError, match=r"block 0 \(rows 0 to 29\) of .* is damaged: an entry is at index 200"):
        open_matrix(tmp_path / "V.zarr").read(0, Scratch())
    group["indices"][5] = 0
    np.testing.assert_allclose(read_back(open_matrix(group))[1:], V[1:])


def test_variables_that_xarray_decodes_are_read_through_it(tmp_path):
    data = dataset(V)
    data["packed"] = (("cell", "gene"), np.round(V, 2))
    data["cube"] = (("time", "cell", "gene"), V[None])
    with quiet():
        encoding = {"packed": {"dtype": "i2", "scale_factor": 0.01, "_FillValue": -1}}
        data.to_netcdf(tmp_path / "V.nc", engine="h5netcdf", encoding=encoding)
        data.to_zarr(tmp_path / "V.zarr", encoding=encoding, zarr_format=2, consolidated=False)
    for name in ("V.nc", "V.zarr"):
        source = open_matrix(f"{tmp_path / name}::packed")
        assert source.layout.kind.endswith("decoded by xarray")
        np.testing.assert_allclose(read_back(source), np.round(V, 2), atol=1e-9)
    assert "read directly" in open_matrix(f"{tmp_path / 'V.nc'}::V").layout.kind
    with pytest.raises(DataError, match=r"is a data set; give one of its variables: V, packed, cube; as .*::V"):
        open_matrix(tmp_path / "V.nc")
    np.testing.assert_array_equal(read_back(open_matrix(f"{tmp_path / 'V.nc'}::cube::(time,cell)x(gene)")), V)
    with pytest.raises(DataError, match=r"V has 1 dimension\(s\), \(cell\), and must be a matrix"):
        open_matrix(data["V"][:, 0])
    with pytest.raises(DataError, match="V is an xarray Dataset; give one of its variables"):
        open_matrix(data)
    stacked = open_matrix(data["cube"].stack(place=("time", "gene")))
    assert stacked.layout.names.columns[1] == "(0, 'gene 1')"


def test_a_lazy_array_is_read_a_block_at_a_time(tmp_path, monkeypatch):
    import xarray

    monkeypatch.setattr("dnmf.sources.bounds.BLOCK_BYTES", 4000)
    with quiet():
        dataset(V).to_netcdf(tmp_path / "V.nc", engine="h5netcdf")
    with xarray.open_dataset(tmp_path / "V.nc", engine="h5netcdf") as data:
        source = open_matrix(data["V"])
        assert source.layout.blocks > 4
        assert source.layout.on_disk
        np.testing.assert_array_equal(read_back(source), V)
        assert not data["V"].variable._in_memory
        assert source.layout.names.rows[1] == "cell 1"


def test_frames_whose_labels_only_count_have_no_names_and_texts_are_refused():
    import pandas as pd
    import polars as pl

    plain = open_matrix(pd.DataFrame(V)).layout.names
    assert plain.rows is None
    assert plain.columns is None
    with pytest.raises(DataError, match=r"column\(s\) name hold no numbers; drop them, or make them the index"):
        open_matrix(pd.DataFrame({"a": [1.0, 2], "name": ["x", "y"]}))
    with pytest.raises(DataError, match=r"column\(s\) name hold no numbers"):
        open_matrix(pl.DataFrame({"a": [1.0, 2], "name": ["x", "y"]}))
    with pytest.raises(DataError, match=r"LazyFrame, which has no rows yet; give V\.collect\(\)"):
        open_matrix(pl.DataFrame({"a": [1.0]}).lazy())
    with pytest.raises(DataError, match="with sparse and dense columns"):
        open_matrix(pd.DataFrame({"a": pd.arrays.SparseArray([0.0, 1]), "b": [1.0, 2]}))
    with pytest.raises(DataError, match="fill value is not 0"):
        open_matrix(pd.DataFrame({"a": pd.arrays.SparseArray([1.0, 1], fill_value=1.0)}))
    nullable = open_matrix(pd.DataFrame({"a": pd.array([1, None, 3], dtype="Int64"), "b": [True, False, True]}))
    np.testing.assert_array_equal(read_back(nullable), [[1, 1], [np.nan, 0], [3, 1]])
    nulls = open_matrix(pl.DataFrame({"a": [1.0, None, 3.0], "b": [1, 2, 3]}))
    np.testing.assert_array_equal(read_back(nulls), [[1, 1], [np.nan, 2], [3, 3]])


def test_a_sparse_array_must_not_store_what_is_not_zero():
    import dask.array as da
    import sparse

    filled = sparse.COO.from_numpy(np.ones((3, 4)), fill_value=1.0)
    with pytest.raises(DataError, match="has a fill value of 1"):
        open_matrix(filled)
    with pytest.raises(DataError, match="has a fill value of 1"):
        open_matrix(da.from_array(np.ones((3, 4)), chunks=2).map_blocks(sparse.COO.from_numpy, fill_value=1.0))
    with pytest.raises(DataError, match=r"V has 3 dimension\(s\)"):
        open_matrix(sparse.COO.from_numpy(np.ones((3, 4, 2))))


def test_an_address_is_read_as_it_is_written(tmp_path):
    (tmp_path / "odd::name.npy").touch()
    assert Address.of(tmp_path / "odd::name.npy").part is None
    assert Address.of("s3://bucket/a.zarr::layers/x") == ("s3://bucket/a.zarr", "layers/x", None)
    assert Address.of("s3://bucket/a.zarr::b::(t) x (y, x)") == ("s3://bucket/a.zarr", "b", (("t",), ("y", "x")))
    assert str(Address.of("/a/b.h5::V::(0)×(1,2)")) == "/a/b.h5::V::(0)x(1,2)"
    assert str(Address.of("/a/b.h5::/group/V")) == "/a/b.h5::group/V"
    assert convert_command("/a/b.h5::g/V", "rows") == "dnmf convert /a/b.h5::g/V b-by-rows.zarr --by rows"
    assert convert_command("/a b/c.csv") == "dnmf convert '/a b/c.csv' c.zarr"
    with pytest.raises(DataError, match=r"where only Zarr is read; copy .* with: dnmf convert V.h5ad V.zarr"):
        open_matrix("s3://bucket/V.h5ad")
    zarr.create_array(tmp_path / "V.zarr", shape=(2, 2), dtype="f4")
    with pytest.raises(DataError, match=r"is a Zarr array, which has no parts; give it without ::x"):
        open_matrix(f"{tmp_path / 'V.zarr'}::x")


HELD = {
    "mtx": sp.csc_array,
    "10x folder": sp.csc_array,
    "svmlight, sparse": sp.csc_array,
    "matlab, sparse, compressed": sp.csc_array,
    "matlab, compressed": np.asfortranarray,
    "npz, columns, compressed": np.asfortranarray,
    "tiff, tiles": np.asarray,
}


@pytest.mark.parametrize("kind", HELD)
def test_what_is_read_into_memory_or_held_is_in_the_plan(kind, tmp_path):
    given, same = STORED[kind](V, tmp_path), HELD[kind](V)
    held, plain = open_matrix(given).layout, open_matrix(same).layout
    assert held.held_bytes == plain.stored_bytes
    more = held.held_bytes + held.names.held_bytes
    options = {"init": "random", "solver": "hals"}  # "auto" would try fewer starts on a matrix in memory
    assert dnmf.plan(given, 2, **options).peak_bytes - dnmf.plan(same, 2, **options).peak_bytes == more


def test_a_frame_of_pandas_is_not_copied():
    frame = pandas()(V, None)
    assert np.shares_memory(open_matrix(frame).read(0, Scratch()), frame.to_numpy())


PACKED = {
    "scale, offset and fill": {"dtype": "i2", "scale_factor": 1e-3, "add_offset": 0.5, "_FillValue": -999},
    "unsigned with its largest as fill": {"dtype": "u2", "scale_factor": 1e-3, "_FillValue": 65535},
    "fill alone": {"dtype": "f4", "_FillValue": -9999.0},
    "unsigned as signed": {"dtype": "i1", "_Unsigned": "true", "scale_factor": 1 / 200, "_FillValue": -1},
    "offset alone": {"dtype": "f8", "add_offset": 2.0},
    "neither": {"dtype": "f8"},
    "other byte order": {"dtype": ">f4"},
}


@pytest.mark.parametrize("kind", PACKED)
def test_a_variable_has_the_same_numbers_by_every_address(kind, tmp_path):
    import h5py
    import xarray

    values = np.linspace(0, 1, 12).reshape(3, 4)
    values[0, 1] = np.nan if "_FillValue" in PACKED[kind] else 1
    data = xarray.Dataset({"t": (("a", "b"), values)})
    with quiet():
        for version in (2, 3):
            data.to_zarr(tmp_path / f"V{version}.zarr", encoding={"t": PACKED[kind]}, zarr_format=version)
        data.to_netcdf(tmp_path / "V.nc", engine="h5netcdf", encoding={"t": PACKED[kind]})
    (tmp_path / "V.h5").write_bytes((tmp_path / "V.nc").read_bytes())
    addresses = [f"V{version}.zarr{mark}t" for version in (2, 3) for mark in ("/", "::")] + ["V.nc::t", "V.h5::t"]
    given = [f"{tmp_path / address}" for address in addresses]
    given += [zarr.open_array(place, mode="r") for place in given if place.endswith("zarr/t")]
    with xarray.open_dataset(tmp_path / "V.nc", engine="h5netcdf") as opened, h5py.File(tmp_path / "V.h5") as file:
        for V in (*given, file["t"]):
            np.testing.assert_array_equal(read_back(open_matrix(V)), opened["t"].values, strict=False)


def test_packed_numbers_that_nothing_decodes_are_refused(tmp_path):
    import h5py
    import xarray

    packed = np.arange(6, dtype="i2").reshape(2, 3)
    alone = zarr.create_array(tmp_path / "V.zarr", data=packed)
    alone.attrs["scale_factor"] = 0.5
    inside = zarr.open_group(zarr.storage.MemoryStore(), mode="w")
    inside.create_array("t", data=packed).attrs["_FillValue"] = 3
    for V in (alone, tmp_path / "V.zarr", inside, inside["t"]):
        with pytest.raises(DataError, match=r"holds packed numbers \(.*; open it with xarray, which decodes them"):
            open_matrix(V)
    raw = xarray.DataArray(packed, dims=("a", "b"), attrs={"scale_factor": 0.5})
    with pytest.raises(DataError, match=r"packed numbers.* give xarray\.decode_cf\(V\.to_dataset") as caught:
        open_matrix(raw)
    assert "name='V'" in str(caught.value)
    decoded = xarray.decode_cf(raw.to_dataset(name="V"))["V"]
    np.testing.assert_array_equal(read_back(open_matrix(decoded)), packed / 2)
    with h5py.File(tmp_path / "V.h5", "w") as file:
        file["g/V"], file["g/text"] = packed, np.array(["a"], h5py.string_dtype())
        file["g/V"].attrs["scale_factor"] = 0.5
    np.testing.assert_array_equal(read_back(open_matrix(f"{tmp_path / 'V.h5'}::g/V")), packed / 2)


def test_nodes_that_are_no_matrices_or_do_not_open_are_passed_over(tmp_path):
    import h5py

    with h5py.File(tmp_path / "V.h5", "w") as file:
        file["null"], file["types/kind"], file["one"] = h5py.Empty("f4"), np.dtype("u1"), np.ones(3)
        file["empty"], file["cube"], file["text"] = np.ones((0, 3)), np.ones((2, 3, 4)), np.array([[b"x"]])
        file["gone"] = h5py.ExternalLink("nowhere.h5", "/data")
        file["soft"], file["up"], file["a/up"] = h5py.SoftLink("/no/thing"), h5py.SoftLink("/"), file["/"]
        file["a/b/c/d/e/f/V"] = V
    np.testing.assert_array_equal(read_back(open_matrix(f"{tmp_path / 'V.h5'}::a/b")), V)
    with pytest.raises(DataError, match=r"give one of its arrays: a/b/c/d/e/f/V, cube; as .*V\.h5::a/b/c/d/e/f/V$"):
        open_matrix(tmp_path / "V.h5")
    for part, sentence in (
        ("gone", r"gone is a link to /data of nowhere\.h5, which cannot be opened"),
        ("soft", "soft is a link to /no/thing, which cannot be opened"),
        ("null", "null does not hold numbers"),
        ("types/kind", "kind does not hold numbers"),
        ("one", r"one has 1 dimension\(s\), shape \(3,\)"),
        ("empty", r"is empty: its shape is \(0, 3\)"),
        ("a/x", r"V\.h5 holds no a/x; give one of its arrays: a/b/c/d/e/f/V, cube; as .*V\.h5::a/b/c/d/e/f/V$"),
    ):
        with pytest.raises(DataError, match=sentence):
            open_matrix(f"{tmp_path / 'V.h5'}::{part}")
    np.testing.assert_array_equal(read_back(open_matrix(f"{tmp_path / 'V.h5'}::cube")), np.ones((2, 12)))


def test_a_link_to_another_file_is_read_there(tmp_path):
    import h5py

    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["plain"] = V
        file.create_dataset("packed", data=V, chunks=(7, 50), compression="gzip")
    with h5py.File(tmp_path / "V.h5", "w") as file:
        file["before"] = np.zeros(10000)
        for name in ("plain", "packed"):
            file[name] = h5py.ExternalLink("other.h5", f"/{name}")
    for name in ("plain", "packed"):
        np.testing.assert_array_equal(read_back(open_matrix(f"{tmp_path / 'V.h5'}::{name}")), V)


def test_an_annotated_matrix_with_none_among_its_words_is_listed(tmp_path):
    adata = annotated(V, sp.csr_matrix(V))
    adata.uns["log1p"] = {"base": None}
    with quiet():
        adata.write_h5ad(tmp_path / "V.h5ad")
        del adata.X
        adata.write_h5ad(tmp_path / "no_x.h5ad")
    with pytest.raises(DataError, match=r"holds no raw/X; give one of its arrays: X, layers/counts; as \S+::X"):
        open_matrix(f"{tmp_path / 'V.h5ad'}::raw/X")
    assert "layers/counts" in open_matrix(tmp_path / "no_x.h5ad").layout.kind
    with pytest.raises(DataError, match=r"V is an AnnData without X; give one of its layers, .* of 'counts'"):
        open_matrix(adata)


@pytest.mark.parametrize("place", ["old.zarr", "old.h5ad"])
def test_old_annotations_are_tables(place, tmp_path):
    import h5py

    file = (
        h5py.File(tmp_path / place, "w")
        if place.endswith("h5ad")
        else zarr.open_group(tmp_path / place, mode="w", zarr_format=2)
    )
    for name, values in (("X", V[:, :5]), ("raw.X", V)):
        file.create_array(name, data=values) if place == "old.zarr" else file.create_dataset(name, data=values)
    for name, size in (("obs", 30), ("var", 5), ("raw.var", 200)):
        table = np.zeros(size, [("index", "S12"), ("total", "f4")])
        table["index"] = [f"{name} {i}".encode() for i in range(size)]
        file.create_array(name, data=table) if place == "old.zarr" else file.create_dataset(name, data=table)
    if place == "old.h5ad":
        file.close()
    for part, name, size in (
        ("", "var", 5),
        ("::X", "var", 5),
        ("::raw.X", "raw.var", 200),
        ("::raw/X", "raw.var", 200),
    ):
        source = open_matrix(f"{tmp_path / place}{part}")
        np.testing.assert_array_equal(read_back(source), V[:, :size])
        assert source.layout.names.rows[29] == "obs 29"
        assert source.layout.names.columns.tolist() == [f"{name} {i}" for i in range(size)]


@pytest.mark.parametrize("units", ["days since 0001-01-01", "months since 2000-01-01", "seconds since epoch"])
def test_a_time_that_cannot_be_decoded_is_told_as_it_is_stored(units, tmp_path):
    import xarray

    attributes = {"units": units} | ({"calendar": "noleap"} if "0001" in units else {})
    data = xarray.Dataset({"tas": (("time", "x"), V[:3, :2])}, {"time": ("time", [0.0, 1, 2], attributes)})
    data["lag"] = (("time", "x"), V[:3, :2], {"units": "hours"})
    with quiet():
        data.to_netcdf(tmp_path / "V.nc", engine="h5netcdf")
        data.to_netcdf(tmp_path / "classic.nc", engine="scipy")
        data.to_zarr(tmp_path / "V.zarr")
    for name in ("V.nc", "classic.nc", "V.zarr"):
        for variable in ("tas", "lag"):
            source = open_matrix(f"{tmp_path / name}::{variable}")
            np.testing.assert_array_equal(read_back(source), V[:3, :2])
            if "0001" not in units:
                assert source.layout.names.rows.tolist() == ["0.0", "1.0", "2.0"]


def test_variables_in_groups_of_netcdf_are_found(tmp_path):
    import xarray

    data = dataset(V)
    with quiet():
        data.to_netcdf(tmp_path / "V.nc", group="PRODUCT/grid", engine="h5netcdf")
        assert open_matrix(tmp_path / "V.nc").layout.names.rows[1] == "cell 1"
        more = xarray.Dataset({"p": (("a", "b"), V), "q": (("a", "b"), V)})
        more.to_netcdf(tmp_path / "V.nc", mode="a", group="PRODUCT", engine="h5netcdf")
    np.testing.assert_array_equal(read_back(open_matrix(f"{tmp_path / 'V.nc'}::PRODUCT/grid/V")), V)
    np.testing.assert_array_equal(read_back(open_matrix(f"{tmp_path / 'V.nc'}::PRODUCT/grid")), V)
    for part in ("", "::PRODUCT", "::PRODUCT/none"):
        with pytest.raises(
            DataError, match=r"give one of its variables: .*PRODUCT/grid/V.*; as \S+::PRODUCT/"
        ) as caught:
            open_matrix(f"{tmp_path / 'V.nc'}{part}")
        np.testing.assert_array_equal(read_back(open_matrix(str(caught.value).rpartition("; as ")[2])), V)


@pytest.mark.parametrize(
    ("number", "installed", "sentence"),
    [
        (
            32001,
            False,
            r"32001 \(Blosc\), needs the package hdf5plugin; install it with: pip install 'dnmf\[filters\]'",
        ),
        (32003, False, "filter 32003, cannot be read, as that filter is not installed; write the file again without"),
        (305, True, r"filter 305 \(LZO\), cannot be read"),
    ],
)
def test_a_filter_that_is_not_installed_is_named_as_the_file_is_opened(
    number, installed, sentence, tmp_path, monkeypatch
):
    import h5py

    available = h5py.h5z.filter_avail
    monkeypatch.setattr("h5py.h5z.filter_avail", lambda given: given != number and available(given))
    monkeypatch.setattr("dnmf.sources.formats.hdf5_filters._plugins", lambda: installed)
    with h5py.File(tmp_path / "V.h5", "w") as file:
        created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        created.set_chunk((2, 2))
        created.set_filter(number, h5py.h5z.FLAG_OPTIONAL, (0,))
        space = h5py.h5s.create_simple((2, 2))
        data = h5py.h5d.create(file.id, b"V", h5py.h5t.IEEE_F32LE, space, created)
        data.write_direct_chunk((0, 0), b"x" * 16)
    with pytest.raises(MissingExtraError, match=sentence):
        open_matrix(tmp_path / "V.h5")
    shown = CliRunner().invoke(main, ["convert", str(tmp_path / "V.h5"), str(tmp_path / "V.zarr")])
    assert shown.exit_code == 2
    assert f"filter {number}" in shown.stderr


@pytest.mark.parametrize("name", ["zstd", "blosc", "bshuf", "bzip2"])
def test_filters_of_hdf5plugin_are_read(name, tmp_path):
    import h5py
    import hdf5plugin

    with h5py.File(tmp_path / "V.h5", "w") as file:
        file.create_dataset("V", data=V, chunks=(7, 50), compression=hdf5plugin.FILTERS[name])
    with h5py.File(tmp_path / "V.h5") as file:
        np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "V.h5")), file["V"][...])


@pytest.mark.parametrize("consolidated", [True, False])
def test_an_array_that_zarr_does_not_know_leaves_the_others(consolidated, tmp_path):
    import json

    group = zarr.open_group(tmp_path / "g.zarr", mode="w")
    group.create_array("V", data=V)
    group.create_array("uns/names", data=np.zeros(2, "u1"))
    group.create_array("names", data=np.zeros(2, "u1"))
    if consolidated:
        with quiet():
            zarr.consolidate_metadata(tmp_path / "g.zarr")
    unknown = {"name": "struct", "configuration": {"fields": []}}
    for part in ("uns/names", "names"):
        path = tmp_path / "g.zarr" / part / "zarr.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"data_type": unknown}))
        path = tmp_path / "g.zarr" / "zarr.json"
        content = json.loads(path.read_text())
        if consolidated:
            content["consolidated_metadata"]["metadata"][part]["data_type"] = unknown
        path.write_text(json.dumps(content))
    for part in ("", "::V", "/V"):
        np.testing.assert_array_equal(read_back(open_matrix(f"{tmp_path / 'g.zarr'}{part}")), V)


def test_a_list_without_entries_is_a_matrix_of_zeros(tmp_path):
    (tmp_path / "V.mtx").write_text("%%MatrixMarket matrix coordinate integer general\n5 4 0\n")
    sp.save_npz(tmp_path / "V.npz", sp.coo_matrix((5, 4)), compressed=False)
    for name in ("V.mtx", "V.npz"):
        np.testing.assert_array_equal(read_back(open_matrix(tmp_path / name)), np.zeros((5, 4)))
        dnmf.convert(tmp_path / name, tmp_path / f"{name}.zarr")
        np.testing.assert_array_equal(read_back(open_matrix(tmp_path / f"{name}.zarr")), np.zeros((5, 4)))


@pytest.mark.parametrize("dtype", ["f2", ">f4", ">i2"])
def test_sparse_numbers_that_scipy_lacks_are_cast_as_they_are_read(dtype, tmp_path):
    import h5py

    matrix = sp.csr_matrix((V * 8).round().astype("f4"))
    with h5py.File(tmp_path / "V.h5", "w") as file:
        file["V/data"] = matrix.data.astype(dtype)
        file["V/indices"], file["V/indptr"] = matrix.indices, matrix.indptr
        file["V"].attrs.update({"shape": (30, 200), "encoding-type": "csr_matrix"})
    options = {"init": "random", "solver": "hals", "max_passes": 2, "seed": 0}
    found, expected = (dnmf.factorize(X, 2, **options) for X in (tmp_path / "V.h5", matrix))
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-5)
    dnmf.convert(tmp_path / "V.h5", tmp_path / "V.zarr", by="columns")
    np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "V.zarr")), matrix.toarray())


def test_frames_of_numbers_of_several_kinds_are_taken_and_others_named():
    from decimal import Decimal
    from fractions import Fraction

    import pandas as pd
    import polars as pl

    one = [[1, 1], [0, 2]]
    for frame, expected in (
        (pd.DataFrame({"a": [True, False], "b": [1, 2]}), one),
        (pd.DataFrame({"a": [True, False], "b": np.array([1, 2], "f4")}), one),
        (pd.DataFrame({"a": [1, 0], "b": [True, 2.0]}, dtype=object), one),
        (
            pd.DataFrame({"a": [Decimal("0.5"), Fraction(1, 4)], "b": [1, None]}, dtype=object),
            [[0.5, 1], [0.25, np.nan]],
        ),
        (pd.DataFrame({"a": [1.0, 0], "b": [1, 2]}).astype(pd.SparseDtype("f2", 0)), one),
        (pl.DataFrame({"a": [True, False], "b": [1, 2]}), one),
        (pl.DataFrame({"a": [1, 0], "b": [1, 2]}).cast(pl.Decimal(10, 2)), one),
        (pl.DataFrame({"a": [True, None]}), [[1], [np.nan]]),
    ):
        np.testing.assert_array_equal(read_back(open_matrix(frame)), expected)
    for values in (["1", 2], ["x", "y"], [2**60 + 1, 2]):
        frame = pd.DataFrame({"fine": [1, 2], "odd": np.array(values, object)})
        with pytest.raises(DataError, match=r"column\(s\) odd hold no numbers"):
            open_matrix(frame)
    with pytest.raises(DataError, match=r"names of the rows with row_names="):
        open_matrix(pl.DataFrame({"n": ["a", "b"], "x": [1, 2]}))
