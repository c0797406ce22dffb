"""A pass on a cluster: the bits of the threads for every kind of V, and an end when it is cancelled or fails."""

import dataclasses
import threading
from collections.abc import Callable
from importlib.metadata import version

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
import threadpoolctl
from distributed import Client, LocalCluster
from runs import PLAIN, Told, assert_same_bits, factors, interrupt_at, matrix, stored, until

import dnmf
import dnmf.engine.cluster.engine
import dnmf.engine.cluster.worker_group
import dnmf.engine.memory
import dnmf.run.home
import dnmf.solvers.iteration
import dnmf.solvers.sketch.basis
from dnmf.engine import ThreadEngine
from dnmf.engine.cluster.distributed_factor import DistributedFactor, task_input
from dnmf.engine.cluster.engine import ClusterEngine
from dnmf.engine.cluster.workers import Workers
from dnmf.engine.factor import ArrayFactor, MappedFactor, Rows
from dnmf.engine.memory import MANY_ROWS
from dnmf.errors import BudgetError, ClusterError, ClusterWarning, DataError, Interrupted, ReadError, SettingsError
from dnmf.kernels.blocks.panels import BadEntry
from dnmf.solvers.state import State
from dnmf.sources import open_matrix

V = matrix(24, 600)
SOURCES = {
    "array": lambda folder: V,
    "array by columns": lambda folder: np.asfortranarray(V),
    "tall array": lambda folder: V.T.copy(),
    "integers": lambda folder: matrix(24, 600, np.uint8),
    "CSC": lambda folder: sp.csc_array(V * (V > 3)),
    "CSR": lambda folder: sp.csr_array(V * (V > 3)),
    "Dask array": lambda folder: da.from_array(V, chunks=(24, 17)),
    "lazy Dask array": lambda folder: da.from_array(V, chunks=(10, 17)) + 1,
    "tall Dask array": lambda folder: da.from_array(V, chunks=(24, 17)).T,
    "sparse Dask array": lambda folder: da.from_array(V * (V > 3), chunks=(24, 17)).map_blocks(sp.csc_array),
    "Zarr": lambda folder: stored(folder / "V.zarr", V, (24, 17)),
    "compressed Zarr": lambda folder: stored(folder / "V.zarr", V, (11, 17)),
    ".npy": lambda folder: saved(folder / "V.npy"),
}


def saved(path):
    np.save(path, V)
    return path


@dataclasses.dataclass
class Order:
    """Sums that record the tree of their addition."""

    tree: object = None

    def add(self, other):
        return Order((self.tree, other.tree))


@dataclasses.dataclass
class Job:
    """The work of a pass that is one function of block and V."""

    function: Callable = lambda block, V: None

    def zero(self):
        return Order(())

    def visit(self, block, V, H, sums, scratch):
        sums.tree = (*sums.tree, block)
        self.function(block, V)


for kind in (Order, Job):  # the workers cannot import this file
    cloudpickle.register_pickle_by_value(__import__("sys").modules[kind.__module__])


def engine(client, blocks, groups, **options):
    workers = Workers(client, **options)
    return ClusterEngine(open_matrix(da.ones((2, 3 * blocks), chunks=(2, 3))), groups, 1, 10**6, workers)


@pytest.mark.parametrize("name", SOURCES)
def test_the_same_bits_as_on_threads(name, client, tmp_path):
    given = SOURCES[name](tmp_path)
    options = {"rank": 3, "max_passes": 5, "tol": 0}
    assert_same_bits(
        dnmf.factorize(given, client=client, **options), dnmf.factorize(given, client="threads", **options)
    )


def test_the_same_bits_where_the_threads_share_the_sums_of_many_rows(client, tmp_path, monkeypatch):
    monkeypatch.setattr(dnmf.engine.memory, "TASK_COLUMNS", 16)
    many = matrix(MANY_ROWS + 300, 48)
    given, options = stored(tmp_path / "V.zarr", many, (len(many), 8)), {"rank": 3, "max_passes": 3, "tol": 0}
    assert dnmf.plan(given, 3, client=client).shared
    assert_same_bits(
        dnmf.factorize(given, client=client, **options), dnmf.factorize(given, client="threads", **options)
    )


