"""Processes that die: the same bits nevertheless, or an error and a resume to the same bits."""

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, Event, LocalCluster
from runs import assert_same_bits, matrix, stored, until

import dnmf
from dnmf.engine.cluster.distributed_factor import DistributedFactor
from dnmf.engine.cluster.workers import Workers
from dnmf.engine.machine import multiplier
from dnmf.errors import ClusterError, ClusterWarning, Interrupted
from dnmf.run.watcher import Watcher

OPTIONS = {"rank": 3, "max_passes": 9, "checkpoint_every": 4, "tol": 0}


class Fault(Watcher):
    """Calls a function once: after a pass, or after a number of groups of the next one."""

    def __init__(self, act, passes, groups=0):
        self.act, self.passes, self.groups = act, passes, groups
        self.made, self.seen, self.done = 0, 0, False

    def passed(self, record):
        self.made, self.seen = record.passes, 0
        self._look()

    def block_read(self, count):
        self.seen += 1
        self._look()

    def _look(self):
        if not self.done and (self.made, self.seen) == (self.passes, self.groups):
            self.done = True
            self.act()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("V") / "V.zarr", matrix(24, 800), (24, 20))


@pytest.fixture(scope="module")
def expected(path):
    return dnmf.factorize(path, client="threads", **OPTIONS)


def pids(client):
    return list(client.run(os.getpid).values())


def kill(pid):
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("passes", "groups"), [(0, 3), (5, 0), (5, 4), (7, 15)], ids=str)
@pytest.mark.parametrize("keeps", [True, False], ids=["with a store", "without one"])
def test_a_worker_that_is_killed_costs_nothing_but_time(passes, groups, keeps, doomed, path, expected, tmp_path):
    fault = Fault(lambda: kill(pids(doomed)[0]), passes, groups)
    store = tmp_path / "store" if keeps else None
    assert_same_bits(dnmf.factorize(path, client=doomed, watchers=[fault], store=store, **OPTIONS), expected)
    assert fault.done


def test_a_worker_may_be_killed_at_a_checkpoint(doomed, path, expected, tmp_path, monkeypatch):
    each_chunk, victims = DistributedFactor.each_chunk, pids(doomed)[:1]

    def killing(factor, *given):
        if victims:
            kill(victims.pop())
        return each_chunk(factor, *given)

    monkeypatch.setattr(DistributedFactor, "each_chunk", killing)
    assert_same_bits(dnmf.factorize(path, client=doomed, store=tmp_path / "store", **OPTIONS), expected)
    assert not victims


def test_the_worker_that_holds_W_may_be_killed(doomed, path, expected, tmp_path):
    def kill_holder():
        held = {key: holders for key, holders in doomed.who_has().items() if str(key).startswith("hold-")}
        holder = next(holders[0] for holders in held.values() if holders)
        kill(doomed.run(os.getpid, workers=[holder])[holder])

    fault = Fault(kill_holder, 6, 2)
    assert_same_bits(
        dnmf.factorize(path, client=doomed, watchers=[fault], store=tmp_path / "store", **OPTIONS), expected
    )
    assert fault.done


def test_all_workers_may_be_killed_where_new_ones_come(doomed, path, expected, tmp_path):
    fault = Fault(lambda: [kill(pid) for pid in pids(doomed)], 6, 5)
    assert_same_bits(
        dnmf.factorize(path, client=doomed, watchers=[fault], store=tmp_path / "store", **OPTIONS), expected
    )
    assert fault.done


def test_workers_may_be_added_in_the_middle_of_a_pass(doomed, path, expected):
    counts = []
    fault = Fault(lambda: doomed.cluster.scale(4), 2, 3)
    fault.workers = lambda count, link: counts.append(count)
    grown = {**OPTIONS, "max_passes": 60}
    result = dnmf.factorize(path, client=doomed, watchers=[fault], **grown)
    assert_same_bits(result, dnmf.factorize(path, client="threads", **grown))
    doomed.wait_for_workers(4)
    assert counts[0] == 2


