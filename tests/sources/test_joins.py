"""Joined matrices are those that NumPy, SciPy, pandas and anndata would join."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from formats import quiet
from hypothesis import given, settings
from hypothesis import strategies as st
from joins import GENES, annotated, batches, contents, frame, written

import dnmf
from dnmf.conversion import convert
from dnmf.errors import DataError, DataWarning, SettingsError
from dnmf.sources import open_matrix
from dnmf.sources.collection import Collection, matching

ORDER = ["run1", "run2", "run3"]


def joined(*args, **options):
    """Join with the warning of dropped names ignored."""
    with quiet():
        return dnmf.concat(*args, **options)


def test_arrays_follow_each_other_as_by_vstack():
    first, second = np.arange(12.0).reshape(3, 4), np.ones((2, 4), np.uint8)
    source = open_matrix([first, second])
    assert source.layout.transposed
    assert source.layout.bounds == (0, 3, 5)
    assert source.layout.dtype == np.float64
    np.testing.assert_array_equal(contents([first, second]), np.vstack([first, second]))
    assert not source.layout.names


def test_a_list_of_numbers_is_an_array_as_before():
    for rows in ([[1, 2], [3, 4]], [np.ones(3), np.zeros(3)], ((1.0, 2.0), (3.0, 4.0))):
        assert open_matrix(rows).layout.kind == "NumPy array"
        np.testing.assert_array_equal(contents(rows), np.asarray(rows))


@pytest.mark.parametrize("how", ["inner", "outer"])
@pytest.mark.parametrize("form", ["frames", "sparse", "files"])
def test_rows_are_joined_by_the_names_of_the_columns_as_by_anndata(form, how, tmp_path):
    import anndata

    tables = batches()
    given = {
        "frames": lambda: tables,
        "sparse": lambda: [annotated(table) for table in tables],
        "files": lambda: written(tables, tmp_path),
    }[form]()
    source = joined(given, join=how, keys=ORDER)
    with quiet():
        wanted = anndata.concat([annotated(table, np.asarray) for table in tables], join=how, fill_value=0)
    names = source.layout.names
    assert sorted(names.columns) == sorted(wanted.var_names)
    assert names.rows.tolist() == [f"{key}:{name}" for key, t in zip(ORDER, tables, strict=True) for name in t.index]
    np.testing.assert_array_equal(contents(source), wanted[:, list(names.columns)].X)


@pytest.mark.parametrize("how", ["inner", "outer"])
@pytest.mark.parametrize("streamed", ["rows", "columns"])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_columns_are_joined_by_the_names_of_the_rows_as_by_pandas(form, streamed, how):
    cells = [f"c{i}" for i in range(53)]
    tables = {
        "rna": frame(cells[:40], GENES, 0),
        "adt": frame(cells[39::-1], list("pqr"), 1),
        "other": frame(cells[5:38] if how == "inner" else cells[20:], list("zw"), 2),
    }
    given = [annotated(table, form) for table in tables.values()]
    source = open_matrix(joined(given, axis="columns", join=how, keys=tables), streamed)
    wanted = pd.concat(tables, axis=1, join=how).fillna(0).loc[list(source.layout.names.rows)]
    assert source.layout.transposed == (streamed == "rows")
    assert source.layout.names.columns.tolist() == [f"{key}:{name}" for key, name in wanted.columns]
    np.testing.assert_array_equal(contents(source), wanted.to_numpy())


def test_files_of_different_formats_are_read_each_in_its_own(tmp_path):
    tables = [frame(20 + 7 * place, GENES, place) for place in range(4)]
    (sparse,) = written(tables[:1], tmp_path)
    np.save(tmp_path / "b.npy", tables[1].to_numpy().astype(np.uint8))
    convert(annotated(tables[2]), tmp_path / "c.zarr")
    lazy = da.from_array(tables[3].to_numpy(), chunks=(10, 24))
    with pytest.warns(DataWarning, match="b.npy has no names for its columns; they are taken in the order of"):
        source = open_matrix([sparse, tmp_path / "b.npy", tmp_path / "c.zarr", lazy])
    np.testing.assert_array_equal(contents(source), np.vstack([table.to_numpy() for table in tables]))
    assert source.layout.dtype == np.float32
    assert source.layout.names.rows[20] == "b:0"
    assert not source.layout.sparse
    assert not source.layout.in_memory


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.permutations("abcde"), st.integers(2, 5)), min_size=2, max_size=4),
    st.booleans(),
    st.booleans(),
)
def test_any_order_of_names_is_matched(picks, outer, sparse):
    tables = {str(place): frame(3 + place, names[:count], place) for place, (names, count) in enumerate(picks)}
    how = "outer" if outer else "inner"
    if not outer and not set.intersection(*(set(table.columns) for table in tables.values())):
        with pytest.raises(DataError, match="share no name with those of"):
            joined(list(tables.values()), join=how)
        return
    given_ = [annotated(table) if sparse else table for table in tables.values()]
    source = joined(given_, join=how)
    wanted = pd.concat(tables, join=how).fillna(0)[list(source.layout.names.columns)]
    np.testing.assert_array_equal(contents(source), wanted.to_numpy())


def test_blocks_never_cross_a_matrix_and_the_order_is_that_of_most_data(tmp_path):
    tables = [frame(5, GENES[::-1], 0), frame(50, GENES, 1), frame(40, GENES, 2)]
    source = open_matrix(written(tables, tmp_path))
    assert set(np.cumsum([5, 50, 40])) <= set(source.layout.bounds)
    assert source.layout.names.columns.tolist() == GENES
    assert [take is None for take in source.takes] == [False, True, True]


def test_an_inner_join_warns_of_what_it_drops_by_file(tmp_path):
    paths = written(batches(), tmp_path)
    message = (
        r"21 columns are in all 3 matrices .* 3 of 24 of \S*run1.h5ad, 4 of 25 of \S*run3.h5ad\. Give join='outer'"
    )
    with pytest.warns(DataWarning, match=message):
        dnmf.concat(paths)


def test_a_pattern_is_sorted_by_numbers_and_keeps_the_part(tmp_path):
    for number in (10, 2, 1):
        np.save(tmp_path / f"run{number}.npy", np.full((number, 3), number))
    assert open_matrix(str(tmp_path / "run*.npy")).layout.user_shape == (13, 3)
    assert contents(tmp_path / "run*.npy")[:, 0].tolist() == [1] + 2 * [2] + 10 * [10]
    (tmp_path / "a.h5ad").touch()
    assert matching(f"{tmp_path}/*.h5ad::layers/counts") == [f"{tmp_path}/a.h5ad::layers/counts"]


def test_a_file_whose_name_has_brackets_is_no_pattern(tmp_path):
    np.save(tmp_path / "run[1].npy", np.ones((2, 3)))
    assert open_matrix(tmp_path / "run[1].npy").layout.kind == ".npy file"


def test_labels_are_distinct():
    labels = lambda *names: Collection.of(list(names)).labels()  # noqa: E731 - short, and used on four lines
    assert labels("a/x.h5ad", "b/y.h5ad.gz", np.ones((2, 2))) == ("x", "y", "2")
    assert labels("a/x.h5ad", "b/x.h5ad") == ("a/x", "b/x")
    assert labels("x.h5ad::layers/a", "x.h5ad::layers/b") == ("x/layers/a", "x/layers/b")
    assert labels("/data/x.zarr", "/data/x.npy") == ("0", "1")


def test_absent_entries_are_missing_if_missing_entries_are_marked():
    tables = batches()
    V = contents(open_matrix(joined(tables, join="outer"), missing="nan"))
    wanted = pd.concat(tables, join="outer").to_numpy()
    assert np.isnan(wanted).sum() == np.isnan(V).sum() > 0
    result = dnmf.factorize(joined(tables, join="outer"), 2, missing="nan", max_passes=3)
    alone = dnmf.factorize(V, 2, missing="nan", max_passes=3, init=(result.W, result.H))
    assert alone.loss <= result.loss
    with pytest.raises(DataError, match="prepared with its absent entries as 0"):
        dnmf.factorize(dnmf.preprocessing.log_normalize(joined(tables, join="outer")), 2, missing="nan")
    mixed = [annotated(tables[0]), tables[0]]
    with pytest.raises(DataError, match="the list has sparse and dense matrices"):
        dnmf.factorize(mixed, 2, missing="zeros")


def test_batches_of_an_anndata_are_joined_by_their_keys():
    data = annotated(frame(30, GENES, 0))
    data.obs["batch"] = ["b", "a", "b"] * 10
    keys = sorted(set(data.obs["batch"]))
    result = dnmf.factorize(dnmf.concat([data[data.obs["batch"] == key] for key in keys], keys=keys), 2, max_passes=2)
    labels = [name.partition(":")[0] for name in result.names.rows]
    assert labels == 10 * ["a"] + 20 * ["b"]
    assert result.names.rows[0] == "a:c1"


def test_joins_are_joined():
    rna, adt = [frame(9, GENES, 0), frame(8, GENES, 1)], [frame(9, ["p", "q"], 2), frame(8, ["q", "p"], 3)]
    source = dnmf.concat(
        [dnmf.concat(tables, keys=["a", "b"]) for tables in (rna, adt)], axis="columns", keys=["rna", "adt"]
    )
    wanted = pd.concat({name: pd.concat(t, keys=["a", "b"]) for name, t in (("rna", rna), ("adt", adt))}, axis=1)
    wanted.columns = [":".join(names) for names in wanted.columns]
    np.testing.assert_array_equal(contents(source), wanted[list(source.layout.names.columns)].to_numpy())
    assert source.layout.names.rows.tolist() == [":".join(names) for names in wanted.index]


def test_a_file_compressed_by_its_columns_is_turned_if_it_is_small(tmp_path, monkeypatch):
    from dnmf.sources.formats import entry_list

    tables = [frame(30, GENES, 0), frame(20, GENES, 1)]
    paths = [written(tables[:1], tmp_path)[0], *written(tables[1:], tmp_path, sp.csc_matrix, "csc{}.h5ad")]
    np.testing.assert_array_equal(contents(paths), pd.concat(tables).to_numpy())
    monkeypatch.setattr(entry_list, "HELD_ENTRIES", 10)
    with pytest.raises(DataError, match=r"compressed by its columns .* dnmf convert \S*csc1.h5ad \S*\.zarr --by rows"):
        open_matrix(paths)


def test_rows_in_another_order_are_only_taken_in_memory(tmp_path, monkeypatch):
    from dnmf.sources import window

    cells = [f"c{i}" for i in range(30)]
    paths = written([frame(cells, GENES, 0), frame(cells[::-1], list("pq"), 1)], tmp_path)
    assert contents(dnmf.concat(paths, axis="columns")).shape == (30, 26)
    monkeypatch.setattr(window, "HELD_ENTRIES", 10)
    with pytest.raises(DataError, match=r"The rows of \S*run2.h5ad have the names .* too large .* --by columns"):
        dnmf.concat(paths, axis="columns")


def test_a_block_with_a_bad_entry_names_the_file(tmp_path):
    bad = np.ones((5, 3))
    bad[3, 1] = -1
    np.save(tmp_path / "good.npy", np.ones((4, 3)))
    np.save(tmp_path / "bad.npy", bad)
    with pytest.raises(DataError, match=r"V\[7, 1\], row 3 of \S*bad\.npy, is -1, which is negative"):
        dnmf.factorize([tmp_path / "good.npy", tmp_path / "bad.npy"], 1)


def test_what_cannot_be_joined_is_refused_before_a_pass(tmp_path):
    ones, named = np.ones((3, 4)), pd.DataFrame(np.ones((2, 2)), columns=list("uv"))
    twice = pd.DataFrame(np.ones((2, 3)), columns=list("uuv"))
    np.save(tmp_path / "V.npy", ones)
    prepared = dnmf.preprocessing.log_normalize(ones)
    refused = {
        "The list of matrices is empty": [],
        "No file matches": f"{tmp_path}/*.h5ad",
        "No file matches .*nothing": ["a.npy", f"{tmp_path}/nothing*"],
        "is a pattern of URLs": "s3://bucket/*.zarr",
        "matrix '1' has 5 columns, and matrix '0' has 4": [ones, np.ones((3, 5))],
        "share no name with those of matrix '0'": [named, pd.DataFrame(ones, columns=list("abcd"))],
        "2 columns of matrix '1' are named 'u'": [named, twice],
        "V.npy is given twice": [tmp_path / "V.npy", str(tmp_path / "V.npy")],
        "The ndarray is given twice": [ones, ones],
        "Matrix 1 of the list: V is a builtins.int": [ones, 5],
        "does not exist": [tmp_path / "V.npy", tmp_path / "other.npy"],
        "prepared in different ways": [prepared, np.ones((2, 4))],
    }
    for message, V in refused.items():
        with pytest.raises(DataError, match=message):
            dnmf.plan(V, 1)
    two = [ones, np.zeros((2, 4))]
    for message, options in {
        r"weights=\[1\] is not allowed for 2": {"weights": [1]},
        r"weights=\[1, 0\] is not allowed": {"weights": [1, 0]},
        r"weights=\[1, nan\] is not allowed": {"weights": [1, np.nan]},
        r"keys=\['a'\] is not allowed": {"keys": ["a"]},
        r"keys=\['a', 'a'\] is not allowed": {"keys": ["a", "a"]},
        r"keys=\['a', 'b:c'\] is not allowed": {"keys": ["a", "b:c"]},
    }.items():
        with pytest.raises(DataError, match=message):
            dnmf.concat(two, **options)
    for options in ({"axis": "samples"}, {"join": "left"}):
        with pytest.raises(SettingsError, match="is not known"):
            dnmf.concat(two, **options)
    with pytest.raises(DataError, match="given as a int; give a list"):
        dnmf.concat(5)


def test_steps_without_statistics_are_common_to_the_join():
    tables = [frame(39, GENES, 0), frame(28, GENES, 1)]
    apart = dnmf.concat([dnmf.preprocessing.log_normalize(table) for table in tables])
    np.testing.assert_array_equal(contents(apart), contents(dnmf.preprocessing.log_normalize(tables)))


def test_a_join_is_converted_with_its_names(tmp_path):
    tables = batches()
    source = joined(written(tables, tmp_path), join="outer")
    convert(source, tmp_path / "joined.zarr")
    again = open_matrix(tmp_path / "joined.zarr")
    np.testing.assert_array_equal(contents(again), contents(source))
    assert again.layout.names.rows.tolist() == source.layout.names.rows.tolist()
    dense = [table.to_numpy().astype(kind) for table, kind in zip(tables[:1] * 2, ("u1", "f4"), strict=True)]
    convert(dense, tmp_path / "dense.zarr")
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "dense.zarr")[...], np.vstack(dense))
