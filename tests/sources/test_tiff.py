"""A page of a TIFF file is the matrix that tifffile reads."""

import numpy as np
import pytest
from click.testing import CliRunner
from formats import read_back, tiff

from dnmf.cli.app import main
from dnmf.conversion import convert
from dnmf.errors import DataError, DataWarning, MissingExtraError, ReadError
from dnmf.sources import open_matrix

V = (1000 * np.random.default_rng(0).random((30, 50))).astype("u2")
STACK = np.stack([V + page for page in range(5)])


@pytest.mark.parametrize(
    ("matrix", "options", "in_place"),
    [
        (V, {}, True),
        (V, {"byteorder": ">", "rowsperstrip": 7}, True),
        (V.astype("f4"), {"byteorder": ">", "ome": True}, True),
        (V, {"compression": "zlib", "predictor": True}, False),
        (V.astype("f8"), {"tile": (16, 16)}, False),
        (V > 500, {}, False),
    ],
)
def test_a_page_is_read_as_tifffile_reads_it(matrix, options, in_place, tmp_path):
    import tifffile

    place = tiff(**options)(matrix, tmp_path)
    expected = tifffile.imread(place)
    source = open_matrix(place)
    np.testing.assert_array_equal(read_back(source), expected)
    assert source.layout.held_bytes == (0 if in_place else matrix.nbytes)
    convert(place, tmp_path / "V.zarr")
    np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "V.zarr")), expected)


def test_a_page_of_several_is_given_by_its_number(tmp_path):
    import tifffile

    for options in ({}, {"compression": "zlib"}):
        place = tiff(**options)(STACK, tmp_path)
        np.testing.assert_array_equal(read_back(open_matrix(f"{place}::3")), STACK[3])
    with pytest.raises(DataError, match="has 5 pages, and 7 is not one of them; give a number from 0 to 4, as"):
        open_matrix(f"{place}::7")
    with pytest.raises(DataError, match=r"has 3 dimension\(s\), shape \(5, 30, 50\)"):
        open_matrix(place)
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(V)
        file.write(V[:10])
    with pytest.raises(DataError, match="holds 2 images in 2 pages; give the number of a page, 0 to 1, as"):
        open_matrix(tmp_path / "two.tif")
    np.testing.assert_array_equal(read_back(open_matrix(f"{tmp_path / 'two.tif'}::1")), V[:10])


def test_a_large_compressed_page_is_converted(monkeypatch, tmp_path):
    monkeypatch.setattr("dnmf.sources.formats.entry_list.HELD_ENTRIES", 100)
    place = tiff(compression="zlib")(STACK, tmp_path)
    with pytest.raises(DataError, match=r"is a compressed page of 1500 pixels, .*: dnmf convert \S+V\.tif::2 V\.zarr"):
        open_matrix(f"{place}::2")
    convert(f"{place}::2", tmp_path / "V.zarr")
    np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "V.zarr")), STACK[2])


def test_marks_damage_and_compressions_are_reported(monkeypatch, tmp_path):
    import tifffile

    place = tiff(extratags=[(42113, "s", 0, "999", True)])(V, tmp_path)
    with pytest.warns(DataWarning, match="marks missing pixels by 999, and these are read as numbers"):
        open_matrix(place)
    place = tiff()(V, tmp_path)
    place.write_bytes(place.read_bytes()[:200])
    with pytest.raises((DataError, ReadError), match=r"V\.tif is (not a readable TIFF file|truncated)"):
        open_matrix(place)
    assert CliRunner().invoke(main, ["info", str(place)]).exit_code == 2

    def refuse(*given, **options):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    place = tiff(compression="zlib")(V, tmp_path)
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", refuse)
    sentence = r"needs the package imagecodecs; install it with: pip install 'dnmf\[tiff\]'"
    with pytest.raises(MissingExtraError, match=sentence):
        open_matrix(place)
