"""The store: one writer, a record that is written last, and nothing left behind."""

import json
import subprocess
import sys

import numpy as np
import pytest
import zarr
from strategies import SOURCES, low_rank

import dnmf
from dnmf.checkpoint import Store
from dnmf.checkpoint.arrays import digest, gather
from dnmf.engine.factor import ArrayFactor
from dnmf.errors import DataError, StoreError
from dnmf.storage.durable import write_once


@pytest.fixture
def run(tmp_path):
    V = SOURCES["zarr"](low_rank(30, 200, 3), tmp_path)
    result = dnmf.factorize(V, 3, max_passes=7, tol=0, init="random", checkpoint_every=2, store=tmp_path / "run.zarr")
    return result, tmp_path / "run.zarr"


def test_a_finished_store_holds_the_factors_and_nothing_else(run):
    result, path = run
    assert sorted(entry.name for entry in path.iterdir()) == [".lock", "H", "W", "checkpoints", "commits", "zarr.json"]
    assert sorted(entry.name for entry in (path / "commits").iterdir()) == ["000006.json", "000007.json"]
    assert len(list((path / "checkpoints").iterdir())) == 2
    group = zarr.open_group(path, mode="r")
    np.testing.assert_array_equal(group["W"][...], result.W)
    np.testing.assert_array_equal(group["H"][...], result.H)


def test_records_are_strict_json_with_the_digests_of_the_chunks(run):
    result, path = run

    def refuse(name):
        raise AssertionError(name)

    record = json.loads((path / "commits" / "000007.json").read_text(), parse_constant=refuse)
    assert record["digests"]["W"] == [digest(result.W)]
    assert record["digests"]["H"] == [digest(np.asarray(result.H))]
    assert len(record["history"]) == 7
    assert record["verdict"]["converged"] is False


def test_what_was_never_committed_is_swept(run):
    _, path = run
    (path / "checkpoints" / "000009-abc").mkdir()
    (path / "commits" / ".000009.json-draft").write_text("{")
    Store.open(path, write=True).close()
    assert not (path / "checkpoints" / "000009-abc").exists()
    assert not (path / "commits" / ".000009.json-draft").exists()
    assert dnmf.load(path).passes == 7


def test_a_record_is_written_once(tmp_path):
    write_once(tmp_path / "record", b"first")
    with pytest.raises(FileExistsError):
        write_once(tmp_path / "record", b"second")
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("record", b"first")]


def test_a_second_run_on_a_store_is_refused_while_readers_are_not(run):
    _, path = run
    code = f"""
from dnmf.checkpoint import Store
store = Store.open({str(path)!r}, write=True)
print("held", flush=True)
input()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match="is in use by another run"):
            dnmf.resume(path)
        with pytest.raises(StoreError, match="is in use by another run"):
            dnmf.factorize(np.eye(4), 2, store=path, overwrite=True)
        assert dnmf.load(path).passes == 7
        other.communicate("\n")
    assert dnmf.resume(path).passes == 7


def test_a_store_that_exists_is_not_overwritten_unasked(run):
    _, path = run
    with pytest.raises(StoreError, match="already exists; resume it, choose another path, or pass overwrite=True"):
        dnmf.factorize(np.eye(4), 2, store=path)
    assert dnmf.factorize(np.eye(4), 2, store=path, overwrite=True, max_passes=3).W.shape == (4, 2)
    assert dnmf.load(path).W.shape == (4, 2)


def test_what_is_no_store_is_neither_overwritten_nor_opened(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear").write_text("me")
    with pytest.raises(StoreError, match="is not a store of dnmf, and is not overwritten"):
        dnmf.factorize(np.eye(4), 2, store=tmp_path / "letters", overwrite=True)
    with pytest.raises(StoreError, match="is not a store of dnmf; give the store of a run"):
        dnmf.load(tmp_path / "letters")
    with pytest.raises(StoreError, match="does not exist; give the store of a run"):
        dnmf.resume(tmp_path / "none.zarr")
    with pytest.raises(StoreError, match=r"is at no place that can be written to; give a path, or a URL of s3://, s3a"):
        dnmf.load("https://bucket/run.zarr")


def test_a_store_of_a_newer_format_is_refused(run):
    _, path = run
    header = json.loads((path / "zarr.json").read_text())
    header["attributes"]["dnmf"]["format"] = 4
    (path / "zarr.json").write_text(json.dumps(header))
    with pytest.raises(StoreError, match="has format version 4, and this dnmf knows versions up to 3; install a newer"):
        dnmf.load(path)


def test_a_run_that_goes_on_withdraws_its_finished_factors(run):
    _, path = run

    class Look(dnmf.Watcher):
        def passed(self, record):
            assert not (path / "W").exists()

    dnmf.resume(path, max_passes=9, watchers=[Look()])
    assert zarr.open_array(path / "W", mode="r").shape == (30, 3)


@pytest.mark.parametrize("bounds", [(0, 10), (0, 3, 10), (0, 1, 2, 9, 10), tuple(range(11))])
@pytest.mark.parametrize("width", [1, 3, 4, 10])
def test_chunks_are_gathered_from_any_blocks(bounds, width):
    H = np.arange(20.0).reshape(2, 10)
    parts = list(gather(ArrayFactor(H, bounds), bounds, width))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), H)
    assert [part.shape[1] for part in parts[:-1]] == [width] * (len(parts) - 1)


STORED = {
    "a run": lambda V, store: dnmf.factorize(V, 2, store=store, max_passes=2),
    "a run from given factors": lambda V, store: dnmf.factorize(
        V, 2, store=store, init=(np.ones((20, 2)), np.ones((2, 30))), max_passes=2
    ),
    "steps of a run": lambda V, store: list(dnmf.iterate(V, 2, store=store, max_passes=2)),
    "an estimator": lambda V, store: dnmf.NMF(2, store=store, max_iter=2, tol=0.5).fit(V),
    "a survey": lambda V, store: dnmf.select_rank(V, [2], n_runs=1, cv=0, store=store),
    "weights of a graph": lambda V, store: dnmf.select_graph_weight(
        V, 2, [0, 1], graph_H=dnmf.graphs.chain(30), store=store, max_passes=2
    ),
}


@pytest.mark.parametrize("compute", STORED.values(), ids=STORED)
def test_a_matrix_that_is_refused_leaves_no_store_behind(compute, tmp_path):
    V = np.random.default_rng(0).random((20, 30))
    bad = V.copy()
    bad[3, 28] = np.inf
    path = tmp_path / "run.zarr"
    with pytest.raises(DataError, match=r"\[3, 28\] is inf"):
        compute(bad, path)
    assert list(path.glob("[!.]*")) == []
    compute(V, path)
    assert (path / "zarr.json").exists()
