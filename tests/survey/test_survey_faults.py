"""Surveys whose files are damaged, hostile, or cannot be read: a sentence, and readers delete nothing."""

import errno
import json
import os
import shutil
import warnings

import numpy as np
import pytest
from runs import matrix

import dnmf
from dnmf import select_rank
from dnmf.checkpoint.commit import seal_of
from dnmf.errors import DnmfError, StoreError, StoreWarning

V = matrix(24, 80)
OPTIONS = {"ranks": [2, 3], "n_runs": 2, "cv": 2}


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    store = tmp_path_factory.mktemp("survey") / "survey.zarr"
    select_rank(V, store=store, **OPTIONS)
    return store


@pytest.fixture
def store(origin, tmp_path):
    return shutil.copytree(origin, tmp_path / "survey.zarr")


@pytest.fixture(scope="module")
def table(origin):
    return figures(dnmf.load_survey(origin))


def figures(survey):
    """Return the results of a survey without its times."""
    return {name: column for name, column in survey.table().items() if name not in ("seconds", "passes")}


def files(store):
    return {str(path): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def renamed(content):
    for name, other in ((b"loss.npy", b"lors.npy"), (b"error.npy", b"errpr.npy"), (b"seed.npy", b"sefd.npy")):
        content = content.replace(name, other)
    return content


def with_entry(local, central, value):
    """Change a number in every header of the archive, whose places in the two kinds of headers are given."""

    def change(content):
        changed = bytearray(content)
        for mark, place in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
            found = content.find(mark)
            while found >= 0:
                changed[found + place] = value
                found = content.find(mark, found + 4)
        return bytes(changed)

    return change


DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:-30],
    "another name": renamed,
    "a version of the future": with_entry(4, 6, 109),
    "an unknown method": with_entry(8, 10, 99),
    "encrypted": with_entry(6, 8, 1),
    "no archive": lambda content: b"\x93NUMPY" + content[6:],
    "a header of code": lambda content: content.replace(b"'descr'", b"'desc(("),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", ["model-3-0", "held-2-1", "finished-2"])
def test_a_damaged_piece_is_refused_by_readers_and_computed_again_by_the_next_survey(name, damage, store, table):
    path = store / "pieces" / f"{name}.npz"
    path.write_bytes(damage(path.read_bytes()))
    before = files(store)
    with pytest.raises(
        StoreError, match=rf"{name}\.npz is damaged \(.*\)\. Repeat the survey with the same options and store"
    ):
        dnmf.load_survey(store)
    assert files(store) == before
    with pytest.warns(StoreWarning, match=rf"{name}\.npz is damaged"):
        assert figures(select_rank(V, store=store, **OPTIONS)) == table
    assert figures(dnmf.load_survey(store)) == table


