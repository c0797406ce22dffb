"""Files that are there whole, or not at all."""

import errno
import os

import numpy as np
import pytest
import zarr

from dnmf.checkpoint.targets import appearing
from dnmf.errors import DiskError, StoreError
from dnmf.storage import durable
from dnmf.storage.durable import explained, link_tree, lock, remove_tree, rewrite, write_once


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def calls(monkeypatch):
    """Return the list of system calls that matter for durability, as they are made."""
    made = []
    for name in ("fsync", "link", "replace", "rename"):
        real = getattr(os, name)

        def call(*given, name=name, real=real):
            made.append((name, os.readlink(f"/proc/self/fd/{given[0]}") if name == "fsync" else os.fspath(given[-1])))
            return real(*given)

        monkeypatch.setattr(durable.os, name, call)
    return made


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="the files of descriptors are read from /proc")
def test_a_record_appears_after_its_content_is_on_the_disk_and_before_its_folder_is(calls, tmp_path):
    write_once(tmp_path / "record", b"content")
    assert [name for name, _ in calls] == ["fsync", "link", "fsync"]
    assert ".record-" in calls[0][1]
    assert [path for _, path in calls[1:]] == [str(tmp_path / "record"), str(tmp_path)]


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="the files of descriptors are read from /proc")
def test_a_file_is_replaced_in_the_same_order(calls, tmp_path):
    (tmp_path / "header").write_bytes(b"old")
    rewrite(tmp_path / "header", b"new")
    assert [name for name, _ in calls] == ["fsync", "replace", "fsync"]
    assert (tmp_path / "header").read_bytes() == b"new"
    assert names(tmp_path) == ["header"]


def test_a_record_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(durable.os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        write_once(tmp_path / "record", b"content")
    assert names(tmp_path) == []


def test_a_linked_tree_replaces_what_was_there_and_shares_the_files(tmp_path):
    origin, target = tmp_path / "origin", tmp_path / "target"
    (origin / "c").mkdir(parents=True)
    (origin / "c" / "0").write_bytes(b"new")
    target.mkdir()
    (target / "stale").write_bytes(b"old")
    link_tree(origin, target)
    assert names(tmp_path) == ["origin", "target"]
    assert names(target) == ["c"]
    assert os.path.samefile(origin / "c" / "0", target / "c" / "0")
    remove_tree(origin)
    assert (target / "c" / "0").read_bytes() == b"new"


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "deep" / "out"

    contents = ["first", "second", "bad"]

    def written():
        return contents[int(zarr.open_array(target, mode="r")[0])]

    def write(content, overwrite=False):
        with appearing(target, overwrite) as draft:
            zarr.create_array(draft, data=np.array([contents.index(content)]))
            assert not target.exists() or written() == "first"
            if content == "bad":
                raise ValueError("bad")

    write("first")
    with pytest.raises(StoreError, match="already exists; choose another path or pass overwrite=True"):
        write("second")
    with pytest.raises(ValueError, match="bad"):
        write("bad", overwrite=True)
    assert written() == "first"
    write("second", overwrite=True)
    assert written() == "second"
    assert names(target.parent) == ["out"]


def test_removing_what_is_not_there_is_no_error(tmp_path):
    remove_tree(tmp_path / "nothing")


def test_a_lock_is_held_once_and_until_it_is_closed(tmp_path):
    held = lock(tmp_path / ".lock")
    mine = f"is in use by another run, process {os.getpid()} of this machine; wait for it to end"
    with pytest.raises(StoreError, match=mine):
        lock(tmp_path / ".lock")
    (tmp_path / ".lock").write_text('{"host": "node\\u001b7", "process": 31}')
    with pytest.raises(StoreError, match=r"by another run, process 31 of node\\x1b7; wait"):
        lock(tmp_path / ".lock")
    for damaged in ("", "[1]", '{"host": "x", "process": null}', "\0"):
        (tmp_path / ".lock").write_text(damaged)
        with pytest.raises(StoreError, match="by another run; wait for it to end, or give another store"):
            lock(tmp_path / ".lock")
    held.close()
    lock(tmp_path / ".lock").close()


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some room there"),
        (errno.EDQUOT, "Free some room there"),
        (errno.EFBIG, "Free some room there"),
        (errno.EROFS, "Check that disk and its permissions"),
        (errno.EACCES, "Check that disk and its permissions"),
    ],
)
def test_errors_of_the_disk_are_sentences(number, advice):
    with pytest.raises(DiskError, match=f"The store could not be written .{os.strerror(number)}.; .*{advice}"):  # noqa: SIM117
        with explained("The store"):
            raise OSError(number, os.strerror(number))


def test_a_sentence_stays_as_it_is():
    with pytest.raises(StoreError, match=r"^said already$"), explained("The store"):
        raise StoreError("said already")