def test_the_same_bits_of_a_dask_array_that_the_cluster_holds(cluster):
    from distributed import Client

    with Client(cluster) as client:
        for lazy in (lambda array: array, lambda array: array + 1):
            held = lazy(da.from_array(V, chunks=(10, 17)).persist())
            result = dnmf.factorize(held, 3, max_passes=4)
            expected = dnmf.factorize(lazy(da.from_array(V, chunks=(10, 17))), 3, max_passes=4, client="threads")
            assert_same_bits(result, expected)
            assert_same_bits(dnmf.factorize(held, 3, max_passes=4, client="threads"), expected)
        assert client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) > 0


@pytest.mark.parametrize(
    "options",
    [
        {"init": "nndsvd"},
        {"init": "nndsvdar", "seed": 3},
        {"init": "spa"},
        {"volume_W": 0.1},
        {"init": (np.ones((24, 3)), np.ones((3, 600)))},
        {"solver": "mu", "l1_W": 0.1, "l2_H": 0.2},
        {"solver": "als"},
        {"loss": "kullback-leibler"},
    ],
    ids=str,
)
@pytest.mark.parametrize("tall", [False, True])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_the_same_bits_for_every_way_to_start_and_to_go_on(options, tall, client):
    array = da.from_array(V, chunks=(24, 17))
    if tall:
        array = array.T
        if isinstance(options.get("init"), tuple):
            options = {"init": (np.ones((600, 3)), np.ones((3, 24)))}
        if "volume_W" in options:
            options = {"volume_H": 0.1}
    options = {"rank": 3, "max_passes": 6, **options}
    assert_same_bits(
        dnmf.factorize(array, client=client, **options), dnmf.factorize(array, client="threads", **options)
    )


def test_the_same_bits_where_entries_are_missing_or_weighted(client, tmp_path):
    M = np.random.default_rng(0).random(V.shape) < 0.7
    paths = [stored(tmp_path / name, array, (24, 17)) for name, array in (("V", V), ("M", M.astype(np.float32)))]
    chunked = da.from_array(np.where(M, V, np.nan), chunks=(24, 17))
    persisted = client.persist(da.from_array(M.astype(np.float32), chunks=(24, 17)))
    for given, options in (
        (paths[0], {"weights": paths[1]}),
        (paths[0], {"weights": M, "loss": 0.5}),
        (chunked, {"missing": "nan", "solver": "mu"}),
        (da.from_array(V, chunks=(24, 17)) + 1, {"weights": persisted, "loss": 0, "fixed_W": np.ones((24, 1))}),
        (sp.csr_array((V + 1) * M).T, {"missing": "zeros", "loss": "kullback-leibler", "solver": "cd"}),
        (sp.csr_array((V + 1) * M), {"missing": "zeros", "fixed_W": np.ones((24, 1))}),
    ):
        options = {"rank": 3, "max_passes": 4, "tol": 0, **options}
        found = dnmf.factorize(given, client=client, **options)
        assert_same_bits(found, dnmf.factorize(given, client="threads", **options))


@pytest.mark.parametrize("tall", [False, True])
@pytest.mark.parametrize("sample", [10000, 90], ids=["sample is all", "sample is a part"])
def test_a_sketch_has_the_same_bits_and_is_resumed_to_them(sample, tall, client, tmp_path, monkeypatch):
    monkeypatch.setattr(dnmf.solvers.sketch.samples, "SAMPLE", sample)
    path = stored(tmp_path / "V.zarr", V.T.copy() if tall else V, (17, 24) if tall else (24, 17))
    options = {"rank": 4, "solver": "sketch", "max_passes": 8, "tol": 0, "checkpoint_every": 2}
    expected = dnmf.factorize(path, client="threads", **options)
    assert_same_bits(dnmf.factorize(path, client=client, **options), expected)
    with pytest.raises(Interrupted):
        dnmf.factorize(path, client=client, store=tmp_path / "a", **options, **interrupt_at(3))
    with pytest.raises(Interrupted):
        dnmf.resume(tmp_path / "a", client="threads", **interrupt_at(5))
    assert_same_bits(dnmf.resume(tmp_path / "a", client=client), expected)


