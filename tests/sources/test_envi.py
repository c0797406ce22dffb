"""A spectral image is pixels × bands, with the numbers that the package spectral reads."""

import itertools

import numpy as np
import pytest
from click.testing import CliRunner
from formats import read_back

from dnmf.cli.app import main
from dnmf.conversion import convert
from dnmf.errors import DataError, DataWarning
from dnmf.sources import open_matrix

IMAGE = 100 * np.random.default_rng(0).random((13, 7, 5))
WAVES = [400, 500, 600, 700, 800.5]


def written(folder, image=IMAGE, **options):
    from spectral.io.envi import save_image

    options = {"metadata": {"wavelength": WAVES}, "dtype": image.dtype, "force": True} | options
    save_image(str(folder / "V.hdr"), image, **options)
    return folder / "V.hdr"


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
def test_every_order_is_read_as_spectral_reads_it(interleave, monkeypatch, tmp_path):
    import spectral

    monkeypatch.setattr("dnmf.sources.bounds.BLOCK_BYTES", 500)
    for byteorder, dtype in itertools.product((0, 1), ("uint8", "int16", "uint16", "float32", "float64", "int64")):
        place = written(tmp_path, IMAGE.astype(dtype), interleave=interleave, byteorder=byteorder)
        expected = np.asarray(spectral.open_image(str(place)).open_memmap()).reshape(-1, 5)
        for streamed in (None, "rows", "columns"):
            source = open_matrix(place, streamed)
            assert source.layout.blocks > 1
            np.testing.assert_array_equal(read_back(source), expected)
    assert source.layout.names.columns.tolist() == list(map(str, WAVES))
    assert source.layout.kind == f"ENVI image of 13 × 7 pixels, {interleave}"
    assert source.layout.unfolding.row_shape == (13, 7)
    for by in ("rows", "columns"):
        convert(place, tmp_path / f"{by}.zarr", by=by)
        again = open_matrix(tmp_path / f"{by}.zarr")
        np.testing.assert_array_equal(read_back(again), expected)
        assert again.layout.names.columns.tolist() == list(map(str, WAVES))


def test_an_offset_a_scale_and_another_file_are_read(tmp_path):
    place = written(tmp_path, IMAGE.astype("f4"), interleave="bil", metadata={"reflectance scale factor": 10000})
    content = (tmp_path / "V.img").read_bytes()
    (tmp_path / "V.img").unlink()
    (tmp_path / "other.bin").write_bytes(b"head" + content)
    place.write_text(place.read_text().replace("header offset = 0", "Header Offset = 4"))
    with pytest.raises(DataError, match=r"cannot be found in V, V\.img or V\.dat; give .* as \S+V\.hdr::V\.bin"):
        open_matrix(place)
    source = open_matrix(f"{place}::other.bin")
    np.testing.assert_array_equal(read_back(source), IMAGE.astype("f4").reshape(-1, 5))
    assert "bil, as stored (reflectance scale factor 10000 is not applied)" in source.layout.kind


def test_a_library_is_spectra_by_bands(tmp_path):
    from spectral.io.envi import SpectralLibrary

    header = {"wavelength": WAVES, "spectra names": ["oak", "elm", "ash"]}
    spectra = IMAGE[0, :3].astype("f4")
    SpectralLibrary(spectra, header).save(str(tmp_path / "V"))
    source = open_matrix(tmp_path / "V.hdr")
    np.testing.assert_array_equal(read_back(source), spectra)
    assert source.layout.names.rows.tolist() == ["oak", "elm", "ash"]
    assert source.layout.names.columns.tolist() == [str(float(wave)) for wave in WAVES]


def changed(old, new):
    def change(place):
        text = place.read_text()
        assert old in text
        place.write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (changed("ENVI\n", "BYTEORDER I\n"), "is not a readable ENVI header"),
        (
            changed("lines = 13", "lines = 12"),
            "has 3640 bytes, and 12 × 7 pixels of 5 bands of float64 after 0",
        ),
        (changed("bands = 5\n", ""), "is an ENVI header without bands"),
        (changed("interleave = bip", "interleave = abc"), "has interleave = abc; allowed are bsq, bil and bip"),
        (changed("byte order = 0", "byte order = 7"), "byte order = 7 is neither 0 nor 1"),
        (changed("data type = 5", "data type = 99"), "data type = 99 is not known"),
        (changed("data type = 5", "data type = 6"), "has dtype complex64, which is not a real number"),
        (changed("lines = 13", "lines = x"), "is not a readable ENVI header .*invalid literal"),
        (changed("header offset", "file compression = 1\nheader offset"), "describes compressed numbers"),
        (
            changed("header offset", "major frame offsets = {0, 8}\nheader offset"),
            "has major frame offsets, which are not read",
        ),
        (lambda place: (place.parent / "V.dat").touch(), r"may describe each of V\.img, V\.dat; give one of them, as"),
    ],
)
def test_another_header_is_refused(change, sentence, tmp_path):
    place = written(tmp_path, interleave="bip", byteorder=0)
    change(place)
    for run in (open_matrix, lambda given: convert(given, tmp_path / "target.zarr")):
        with pytest.raises(DataError, match=sentence):
            run(place)
    assert CliRunner().invoke(main, ["info", str(place)]).exit_code == 2


def test_a_mark_of_missing_pixels_is_reported(tmp_path):
    place = written(tmp_path, metadata={"data ignore value": 65535})
    with pytest.warns(DataWarning, match="has data ignore value = 65535, which marks missing pixels"):
        open_matrix(place)
