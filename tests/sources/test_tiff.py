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
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(V)
        file.write(V[:10])
    with pytest.raises(DataError, match="holds 2 images in 2 pages; give the number of a page, 0 to 1, as"):
        open_matrix(tmp_path / "two.tif")
    np.testing.assert_array_equal(read_back(open_matrix(f"{tmp_path / 'two.tif'}::1")), V[:10])


PLANES = (1000 * np.random.default_rng(1).random((4, 3, 20, 16))).astype("u2")
COLOURS = (255 * np.random.default_rng(2).random((4, 20, 16, 3))).astype("u1")
PACKED = {"compression": "zlib"}


@pytest.mark.parametrize(
    ("array", "options", "axes", "how"),
    [
        (COLOURS[0], {"photometric": "rgb"}, "yxs", "TIFF image"),
        (COLOURS[0], {"photometric": "rgb", **PACKED}, "yxs", "read into memory"),
        (COLOURS, {"photometric": "rgb"}, "qyxs", "TIFF image"),
        (COLOURS, {"photometric": "rgb", "tile": (16, 16)}, "qyxs", "page by page"),
        (
            COLOURS.transpose(0, 3, 1, 2),
            {"photometric": "rgb", "planarconfig": "separate", **PACKED},
            "qsyx",
            "page by",
        ),
        (PLANES, {"imagej": True, "metadata": {"axes": "TZYX"}}, "tzyx", "TIFF image"),
        (PLANES, {"imagej": True, "metadata": {"axes": "TCYX"}, **PACKED}, "tcyx", "page by page"),
        (PLANES, {"ome": True, "metadata": {"axes": "TZYX"}, "tile": (16, 16), **PACKED}, "tzyx", "page by page"),
        (PLANES > 500, {}, "qqyx", "page by page"),
    ],
)
def test_stacks_are_read_as_tifffile_reads_them(array, options, axes, how, monkeypatch, tmp_path):
    import tifffile

    monkeypatch.setattr("dnmf.sources.slabs.BLOCK_BYTES", 3000)
    place = tmp_path / "V.tif"
    tifffile.imwrite(place, array, **({"photometric": "minisblack"} | options))
    expected = tifffile.imread(place)
    for streamed in (None, "rows", "columns"):
        source = open_matrix(place, streamed)
        np.testing.assert_array_equal(read_back(source), expected.reshape(len(array), -1))
        assert how in source.layout.kind
        assert source.layout.unfolding.shape == array.shape
        assert source.layout.unfolding.names == (None if len(set(axes)) < len(axes) else tuple(axes))
    source = open_matrix(f"{place}::(1,0)x({','.join(map(str, range(2, array.ndim)))})")
    np.testing.assert_array_equal(read_back(source), np.swapaxes(expected, 0, 1).reshape(source.layout.user_shape))
    convert(place, tmp_path / "V.zarr")
    np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "V.zarr")), expected.reshape(len(array), -1))


def test_a_stack_in_several_files_or_without_headers_is_read_as_tifffile_reads_it(tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "short.tif", PLANES, imagej=True, metadata={"axes": "TZYX", "truncate": True})
    tifffile.imwrite(tmp_path / "shaped.tif", PLANES, photometric="minisblack", metadata={"truncate": True})
    pages = "".join(
        f'<TiffData IFD="{t % 2}" FirstT="{t}" PlaneCount="1"><UUID FileName="{file}.ome.tif">urn:uuid:{file}</UUID>'
        "</TiffData>"
        for t, file in enumerate("aabb")
    )
    for file, part in (("a", STACK[:2]), ("b", STACK[2:4])):
        description = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{file}">'
            '<Image ID="Image:0">'
            '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="50" SizeY="30" SizeC="1" SizeZ="1" '
            f'SizeT="4"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{pages}</Pixels></Image></OME>'
        )
        options = {"description": description, "metadata": None, "photometric": "minisblack"}
        tifffile.imwrite(tmp_path / f"{file}.ome.tif", part, **options)
    for place, kind in (("short", "TIFF image"), ("shaped", "TIFF image"), ("a.ome", "TIFF image, ")):
        source = open_matrix(tmp_path / f"{place}.tif")
        assert source.layout.kind.startswith(kind)
        np.testing.assert_array_equal(read_back(source), tifffile.imread(tmp_path / f"{place}.tif").reshape(4, -1))
    np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "a.ome.tif")), STACK[:4].reshape(4, -1))


def test_a_truncated_stack_is_refused(tmp_path):
    import tifffile

    for options in ({}, PACKED):
        place = tiff(**options)(STACK, tmp_path)
        content = place.read_bytes()
        with tifffile.TiffFile(place) as file:
            last = file.pages[4].dataoffsets[0]
        place.write_bytes(content[:last] + bytes(len(content) - last) if options else content[: last + 9])
        with pytest.raises((DataError, ReadError), match=r"V\.tif"):
            read_back(open_matrix(place))


def test_a_large_compressed_page_is_converted(monkeypatch, tmp_path):
    monkeypatch.setattr("dnmf.sources.formats.entry_list.HELD_ENTRIES", 100)
    place = tiff(compression="zlib")(STACK, tmp_path)
    with pytest.raises(
        DataError, match=r"is a compressed TIFF page of 1500 pixels, .*: dnmf convert \S+V\.tif::2 V\.zarr"
    ):
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
