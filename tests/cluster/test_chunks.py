"""The writing of H by workers: after an interrupt, none of its tasks is running any more."""

import threading

import numpy as np
import pytest
from distributed import Client, LocalCluster

from dnmf.engine.cluster.distributed_factor import DistributedFactor
from dnmf.engine.cluster.workers import Workers
from dnmf.engine.factor import ArrayFactor
from dnmf.errors import ClusterError

BOUNDS, GROUPS, WIDTH = (0, 4, 8), (range(0, 1), range(1, 2)), 4
H = np.arange(16.0).reshape(2, 8)
begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()
# Seconds after which a test fails where it would wait for ever.
LONG_S = 60


def act(start, part):
    """Begin, and end when that may be."""
    begun.set()
    assert may_end.wait(LONG_S)
    ended.set()
    return float(part.sum())


@pytest.fixture
def workers():
    for event in (begun, may_end, ended):
        event.clear()
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield Workers(client)
        may_end.set()


def factor_on(workers):
    return DistributedFactor.of(workers, GROUPS, ArrayFactor(H, BOUNDS))


def test_chunks_that_are_being_written_end_before_an_interrupt_is_raised(workers, monkeypatch):
    cancel = workers.client.cancel

    def interrupted(futures):
        assert begun.wait(LONG_S)
        raise KeyboardInterrupt

    def cancelling(futures):
        cancel(futures)
        assert not ended.is_set()
        may_end.set()

    monkeypatch.setattr(workers, "gather", interrupted)
    monkeypatch.setattr(workers.client, "cancel", cancelling)
    with pytest.raises(KeyboardInterrupt):
        factor_on(workers).each_chunk(BOUNDS, WIDTH, act)
    assert ended.is_set()


def test_a_lost_scheduler_is_not_waited_for(workers, monkeypatch):
    def lost(futures):
        may_end.set()
        workers.client.close()
        raise OSError("lost")

    monkeypatch.setattr(workers, "gather", lost)
    with pytest.raises(ClusterError, match="The scheduler of the cluster was lost"):
        factor_on(workers).each_chunk(BOUNDS, WIDTH, act)


def test_chunks_are_written_once_where_all_goes_well(workers):
    may_end.set()
    assert factor_on(workers).each_chunk(BOUNDS, WIDTH, act) == [float(H[:, :4].sum()), float(H[:, 4:].sum())]
