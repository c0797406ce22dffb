"""What cannot be read is refused, before anything looks into it, by every command and with the right file."""

import errno
import itertools
import os

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from formats import STORED, read_back
from strategies import SOURCES, low_rank

import dnmf
from dnmf.cli.app import main
from dnmf.conversion import convert
from dnmf.errors import DataError, DnmfError, ReadError, SettingsError
from dnmf.sources import open_matrix

V = low_rank(30, 200, 3)
ENDINGS = ["npy", "npz", "h5", "h5ad", "nc", "csv", "parquet", "mtx", "zarr", "bin"]


def commands(given, folder):
    """Run every command that opens a matrix, and return what each ended with."""
    target = str(folder / "target.zarr")
    for command in (["info", given], ["fit", given, "--rank", "2"], ["convert", given, target]):
        yield CliRunner().invoke(main, command)
    assert not os.path.exists(target)


def assert_refused(given, folder, sentence):
    for shown in commands(str(given), folder):
        assert isinstance(shown.exception, SystemExit), shown.exception
        assert shown.exit_code == 2
        assert sentence in " ".join(shown.stderr.split())
        assert "target.zarr" not in shown.stderr


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_pipe_is_refused_and_not_waited_for(ending, tmp_path):
    os.mkfifo(tmp_path / f"V.{ending}")
    assert_refused(tmp_path / f"V.{ending}", tmp_path, f"V.{ending} is neither a file nor a folder, but a pipe")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_file_without_leave_to_read_is_no_damaged_one(ending, number, tmp_path, monkeypatch):
    def refuse(path, *how, **options):
        raise OSError(number, os.strerror(number), str(path))

    (tmp_path / f"V.{ending}").touch()
    monkeypatch.setattr("dnmf.sources.readable.open", refuse, raising=False)
    todo = "check its permissions" if number == errno.EACCES else "check the disk it lies on"
    sentence = f"V.{ending} could not be read ({os.strerror(number)}); {todo}."
    assert_refused(tmp_path / f"V.{ending}", tmp_path, sentence)
    with pytest.raises(ReadError, match="could not be read"):
        open_matrix(tmp_path / f"V.{ending}")


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ESTALE], ids=errno.errorcode.get)
@pytest.mark.parametrize("kind", ["zarr", "zarr, compressed", "npy"])
def test_a_system_that_does_not_answer_as_a_matrix_is_opened_ends_it_in_a_sentence(kind, number, tmp_path, monkeypatch):
    """Whichever of its questions it is that is not answered."""
    path, real, told = tmp_path / SOURCES[kind](V, tmp_path), os.stat, []
    for count in itertools.count():
        left = [count]

        def stat(given, *more, left=left, **options):
            if isinstance(given, (str, os.PathLike)) and str(given).startswith(str(path)):
                left[0] -= 1
                if left[0] == -1:
                    raise OSError(number, os.strerror(number), str(given))
            return real(given, *more, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", stat)
            try:
                convert(path, tmp_path / "new.zarr", overwrite=True)
            except DnmfError as error:
                told.append(str(error))
        if left[0] >= 0:
            break
    assert len(told) >= 3
    assert all(os.strerror(number) in text for text in told)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("what", ["empty", "folder", "missing", "below a file"])
def test_nothing_is_refused_without_a_traceback(ending, what, tmp_path):
    given = tmp_path / f"V.{ending}"
    if what == "folder":
        given.mkdir()
    elif what == "empty":
        given.touch()
    elif what == "below a file":
        given.touch()
        given = given / "V"
    assert_refused(given, tmp_path, "does not exist" if what in ("missing", "below a file") else f"V.{ending}")


@pytest.mark.parametrize("name", ["a\0b", "~nobody-of-this-name/V.npy", "no/such/V.npy", "x" * 300])
def test_odd_paths_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((DataError, ReadError), match=r"does not exist|could not be read"):
        open_matrix(name)


@pytest.mark.parametrize("kind", ["mtx", "mtx, gzip", "npz, csr", "npz, coo", "npy"])
def test_a_part_of_what_has_none_is_refused(kind, tmp_path):
    if kind == "npy":
        np.save(tmp_path / "V.npy", V)
    given = tmp_path / "V.npy" if kind == "npy" else STORED[kind](V, tmp_path)
    assert_refused(f"{given}::whatever", tmp_path, "holds one matrix, and has no parts; give it without ::whatever.")


def test_a_file_url_is_a_path(tmp_path):
    (tmp_path / "a b").mkdir()
    np.save(tmp_path / "a b" / "V.npy", V)
    zarr.create_array(tmp_path / "a b" / "V.zarr", data=V)
    for url in ("file://{}/a%20b/V.npy", "file://localhost{}/a b/V.zarr", "file://{}/a b/V.npy"):
        np.testing.assert_array_equal(read_back(open_matrix(url.format(tmp_path))), V)


@pytest.mark.parametrize("kind", ["zarr", "hdf5, gzip", "hdf5, checksum", "h5ad, dense, gzip"])
def test_a_chunk_that_cannot_be_read_is_the_fault_of_the_origin(kind, tmp_path):
    if kind == "zarr":
        given = tmp_path / "V.zarr"
        zarr.create_array(given, data=V, chunks=(10, 200))
        (given / "c" / "1" / "0").write_bytes(b"garbage")
    else:
        import h5py

        given = str(STORED[kind](V, tmp_path))
        place, _, part = given.partition("::")
        with h5py.File(place) as file:
            chunk = file[part or "X"].id.get_chunk_info(0)
        with open(place, "r+b") as file:
            file.seek(chunk.byte_offset)
            file.write(b"\x07" * chunk.size)
    with pytest.raises(ReadError, match=r"V\.\w+.*(could not be read|is damaged)"):
        convert(given, tmp_path / "target.zarr")
    shown = CliRunner().invoke(main, ["convert", str(given), str(tmp_path / "target.zarr")])
    assert shown.exit_code == 2
    assert "target.zarr" not in shown.stderr


@pytest.mark.parametrize("ranks", [3, 2.5, None, "3", np.int64(3)])
def test_one_rank_is_not_several(ranks):
    with pytest.raises(SettingsError, match=r"ranks=.* is not allowed; give several whole numbers, as range"):
        dnmf.select_rank(V, ranks)


@pytest.mark.parametrize(
    "texts",
    [["the cat sat", "a dog sat on the mat."], ["many words " * 500 + "\n", "other words\n"], "one line\nand another"],
    ids=["lines", "long", "one"],
)
def test_documents_are_not_taken_for_paths(texts):
    with pytest.raises(DataError, match=r"^V is a (list of 2 )?texts?, not a path that exists; count the words first"):
        dnmf.factorize(texts, 2)


def test_paths_with_spaces_are_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("my large matrix.npy", low_rank(6, 8, 2))
    assert open_matrix(["my large matrix.npy"]).layout.user_shape == (6, 8)
    with pytest.raises(DataError, match=r"my/own large data/V\.npy does not exist"):
        open_matrix(["my/own large data/V.npy"])
