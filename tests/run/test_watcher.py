"""Watchers receive the events of a run in order, and can end it."""

import dataclasses
import threading

import numpy as np
import pytest
from runs import Told, assert_same_bits, interrupt_at, matrix, stored

import dnmf
from dnmf.errors import Interrupted, StoreError
from dnmf.run.watcher import Watcher
from dnmf.solvers.history import Record


def test_a_record_is_frozen_and_has_these_fields():
    names = [field.name for field in dataclasses.fields(Record)]
    assert names == ["passes", "loss", "relative_error", "optimality", "seconds", "bytes_read", "solver"]
    record = Record(1, 2.0, None, 0.5, 0.1, 100, "mu")
    assert list(record.to_dict()) == names
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.loss = 0
    with pytest.raises((AttributeError, TypeError)):
        record.other = 0


def test_a_watcher_need_not_watch_everything():
    dnmf.factorize(matrix(), 4, max_passes=2, watchers=[Watcher(), Watcher()])


@pytest.mark.parametrize(("init", "before"), [("random", 0), ("nndsvda", 1)])
def test_every_block_of_every_pass_is_reported_once(init, before, tmp_path):
    watcher = Told()
    V = stored(tmp_path / "V.zarr", matrix(), (24, 7))
    result = dnmf.factorize(V, 4, init=init, max_passes=before + 2, tol=0, watchers=[watcher])
    assert len(watcher.blocks) == (before + 2) * 9
    assert sum(watcher.blocks) == result.history[-1].bytes_read == (before + 2) * matrix().nbytes
    assert [record.bytes_read for record in result.history] == [(before + k) * matrix().nbytes for k in (1, 2)]
    assert watcher.plan.bytes_per_pass == matrix().nbytes


@pytest.mark.parametrize("init", ["random", "nndsvda", "given"])
def test_a_run_is_announced_first(init, tmp_path):
    events = []

    class Diary(Watcher):
        def started(self, plan, passes, max_passes):
            events.append("started")

        def block_read(self, count):
            events.append("block")

        def saved(self, passes, store):
            events.append("saved")

    start = (np.ones((24, 4)), np.ones((4, 60))) if init == "given" else init
    dnmf.factorize(matrix(), 4, init=start, max_passes=4, store=tmp_path / "run.zarr", watchers=[Diary()])
    assert events[0] == "started"
    assert events.count("started") == 1


def test_all_watchers_hear_the_same():
    one, other = Told(), Told()
    result = dnmf.factorize(matrix(), 4, init="random", max_passes=3, tol=0, watchers=[one, other])
    assert one.calls == other.calls
    assert one.calls == [("started", 0, 3), ("passed", 1), ("passed", 2), ("passed", 3), ("stopped", False)]
    assert result.passes == 3


def test_the_record_of_a_pass_is_that_of_the_history():
    records = []

    class Keep(Watcher):
        def passed(self, record):
            records.append(record)

    result = dnmf.factorize(matrix(), 4, max_passes=4, tol=0, watchers=[Keep()])
    assert tuple(records) == result.history


def test_a_checkpoint_is_reported_once_after_it_is_written(tmp_path):
    store, seen = tmp_path / "run.zarr", []

    class Look(Watcher):
        def saved(self, passes, place):
            assert place == str(store)
            seen.append((passes, dnmf.load(place).passes))

    watchers = interrupt_at(4)
    watchers["watchers"].append(Look())
    with pytest.raises(Interrupted):
        dnmf.factorize(matrix(), 4, init="random", tol=0, checkpoint_every=2, store=store, **watchers)
    assert seen == [(2, 2), (4, 4)]


def test_a_run_that_is_cancelled_before_it_begins_makes_no_pass():
    cancel, watcher = threading.Event(), Told()
    cancel.set()
    with pytest.raises(Interrupted, match="was asked to stop"):
        dnmf.factorize(matrix(), 4, init="random", watchers=[watcher], cancel=cancel)
    assert watcher.blocks == []
    assert watcher.calls == [("started", 0, 100)]


def test_a_run_is_cancelled_between_two_blocks(tmp_path):
    """Not between two passes: a pass may take an hour."""
    cancel = threading.Event()

    class Cancel(Told):
        def block_read(self, count):
            super().block_read(count)
            if len(self.blocks) == 12:
                cancel.set()

    watcher, V, store = Cancel(), stored(tmp_path / "V.zarr", matrix(), (24, 7)), tmp_path / "run.zarr"
    options = {"tol": 0, "max_passes": 3, "threads": 1, "init": "random"}
    with pytest.raises(Interrupted):
        dnmf.factorize(V, 4, watchers=[watcher], cancel=cancel, store=store, **options)
    assert len(watcher.blocks) == 12
    assert watcher.calls == [("started", 0, 3), ("passed", 1), ("saved", 1)]
    assert_same_bits(dnmf.resume(store), dnmf.factorize(V, 4, **options))


@pytest.mark.parametrize("method", ["started", "block_read", "passed", "saved", "stopped"])
def test_a_watcher_that_fails_ends_the_run_and_frees_the_store(method, tmp_path):
    def fail(self, *given):
        raise RuntimeError("enough")

    V, store, options = (
        matrix(),
        tmp_path / "run.zarr",
        {"max_passes": 4, "tol": 0, "checkpoint_every": 2, "init": "random"},
    )
    with pytest.raises(RuntimeError, match="enough"):
        dnmf.factorize(V, 4, store=store, watchers=[type("Fail", (Watcher,), {method: fail})()], **options)
    assert_same_bits(dnmf.resume(store, V), dnmf.factorize(V, 4, **options))


def test_a_run_that_is_left_frees_its_store(tmp_path):
    V, store = matrix(), tmp_path / "run.zarr"
    run = dnmf.iterate(V, 4, init="random", tol=0, store=store, checkpoint_every=2)
    for _ in range(5):
        next(run)
    with pytest.raises(StoreError, match="in use by another run"):
        dnmf.resume(store, V)
    assert dnmf.load(store).passes == 4
    run.close()
    assert dnmf.resume(store, V, max_passes=6).passes == 6


def test_iterate_ends_where_factorize_does():
    results = list(dnmf.iterate(matrix(), 4, init="random", max_passes=4, tol=0))
    assert [result.passes for result in results] == [1, 2, 3, 4]
    assert_same_bits(results[-1], dnmf.factorize(matrix(), 4, init="random", max_passes=4, tol=0))
    assert [len(result.history) for result in results] == [1, 2, 3, 4]
