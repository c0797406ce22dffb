"""Stores that no dnmf wrote: whatever is in them, opening one ends in a sentence and touches nothing else."""

import dataclasses
import json
import pickle

import numpy as np
import pytest
from click.testing import CliRunner
from runs import change_header, matrix

import dnmf
from dnmf.checkpoint import Store
from dnmf.checkpoint import commit as commits
from dnmf.checkpoint import header as headers
from dnmf.checkpoint import names as stored_names
from dnmf.checkpoint.commit import Commit
from dnmf.cli.app import main
from dnmf.errors import DnmfError, StoreError, StoreWarning
from dnmf.solvers.history import Record

V = matrix(24, 60)
PASS = Record(1, 1.0, 0.5, 0.1, 1.0, 100, "hals").to_dict()


@pytest.fixture
def store(tmp_path):
    dnmf.factorize(V, 3, init="random", max_passes=4, tol=0, store=tmp_path / "run.zarr")
    return tmp_path / "run.zarr"


def change_commit(store, **changes):
    """Change the record of the newest checkpoint, and seal it again as anybody can."""
    path = store / "commits" / "000004.json"
    read = json.loads(path.read_bytes()) | changes
    del read["seal"]
    path.write_text(json.dumps(read | {"seal": commits.seal_of(read)}))


def group(store):
    return store / json.loads((store / "commits" / "000004.json").read_bytes())["group"]


def change_array(store, name, **changes):
    path = group(store) / name / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))


HEADERS = {
    "bounds that are no list": {"bounds": "0, 60"},
    "bounds that are no numbers": {"bounds": [0, "60"]},
    "bounds that go back": {"bounds": [0, 40, 20, 60]},
    "bounds that end elsewhere": {"bounds": [0, 10**15]},
    "a shape that is none": {"fingerprint": {"shape": [24]}},
    "a shape below zero": {"fingerprint": {"shape": [24, -60]}},
    "no fingerprint": {"fingerprint": None},
    "a location that is no text": {"location": {"$ref": "file:///etc/passwd"}},
    "transposed by a word": {"transposed": "yes"},
    "an option that is unknown": {"settings": {"rank": 3, "exec": "rm"}},
    "a rank that is huge": {"settings": {"rank": 10**30}},
    "settings that are a list": {"settings": [3]},
    "no location": {"location": ...},
    "a location with a NUL": {"location": "V\0.zarr"},
    "a location without end": {"location": "V" * 10**5},
    "weights that are a number": {"weights": 5},
    "weights at no place": {"weights": {"place": "M.npy"}},
    "weights at a number": {"weights": {"location": 5}},
    "given by a number": {"given": 1},
    "no given": {"given": ...},
    "sweeps without end": {"settings": {"rank": 3, "sweeps": 10**9}},
    "runs without end": {"settings": {"rank": 3, "n_runs": 10**12}},
    "a penalty beyond floats": {"settings": {"rank": 3, "l1_W": 10**400}},
    "a penalty of too many components": {"settings": {"rank": 3, "l1_W": [1.0] * 4}},
    "a graph without a digest": {"coupled": {"graph_H": {"location": None}}},
    "a graph at a number": {"coupled": {"graph_H": {"location": 5, "digest": "0"}}},
    "a graph of an unknown name": {"coupled": {"graph_X": {"location": None, "digest": "0"}}},
    "a fingerprint of lists": {"fingerprint": {"shape": [24, 60], "dtype": ["<f4"]}},
    "bounds of truths": {"bounds": [False, True, 60]},
    "a preparation that is a text": {"prepared": "idf"},
    "format 0": {"format": 0},
    "a format that is a truth": {"format": True},
    "a format that is a text": {"format": "2"},
}


