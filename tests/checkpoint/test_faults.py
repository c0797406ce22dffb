"""Reads and writes of a disk that fail: the same bits, or a sentence, and nothing that is whole is deleted."""

import errno
import fcntl
import io
import itertools
import os
import shutil
import warnings

import numpy as np
import pytest
import zarr
from runs import assert_same_bits, factors, interrupt_at, matrix

import dnmf
from dnmf.checkpoint import Store
from dnmf.errors import DnmfError, Interrupted, StoreError, StoreWarning
from dnmf.storage import durable, retries

V = matrix(24, 60)
OPTIONS = {"rank": 3, "max_passes": 6, "tol": 0, "checkpoint_every": 2, "init": "random"}


@pytest.fixture(scope="module")
def whole():
    return dnmf.factorize(V, **OPTIONS)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """Return the store of a run that was interrupted after its fourth pass, with the checkpoints of two."""
    store = tmp_path_factory.mktemp("origin") / "run.zarr"
    with pytest.raises(Interrupted):
        dnmf.factorize(V, store=store, **OPTIONS, **interrupt_at(4))
    return store


@pytest.fixture
def store(interrupted, tmp_path):
    return shutil.copytree(interrupted, tmp_path / "run.zarr")


class Failing:
    """Lets reads of files below a folder fail, from the k-th on, so many times; counts them."""

    def __init__(self, folder, number, first, times, wanted=""):
        self.folder, self.number, self.first, self.times, self.wanted = str(folder), number, first, times, wanted
        self.calls = 0

    def check(self, path):
        if isinstance(path, (str, os.PathLike)) and str(path).startswith(self.folder) and self.wanted in str(path):
            self.calls += 1
            if self.first <= self.calls < self.first + self.times:
                raise OSError(self.number, os.strerror(self.number), str(path))

    def __enter__(self):
        self.patch = pytest.MonkeyPatch()
        real_open, real_list, real_stat = io.open, os.listdir, os.stat

        def opened(file, mode="r", *given, **options):
            if "r" in mode:
                self.check(file)
            return real_open(file, mode, *given, **options)

        def listed(path="."):
            self.check(path)
            return real_list(path)

        def looked(path, **options):
            self.check(path)
            return real_stat(path, **options)

        for owner, name, made in ((io, "open", opened), (os, "listdir", listed), (os, "stat", looked)):
            self.patch.setattr(owner, name, made)
        return self

    def __exit__(self, *given):
        self.patch.undo()


def commits_of(store):
    return sorted(path.name for path in (store / "commits").iterdir())


def test_one_read_that_fails_changes_nothing(store, whole, tmp_path):
    """Whichever read it is of a run that is resumed and then loaded; one that belongs to a write may end the run."""
    same, said = 0, []
    for first in itertools.count(1, 4):
        copy = shutil.copytree(store, tmp_path / f"{first}.zarr")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Failing(copy, errno.EIO, first, 1) as failing:
                try:
                    assert_same_bits(dnmf.resume(copy, V), whole)
                    assert_same_bits(dnmf.load(copy), whole)
                    same += 1
                except DnmfError as error:
                    said.append(str(error))
            assert_same_bits(dnmf.resume(copy, V), whole)
        np.testing.assert_array_equal(zarr.open_array(copy / "W", mode="r")[...], whole.W)
        if failing.calls < first:
            break
    assert same > 2 * len(said) > 0
    assert all("Input/output error" in text for text in said)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.ESTALE], ids=["EACCES", "EMFILE", "ESTALE"])
def test_reads_that_go_on_failing_end_in_a_sentence_and_delete_nothing(number, store, whole, tmp_path):
    said = []
    for first in itertools.count(1, 16):
        copy = shutil.copytree(store, tmp_path / f"{first}.zarr")
        before = commits_of(copy)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Failing(copy, number, first, 10**9) as failing:
                try:
                    result = dnmf.resume(copy, V)
                    assert_same_bits(result, whole)
                except DnmfError as error:
                    said.append(str(error))
            if failing.calls < first:
                break
            assert max(commits_of(copy)) >= max(before)
            assert_same_bits(dnmf.resume(copy, V), whole)
    assert len(said) > 3
    assert all(os.strerror(number) in text for text in said)


@pytest.mark.parametrize("use", [dnmf.load, lambda store: dnmf.export(store, store.parent / "tables")])
def test_readers_delete_nothing_and_take_no_older_checkpoint_where_a_read_fails(use, store):
    files = sorted(map(str, store.rglob("*")))
    with (
        Failing(store, errno.EIO, 1, 10**9, wanted="000004.json"),
        pytest.raises(StoreError, match=r"Input/output error.*Check that disk and its permissions, and try again"),
    ):
        use(store)
    assert sorted(map(str, store.rglob("*"))) == files
    assert dnmf.load(store).passes == 4


def test_what_a_run_returns_and_publishes_is_the_checkpoint_it_wrote_and_not_one_it_reads(tmp_path, whole):
    store = tmp_path / "run.zarr"
    with Failing(store, errno.EIO, 1, 10**9, wanted="commits/0"):
        result = dnmf.factorize(V, store=store, **OPTIONS)
        assert_same_bits(result, whole)
    for name, factor in zip("WH", factors(whole), strict=True):
        np.testing.assert_array_equal(zarr.open_array(store / name, mode="r")[...], factor)


def test_reads_are_tried_again_after_a_while_and_not_for_ever(store, waits):
    with Failing(store, errno.EIO, 1, 10**9, wanted="zarr.json"), pytest.raises(StoreError, match="Input/output error"):
        dnmf.load(store)
    assert waits == list(retries.DELAYS)


