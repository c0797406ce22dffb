"""A cluster whose matrix and store lie in an object store: the workers read and write there themselves."""

import os
import signal

import pytest
from distributed import Client, LocalCluster
from objects import BUCKET, Proxy, keys, reached_at, s3
from runs import assert_same_bits, interrupt_at, matrix, stored

import dnmf
from dnmf.conversion import convert
from dnmf.errors import DataError, Interrupted
from dnmf.run.watcher import Watcher

OPTIONS = {"rank": 3, "max_passes": 9, "checkpoint_every": 4, "tol": 0}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Yield the address of S3 with a matrix in it, and the run that is expected of it."""
    path = stored(tmp_path_factory.mktemp("V") / "V.zarr", matrix(24, 800), (24, 20))
    with s3() as address:
        convert(path, f"s3://{BUCKET}/V.zarr", chunks=(24, 20))
        yield address, dnmf.factorize(path, client="threads", **OPTIONS)


@pytest.fixture
def doomed(place):
    """A client of two workers that reach S3 through a proxy with occasional failures."""
    with (
        Proxy(place[0], lambda number, method, path: "error" if number % 50 == 0 else None) as proxy,
        reached_at(proxy.address),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit="2GiB") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def test_workers_read_and_write_an_object_store_and_may_be_killed(doomed, place):
    class Kill(Watcher):
        def passed(self, record):
            if record.passes == 3:
                os.kill(next(iter(doomed.run(os.getpid).values())), signal.SIGKILL)

    store = f"s3://{BUCKET}/run.zarr"
    with pytest.raises(Interrupted):
        dnmf.factorize(f"s3://{BUCKET}/V.zarr", store=store, client=doomed, **OPTIONS, **interrupt_at(2))
    assert_same_bits(dnmf.resume(store, client=doomed, watchers=[Kill()]), place[1])
    assert_same_bits(dnmf.load(store), place[1])
    assert [key for key in keys("run.zarr/H") if key.endswith("c/0/0")]


def test_a_matrix_that_only_this_process_can_reach_is_found_out(place):
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.run(lambda: os.environ.update(AWS_ENDPOINT_URL="http://127.0.0.1:9"))
        with pytest.raises(DataError, match=rf"does not see V at s3://{BUCKET}/V.zarr.*URL of an object store"):
            dnmf.factorize(f"s3://{BUCKET}/V.zarr", 3, client=client)