@pytest.mark.parametrize("changes", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("use", [dnmf.load, lambda store: dnmf.resume(store, V)], ids=["load", "resume"])
def test_a_header_that_no_run_writes_is_refused(changes, use, store):
    change_header(store, **changes)
    with pytest.raises(StoreError, match=r"is not a store that dnmf wrote: .* in its zarr\.json\. Do not trust it"):
        use(store)


@pytest.mark.parametrize("changes", [{}, *HEADERS.values()], ids=["nothing", *HEADERS])
def test_a_header_without_a_digest_is_one_of_format_1_and_checked_like_others(changes, store):
    change_header(store, **{"format": 1} | changes)
    content = json.loads((store / "zarr.json").read_bytes())
    del content["attributes"]["dnmf"]["seal"]
    (store / "zarr.json").write_text(json.dumps(content))
    if changes:
        with pytest.raises(StoreError, match=r"is not a store that dnmf wrote"):
            dnmf.load(store)
        return
    assert dnmf.resume(store, V, max_passes=5).passes == 5
    header = json.loads((store / "zarr.json").read_bytes())["attributes"]["dnmf"]
    assert header["format"] == 2
    assert header.pop("seal") == commits.seal_of(header)


@pytest.mark.parametrize("name", ["wdights", "pprepared", "location_"])
def test_a_field_that_format_1_does_not_know_is_refused(name, store):
    """A bit may have changed in the name of another one, which a run cannot do without."""
    change_header(store, format=1, **{name: None})
    with pytest.raises(StoreError, match=rf"a field is {name!r} in its zarr\.json"):
        dnmf.load(store)


def test_any_bit_of_a_header_that_changes_is_noticed_or_says_the_same(store):
    path = store / "zarr.json"
    content, expected = path.read_bytes(), Store.open(store).header
    refused = 0
    for byte in range(len(content)):
        changed = bytearray(content)
        changed[byte] ^= 1 << byte % 8
        path.write_bytes(changed)
        try:
            assert Store.open(store).header == expected, byte
        except StoreError:
            refused += 1
    assert refused > 0.9 * len(content)


def test_what_moves_a_cursor_is_written_out_wherever_it_is_told(store, tmp_path):
    away = "\x1b[2J\x1b]0;mine\x07/V.zarr\x9b1m\u202e"
    change_header(store, location=away)
    ended = CliRunner().invoke(main, ["info", str(store)])
    resumed = CliRunner().invoke(main, ["resume", str(store)])
    written = ended.output + resumed.output
    assert written.count("\\x1b[2J\\x1b]0;mine\\x07/V.zarr\\x9b1m\\u202e") == 2
    assert not set("\x1b\x07\x9b\u202e") & set(written)
    with pytest.raises(StoreError) as caught:
        dnmf.resume(store)
    assert "\x1b" not in str(caught.value) + repr(str(caught.value))
    change_header(store, location=None)
    change_commit(store, verdict={"sentence": "\x1b[2J", "converged": True})
    refuse_the_checkpoint(store)


RECORDS = {
    "a loss that is no number": {"history": [{**PASS, "loss": "\x1b[2J"}]},
    "a loss that is infinite": {"history": [{**PASS, "loss": 1e999}]},
    "a solver of escapes": {"history": [{**PASS, "solver": "\x1b[2J"}]},
    "passes that are no whole number": {"history": [{**PASS, "passes": 1.5}]},
    "a verdict that is a list": {"verdict": ["sentence", "converged"]},
    "passes of another record": {"passes": 3},
    "a group elsewhere": {"group": "../../etc"},
    "a group that is a number": {"group": 7},
    "digests of other things": {"digests": {"../W": []}},
    "digests that are numbers": {"digests": {"W": [1], "H": [2]}},
    "no norms": {"state": {"loss": 1.0}},
    "norms that are words": {"state": {"norms": ["a"]}},
    "a history of nothing": {"history": [{}]},
    "a history of code": {"history": [{"__class__": "os.system"}]},
    "a verdict with more in it": {"verdict": {"sentence": "", "converged": True, "exec": ""}},
    "norms of other blocks": {"state": {"norms": [1.0] * 50}},
}


@pytest.mark.parametrize("changes", RECORDS.values(), ids=RECORDS)
def test_a_record_that_no_run_writes_is_damaged(changes, store):
    change_commit(store, **changes)
    refuse_the_checkpoint(store)


GUIDES = {
    "no guide beside its array": None,
    "a list": [1, 2],
    "a number too few": {"ahead": 3},
    "columns that do not add up": {"columns": 10**9},
    "columns that are no whole number": {"probes": 6.5},
    "columns below zero": {"ahead": -3},
    "a step that is a word": {"step": "far"},
    "nothing for a number": {"damping": None},
    "losses that are words": {"losses": ["low"]},
    "a loss without losses": {"losses": 1.0},
}


@pytest.mark.parametrize("changes", GUIDES.values(), ids=GUIDES)
def test_a_guide_that_no_run_writes_is_damaged(changes, store):
    state = json.loads((store / "commits" / "000004.json").read_bytes())["state"]
    whole = isinstance(changes, dict) and len(changes) == 1 and changes != {"ahead": 3}
    change_commit(store, state=state | {"guide": state["guide"] | changes if whole else changes})
    refuse_the_checkpoint(store)


@pytest.mark.parametrize("runs", [[2.0, None], ["low"], 2.0], ids=str)
def test_losses_of_runs_that_no_run_writes_are_damaged(runs, store):
    state = json.loads((store / "commits" / "000004.json").read_bytes())["state"]
    change_commit(store, state=state | {"runs": runs})
    refuse_the_checkpoint(store)


def refuse_the_checkpoint(store):
    with pytest.warns(StoreWarning, match=r"000004\.json in .* is damaged"), pytest.raises(StoreError) as caught:
        dnmf.load(store)
    assert "has no whole checkpoint yet" in str(caught.value)


ARRAYS = {
    "a huge shape": {"shape": [24, 10**12]},
    "huge chunks": {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**9, 10**9]}}},
    "another dtype": {"data_type": "int8"},
    "objects": {"data_type": {"name": "numpy.object", "configuration": {}}},
    "pickles": {"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]},
    "a group": {"node_type": "group"},
    "no codecs": {"codecs": None},
}