@pytest.mark.parametrize("name", ["model-3-0", "held-2-1", "sketch"])
def test_any_byte_of_a_piece_that_changes_ends_in_a_sentence_or_changes_nothing(name, store, table):
    path = store / "pieces" / f"{name}.npz"
    content = path.read_bytes()
    for place in range(0, len(content), max(1, len(content) // 60)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            assert figures(dnmf.load_survey(store)) == table
        except StoreError as error:
            message = str(error)
            assert "is damaged" in message, place
    assert path.exists()


def test_a_folder_in_place_of_a_piece_is_reported_and_replaced(store, table):
    path = store / "pieces" / "held-2-0.npz"
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match=r"is damaged \(a folder\)"):
        dnmf.load_survey(store)
    with pytest.warns(StoreWarning, match="is damaged"):
        assert figures(select_rank(V, store=store, **OPTIONS)) == table


def change(store, **changes):
    """Change the header and seal it again, as anybody can."""
    content = json.loads((store / "zarr.json").read_bytes())
    header = content["attributes"]["dnmf_survey"] | changes
    del header["seal"]
    content["attributes"]["dnmf_survey"] = header | {"seal": seal_of(header)}
    (store / "zarr.json").write_text(json.dumps(content))


HEADERS = {
    "no ranks": {"ranks": []},
    "ranks that fall": {"ranks": [3, 2]},
    "a rank of nothing": {"ranks": [0, 3]},
    "a rank beyond V": {"ranks": [2, 25]},
    "ranks that are a text": {"ranks": "2:3"},
    "no runs": {"n_runs": 0},
    "runs without end": {"n_runs": 10**12},
    "folds without end": {"cv": 10**9},
    "one fold": {"cv": 1},
    "folds below zero": {"cv": -2},
    "a sample without end": {"sample": 10**12},
    "a scheme that is none": {"holdout": "\x1b[2J"},
    "settings of nothing": {"settings": {}},
    "a location that is a list": {"location": ["V"]},
    "a shape without end": {"fingerprint": {"shape": [24, 10**15]}},
}


@pytest.mark.parametrize("changes", HEADERS.values(), ids=HEADERS)
def test_a_header_that_no_survey_writes_is_refused(changes, store):
    change(store, **changes)
    with pytest.raises(StoreError, match=r"is not a survey that dnmf wrote: .* in its zarr\.json") as caught:
        dnmf.load_survey(store)
    assert "\x1b" not in str(caught.value)


def test_a_header_of_which_a_bit_has_changed_is_refused(store):
    path = store / "zarr.json"
    path.write_bytes(path.read_bytes().replace(b'"n_runs": 2', b'"n_runs": 3'))
    with pytest.raises(StoreError, match="there is the digest of other content"):
        dnmf.load_survey(store)


@pytest.mark.parametrize("content", ["[" * 10**5, "[]", "null", '{"passes": 1e999}', "", "\0"])
def test_what_was_spent_is_not_known_where_it_cannot_be_read(content, store):
    (store / "spent.json").write_text(content)
    assert dnmf.load_survey(store).passes == 0


def test_a_piece_that_is_missing_is_an_unfinished_survey(store):
    (store / "pieces" / "held-3-1.npz").unlink()
    with pytest.raises(StoreError, match="is not finished: fold 1 of rank 3 is missing"):
        dnmf.load_survey(store)


def failing(monkeypatch, wanted, times, number=errno.EIO):
    """Let reads of a file fail a number of times."""
    real, failed = os.open, []

    def opened(path, *given):
        if wanted in os.fspath(path) and len(failed) < times:
            failed.append(path)
            raise OSError(number, os.strerror(number), path)
        return real(path, *given)

    monkeypatch.setattr(os, "open", opened)
    return failed


@pytest.mark.parametrize("name", ["model-3-1", "held-2-0", "finished-3", "spent.json", "zarr.json"])
def test_a_read_that_fails_once_changes_nothing(name, store, table, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        failed = failing(monkeypatch, name, 1)
        assert figures(dnmf.load_survey(store)) == table
        assert len(failed) == 1
        failing(monkeypatch, name, 1)
        assert figures(select_rank(V, store=store, **OPTIONS)) == table


@pytest.mark.parametrize("name", ["model-3-1", "held-2-0", "finished-3", "sketch.npz", "fit-3-0"])
def test_reads_that_go_on_failing_end_in_a_sentence_and_delete_nothing(name, store, table, monkeypatch):
    before = files(store)
    with monkeypatch.context() as patch:
        failing(patch, name, 10**9)
        with pytest.raises(DnmfError, match="Input/output error"):
            select_rank(V, store=store, **OPTIONS)
    assert files(store).keys() == before.keys()
    assert figures(select_rank(V, store=store, **OPTIONS)) == table


def test_drafts_of_a_survey_that_was_killed_are_swept_by_the_next(store, table):
    drafts = [
        store / "pieces" / ".model-3-0.npz-0123456789abcdef0123456789abcdef",
        store / ".spent.json-0123456789abcdef0123456789abcdef",
        store / "best" / "rank-002.zarr" / ".W-0123456789abcdef0123456789abcdef",
    ]
    drafts[0].write_bytes(b"half")
    drafts[1].write_bytes(b"half")
    drafts[2].mkdir()
    (drafts[2] / "zarr.json").write_text("{}")
    (store / "pieces" / "finished-2.npz").unlink()
    assert figures(select_rank(V, store=store, **OPTIONS)) == table
    assert not [draft for draft in drafts if draft.exists()]


def test_models_of_a_damaged_store_are_the_same_when_they_are_made_again(store):
    before = np.asarray(dnmf.load_survey(store).best(3).W)
    shutil.rmtree(store / "best" / "rank-003.zarr")
    (store / "pieces" / "finished-3.npz").unlink()
    np.testing.assert_array_equal(select_rank(V, store=store, **OPTIONS).best(3).W, before)