@pytest.mark.parametrize("kept", [False, True])
def test_a_factor_that_stays_where_a_pass_is_refused_is_saved_again(kept, client, tmp_path, monkeypatch):
    monkeypatch.setattr(dnmf.solvers.iteration, "extrapolate", lambda new, *given: np.ones_like(new))
    path = stored(tmp_path / "V.zarr", V, (24, 17))
    options = {"rank": 3, "max_passes": 8, "tol": 0, "checkpoint_every": 1, "extrapolate": True, **PLAIN}
    expected = dnmf.factorize(path, client="threads", **options)
    store = {"store": tmp_path / "a", "keep_checkpoints": 1} if kept else {}
    found = dnmf.factorize(path, client=client, **store, **options)
    for one, other in zip(factors(found), factors(expected), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kept", [False, True])
def test_runs_are_halved_where_all_refuse_a_pass_after_a_checkpoint(kept, client, tmp_path, monkeypatch):
    accepts = State.accepts
    monkeypatch.setattr(State, "accepts", lambda state, step: state.passes != 3 and accepts(state, step))
    path = stored(tmp_path / "V.zarr", matrix(24, 600, np.uint8), (24, 17))
    options = {"loss": "kullback-leibler", "n_runs": 4, "max_passes": 6, "tol": 0, "checkpoint_every": 1}
    store = {"store": tmp_path / "a", "keep_checkpoints": 1} if kept else {}
    expected = dnmf.factorize(path, 3, client="threads", **options)
    found = dnmf.factorize(path, 3, client=client, **store, **options)
    assert_same_bits(found, expected)
    assert found.runs == expected.runs


@pytest.mark.parametrize("through", [lambda H: H, lambda H: MappedFactor(H, Rows(0, 3))])
def test_rows_of_a_settled_factor_are_read_from_storage(through):
    groups, H = [range(2), range(2, 3)], np.arange(30.0).reshape(3, 10)
    factor = DistributedFactor(None, groups)
    factor.settle(SharedArray(H, (0, 4, 8, 10)))
    found = task_input(None, groups, MappedFactor(through(factor), Rows(1, 3)))
    assert (found.make, found.given) == (None, [None, None])
    np.testing.assert_array_equal(found.H.read(1), H[1:, 4:8])


class SharedArray(ArrayFactor):
    """A factor that all workers can read."""

    shared = True


@pytest.mark.parametrize("groups", [1, 2, 7, 8, 9, 16, 17, 63, 64, 65])
def test_the_tree_of_sums_is_that_of_the_threads(groups, client):
    there, here = engine(client, 65, groups), ThreadEngine(open_matrix(da.ones((2, 195), chunks=(2, 3))), groups, 2)
    assert there.one_pass(Job()).tree == here.one_pass(Job()).tree


def test_every_group_is_told_once_and_no_more_than_a_window_is_under_way(client, monkeypatch):
    run, told, most = engine(client, 40, 20), [], []
    run.on_block = told.append
    submit = dnmf.engine.cluster.task_queue.TaskQueue._submit
    monkeypatch.setattr(
        dnmf.engine.cluster.task_queue.TaskQueue,
        "_submit",
        lambda tasks, index: (submit(tasks, index), most.append(len(tasks._running))),
    )
    run.one_pass(Job())
    assert sum(told) == 2 * 120 * 8
    assert len(told) == 20
    assert max(most) <= dnmf.engine.cluster.task_queue.AHEAD * 2


def test_a_cancelled_pass_ends(client):
    cancel = threading.Event()
    run = engine(client, 40, 40, cancelled=cancel)
    run.on_block = lambda count: cancel.set()
    with pytest.raises(Interrupted):
        run.one_pass(Job())
    with pytest.raises(Interrupted):
        run.one_pass(Job())


@pytest.mark.parametrize("error", [ValueError("odd"), KeyError(3), DataError("a sentence"), OSError("none")], ids=repr)
def test_an_error_in_a_block_is_raised_as_itself(error, client):
    def fail(block, V):
        if block == 7:
            raise error

    with pytest.raises(type(error)) as caught:
        engine(client, 10, 4).one_pass(Job(fail))
    assert caught.value.args == error.args


def test_of_several_bad_entries_the_first_is_named(client):
    def fail(block, V):
        if block in (13, 14, 38):
            raise BadEntry(-2.0, 1, 2)

    with pytest.raises(DataError, match=r"V\[1, 41\] is -2, which is negative"):
        engine(client, 40, 20).one_pass(Job(fail))


def threads_of_blas():
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


def test_products_have_one_thread_on_every_worker(client):
    Workers(client).prepare()
    pools = client.run(threads_of_blas)
    assert {count for counts in pools.values() for count in counts} == {1}


def test_products_have_one_thread_in_every_task_even_if_other_tasks_of_the_worker_have_changed_it(client):
    def look(block, V):
        assert set(threads_of_blas()) == {1}

    run = engine(client, 4, 4)
    run.workers.prepare()
    client.run(lambda: threadpoolctl.threadpool_limits(2, user_api="blas") and None)
    run.one_pass(Job(look))


def test_products_have_their_threads_again_when_workers_in_this_process_have_closed():
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        with (
            LocalCluster(n_workers=2, processes=False, dashboard_address=":0") as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            dnmf.factorize(V, 3, max_passes=3, client=client)
            assert set(threads_of_blas()) == {1}
        assert set(threads_of_blas()) == {2}


def test_a_run_leaves_nothing_on_the_cluster(client):
    dnmf.factorize(V, 3, max_passes=3, client=client)
    assert until(lambda: not wanted(client))


def wanted(client):
    """Return the tasks that a client wants the scheduler to remember."""
    identity = client.id
    return client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.clients[identity].wants_what))