@pytest.mark.parametrize("name", ["W", "H", "guide"])
@pytest.mark.parametrize("changes", ARRAYS.values(), ids=ARRAYS)
def test_an_array_that_no_run_writes_is_not_opened(changes, name, store):
    change_array(store, name, **changes)
    refuse_the_checkpoint(store)


NAMES = {
    "a name too few": {"rows": [str(row) for row in range(23)]},
    "names that are numbers": {"columns": list(range(60))},
    "names that are lists": {"columns": [["a"]] * 60},
    "names that are one text": {"rows": "abcdefghijklmnopqrstuvwx"},
    "no columns": {"columns": ...},
}


@pytest.fixture
def named(tmp_path):
    dnmf.factorize(V, 3, max_passes=2, tol=0, store=tmp_path / "named.zarr", row_names=range(24))
    return tmp_path / "named.zarr"


def taken_without_names(store):
    for use in (dnmf.load, lambda store: dnmf.resume(store, V)):
        with pytest.warns(StoreWarning, match=r"names\.json in .* is damaged .*; the factors are taken without names"):
            assert not use(store).names


@pytest.mark.parametrize("changes", NAMES.values(), ids=NAMES)
def test_names_that_no_run_writes_are_told_and_left(changes, named):
    content = commits.unsealed((named / "names.json").read_bytes()) | changes
    (named / "names.json").write_bytes(commits.sealed({k: v for k, v in content.items() if v is not ...}))
    taken_without_names(named)


@pytest.mark.parametrize("content", ["[" * 10**5, "null", "[]", '{"rows": null}', "\0\1", '{"seal": null}', ""])
def test_names_that_are_no_json_of_a_run_are_told_and_left(content, named):
    (named / "names.json").write_text(content)
    taken_without_names(named)


def test_names_of_which_a_letter_has_changed_are_told_and_left(named):
    content = (named / "names.json").read_bytes()
    (named / "names.json").write_bytes(content.replace(b'"17"', b'"18"'))
    taken_without_names(named)


def test_names_that_are_too_long_are_neither_written_nor_read(tmp_path, monkeypatch):
    store = tmp_path / "run.zarr"
    names = [str(row) * 1000 for row in range(24)]
    dnmf.factorize(V, 3, max_passes=2, store=store, row_names=names)
    size = (store / "names.json").stat().st_size
    monkeypatch.setattr(headers, "MOST_BYTES", size - 1)
    with pytest.warns(StoreWarning, match=rf"names.json has {size} bytes"):
        assert not dnmf.load(store).names
    monkeypatch.setattr(stored_names, "MOST_BYTES", size - 1)
    with pytest.warns(StoreWarning, match=rf"take {size} bytes, and a store keeps up to {size - 1}: .* keeps none"):
        result = dnmf.factorize(V, 3, max_passes=2, store=store, overwrite=True, row_names=names)
    assert result.names.rows[1] == "1" * 1000
    assert not dnmf.load(store).names


