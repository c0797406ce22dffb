"""Files of svmlight are those that scikit-learn reads, without their labels."""

import bz2
import gzip

import numpy as np
import pytest
from formats import read_back
from sklearn.datasets import dump_svmlight_file, load_svmlight_file
from strategies import low_rank

from dnmf.conversion import convert
from dnmf.errors import DataError
from dnmf.sources import open_matrix

V = np.where(low_rank(30, 200, 3) > 1, low_rank(30, 200, 3), 0).astype("f8")
V[:, -1] = 1


def written(folder, name, first=1):
    opened = bz2.open if name.endswith(".bz2") else open
    with opened(folder / name, "wb") as file:
        dump_svmlight_file(V, np.arange(len(V)), file, zero_based=first == 0)
    return folder / name


TEXT = "# a comment\n1,2 qid:3 1:0.5 4:2 # more\n\n-1 2:1\n+1\n0.5 3:7e-1\n2\n"


@pytest.mark.parametrize(
    ("name", "first", "part", "base"),
    [("V.svm", 1, "", 1), ("V.svmlight.bz2", 0, "", 0), ("V.libsvm", 1, "::0", 0), ("V.svm", 1, "::1", 1)],
)
def test_a_file_is_read_as_scikit_learn_reads_it(name, first, part, base, monkeypatch, tmp_path):
    monkeypatch.setattr("dnmf.sources.formats.entry_list.TEXT_BYTES", 1000)
    place = written(tmp_path, name, first)
    expected = load_svmlight_file(str(place), zero_based=part == "::0" or "auto")[0].toarray()
    source = open_matrix(f"{place}{part}")
    np.testing.assert_array_equal(read_back(source), expected)
    assert (
        f"svmlight file (labels dropped, columns count from {base}) of {np.count_nonzero(V)} entries"
        in source.layout.kind
    )
    convert(f"{place}{part}", tmp_path / "V.zarr", memory_limit="1MB")
    np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "V.zarr")), expected)


def test_comments_labels_queries_and_empty_rows_are_read(tmp_path):
    (tmp_path / "V.svm.gz").write_bytes(gzip.compress(TEXT.encode()))
    expected = np.zeros((5, 4))
    expected[[0, 0, 1, 3], [0, 3, 1, 2]] = 0.5, 2, 1, 0.7
    np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "V.svm.gz")), expected)


@pytest.mark.parametrize(
    ("text", "part", "sentence"),
    [
        ("1 1:2\n\n1 2:x\n", "", r"is not a readable svmlight file \(line 3: could not convert string to float: .*x"),
        ("1 1:2\n1 3:1 2:1\n", "", "line 2: Feature indices in SVMlight/LibSVM data file should be sorted and unique"),
        ("1 0:2\n", "::1", r"has an entry in column 0; give it with ::0\."),
        ("1 1:2\n", "::x", "does not name the first column; give ::0 or ::1"),
        ("1\n2\n", "", r"is empty: its shape is \(2, 0\)"),
        ("1 999999999:2\n", "", "has an entry at row or column 999999998"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(text, part, sentence, tmp_path):
    (tmp_path / "V.svm").write_text(text)
    for run in (open_matrix, lambda given: convert(given, tmp_path / "target.zarr")):
        with pytest.raises(DataError, match=sentence):
            run(f"{tmp_path / 'V.svm'}{part}")


def test_a_long_file_is_refused_with_the_command_that_converts_it(monkeypatch, tmp_path):
    monkeypatch.setattr("dnmf.sources.formats.entry_list.HELD_ENTRIES", 100)
    place = written(tmp_path, "V.svm")
    with pytest.raises(DataError, match=r"more than 100 entries, .* with: dnmf convert \S+V\.svm V\.zarr"):
        open_matrix(place)
