"""Clusters that lose all their workers: a warning, and new workers for those that dnmf started."""

import threading

import dask
import pytest
from distributed import Client, LocalCluster
from runs import assert_same_bits, matrix, stored

import dnmf
from dnmf.engine.cluster import launch, worker_group, workers
from dnmf.errors import ClusterWarning, Interrupted
from dnmf.run.watcher import Watcher

OPTIONS = {"rank": 3, "max_passes": 6, "checkpoint_every": 2, "tol": 0}
FORM = {
    "cluster": "distributed.LocalCluster",
    "arguments": {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"},
}


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Let Dask give up a lost worker at once, and dnmf warn after a moment."""
    monkeypatch.setattr(workers, "ALONE_S", 0.2)
    monkeypatch.setattr(workers, "CHECK_S", 0.05)
    monkeypatch.setattr(workers, "STOP_TIMEOUT_S", 0.2)
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "10ms"}):
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("V") / "V.zarr", matrix(24, 200), (24, 20))


class Losing(Watcher):
    """Closes all workers of a cluster after some passes, and records the reported numbers of workers."""

    def __init__(self, cluster, *passes):
        self.cluster, self.passes, self.counts = cluster, set(passes), []

    def workers(self, count, link):
        self.counts.append(count)

    def passed(self, record):
        if record.passes in self.passes:
            self.passes.remove(record.passes)
            self.lose()

    def lose(self):
        self.cluster.sync(self._close)

    async def _close(self):
        for worker in list(self.cluster.workers.values()):
            await worker.close()


@pytest.mark.parametrize("keeps", [True, False], ids=["with a store", "without one"])
def test_a_cluster_of_our_own_gets_new_workers_each_time(keeps, path, tmp_path):
    expected = dnmf.factorize(path, client="threads", **OPTIONS)
    with launch.made(FORM) as cluster:
        fault = Losing(cluster, 3, 5)
        with pytest.warns(ClusterWarning, match=r"no worker for 0\.2 seconds.*Its 1 workers are started again"):
            found = dnmf.factorize(
                path, client=cluster, watchers=[fault], store=tmp_path / "s" if keeps else None, **OPTIONS
            )
        assert_same_bits(found, expected)
        assert fault.counts == [1, 0, 1, 0, 1]


def test_how_often_workers_are_started_again_is_bounded(path, tmp_path, monkeypatch):
    asked, cancel = [], threading.Event()
    monkeypatch.setattr(workers, "ALONE_S", 0.0)
    monkeypatch.setattr(workers, "start_again", lambda cluster: asked.append(cluster) or 1)

    class Look(workers.Workers):
        def slots(self, *given):
            if self._restarts == workers.RESTARTS + 3:
                cancel.set()
            return super().slots(*given)

    monkeypatch.setattr(worker_group, "Workers", Look)
    with launch.made(FORM) as cluster:
        given = {"watchers": [Losing(cluster, 3)], "cancel": cancel, "store": tmp_path / "s"}
        with pytest.warns(ClusterWarning), pytest.raises(Interrupted):
            dnmf.factorize(path, client=cluster, **given, **OPTIONS)
    assert asked == [cluster] * workers.RESTARTS
    assert_same_bits(dnmf.resume(tmp_path / "s"), dnmf.factorize(path, client="threads", **OPTIONS))


def test_a_cluster_of_somebody_else_is_left_to_them(path, tmp_path, monkeypatch):
    """The warning advises to interrupt the run and resume it."""
    cancel, warn = threading.Event(), workers.warn
    options = {**OPTIONS, "solver": "hals", "init": "random", "extrapolate": False}  # every pass is accepted

    def heard(*given):
        cancel.set()
        warn(*given)

    monkeypatch.setattr(workers, "warn", heard)
    with LocalCluster(**FORM["arguments"]) as cluster, Client(cluster, set_as_default=False) as client:
        fault = Losing(cluster, 3)
        with (
            pytest.warns(ClusterWarning, match=f"Start workers for the scheduler at {cluster.scheduler_address}"),
            pytest.raises(Interrupted),
        ):
            dnmf.factorize(path, client=client, watchers=[fault], cancel=cancel, store=tmp_path / "s", **options)
    assert dnmf.load(tmp_path / "s").passes == 2  # H of the third pass went with the worker
    assert_same_bits(dnmf.resume(tmp_path / "s"), dnmf.factorize(path, client="threads", **options))


def test_a_cluster_without_workers_is_told_before_the_first_pass(path, monkeypatch):
    cancel, warn = threading.Event(), workers.warn

    def heard(*given):
        cancel.set()
        warn(*given)

    monkeypatch.setattr(workers, "warn", heard)
    with (
        LocalCluster(**{**FORM["arguments"], "n_workers": 0}) as cluster,
        pytest.warns(ClusterWarning, match="no worker"),
        pytest.raises(Interrupted),
    ):
        dnmf.factorize(path, client=cluster, cancel=cancel, **OPTIONS)