def test_a_folder_in_the_place_of_names_is_told_and_left(named):
    (named / "names.json").unlink()
    (named / "names.json").mkdir()
    taken_without_names(named)


def test_a_pickle_in_the_place_of_numbers_is_not_unpickled(store, tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "sprung").touch, ()

    chunk = group(store) / "W" / "c" / "0" / "0"
    size = chunk.stat().st_size
    chunk.write_bytes(pickle.dumps(Trap()).ljust(size, b"\0"))
    refuse_the_checkpoint(store)
    assert not (tmp_path / "sprung").exists()


def test_factors_that_are_said_to_be_huge_take_no_memory(store):
    """All that is said agrees: header, record and arrays. Only the chunks are not there."""
    huge = 10**12
    fingerprint = json.loads((store / "zarr.json").read_bytes())["attributes"]["dnmf"]["fingerprint"]
    change_header(store, fingerprint=fingerprint | {"shape": [24, huge]}, bounds=[0, huge])
    grid = {"name": "regular", "configuration": {"chunk_shape": [3, huge]}}
    change_array(store, "H", shape=[3, huge], chunk_grid=grid)
    with pytest.warns(StoreWarning, match=r"chunk 0 of H \(of another length\)"), pytest.raises(StoreError):
        dnmf.load(store)


@pytest.mark.parametrize("place", ["commits", "checkpoints", "scratch", "checkpoints/000009-abc", "W/c/0/1"])
def test_a_link_out_of_a_store_is_not_followed(place, store, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "000001.json").write_text("mine")
    path = store / place
    if path.is_dir():
        path.rename(tmp_path / "kept")
    path.symlink_to(outside)
    for use in (dnmf.load, lambda store: dnmf.resume(store, V, max_passes=6)):
        with pytest.raises(StoreError, match=rf"holds the link {place}, and dnmf makes none; do not trust it"):
            use(store)
    assert (outside / "000001.json").read_text() == "mine"


def test_a_file_of_json_that_is_too_long_is_not_read(tmp_path, monkeypatch):
    store = tmp_path / "run.zarr"
    dnmf.factorize(V, 3, max_passes=4, tol=0, init="random", store=store)  # a checkpoint with four records
    assert (store / "zarr.json").stat().st_size < (store / "commits" / "000004.json").stat().st_size
    monkeypatch.setattr(headers, "MOST_BYTES", (store / "zarr.json").stat().st_size)
    refuse_the_checkpoint(store)
    monkeypatch.setattr(headers, "MOST_BYTES", 100)
    with pytest.raises(StoreError, match="is not a store of dnmf"):
        dnmf.load(store)


@pytest.mark.parametrize("content", ["[" * 10**5, "{" * 10, "null", "[]", '{"attributes": []}', "\0\1", "é" * 7])
def test_json_that_is_none_is_no_store(content, store):
    (store / "zarr.json").write_text(content)
    with pytest.raises(StoreError, match="is not a store of dnmf"):
        dnmf.load(store)
    (store / "commits" / "000004.json").write_text(content)
    with pytest.raises(DnmfError):
        dnmf.resume(store, V)


def test_a_record_is_the_same_when_it_is_read():
    one = Commit(3, "checkpoints/000003-0123456789ab", {"W": ["a"], "H": []}, {"norms": [1.0], "loss": 2.0}, [], None)
    assert Commit.from_bytes(one.to_bytes()) == one
    assert dataclasses.replace(one, group="checkpoints/000003-0123456789ab/..").group not in str(one.to_bytes())
    for wrong in ({"group": "checkpoints/000003-0123456789ab/.."}, {"passes": "3"}, {"state": {"norms": None}}):
        with pytest.raises((ValueError, TypeError)):
            Commit.from_bytes(dataclasses.replace(one, **wrong).to_bytes())


def test_a_link_to_a_store_is_followed(store, tmp_path):
    (tmp_path / "shortcut").symlink_to(store)
    np.testing.assert_array_equal(dnmf.load(tmp_path / "shortcut").W, dnmf.load(store).W)