def test_an_interrupted_run_goes_on_elsewhere_to_the_same_bits(client, tmp_path):
    path = stored(tmp_path / "V.zarr", V, (24, 17))
    options = {"max_passes": 8, "checkpoint_every": 3, "tol": 0}
    expected = dnmf.factorize(path, 3, client="threads", **options)
    with pytest.raises(Interrupted):
        dnmf.factorize(path, 3, store=tmp_path / "a", client=client, **options, **interrupt_at(4))
    with pytest.raises(Interrupted):
        dnmf.resume(tmp_path / "a", client="threads", **interrupt_at(5))
    assert_same_bits(dnmf.resume(tmp_path / "a", client=client), expected)


def test_a_store_that_the_workers_do_not_see_is_written_from_here(client, tmp_path, monkeypatch):
    monkeypatch.setattr(dnmf.engine.cluster.worker_group.WorkerGroup, "all_see", lambda crew, predicate: False)
    options = {"max_passes": 7, "checkpoint_every": 2, "tol": 0, "init": "nndsvd"}
    result = dnmf.factorize(V, 3, store=tmp_path / "a", client=client, **options)
    assert_same_bits(result, dnmf.factorize(V, 3, client="threads", **options))
    expected = dnmf.factorize(V, 3, client="threads", **{**options, "max_passes": 9})
    assert_same_bits(dnmf.resume(tmp_path / "a", V, client=client, max_passes=9), expected)


def test_without_a_store_the_workers_keep_H_in_a_folder_that_goes_with_the_run(client, tmp_path, monkeypatch):
    kept, write_long, sent = [], dnmf.run.home.write_long, []

    def writing(path, *given):
        kept.append(path)
        assert len(list(path.parent.iterdir())) <= 1
        return write_long(path, *given)

    monkeypatch.setattr(dnmf.run.home, "write_long", writing)
    monkeypatch.setattr(DistributedFactor, "_send", lambda *given: sent.append(given))
    options = {"max_passes": 9, "checkpoint_every": 2, "tol": 0, **PLAIN}
    with dask.config.set({"temporary-directory": str(tmp_path)}):
        result = dnmf.factorize(V, 3, client=client, **options)
    assert_same_bits(result, dnmf.factorize(V, 3, client="threads", **options))
    assert (len(kept), sent) == (4, [])
    assert kept[0].is_relative_to(tmp_path)
    del result
    assert until(lambda: not list(tmp_path.iterdir()))


def test_where_workers_see_no_folder_H_goes_by_this_process_with_a_warning_above_a_size(client, tmp_path, monkeypatch):
    monkeypatch.setattr(dnmf.engine.cluster.worker_group.WorkerGroup, "sees_folder", lambda crew, path: False)
    monkeypatch.setattr("dnmf.engine.cluster.engine.SENT_BYTES", 4000)
    options = {"max_passes": 4, "checkpoint_every": 2, "tol": 0}
    array = stored(tmp_path / "V.zarr", V, (24, 17))
    with pytest.warns(ClusterWarning, match=r"The workers see no folder .*Give store= at a path or URL that all"):
        result = dnmf.factorize(array, 3, client=client, **options)
    assert_same_bits(result, dnmf.factorize(array, 3, client="threads", **options))


