"""Variables of MATLAB files are those that SciPy and mat73 read; others are refused with the reason."""

import struct

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from click.testing import CliRunner
from formats import matlab, matlab_hdf5, read_back
from strategies import low_rank

from dnmf.cli.app import main
from dnmf.conversion import convert
from dnmf.errors import DataError
from dnmf.sources import open_matrix

V = low_rank(30, 200, 3).astype("f8")
KINDS = ["f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"]


@pytest.mark.parametrize("packed", [False, True])
def test_every_class_of_numbers_is_read_as_scipy_reads_it(packed, tmp_path):
    place = tmp_path / "V.mat"
    written = {f"V{kind.strip('?')}": (100 * V).astype(kind) for kind in KINDS}
    written |= {"S": sp.csc_array(np.where(V > 1, V, 0)), "B": sp.csc_array(V > 1), "Z": sp.csc_array((4, 3))}
    scipy.io.savemat(place, written, do_compression=packed)
    expected = scipy.io.loadmat(place)
    for name in written:
        source = open_matrix(f"{place}::{name}")
        matrix = expected[name].toarray() if sp.issparse(expected[name]) else expected[name]
        np.testing.assert_array_equal(read_back(source), matrix)
        assert source.layout.sparse is sp.issparse(written[name])
        assert ("read into memory" in source.layout.kind) is packed


def big_endian(values):
    """Return a file of version 5 with the byte order of a big machine, and numbers shorter than their class."""

    def element(kind, data):
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    body = (
        element(6, struct.pack(">II", 6, 0)) + element(5, struct.pack(">ii", *values.shape)) + element(1, b"a_matrix")
    )
    body += element(4, values.astype(">u2").tobytes("F"))
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI" + element(14, body)


def test_numbers_of_another_byte_order_and_a_shorter_type_are_read(tmp_path):
    values = np.arange(12).reshape(3, 4)
    (tmp_path / "V.mat").write_bytes(big_endian(values))
    np.testing.assert_array_equal(scipy.io.loadmat(tmp_path / "V.mat")["a_matrix"], values)
    np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "V.mat")), values)


@pytest.mark.parametrize("make", [matlab_hdf5(), matlab_hdf5(chunks=(50, 7)), matlab_hdf5(sp.csc_array)])
def test_variables_of_version_7_3_are_those_that_mat73_reads(make, tmp_path):
    import mat73

    place = make(V, tmp_path)
    found = mat73.loadmat(place, use_attrdict=False)["V"]
    source = open_matrix(place)
    np.testing.assert_array_equal(read_back(source), found.toarray() if sp.issparse(found) else found)
    assert "MATLAB variable in HDF5" in source.layout.kind
    convert(place, tmp_path / "V.zarr", by="columns")
    np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "V.zarr")), V)


def test_a_dataset_that_shows_the_transpose_is_refused(tmp_path):
    import h5py

    with h5py.File(matlab_hdf5()(V, tmp_path)) as file:
        with pytest.raises(
            DataError, match=r"holds the transpose of its matrix, as in files of MATLAB.* give '\S+V73.mat::V'"
        ):
            open_matrix(file["V"])
        assert open_matrix(file).layout.user_shape == V.shape
    with pytest.raises(DataError, match=r"V73\.mat::label is of class char; give a variable of real numbers"):
        open_matrix(f"{tmp_path / 'V73.mat'}::label")
    with h5py.File(tmp_path / "V73.mat", "a") as file:
        file["z"] = np.ones((3, 4), [("real", "f8"), ("imag", "f8")])
        file["z"].attrs["MATLAB_class"] = np.bytes_("double")
    with pytest.raises(DataError, match="::z holds complex numbers; give a variable of real numbers"):
        open_matrix(f"{tmp_path / 'V73.mat'}::z")


@pytest.mark.parametrize("make", [matlab(np.asarray, do_compression=True), matlab(sp.csc_array, do_compression=True)])
def test_a_large_compressed_variable_is_converted(make, monkeypatch, tmp_path):
    monkeypatch.setattr("dnmf.sources.formats.entry_list.HELD_ENTRIES", 100)
    place = make(V, tmp_path)
    with pytest.raises(DataError, match=r"is a compressed variable of \d+ entries, .*: dnmf convert \S+V\.mat V\.zarr"):
        open_matrix(place)
    convert(place, tmp_path / "V.zarr")
    np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "V.zarr")), V)


def cut(size):
    return lambda content: content[:-size]


@pytest.mark.parametrize(
    ("written", "part", "spoil", "sentence"),
    [
        (
            {"a": V, "b": V, "k": 1.0},
            "",
            None,
            r"holds 2 matrices; give one of its variables: a, b, k; as \S+::a",
        ),
        ({"a": V}, "::b", None, "holds no b; give one of its variables: a; as"),
        ({"a": "text"}, "", None, "holds 0 matrices, and no variable of numbers; save one"),
        ({"a": "text", "b": V}, "::a", None, "is of class char; give a variable of numbers"),
        ({"a": {"x": V}}, "::a", None, "is of class struct"),
        ({"a": V + 1j}, "", None, "holds complex numbers"),
        ({"a": V}, "", cut(9), "is not a readable MATLAB file .* bytes, and a variable ends at byte"),
        ({"a": V}, "", lambda content: content[:130] + b"\x99" + content[131:], "is not a readable MATLAB file"),
        ({"a": V}, "", lambda content: b"x" * 200, "it does not begin with the header of a MATLAB file"),
    ],
)
def test_other_files_are_refused(written, part, spoil, sentence, tmp_path):
    scipy.io.savemat(tmp_path / "V.mat", written)
    if spoil is not None:
        (tmp_path / "V.mat").write_bytes(spoil((tmp_path / "V.mat").read_bytes()))
    for run in (open_matrix, lambda given: convert(given, tmp_path / "target.zarr")):
        with pytest.raises(DataError, match=sentence):
            run(f"{tmp_path / 'V.mat'}{part}")
    shown = CliRunner().invoke(main, ["info", f"{tmp_path / 'V.mat'}{part}"])
    assert shown.exit_code == (0 if "holds 2 matrices" in sentence else 2)


def test_a_damaged_compressed_variable_is_refused(tmp_path):
    scipy.io.savemat(tmp_path / "V.mat", {"V": V}, do_compression=True)
    content = bytearray((tmp_path / "V.mat").read_bytes())
    content[-2] ^= 255  # in the checksum
    (tmp_path / "V.mat").write_bytes(content)
    for run in (open_matrix, lambda given: convert(given, tmp_path / "target.zarr")):
        with pytest.raises(DataError, match=r"is not a readable MATLAB file .*incorrect data check"):
            run(tmp_path / "V.mat")
    scipy.io.savemat(tmp_path / "old.mat", {"V": V}, format="4")
    with pytest.raises(DataError, match="it is of version 4; load it and save it with -v7"):
        open_matrix(tmp_path / "old.mat")
