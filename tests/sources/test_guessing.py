"""Files that could be two things are read as the one that they are, or refused with a hint that is right."""

import gzip
import re
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from formats import read_back

from dnmf.conversion import convert
from dnmf.errors import DataError, DataWarning
from dnmf.sources import open_matrix
from dnmf.sources.addresses import Address
from dnmf.sources.formats.entry_list import held
from dnmf.sources.formats.table_files import SAMPLE_BYTES
from dnmf.sources.formats.tables import read_table


def written(folder, name, text):
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def entries(V, rows=None, columns=None):
    """Return the entries of a matrix that are not 0, by their names or places."""
    return {
        (str(rows[i]) if rows is not None else i, str(columns[j]) if columns is not None else j): V[i, j]
        for i, j in zip(*np.nonzero(V), strict=True)
    }


def entries_of(address):
    source = open_matrix(address)
    return entries(read_back(source), source.layout.names.rows, source.layout.names.columns)


@pytest.mark.parametrize(
    ("text", "part", "header", "expected"),
    [
        ("ann,film1,5\nbob,film2,3\n", "", 0, {("ann", "film1"): 5, ("bob", "film2"): 3}),
        ("ann\tfilm1\t5\nbob\tfilm2\t3\n", "", 0, {("ann", "film1"): 5, ("bob", "film2"): 3}),
        ("2,0,5\n1,1,3\n", "::list", 0, {(2, 0): 5, (1, 1): 3}),
        ("2,0,5.5\n1,1,3\n", "", 0, {(2, 0): 5.5, (1, 1): 3}),
        ("ann,3,4\nann,1,5\n", "", 0, {("ann", 3): 4, ("ann", 1): 5}),
        ("a,0,true\nb,1,false\nb,0,true\n", "", 0, {("a", 0): 1, ("b", 0): 1}),
        ("user, item, rating\n1, x , 3\n", "", 1, {(1, "x"): 3}),
        ('"user", "item" ,"rating"\n1,"x, y",3\n', "", 1, {(1, "x, y"): 3}),
        ("\n\nuserId,movieId,rating,timestamp\r\n1,2,4.5,964982703\r\n", "", 3, {(1, 2): 4.5}),
        ("\ufeffrow;column;value\n1;2;4.5\n", "", 1, {(1, 2): 4.5}),
        ("when,value,row,col\n9,3,a,b\n", "", 1, {("a", "b"): 3}),
        (
            "AH2L,0000000116,4.0,123\nB,0000000117,3,124\n",
            "::0,1,2",
            0,
            {("AH2L", "0000000116"): 4, ("B", "0000000117"): 3},
        ),
        ("user,film,stars,time\nann,x,3,9\n", "::0,1,2", 1, {("ann", "x"): 3}),
        ("user,film,stars,time\nann,x,3,9\n", "::film, user ,stars", 1, {("x", "ann"): 3}),
        ('user,"a, b",stars\nann,x,3\n', '::user,"a, b",stars', 1, {("ann", "x"): 3}),
        ("sample,gene,count,2020\ns,g,3,9\n", "::sample,gene,count", 1, {("s", "g"): 3}),
        ("0,1,2\n1,0,3\n", "::0,1,2", 0, {(0, 1): 2, (1, 0): 3}),
        ("user,item,liked\na,b,true\n", "::user,item,liked", 1, {("a", "b"): 1}),
        ('user,item,rating\n"76561197970982479",a,3\n', "", 1, {("76561197970982479", "a"): 3}),
        ("user,item,rating\n7,007,3\n7,7,4\n", "", 1, {(7, "007"): 3, (7, "7"): 4}),
        ("user,item,rating\n176561197970982479999,a,3\n", "", 1, {("176561197970982479999", "a"): 3}),
        ("user,item,rating\n70,80,3\n9,80,4\n", "::user,item,rating,names", 1, {("70", "80"): 3, ("9", "80"): 4}),
        ("user,item,rating\n70,80,3\n9,80,4\n", "::user:name,item,rating", 1, {("70", 80): 3, ("9", 80): 4}),
        ("70,80,3,1\n9,80,4,2\n", "::0,1:name,2", 0, {(70, "80"): 3, (9, "80"): 4}),
        ("user:name,item,rating\n7,80,3\n", "::user:name,item,rating", 1, {(7, 80): 3}),
        ("list,dense,x\na,b,3\n", '::"list","dense":name,x', 1, {("a", "b"): 3}),
        ("day,item,rating\n2020-01-02,b,1.5\n", "::day,item,rating", 1, {("2020-01-02", "b"): 1.5}),
    ],
)
@pytest.mark.parametrize("name", ["V.csv", "V.tsv.gz"])
def test_a_list_of_entries_is_read_whole(text, part, header, expected, name, tmp_path):
    address = f"{written(tmp_path, name, text)}{part}"
    assert entries_of(address) == expected
    kind = open_matrix(address).layout.kind
    assert ("without a header" if header == 0 else f"line {header} is its header") in kind
    assert re.search(r"rows are .*, columns .*, values ", kind)