def test_chunks_that_span_groups_are_written_by_the_workers(client, tmp_path, monkeypatch):
    monkeypatch.setattr("dnmf.checkpoint.arrays.CHUNK_BYTES", 3 * 4 * 100)
    rng = np.random.default_rng(1)
    widths = tuple(int(width) for width in rng.integers(1, 40, 30))
    array = da.from_array(rng.random((12, sum(widths)), np.float32), chunks=((12,), widths))
    a, b = tmp_path / "a", tmp_path / "b"
    assert_same_bits(
        dnmf.factorize(array, 3, max_passes=4, store=a, client=client),
        dnmf.factorize(array, 3, max_passes=4, store=b, client="threads"),
    )
    assert (a / "commits/000004.json").exists()
    for name in ("c/0/0", "c/0/3"):
        assert (a / "H" / name).read_bytes() == (b / "H" / name).read_bytes()


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_transform_gives_the_same_bits(axis, client, tmp_path):
    fitted = dnmf.factorize(V, 3, max_passes=5, client="threads")
    path = stored(tmp_path / "V.zarr", V, (24, 17) if axis == "columns" else (5, 240))
    expected = dnmf.transform(fitted, path, axis=axis, client="threads").compute()
    found = dnmf.transform(fitted, path, axis=axis, client=client, out=tmp_path / "new.zarr")
    np.testing.assert_array_equal(found.compute(), expected)
    np.testing.assert_array_equal(da.from_zarr(str(tmp_path / "new.zarr")).compute(), expected)
    turned = dnmf.transform(fitted, sp.csc_array(V) if axis == "rows" else sp.csr_array(V), axis=axis, client=client)
    np.testing.assert_allclose(turned, expected, rtol=1e-4, atol=1e-5)


def test_iterate_gives_the_state_after_every_pass(client):
    steps = [(step.W, np.asarray(step.H)) for step in dnmf.iterate(V, 3, max_passes=3, client=client)]
    for (W, H), step in zip(steps, dnmf.iterate(V, 3, max_passes=3, client="threads"), strict=True):
        np.testing.assert_array_equal(W, step.W)
        np.testing.assert_array_equal(H, np.asarray(step.H))


def test_a_result_can_be_computed_on_any_cluster(cluster, client):
    from distributed import Client

    result = dnmf.factorize(da.from_array(V, chunks=(-1, 20)), 3, max_passes=3, client=client)
    expected = np.asarray(result.H)
    with Client(cluster):
        np.testing.assert_array_equal(result.H.compute(), expected)


def test_the_current_client_is_used_and_a_worker_is_told_of(cluster):
    from distributed import Client

    told, links = Told(), []
    told.workers = lambda count, link: links.append((count, link))
    with Client(cluster) as client:
        dnmf.factorize(V, 3, max_passes=2, watchers=[told])
        assert links == [(2, client.dashboard_link)]
    assert told.plan.workers == 2
    assert "on each of 2 workers" in str(told.plan)


def test_an_address_and_a_cluster_will_do(cluster):
    expected = dnmf.factorize(V, 3, max_passes=2, client="threads")
    for given in (cluster, cluster.scheduler_address):
        assert_same_bits(dnmf.factorize(V, 3, max_passes=2, client=given), expected)


def test_a_task_of_the_cluster_uses_its_own_threads(client):
    future = client.submit(lambda V: dnmf.factorize(V, 3, max_passes=2).W, V)
    np.testing.assert_array_equal(future.result(), dnmf.factorize(V, 3, max_passes=2, client="threads").W)


def test_bad_entries_are_named_on_a_cluster_too(client):
    bad = V.copy()
    bad[3, 500] = np.nan
    with pytest.raises(DataError, match=r"V\[3, 500\] is nan, which is not finite"):
        dnmf.factorize(da.from_array(bad, chunks=(24, 17)), 3, client=client)


def test_a_chunk_that_cannot_be_computed_is_told(client):
    def fail(chunk, block_info):
        if block_info[0]["chunk-location"][1] == 20:
            raise ZeroDivisionError("by zero")
        return chunk

    array = da.from_array(V, chunks=(24, 17)).map_blocks(fail, dtype=V.dtype)
    with pytest.raises(ReadError, match=r"block 20 .* of the Dask array could not be computed .*by zero"):
        dnmf.factorize(array, 3, client=client)