def test_an_adaptive_cluster_gives_the_same_bits(path, expected):
    with (
        LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        cluster.adapt(minimum=0, maximum=2, interval="100ms")
        assert_same_bits(dnmf.factorize(path, client=client, **OPTIONS), expected)


def test_a_slow_worker_changes_nothing(doomed, expected):
    slow = next(iter(doomed.run(os.getpid).values()))

    def chunk(block):
        if os.getpid() == slow:
            for _ in range(20):
                np.linalg.svd(np.ones((60, 60)))
        return block

    array = da.from_array(matrix(24, 800), chunks=(24, 20)).map_blocks(chunk, dtype=np.float32, meta=np.ones((1, 1)))
    assert_same_bits(dnmf.factorize(array, client=doomed, **OPTIONS), expected)


def test_the_loss_of_the_scheduler_ends_in_a_sentence_and_a_resume(apart, path, expected, tmp_path):
    file = tmp_path / "scheduler.json"
    scheduler = apart("dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    assert until(file.exists)
    apart("dask_worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard")
    fault = Fault(lambda: kill(scheduler.pid), 6, 3)
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "2s"}),
        Client(scheduler_file=str(file), set_as_default=False, timeout=30) as client,
        pytest.raises(ClusterError, match=r"scheduler of the cluster was lost.*resume the run from its store"),
    ):
        dnmf.factorize(path, client=client, watchers=[fault], store=tmp_path / "store", **OPTIONS)
    assert dnmf.load(tmp_path / "store").passes == 4
    assert_same_bits(dnmf.resume(tmp_path / "store", client="threads"), expected)


def test_a_block_that_kills_its_workers_is_named():
    def chunk(block, block_info):
        if block_info[0]["chunk-location"][1] == 17:
            kill(os.getpid())
        return block

    array = da.from_array(matrix(24, 800), chunks=(24, 20)).map_blocks(chunk, dtype=np.float32, meta=np.ones((1, 1)))
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", memory_limit="1GiB") as cluster,
        pytest.raises(ClusterError) as caught,
    ):
        dnmf.factorize(array, client=cluster, **OPTIONS)
    sentence = str(caught.value)
    assert "block 17 (columns 340 to 359) to block 19 (columns 380 to 399) of V ended 2 workers" in sentence
    assert "and has 1.07 GB; give the workers more memory or fewer threads" in sentence


def test_a_driver_that_is_killed_leaves_the_cluster_clean_and_the_run_to_be_resumed(doomed, path, expected, tmp_path):
    command = [sys.executable, "-m", "dnmf", "fit", path, "--rank", "3", "--max-passes", "9", "--tol", "0"]
    command += ["--checkpoint-every", "4", "--store", str(tmp_path / "store"), "--json"]
    command += ["--scheduler", doomed.cluster.scheduler_address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        while json.loads(driver.stdout.readline())["passes"] < 6:
            pass
        driver.kill()
    assert dnmf.load(tmp_path / "store").passes == 4
    assert_same_bits(dnmf.resume(tmp_path / "store", client=doomed), expected)
    assert until(lambda: not doomed.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))


@pytest.mark.parametrize("keeps", [True, False], ids=["with a store", "without one"])
def test_the_scheduler_knows_no_more_tasks_after_200_passes_than_after_20(keeps, client, path, tmp_path):
    known = []

    def count():
        return client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))

    class Counting(Watcher):
        def passed(self, record):
            if len(known) >= 20:  # a busy scheduler forgets the last tasks a little later
                until(lambda: count() <= max(known[:20]) + 5, seconds=5)
            known.append(count())

    store = tmp_path / "store" if keeps else None
    options = {"max_passes": 200, "tol": 0, "init": "random", "checkpoint_every": 5, "store": store}
    dnmf.factorize(matrix(24, 80), 3, client=client, watchers=[Counting()], **options)
    assert len(known) == 200
    assert max(known[20:]) <= max(known[:20]) + 5


def test_a_run_that_is_stopped_where_no_worker_is_left_ends_and_goes_on_from_the_checkpoint_before(
    path, expected, tmp_path, monkeypatch
):
    monkeypatch.setattr("dnmf.engine.cluster.workers.STOP_TIMEOUT_S", 1.0)
    cancel = threading.Event()
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", memory_limit="1GiB") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):

        def leave():
            cluster.scale(0)
            assert until(lambda: not client.nthreads())
            cancel.set()

        with pytest.raises(Interrupted):
            dnmf.factorize(
                path, client=client, watchers=[Fault(leave, 6)], cancel=cancel, store=tmp_path / "a", **OPTIONS
            )
    assert dnmf.load(tmp_path / "a").passes == 4
    assert_same_bits(dnmf.resume(tmp_path / "a", client="threads"), expected)