def test_info_names_the_columns_that_were_taken(tmp_path):
    path = written(tmp_path, "V.csv", "when,rating,user,item\n9,3,a,b\n")
    assert "line 1 is its header; rows are user, columns item, values rating" in open_matrix(path).layout.kind


# Tables without an address: how pandas reads them, or the two addresses that the refusal offers, each with its call.
CERTAIN = {
    "names and two conditions": ("gene,control,treated\nTP53,5,7\nMYC,2,0\nEGFR,9,1\n", {"index_col": 0}),
    "names and more": ("gene,s1,s2,s3\nTP53,5,7,1\nMYC,2,0,3\n", {"index_col": 0}),
    "three integer columns": ("red,green,blue\n3,0,3\n2,5,1\n3,2,4\n", {}),
    "as pandas writes it": (",a,b\n0,5,2\n1,3,4\n", {"index_col": 0}),
    "as pandas writes it without names": (",0,1\n0,5,2\n1,3,4\n", {"index_col": 0}),
    "no header": ("0.5,0.25,3\n1,0,2\n", {"header": None}),
    "no header, names": ("TP53,5,7,1\nMYC,2,0,3\n", {"header": None, "index_col": 0}),
    "no header, more columns": ("5,2,3,4,7,6\n5,6,7,8,3,0\n", {"header": None}),
    "semicolons": ("gene;s1;s2\nTP53;5;7\nMYC;2;0\n", {"sep": ";", "index_col": 0}),
    "tabs": ("gene\ts1\ts2\ts3\nTP53\t5\t7\t1\n", {"sep": "\t", "index_col": 0}),
    "as R writes it": ("s1\ts2\nTP53\t5\t7\nMYC\t2\t0\n", {"sep": "\t"}),
    "as BIOM writes it": ("# made by biom\n#OTU ID\ts1\nx\t5\ny\t2\n", {"sep": "\t", "skiprows": 1, "index_col": 0}),
    "quoted names of years": ('"gene","2019","2020"\n"a",5,7\n', {"index_col": 0}),
    "numbers in quotes": ('"a","b"\n"5","7"\n"1.5","0"\n', {}),
    "flags": ("a,b\nTrue,0.5\nFalse,2\n", {}),
    "bars": ("gene|s1|s2\nTP53|5|7\n", {"sep": "|", "index_col": 0}),
    "blanks": ("  a   b c\n  1.5 2 3 \n", {"sep": r"\s+"}),
    "missing numbers": ("gene,s1,s2\nTP53,,7\nMYC,NA,nan\n", {"index_col": 0}),
    "forms of numbers": ("gene,s1,s2\nx,1e5,+3\ny,007,.5\nz,-0,inf\n", {"index_col": 0}),
}
UNSURE = {
    "an index or data": ("red,green\n1,3\n2,1\n3,4\n", {"red": {"index_col": 0}, "dense": {}}),
    "an index or data, shuffled": ("user_id,green\n7,3\n2,1\n", {"user_id": {"index_col": 0}, "dense": {}}),
    "an index or data, no header": (
        "1,5,3\n2,1,0\n3,2,0\n4,5,1\n".replace(",", ",9,9,"),
        {"0": {"header": None, "index_col": 0}, "dense": {"header": None}},
    ),
    "names of columns that are numbers": (
        "gene,71,1197\ng0,3,4\ng1,2,4\n".replace("4", "4,1").replace("97", "97,5"),
        {"0,header": {"index_col": 0}, "0": {"header": None, "index_col": 0}},
    ),
    "ids as names of columns": (
        "3310,511,2110\n0,1,0\n0,0,1\n1,1,1\n",
        {"dense,header": {}, "dense": {"header": None}},
    ),
    "years": (
        "gene,2019,2020,2021\nTP53,5,7,1\n",
        {"0,header": {"index_col": 0}, "0": {"header": None, "index_col": 0}},
    ),
    "wavelengths": (
        "400.5,401,402.5,405,406\n7,3,1,0,2\n3,2,0,9,8\n",
        {"dense,header": {}, "dense": {"header": None}},
    ),
    "as pandas writes it without an index": ("0,1,2\n1,0,3\n4,1,2\n", {"dense,header": {}, "dense": {"header": None}}),
    "three integers": ("2,0,5\n1,1,3\n", {"list": None, "dense": {"header": None}}),
    "names and two integers": ("TP53,5,7\nMYC,2,0\n", {"list": None, "0": {"header": None, "index_col": 0}}),
    "ids, values and times": ("1\t8\t5\t978\n1\t6\t3\t979\n", {"0,1,2": None, "dense": {"header": None, "sep": "\t"}}),
    "ids of usual words": ("user_id,book_id,stars\n9,8,5\n9,6,3\n", {"user_id,book_id,stars": None, "dense": {}}),
    "names that repeat": ("who,film,stars\nann,8,5\nann,6,3\n", {"who,film,stars": None, "who": {"index_col": 0}}),
}


