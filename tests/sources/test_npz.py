"""Dense arrays in `.npz` files are those that NumPy reads."""

import numpy as np
import pytest
from click.testing import CliRunner
from formats import read_back
from strategies import low_rank

from dnmf.cli.app import main
from dnmf.conversion import convert
from dnmf.errors import DataError
from dnmf.sources import open_matrix

V = low_rank(30, 200, 3)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_found_by_name(save, tmp_path):
    place = tmp_path / "V.npz"
    save(place, V=V, F=np.asfortranarray(2 * V), names=np.array(["a", "b"]), cube=np.ones((2, 3, 4)))
    with np.load(place) as expected:
        for name in ("V", "F"):
            source = open_matrix(f"{place}::{name}")
            np.testing.assert_array_equal(read_back(source), expected[name])
            assert source.layout.held_bytes == (V.nbytes if save is np.savez_compressed else 0)
            convert(f"{place}::{name}", tmp_path / f"{name}.zarr")
            np.testing.assert_array_equal(read_back(open_matrix(tmp_path / f"{name}.zarr")), expected[name])
    for part, sentence, code in (
        ("", r"holds 3 matrices; give one of its arrays: V, F, cube; as \S+V\.npz::V", 0),
        ("::x", "holds no x; give one of its arrays: V, F", 2),
        ("::names", r"has 1 dimension\(s\)", 2),
        ("::cube::(0,1)x(1)", r"names 1 of .*V\.npz::cube twice; name every axis once", 2),
    ):
        with pytest.raises(DataError, match=sentence):
            open_matrix(f"{place}{part}")
        assert CliRunner().invoke(main, ["info", f"{place}{part}"]).exit_code == code
    save(place, np.array([{}], object), np.arange(3))
    with pytest.raises(DataError, match="holds 0 matrices, but arr_0, arr_1; save a sparse matrix with"):
        open_matrix(place)


def test_a_large_compressed_array_is_converted(monkeypatch, tmp_path):
    monkeypatch.setattr("dnmf.sources.formats.entry_list.HELD_ENTRIES", 100)
    np.savez_compressed(tmp_path / "V.npz", V)
    with pytest.raises(DataError, match=r"is a compressed array of 6000 numbers, .*: dnmf convert \S+V\.npz V\.zarr"):
        open_matrix(tmp_path / "V.npz")
    convert(tmp_path / "V.npz", tmp_path / "V.zarr")
    np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "V.zarr")), V)
