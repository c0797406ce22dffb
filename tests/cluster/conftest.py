"""Clusters of real processes, which die when their test ends."""

import subprocess
import sys

import dask
import pytest
from distributed import Client, LocalCluster


@pytest.fixture(scope="session")
def cluster():
    """Two worker processes of one thread each, for tests that do not change them."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit="2GiB") as made:
        yield made


@pytest.fixture
def client(cluster):
    """A client that is not the current one."""
    with Client(cluster, set_as_default=False) as made:
        yield made


@pytest.fixture
def doomed():
    """A cluster of two processes that a test may kill; its nannies start new ones."""
    patient = {"distributed.comm.timeouts.connect": "60s", "distributed.scheduler.allowed-failures": 10}
    with (
        dask.config.set(patient),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit="2GiB") as made,
        Client(made, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def apart(tmp_path):
    """Start schedulers and workers as processes of their own, as `dask scheduler` does, and end them with the test."""
    started = []

    def start(*command):
        with open(tmp_path / f"log-{len(started)}", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "distributed.cli." + command[0], *command[1:]], stderr=log
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
    for process in started:
        process.wait()