def assert_as_pandas(address, call):
    path, _, _ = str(address).partition("::")
    frame = pd.read_csv(path, **call)
    source = open_matrix(address)
    np.testing.assert_array_equal(read_back(source), frame.to_numpy(float))
    names = source.layout.names
    named = call.get("index_col") == 0 or type(frame.index) is not pd.RangeIndex
    assert (names.rows is not None) is named
    assert not named or names.rows.tolist() == [str(name) for name in frame.index]
    headed = call.get("header", 0) == 0
    assert (names.columns is not None) is headed
    assert not headed or names.columns.tolist() == [str(name) for name in frame.columns]


@pytest.mark.parametrize("kind", CERTAIN)
def test_a_dense_table_is_read_as_pandas_reads_it(kind, tmp_path):
    text, call = CERTAIN[kind]
    path = written(tmp_path, "V.csv", text)
    assert_as_pandas(path, call)
    kind = open_matrix(path).layout.kind
    assert kind.startswith("dense CSV table (")
    assert ("without a header" if call.get("header", 0) is None else "is its header") in kind
    # columns of numbers are never proposed as names
    assert ("as a list of entries, " in kind) is ("::ROW,COLUMN,VALUE" in kind)


@pytest.mark.parametrize("kind", UNSURE)
def test_a_table_that_may_be_two_things_is_refused_with_the_two_addresses(kind, tmp_path):
    text, ways = UNSURE[kind]
    path = written(tmp_path, "V.txt", text)
    with pytest.raises(DataError, match="may be") as caught:
        open_matrix(path)
    offered = re.findall(rf"{path}::([^\s)]+)", str(caught.value))
    assert set(ways) <= {part.rstrip(".,") for part in offered}
    for part, call in ways.items():
        if call is None:
            rows = pd.read_csv(path, sep=None, engine="python", header=None if text[0] in "12T" else 0).to_numpy()
            found = entries_of(f"{path}::{part}")
            assert {(str(i), str(j)): v for (i, j), v in found.items()} == {
                (str(row[0]), str(row[1])): row[2] for row in rows if row[2]
            }
        else:
            assert_as_pandas(f"{path}::{part}", call)


def test_a_wide_parquet_table_is_dense(tmp_path):
    tables = {
        "rgb": ({"r": [3, 2, 3], "g": [0, 5, 2], "b": [3.5, 1, 4]}, None),
        "genes": ({"gene": ["x", "y"], "a": [1, 2], "b": [3, 4], "c": [5, 6]}, ["x", "y"]),
    }
    for name, (columns, rows) in tables.items():
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
        source = open_matrix(tmp_path / f"{name}.parquet")
        numbers = np.transpose([values for values in columns.values() if not isinstance(values[0], str)])
        np.testing.assert_array_equal(read_back(source), numbers)
        assert (None if source.layout.names.rows is None else source.layout.names.rows.tolist()) == rows
    assert entries_of(f"{tmp_path / 'rgb.parquet'}::g,r,b") == {(0, 3): 3.5, (5, 2): 1, (2, 3): 4}
    assert entries_of(f"{tmp_path / 'rgb.parquet'}::0,1,2,names") == {("3", "0"): 3.5, ("2", "5"): 1, ("3", "2"): 4}