def refusing(monkeypatch, owner, name, number):
    """Let a call of the system fail always."""

    def refuse(*given, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(owner, name, refuse)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_a_file_system_without_hard_links_holds_the_same_store(number, whole, tmp_path, monkeypatch):
    refusing(monkeypatch, durable.os, "link", number)
    store = tmp_path / "run.zarr"
    with pytest.raises(Interrupted):
        dnmf.factorize(V, store=store, **OPTIONS, **interrupt_at(3))
    assert_same_bits(dnmf.resume(store, V), whole)
    assert_same_bits(dnmf.load(store), whole)
    assert not os.path.samefile(store / "W" / "zarr.json", next(store.glob("checkpoints/000006-*/W/zarr.json")))
    np.testing.assert_array_equal(zarr.open_array(store / "W", mode="r")[...], whole.W)
    with pytest.raises(FileExistsError):
        durable.write_once(store / "commits" / "000006.json", b"mine")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_has_one_writer_by_name(number, whole, tmp_path, monkeypatch):
    refusing(monkeypatch, fcntl, "flock", number)
    store = tmp_path / "run.zarr"
    steps = dnmf.iterate(V, store=store, **OPTIONS)
    for _ in range(3):
        next(steps)
    with pytest.raises(StoreError, match=r"is in use by another run, process \d+ of this machine"):
        dnmf.resume(store, V)
    steps.close()
    assert_same_bits(dnmf.resume(store, V), whole)
    steps = dnmf.iterate(V, store=store, overwrite=True, **OPTIONS)
    next(steps)
    with monkeypatch.context() as patch:
        patch.setattr("socket.gethostname", lambda: "elsewhere")
        other = Store.open(store, write=True)
    with pytest.raises(StoreError, match=r"Another run took over .* \(on elsewhere\)"):
        list(steps)
    other.close()


def test_a_lock_that_cannot_be_taken_for_another_reason_is_said_to_be_so(tmp_path, monkeypatch):
    refusing(monkeypatch, fcntl, "flock", errno.EIO)
    with pytest.raises(StoreError, match="Input/output error"):
        dnmf.factorize(V, store=tmp_path / "run.zarr", **OPTIONS)


@pytest.mark.parametrize("left", ["commits", "checkpoints", "W"])
def test_what_cannot_be_deleted_is_said_before_a_pass_is_made(left, tmp_path, monkeypatch):
    store = tmp_path / "run.zarr"
    dnmf.factorize(V, store=store, **OPTIONS)
    real = durable.remove_tree
    monkeypatch.setattr(durable, "remove_tree", lambda path: None if path.name == left else real(path))

    class Watch(dnmf.Watcher):
        def block_read(self, count):
            raise AssertionError("a pass was made")

    with pytest.raises(StoreError, match=rf"run\.zarr/{left} could not be deleted, and nothing new is begun"):
        dnmf.factorize(2 * V, store=store, overwrite=True, watchers=[Watch()], **OPTIONS)
    monkeypatch.undo()
    assert_same_bits(dnmf.factorize(2 * V, store=store, overwrite=True, **OPTIONS), dnmf.factorize(2 * V, **OPTIONS))


def test_a_record_that_has_the_name_of_another_pass_is_damaged(store):
    (store / "commits" / "000002.json").unlink()
    (store / "commits" / "000004.json").rename(store / "commits" / "000009.json")
    files = sorted(map(str, store.rglob("*")))
    for use in (dnmf.load, lambda path: dnmf.resume(path, V)):
        with pytest.warns(StoreWarning, match=r"000009\.json .* is damaged"), pytest.raises(StoreError):
            use(store)
    assert sorted(map(str, store.rglob("*"))) == files


def test_an_older_damaged_record_goes_when_the_run_goes_on(store, whole):
    (store / "commits" / "000002.json").write_text("{")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same_bits(dnmf.resume(store, V, keep_checkpoints=3), dnmf.factorize(V, **OPTIONS))
    assert len(list((store / "checkpoints").iterdir())) == len(commits_of(store)) == 2


def test_a_reader_whose_checkpoint_is_deleted_takes_the_newer_one(store, whole, monkeypatch):
    """The run goes on between the choice of a checkpoint and the read of its factors."""
    real, gone = Store.arrays, []

    def arrays(kept, commit):
        if not gone:
            gone.append(commit.passes)
            monkeypatch.setattr(Store, "arrays", real)
            dnmf.resume(store, V, keep_checkpoints=1)
        return real(kept, commit)

    monkeypatch.setattr(Store, "arrays", arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same_bits(dnmf.load(store), whole)
    assert gone == [4]


@pytest.mark.parametrize("command", ["export", "report"])
def test_a_command_whose_checkpoint_is_deleted_begins_again_with_the_newer_one(command, store, monkeypatch, tmp_path):
    real, gone = dnmf.Result.parts, []

    def parts(result, *given):
        if not gone:
            gone.append(result.passes)
            dnmf.resume(store, V, keep_checkpoints=1)
        return real(result, *given)

    monkeypatch.setattr(dnmf.Result, "parts", parts)
    if command == "export":
        dnmf.export(store, tmp_path / "tables")
        found = np.loadtxt(tmp_path / "tables" / "H.csv", delimiter=",", skiprows=1)[:, 1:]
        np.testing.assert_array_equal(found.astype(np.float32), np.asarray(dnmf.load(store).H).T)
    else:
        assert "6 passes" in dnmf.write_report(store, tmp_path / "page.html", residuals=False).read_text()
    assert gone == [4]