def test_a_path_that_the_workers_do_not_see_is_found_out_before_the_first_pass(client, tmp_path, monkeypatch):
    path = stored(tmp_path / "V.zarr", V, (24, 17))
    monkeypatch.setattr(dnmf.engine.cluster.worker_group, "all_missing", _moved)
    with pytest.raises(DataError, match=r"does not see V at .*V\.zarr: .*does not exist.*shared file system"):
        dnmf.factorize(path, 3, client=client, store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def _moved(places):
    from dnmf.engine.cluster.worker_group import missing

    return {name: missing(location + "-moved", expected) for name, (location, expected) in places.items()}


def test_a_path_with_other_numbers_on_a_worker_is_found_out(client, tmp_path):
    path = stored(tmp_path / "V.zarr", V, (24, 17))
    expected = dnmf.sources.identity.fingerprint(open_matrix(path))
    stored(tmp_path / "U.zarr", V + 1, (24, 17))
    missing = dnmf.engine.cluster.worker_group.missing
    assert missing(path, expected) is None
    assert missing(str(tmp_path / "U.zarr"), expected) == "the matrix there has another sample."


def test_a_matrix_in_memory_is_sent_with_a_warning_above_a_size(client, monkeypatch):
    monkeypatch.setattr("dnmf.engine.cluster.engine.SENT_BYTES", 10**4)
    with pytest.warns(ClusterWarning, match="Write V as a Zarr array where the workers can read it"):
        dnmf.factorize(V, 3, max_passes=2, client=client)


def test_blocks_that_a_sketch_has_read_already_are_sent_without_a_word(client, tmp_path):
    path = stored(tmp_path / "V.zarr", V, (24, 100))
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "20kB"}):
        dnmf.factorize(path, 2, client=client, init="sketch", max_passes=2)


def test_a_worker_that_is_too_small_is_refused_before_the_first_pass(client, tmp_path):
    with pytest.raises(BudgetError, match=r"a worker may use 1\.72 GB, and rank 20000 on this matrix needs .*larger"):
        dnmf.factorize(np.ones((30000, 30000), np.uint8), 20000, client=client, store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_another_version_on_a_worker_is_told(client, monkeypatch):
    monkeypatch.setattr("dnmf.engine.cluster.workers.VERSION", "9.9.9")
    with pytest.raises(
        ClusterError, match=rf"has dnmf {version('dnmf')}, and this is 9.9.9; install one version on all"
    ):
        dnmf.factorize(V, 3, client=client)


@pytest.mark.parametrize("given", [3, object(), "threads", []], ids=repr)
def test_what_is_no_client_is_refused(given):
    if given == "threads":
        assert dnmf.factorize(V, 3, max_passes=2, client=given).passes == 2
        return
    with pytest.raises(SettingsError, match=r"client=.* is not known; give a distributed.Client, a cluster"):
        dnmf.factorize(V, 3, client=given)


def test_a_scheduler_that_does_not_answer_is_told():
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(ClusterError, match=r"tcp://127.0.0.1:9 could not be reached .*the address that a scheduler"),
    ):
        dnmf.factorize(V, 3, client="tcp://127.0.0.1:9")


def test_the_current_client_of_a_cluster_stays_open(cluster):
    with Client(cluster) as current:
        options = {"rank": 3, "max_passes": 2, **PLAIN}
        assert_same_bits(dnmf.factorize(V, client=cluster, **options), dnmf.factorize(V, client="threads", **options))
        assert current.status == "running"


def test_the_plan_is_that_of_the_run(client, tmp_path):
    path, planned = SOURCES["Zarr"](tmp_path), []

    class Started(dnmf.Watcher):
        def started(self, plan, passes, max_passes):
            planned.append(plan)

    dnmf.factorize(path, 3, max_passes=2, client=client, watchers=[Started()])
    plan = dnmf.plan(path, 3, max_passes=2, client=client)
    assert planned == [plan]
    assert (plan.workers, plan.threads) == (2, 1)
    assert dnmf.plan(path, 3, client="threads").workers == 0


@pytest.mark.parametrize("columns", [3, 100])
def test_the_scale_of_a_penalised_start_has_the_same_bits_where_the_first_columns_are_0(columns, client, monkeypatch):
    late = da.from_array(np.where(np.arange(600) < 200, 0, V), chunks=(24, 17))
    monkeypatch.setattr("dnmf.solvers.shared_scale.PANEL_BYTES", columns * late.nbytes // 600)
    fetched, fetch = [], ClusterEngine.fetch

    def counted(*given):
        fetched.append(fetch(*given))
        return fetched[-1]

    monkeypatch.setattr(ClusterEngine, "fetch", counted)
    options = {**PLAIN, "max_passes": 3, "tol": 0, "l1_W": 1.0, "l1_H": 1.0}
    result = dnmf.factorize(late, 3, client=client, **options)
    assert [block.shape for block in fetched] == [(24, min(columns, 17))]
    assert_same_bits(result, dnmf.factorize(late, 3, client="threads", **options))