def test_a_hint_at_two_columns_of_texts_is_right_word_for_word(tmp_path):
    path = written(tmp_path, "V.csv", "who,what,howmuch,when\nann,x,3,7\nbob,y,4,8\n")
    with pytest.raises(DataError, match="name those with rows, columns and values") as caught:
        open_matrix(path)
    address = re.search(r"as (\S+) if these are they", str(caught.value))[1]
    assert entries_of(address) == {("ann", "x"): 3, ("bob", "y"): 4}


@pytest.mark.parametrize(
    ("text", "part", "sentence"),
    [
        (
            "AH2L,0000000116,4.0,123\n",
            "::AH2L,0000000116,4.0",
            r"by their names or by their places from 0.*has no header",
        ),
        ("user,item,rating\n1,2,3\n", "::user,user,rating", "must name .* three columns"),
        ("user,item,rating\n1,2,3\n", "::0,1,7", "must name .* three columns"),
        ("user,item,rating\n1,2,3\n", "::user,item,rating,labels", "must name .* three columns"),
        ("user,item,rating\n\n,2,3\n", "", "has an entry without user in line 3"),
        ("user,item,rating\na,,3\n", "", "has an entry without item"),
        ("a,x,\nb,y,4\n", "", r"has an entry without value \(field 2\)"),
        (
            "user,item,rating\n1.5,2,3\n",
            "",
            "has double in its column user; rows and columns are integers from 0, or texts",
        ),
        ("x,y,1;5\n", "::0,1,2", "has no header|is empty|values are numbers"),
        ("user,item,rating\n", "", "is empty"),
        ("", "", r"\(it is empty\)"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(text, part, sentence, tmp_path):
    with pytest.raises(DataError, match=sentence):
        open_matrix(f"{written(tmp_path, 'V.csv', text)}{part}")


def test_ids_that_are_digits_first_and_texts_later_are_texts_from_the_start(tmp_path):
    lines = [f"{i % 50},{1000 + i % 70},{1 + i % 5}" for i in range(15_000)]
    path = written(tmp_path, "books.csv", "\n".join(["user,item,rating", *lines, "7,000100039X,5"]))
    frame = pd.read_csv(path, dtype={"item": str}).groupby(["user", "item"])["rating"].sum()
    assert path.stat().st_size > SAMPLE_BYTES
    for table in (read_table(Address.of(path), batch_bytes=5000), read_table(Address.of(path), sample_bytes=200)):
        with pytest.warns(DataWarning, match="at the same place"):
            assert entries_of(held(table)) == frame.to_dict()
    with pytest.warns(DataWarning, match="at the same place"):
        convert(path, tmp_path / "books.zarr")
    assert entries_of(tmp_path / "books.zarr") == {(i, item): rating for (i, item), rating in frame.items()}


def test_numbers_that_look_like_ids_are_warned_of_and_are_names_by_the_hint(tmp_path):
    path = written(tmp_path, "V.csv", "20000000,3,5.5\n1,4,4\n")
    with pytest.warns(DataWarning, match="has 20000001 rows, of which 2 have entries") as caught:
        open_matrix(path)
    hint = re.search(r"give (\S+)\.$", str(caught[0].message))[1]
    assert entries_of(hint) == {("20000000", 3): 5.5, ("1", 4): 4}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_matrix(written(tmp_path, "W.csv", "200,3,5.5\n1,4,4\n"))
    with pytest.raises(DataError, match=r"its numbers are not positions from 0.*V.csv::user:name,item,rating"):
        open_matrix(written(tmp_path, "V.csv", "user,item,rating\n76561197970982479,a,3\n"))


def test_parquet_ids_beyond_all_places_are_refused_with_the_way_to_names(tmp_path):
    table = pa.table({"row": pa.array([2**64 - 1], "uint64"), "col": [1], "value": [2.5]})
    pq.write_table(table, tmp_path / "V.parquet")
    with pytest.raises(DataError, match=r"beyond all places; if they are names, give .*::row:name,col,value"):
        open_matrix(tmp_path / "V.parquet")
    assert entries_of(f"{tmp_path / 'V.parquet'}::row,col,value,names") == {(str(2**64 - 1), "1"): 2.5}
