"""Dense tables and lists of entries, as the packages that people use write them."""

import csv
import gzip
import io
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
from click.testing import CliRunner
from formats import read_back

import dnmf
from dnmf.cli.app import main
from dnmf.conversion import convert
from dnmf.errors import DataError, DataWarning
from dnmf.sources import open_matrix
from dnmf.sources.addresses import Address
from dnmf.sources.formats.dense_tables import read_dense
from dnmf.sources.formats.tables import read_table
from dnmf.sources.names import Names

ROWS, COLUMNS = ["A[C>A]A", "TP53, human", "7", "é"], ["S 0", "S1", "2020", "a;b", "x"]


def numbers(rows=4, columns=5):
    V = np.random.default_rng(0).poisson(3, (rows, columns)).astype(float)
    V[1, 2], V[0, 0] = 0.1, 1e-17
    return V


def frame_of(V):
    return pd.DataFrame(V, index=pd.Index(ROWS, name="Type"), columns=COLUMNS)


def by_csv(path, V, **options):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, **options)
        writer.writerow(["Type", *COLUMNS])
        writer.writerows([name, *map(repr, line)] for name, line in zip(ROWS, V.tolist(), strict=True))


WRITERS = {
    "pandas": lambda path, V: frame_of(V).to_csv(path / "V.csv"),
    "pandas, gzip": lambda path, V: frame_of(V).to_csv(path / "V.tsv.gz", sep="\t"),
    "pandas, semicolons": lambda path, V: frame_of(V).to_csv(path / "V.txt", sep=";"),
    "pandas, every field in quotes": lambda path, V: frame_of(V).to_csv(path / "V.data", quoting=csv.QUOTE_ALL),
    "pandas, UTF-16": lambda path, V: frame_of(V).to_csv(path / "V.tab", sep="\t", encoding="utf-16"),
    "pandas, Parquet": lambda path, V: frame_of(V).to_parquet(path / "V.parquet"),
    "polars": lambda path, V: pl.from_pandas(frame_of(V), include_index=True).write_csv(path / "V.csv"),
    "polars, Parquet": lambda path, V: pl.from_pandas(frame_of(V), include_index=True).write_parquet(path / "V.pq"),
    "pyarrow": lambda path, V: pa_csv.write_csv(
        pa.Table.from_pandas(frame_of(V).reset_index(), preserve_index=False), path / "V.csv"
    ),
    "csv": lambda path, V: by_csv(path / "V.csv", V),
    "csv, Windows": lambda path, V: by_csv(path / "V.csv", V, lineterminator="\r\n"),
    "csv, old Mac": lambda path, V: by_csv(path / "V.csv", V, lineterminator="\r"),
    "csv, bars": lambda path, V: by_csv(path / "V.dat", V, delimiter="|"),
    "savetxt": lambda path, V: np.savetxt(path / "V.txt", V, header="a b c d e"),
    "savetxt, header": lambda path, V: np.savetxt(path / "V.csv", V, delimiter=",", header="a,b,c,d,e"),
    "savetxt, gzip": lambda path, V: np.savetxt(path / "V.dat.gz", V, delimiter="\t", fmt="%.17g"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_dense_table_has_the_values_and_names_that_were_written(writer, tmp_path):
    V = numbers()
    WRITERS[writer](tmp_path, V)
    source = open_matrix(next(tmp_path.iterdir()))
    np.testing.assert_array_equal(read_back(source), V)
    names = source.layout.names
    if writer.startswith("savetxt"):
        assert names.rows is None
        assert (None if names.columns is None else names.columns.tolist()) == (
            list("abcde") if "header" in writer else None
        )
    else:
        assert names.rows.tolist() == ROWS
        assert names.columns.tolist() == COLUMNS
    assert source.layout.held_bytes == V.nbytes


def test_a_result_of_a_table_has_its_names_and_resumes_and_transforms(tmp_path):
    V = numbers(30, 8) + 0.5
    frame = pd.DataFrame(V, index=[f"r{i}" for i in range(30)], columns=[f"c{j}" for j in range(8)])
    frame.to_csv(tmp_path / "V.csv")
    frame.T.to_csv(tmp_path / "T.tsv", sep="\t")
    options = {"seed": 0, "tol": 0, "init": "random"}
    result = dnmf.factorize(tmp_path / "V.csv", 2, store=tmp_path / "run", max_passes=3, **options)
    assert result.names.rows.tolist() == frame.index.tolist()
    assert result.names.columns.tolist() == frame.columns.tolist()
    again = dnmf.resume(tmp_path / "run", max_passes=5)
    whole = dnmf.factorize(frame, 2, max_passes=5, **options)
    np.testing.assert_array_equal(again.W, whole.W)
    np.testing.assert_allclose(
        dnmf.transform(again, tmp_path / "V.csv", axis="columns"), dnmf.transform(again, V, axis="columns"), rtol=1e-12
    )


def test_a_table_of_pyarrow_is_a_matrix():
    V = numbers()
    for table in (
        pa.Table.from_pandas(frame_of(V)),
        pa.Table.from_pandas(frame_of(V).reset_index(), preserve_index=False),
        pa.concat_tables([pa.Table.from_pandas(frame_of(V)[:1]), pa.Table.from_pandas(frame_of(V)[1:])]),
    ):
        source = open_matrix(table)
        np.testing.assert_array_equal(read_back(source), V)
        assert source.layout.names.rows.tolist() == ROWS
        assert source.layout.names.columns.tolist() == COLUMNS
    mixed = {"a": pa.array([1, None], "int8"), "b": pa.array([True, False]), "c": pa.array([0.5, 2], "float32")}
    source = open_matrix(pa.table(mixed))
    np.testing.assert_array_equal(read_back(source), [[1, 1, 0.5], [np.nan, 0, 2]])
    assert source.layout.dtype == np.float32
    table, model = pa.Table.from_pandas(frame_of(V)), dnmf.NMF(2, max_iter=200, tol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        W = dnmf.NMF(2, max_iter=200, tol=0).fit_transform(V)
        np.testing.assert_allclose(model.fit_transform(table), W, rtol=1e-10)
    assert model.feature_names_in_.tolist() == COLUMNS
    with pytest.raises(DataError, match=r"V is a pyarrow Table whose column\(s\) b hold no numbers; drop them"):
        open_matrix(pa.table({"a": [1, 2], "b": ["x", "y"]}))
    with pytest.raises(DataError, match="whose columns are those of a list of entries"):
        open_matrix(pa.table({"user": [1], "item": [2], "rating": [3]}))


SEPARATORS = {"ratings.dat": "::", "u.data": "\t", "r.csv": ",", "r.txt": ";", "r.tab": "|", "blanks.txt": "   "}


@pytest.mark.parametrize("name", SEPARATORS)
def test_lists_have_any_separator_and_columns_by_place(name, tmp_path):
    rng = np.random.default_rng(0)
    entries = pd.DataFrame(
        {"u": rng.permutation(40)[:30] + 5, "i": rng.integers(1, 9, 30), "s": rng.integers(1, 6, 30)}
    )
    mark = SEPARATORS[name]
    (tmp_path / name).write_text(
        "".join(mark.join(map(str, [*line, 978300760])) + "\n" for line in entries.to_numpy().tolist())
    )
    source = open_matrix(f"{tmp_path / name}::0:name,1,2")
    expected = entries.pivot(index="u", columns="i", values="s").reindex(columns=range(9)).fillna(0)
    order = [expected.index.astype(str).tolist().index(row) for row in source.layout.names.rows]
    np.testing.assert_array_equal(read_back(source), expected.to_numpy()[order])
    assert source.layout.names.columns is None


BAD = {
    "text in the middle": (
        "g,a,b\nx,1,2\ny,foo,3\nz,4,5\n",
        "V.csv, line 3 has 'foo' in its column a, which holds numbers",
    ),
    "text in the middle, no header": (
        "x,1,2,7\ny,3,oops,7\nz,4,5,7\n",
        r"line 2 has 'oops' in its column 2 \(from 0\)",
    ),
    "hexadecimal": ("g,a,b\nx,0x1F,2\ny,5,3\nz,4,5\n", "line 2 has '0x1F' in its column a"),
    "a ragged line": ("g,a,b\nx,1,2\n\ny,3\n", "V.csv, line 4 has 2 fields, and the first line 3; complete the line"),
    "two header lines": (
        "g,a,b\nunit,kg,m\nx,1,2\ny,3,4\n",
        "line 2 has texts in all columns of numbers, .*second header",
    ),
    "decimal commas": ("g;a\nx;1,5\ny;2,25\n", r"line 2 has '1,5' in its column a; .*sep=';', decimal=','\)"),
    "thousands": (
        'g,a\nx,"1,500"\ny,20\n',
        r"line 2 has '1,500' in its column a; .*pandas.read_csv\(.*thousands=','\)",
    ),
    "thousands in the first column": (
        'a,b\n"1,500",2\n3,4\n',
        "line 2 has '1,500' in its column a; write numbers without",
    ),
    "an empty column": ("a,b,\n7,2,\n3,4,\n", "has an empty column without a name, column 2 from 0; remove it"),
    "separators at the ends": ("a,b\n1,2,\n3,4,\n", "line 2 ends with a separator, which makes an empty column"),
    "empty": ("", r"V\.csv is not a readable CSV table \(it is empty\)"),
    "a header alone": ("g,a,b\n", "holds a header and no rows|is empty"),
    "a quoted line break": ('g,a\n"x\ny",2\n', "line 2 opens a quoted field and does not close it"),
    "a line break in the header": ('"g\nh",a\nx,2\n', "line 1 opens a quoted field and does not close it"),
    "Latin 1": ("g,a\nx,1\n\xe9,2\n".encode("latin1"), "V.csv, line 3, is not valid UTF-8; .*iconv"),
    "zero bytes": (b"\x00\x01a,1\n", "V.csv holds zero bytes: it is not a text in UTF-8.*V.csv::float32,2000x1000"),
    "one column": ("a\n1\n2\n", "its lines are not fields that are separated by tabs, commas"),
    "numbers and texts in the first column": (
        "a,b\n1,2\nx,3\n5,4\n",
        "has numbers and texts in its first column a; give",
    ),
    "a row without a name": ("g,a\nx,1\n\n,2\n", "has a row without a name in line 4"),
    "several columns of texts": ("g,t,a\nx,y,1\n", "has the columns g, t, a; .* drop t"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_table_is_refused_with_its_line(kind, tmp_path):
    text, sentence = BAD[kind]
    (tmp_path / "V.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=sentence):
        open_matrix(tmp_path / "V.csv")


@pytest.mark.parametrize(
    ("late", "sentence"),
    [
        ("row,3", "line 402 has 2 fields, and the first line 3"),
        ("row,3,x", "line 402 has 'x' in its column b, which holds numbers"),
        ("row,0x1F,3", "line 402 has '0x1F' in its column a"),
        ('row,"1,500",3', "line 402 has '1,500' in its column a"),
        ('"row\n",1,2', "line 402 opens a quoted field and does not close it"),
        (",1,2", "has a row without a name in line 402"),
        ("g,a,b", "line 402 has texts in all columns of numbers"),
    ],
)
def test_a_bad_line_behind_the_sample_is_named(late, sentence, tmp_path):
    (tmp_path / "V.csv").write_text("g,a,b\n" + "".join(f"r{i},{i},2\n" for i in range(400)) + f"{late}\n")
    with pytest.raises(DataError, match=sentence):
        read_dense(read_table(Address.of(tmp_path / "V.csv"), batch_bytes=500, sample_bytes=100))


def test_columns_may_change_their_kind_behind_the_sample(tmp_path):
    V = np.array([[i, i % 3] for i in range(400)] + [[0.5, 1e5], [np.inf, 7], [np.nan, 2]], float)
    text = io.StringIO()
    pd.DataFrame(V, index=[f"r{i}" for i in range(len(V))], columns=["a", "b"]).to_csv(text)
    text = text.getvalue().replace("0.0,", "0,").replace(".0\n", "\n")
    (tmp_path / "V.csv").write_text(text)
    values, names = read_dense(read_table(Address.of(tmp_path / "V.csv"), batch_bytes=500, sample_bytes=100))
    np.testing.assert_array_equal(values, V)
    assert names.rows.tolist() == [f"r{i}" for i in range(len(V))]


@pytest.mark.parametrize("late", ['"n, 200",', '"quoted",', "bare,"])
def test_wide_lines_are_read_as_any_others(late, monkeypatch, tmp_path):
    V = np.random.default_rng(0).random((300, 12)).round(3)
    lines = [f"n{i},{','.join(map(repr, line))}" for i, line in enumerate(V.tolist())]
    lines[200] = late + lines[200].partition(",")[2]
    lines[250] = lines[250].replace(f",{V[250, 3]},", f',"{V[250, 3]}",', 1)
    lines[7], V[7, 11] = lines[7].rpartition(",")[0] + ",", np.nan
    (tmp_path / "V.csv").write_text("\n".join([f"g,{','.join(map(str, range(100, 112)))}", *lines]))
    address = Address.of(f"{tmp_path / 'V.csv'}::g")
    found = {}
    for wide in (1, 100):
        monkeypatch.setattr("dnmf.sources.formats.table_files.WIDE", wide)
        found[wide] = read_dense(read_table(address, batch_bytes=1500, sample_bytes=100))
        np.testing.assert_array_equal(found[wide][0], V)
    assert found[1][1].rows.tolist() == found[100][1].rows.tolist()
    (tmp_path / "V.csv").write_text((tmp_path / "V.csv").read_text().replace("n260,", "n260,,"))
    monkeypatch.setattr("dnmf.sources.formats.table_files.WIDE", 1)
    with pytest.raises(DataError, match="line 262 has 14 fields, and the first line 13"):
        read_dense(read_table(address, batch_bytes=1500, sample_bytes=100))


def test_missing_and_negative_numbers_are_named_by_their_place(tmp_path):
    (tmp_path / "V.csv").write_text("g,a,b\nx,1,2\ny,3,\nz,NA,5\n")
    with pytest.raises(DataError, match=r"V\[1, 1\] is nan, .*NaN is taken as missing with missing='nan'"):
        dnmf.factorize(tmp_path / "V.csv", 1)
    frame = pd.read_csv(tmp_path / "V.csv", index_col=0)
    V = frame.to_numpy().copy("C")  # by columns, as in the frame, BLAS rounds differently
    given, expected = (dnmf.factorize(V, 1, missing="nan", max_passes=5) for V in (tmp_path / "V.csv", V))
    np.testing.assert_array_equal(given.W, expected.W)
    (tmp_path / "N.csv").write_text("g,a,b\nx,1,2\ny,3,-1\n")
    with pytest.raises(DataError, match=r"V\[1, 1\] is -1, which is negative"):
        dnmf.factorize(tmp_path / "N.csv", 1)


@pytest.mark.parametrize("by", ["rows", "columns"])
@pytest.mark.parametrize("name", ["V.csv", "V.tsv.gz", "V.parquet"])
def test_a_long_table_is_refused_and_converted_with_its_names(name, by, monkeypatch, tmp_path):
    V = numbers(50, 30)
    frame = pd.DataFrame(V, index=[f"r{i}" for i in range(50)], columns=[f"c{j}" for j in range(30)])
    if name.endswith("parquet"):
        frame.to_parquet(tmp_path / name, row_group_size=7)
    else:
        frame.to_csv(tmp_path / name, sep="\t" if "tsv" in name else ",")
    monkeypatch.setattr("dnmf.sources.formats.entry_list.HELD_ENTRIES", 1000)
    with pytest.raises(DataError, match=r"up to 1000 are read into memory.*with: dnmf convert .* V\.zarr"):
        open_matrix(tmp_path / name)
    shown = CliRunner().invoke(main, ["info", str(tmp_path / name)])
    assert "dense" in shown.stdout
    assert "dnmf convert" in shown.stderr
    convert(tmp_path / name, tmp_path / "V.zarr", by=by, memory_limit="20kB", chunks=(10, 8))
    source = open_matrix(tmp_path / "V.zarr")
    np.testing.assert_array_equal(read_back(source), V)
    assert source.layout.names.rows.tolist() == frame.index.tolist()
    assert source.layout.names.columns.tolist() == frame.columns.tolist()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_info_says_how_a_table_is_read_and_how_else_it_could_be(tmp_path):
    numbers_of = {"V.csv": "gene,s1,s2\nTP53,5,7\nMYC,2,0\n", "L.csv": "user,item,rating\n1,2,4\n0,1,3\n"}
    for name, text in numbers_of.items():
        (tmp_path / name).write_text(text)
    shown = " ".join(CliRunner().invoke(main, ["info", str(tmp_path / "V.csv")]).stdout.split())
    assert "2 × 2, float64, dense CSV table (line 1 is its header; rows are named by gene; as a list of" in shown
    listed = CliRunner().invoke(main, ["info", str(tmp_path / "L.csv")]).stdout
    other = re.search(r"as a dense table, (\S+)\)", listed)[1]
    assert other.endswith("L.csv::dense")
    np.testing.assert_array_equal(read_back(open_matrix(other)), [[1, 2, 4], [0, 1, 3]])


def test_names_are_read_from_a_column_of_a_table(tmp_path):
    text = "ENSG1\tTP53\tGene Expression\nENSG2\tMYC\tGene Expression\n"
    (tmp_path / "features.tsv.gz").write_bytes(gzip.compress(text.encode()))
    pd.DataFrame({"id": [7, 8], "a, b": ["x", "y"]}).to_csv(tmp_path / "names.csv", index=False)
    expected = {"features.tsv.gz::0": ["ENSG1", "ENSG2"], "features.tsv.gz::1": ["TP53", "MYC"]}
    expected |= {"names.csv::id": ["7", "8"], "names.csv::a, b": ["x", "y"], "names.csv::1": ["a, b", "x", "y"]}
    for address, names in expected.items():
        assert Names.of(f"{tmp_path / address}", None).rows.tolist() == names
    for address, reason in {
        "features.tsv.gz::symbol": "it has no column symbol, and begins with ENSG1, TP53, Gene Expression",
        "features.tsv.gz::3": "line 1 has no field 3 from 0",
        "other.tsv::1": "No such file",
    }.items():
        with pytest.raises(DataError, match=f"The names in .* cannot be read \\({reason}"):
            Names.of(f"{tmp_path / address}", None)
    np.save(tmp_path / "V.npy", numbers(2, 5))
    command = ["fit", str(tmp_path / "V.npy"), "--rank", "1", "--max-passes", "2", "--store", str(tmp_path / "run")]
    ended = CliRunner().invoke(main, [*command, "--row-names", f"{tmp_path / 'features.tsv.gz'}::1"])
    assert ended.exit_code == 0, ended.output
    assert dnmf.load(tmp_path / "run").names.rows.tolist() == ["TP53", "MYC"]


def test_duplicates_of_a_list_are_counted(tmp_path):
    (tmp_path / "V.csv").write_text("user,item,rating\na,x,1\na,x,2\nb,x,3\na,x,4\n")
    with pytest.warns(DataWarning, match="several entries at the same place: 2 entries were added to an earlier one"):
        source = open_matrix(tmp_path / "V.csv")
    np.testing.assert_array_equal(read_back(source), [[7], [3]])