def hard_to_reach(monkeypatch, client, asking, times):
    """Let the first calls of a method of a client fail as if connecting to a worker took too long."""
    ask, left = (
        getattr(client, asking),
        [OSError("Timed out trying to connect to tls://10.0.0.9:1234 after 30 s")] * times,
    )

    def slow(*arguments, **options):
        if not left:
            return ask(*arguments, **options)
        if options.get("on_error") == "return":
            return dict.fromkeys(client.nthreads(), left.pop())
        raise left.pop()

    monkeypatch.setattr(client, asking, slow)


@pytest.mark.parametrize("asking", ["register_plugin", "run"])
def test_a_worker_that_answers_late_is_asked_again(asking, client, path, expected, monkeypatch):
    hard_to_reach(monkeypatch, client, asking, 2)
    assert_same_bits(dnmf.factorize(path, client=client, **OPTIONS), expected)


@pytest.mark.parametrize("asking", ["register_plugin", "run"])
def test_a_worker_that_cannot_be_reached_is_named_before_any_pass(asking, client, path, tmp_path, monkeypatch):
    hard_to_reach(monkeypatch, client, asking, 3)
    with pytest.raises(
        ClusterError, match=r"cannot be reached \(Timed out trying to connect to tls://10\.0\.0\.9:1234"
    ):
        dnmf.factorize(path, client=client, store=tmp_path / "run.zarr", **OPTIONS)


@pytest.mark.skipif("openblas" not in multiplier(), reason="needs OpenBLAS, which can be told its processor")
def test_workers_that_round_differently_are_told(apart, path, tmp_path, monkeypatch):
    file = tmp_path / "scheduler.json"
    apart("dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    assert until(file.exists)
    for processor in ("Haswell", "Nehalem"):
        monkeypatch.setenv("OPENBLAS_CORETYPE", processor)
        apart("dask_worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard")
    with Client(scheduler_file=str(file), set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        with pytest.warns(ClusterWarning, match="by openblas Haswell or by openblas Nehalem, which round differently"):
            dnmf.factorize(path, client=client, **OPTIONS)


def test_a_run_whose_sums_are_lost_on_their_way_can_be_stopped(client, path, tmp_path, monkeypatch):
    cancel, sync = threading.Event(), client.sync

    def lost_on_their_way(*arguments, **options):
        if arguments[0] != client._gather:  # the workers are counted from time to time
            return sync(*arguments, **options)
        cancel.set()
        monkeypatch.setattr(client, "sync", sync)
        raise TimeoutError

    fault = Fault(lambda: monkeypatch.setattr(client, "sync", lost_on_their_way), 5)
    with pytest.raises(Interrupted):
        dnmf.factorize(path, client=client, watchers=[fault], cancel=cancel, store=tmp_path / "a", **OPTIONS)
    assert dnmf.load(tmp_path / "a").passes == 5


def held_until_set(name):
    Event(name).wait()
    return name


def test_a_wait_for_results_that_is_given_up_leaves_no_exception_behind(client, monkeypatch, caplog):
    """Not even when its tasks are released: asyncio would log that nobody retrieved it."""
    monkeypatch.setattr("dnmf.engine.cluster.workers.CHECK_S", 0.01)
    name = "held until set"

    def give_up():
        raise Interrupted("The run was asked to stop.")

    results = client.map(held_until_set, [name, name], pure=False)
    with pytest.raises(Interrupted):
        Workers(client).bring(results, give_up)
    client.cancel(results)
    assert until(lambda: all(result.status == "cancelled" for result in results))
    Event(name, client=client).set()
    for _ in range(3):  # the turns of the loop that end all that waited for the results
        client.sync(asyncio.sleep, 0)
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def divided(one, two):
    return one / two


def test_the_error_of_a_task_is_raised_where_its_result_is_brought(client):
    workers = Workers(client)
    good, bad = client.submit(divided, 6, 3, pure=False), client.submit(divided, 1, 0, pure=False)
    assert workers.bring([good, good], workers.check) == [2.0, 2.0]
    for results in ([good, bad], [bad, good], [bad]):
        with pytest.raises(ZeroDivisionError):
            workers.bring(results, workers.check)
    late = client.submit(raise_timeout, pure=False)
    with pytest.raises(TimeoutError, match="of the task"):
        workers.bring([late], workers.check)


def raise_timeout():
    raise TimeoutError("of the task")
