"""One pass: every block once, sums in a fixed order, and an end when it is cancelled or fails."""

import contextlib
import dataclasses
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import dask.array as da
import numpy as np
import pytest
import threadpoolctl
from hypothesis import given, settings
from hypothesis import strategies as st

import dnmf
import dnmf.engine.machine
from dnmf.engine import ThreadEngine, cores, single_threaded_products, usable_memory
from dnmf.errors import DataError, Interrupted
from dnmf.kernels.blocks.panels import BadEntry
from dnmf.sources import open_matrix


@dataclasses.dataclass
class Order:
    """Sums that record the tree of their addition."""

    blocks: list
    tree: object = None

    def add(self, other):
        return Order(self.blocks + other.blocks, (self.shape, other.shape))

    @property
    def shape(self):
        return tuple(self.blocks) if self.tree is None else self.tree


@dataclasses.dataclass
class Job:
    """The work of a pass that is one function, and reads and writes no factor."""

    function: Callable

    def zero(self):
        return Order([])

    def visit(self, block, V, H, sums, scratch):
        self.function(block, V, sums, scratch)


def engine(blocks, groups, threads, **options):
    return ThreadEngine(open_matrix(da.ones((2, 3 * blocks), chunks=(2, 3))), groups, threads, **options)


def note(block, V, sums, scratch):
    sums.blocks.append(block)


@given(st.integers(1, 40), st.integers(1, 40))
@settings(derandomize=True, deadline=None, max_examples=40)
def test_every_block_is_visited_once_and_added_in_the_order_of_the_matrix(blocks, groups):
    sums = engine(blocks, min(groups, blocks), 3).one_pass(Job(note))
    assert sums.blocks == list(range(blocks))


@pytest.mark.parametrize("groups", [1, 2, 5, 7, 8])
def test_the_tree_of_sums_depends_on_the_groups_alone(groups):
    trees = [engine(11, groups, threads).one_pass(Job(note)).shape for threads in (1, 2, 5)]
    assert trees[0] == trees[1] == trees[2]


def test_the_tree_is_the_one_that_is_documented():
    assert engine(5, 5, 2).one_pass(Job(note)).shape == ((((0,), (1,)), ((2,), (3,))), (4,))


def test_the_blocks_visited_are_those_of_the_source_and_each_is_told():
    told, V = [], np.arange(20.0).reshape(2, 10)
    source = open_matrix(da.from_array(V, chunks=(2, 4)))
    seen = {}
    ThreadEngine(source, 2, 2, told.append).one_pass(
        Job(lambda block, part, sums, scratch: seen.update({block: part.copy()}))
    )
    np.testing.assert_array_equal(np.concatenate([seen[block] for block in range(3)], axis=1), V)
    assert sum(told) == V.nbytes
    assert len(told) == 3


def test_a_thread_keeps_its_buffers_from_block_to_block_and_pass_to_pass():
    used = {}

    def visit(block, V, sums, scratch):
        used.setdefault(threading.get_ident(), set()).add(scratch)

    run = engine(20, 4, 2)
    for _ in range(3):
        run.one_pass(Job(visit))
    assert all(len(scratches) == 1 for scratches in used.values())
    assert len(set.union(*used.values())) == len(used)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_cancelled_pass_ends_before_the_next_block(threads):
    cancel, visited = threading.Event(), []

    def visit(block, V, sums, scratch):
        visited.append(block)
        cancel.set()

    with pytest.raises(Interrupted, match="asked to stop"):
        engine(30, 3, threads, cancelled=cancel).one_pass(Job(visit))
    assert 1 <= len(visited) <= threads


def test_an_engine_that_was_cancelled_reads_nothing(monkeypatch):
    cancel = threading.Event()
    cancel.set()
    run = engine(3, 3, 2, cancelled=cancel)
    monkeypatch.setattr(run.source, "read", None)
    with pytest.raises(Interrupted):
        run.one_pass(Job(note))


@pytest.mark.parametrize("error", [ValueError("odd"), KeyError(3), MemoryError(), DataError("a sentence")])
def test_an_error_in_a_block_is_raised_as_itself(error):
    def visit(block, V, sums, scratch):
        if block == 7:
            raise error

    with pytest.raises(type(error)) as caught:
        engine(10, 4, 2).one_pass(Job(visit))
    assert caught.value.args == error.args


def test_threads_are_kept_for_the_next_pass_and_not_after_an_error():
    seen = [set[int](), set[int]()]
    both = threading.Barrier(2)

    def visit(number, error=None):
        def look(block, V, sums, scratch):
            seen[number].add(threading.get_ident())
            both.wait(60)
            if error is not None:
                raise error

        return look

    engine(2, 2, 2).one_pass(Job(visit(0)))
    with pytest.raises(ValueError, match="odd"):
        engine(2, 2, 2).one_pass(Job(visit(1, ValueError("odd"))))
    assert seen[0] == seen[1]
    assert not seen[0] & {thread.ident for thread in threading.enumerate()}


class Halfway:
    """The work of a pass of which one task is in the middle of a block when another one fails with an error."""

    def __init__(self, error):
        self.error, self.under_way, self.go_on, self.ended = error, threading.Event(), threading.Event(), []

    def __call__(self, block, V, sums, scratch):
        if block < 50:
            self.under_way.wait(60)
            raise self.error
        self.under_way.set()
        self.go_on.wait(60)
        self.ended.append(block)


@pytest.mark.parametrize("error", [ValueError("odd"), Interrupted("stop"), KeyboardInterrupt()])
def test_after_an_error_the_other_tasks_end_with_their_block_and_then_the_pass(error, monkeypatch):
    work = Halfway(error)

    def waiting(pool, **options):
        work.go_on.set()
        return end(pool, **options)

    end = ThreadPoolExecutor.shutdown
    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", waiting)
    try:
        with pytest.raises(type(error)):
            engine(100, 2, 2).one_pass(Job(work))
        assert work.ended == [50]
    finally:
        work.go_on.set()


def test_a_second_interrupt_does_not_wait_for_the_other_tasks(monkeypatch):
    work = Halfway(KeyboardInterrupt())

    def interrupted(pool, **options):
        raise KeyboardInterrupt("again")

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt, match="again"):
            engine(100, 2, 2).one_pass(Job(work))
        assert work.ended == []
    finally:
        work.go_on.set()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_of_several_bad_entries_the_first_is_named(threads):
    def visit(block, V, sums, scratch):
        if block in (13, 14, 38):
            raise BadEntry(-2.0, 1, 2)

    with pytest.raises(DataError, match=r"V\[1, 41\] is -2, which is negative"):
        engine(40, 4, threads).one_pass(Job(visit))


def threads_of_blas():
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture
def two_threads():
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        assert threads_of_blas() == {2}
        yield


def test_products_use_one_thread_for_as_long_as_it_lasts_and_not_longer(two_threads):
    with single_threaded_products():
        assert threads_of_blas() == {1}
        with single_threaded_products():
            assert threads_of_blas() == {1}
        assert threads_of_blas() == {1}
    assert threads_of_blas() == {2}


def test_products_use_one_thread_until_the_last_of_several_threads_is_done(two_threads):
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with single_threaded_products():
            inside.set()
            leave.wait(60)

    other = threading.Thread(target=hold)
    with single_threaded_products():
        other.start()
        inside.wait(60)
    try:
        assert threads_of_blas() == {1}  # this thread, which found two, has left
    finally:
        leave.set()
        other.join()
    assert threads_of_blas() == {2}


def test_any_thread_limits_products_after_another_one_has(two_threads):
    found = []

    def limited():
        with single_threaded_products():
            found.append(threads_of_blas())
        found.append(threads_of_blas())

    for _ in range(2):
        limited()
        other = threading.Thread(target=limited)
        other.start()
        other.join()
    assert found == [{1}, {2}] * 4


def test_products_use_one_thread_again_after_another_library_has_changed_it(two_threads):
    with single_threaded_products():
        threadpoolctl.threadpool_limits(2, user_api="blas")
        with single_threaded_products():
            assert threads_of_blas() == {1}
    assert threads_of_blas() == {2}


class EachThreadItsOwn:
    """A thread pool of BLAS whose number of threads is set for every thread, as with OpenMP."""

    threading_layer = "openmp"

    def __init__(self):
        self._local = threading.local()

    def clear_controlling_thread(self, force):
        """Do nothing: no thread has control."""

    def get_num_threads(self):
        return getattr(self._local, "count", 4)

    def set_num_threads(self, count):
        self._local.count = count


@pytest.mark.parametrize("shared", [False, True])
def test_products_use_one_thread_where_every_thread_has_its_own_number(shared, monkeypatch):
    pool = EachThreadItsOwn()
    monkeypatch.setattr(dnmf.engine.machine, "_products", lambda: [pool])
    monkeypatch.setattr(dnmf.engine.machine, "WAITING", deque())  # threads that were kept have real pools
    found, both = [], threading.Barrier(2)

    def visit(block, V, sums, scratch):
        list(scratch.each(lambda part: found.append(pool.get_num_threads()), range(2)))
        found.append(pool.get_num_threads())
        if not shared:
            both.wait(60)

    def other():
        with single_threaded_products():
            inside.set()
            leave.wait(60)
        found.append(pool.get_num_threads() - 3)  # that of the thread is restored

    inside, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=other)
    with single_threaded_products():
        thread.start()
        inside.wait(60)
        engine(2, 2, 2, shared=shared).one_pass(Job(visit))
    assert pool.get_num_threads() == 4
    leave.set()
    thread.join()
    assert set(found) == {1}


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_made_by_fork_is_limited_by_its_own_thread_alone(own, two_threads):
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with single_threaded_products():
            inside.set()
            leave.wait(60)

    def child(pipe):
        with single_threaded_products() if own else contextlib.nullcontext():
            if (number := os.fork()) > 0:
                return number
            found = [threads_of_blas()]
        try:
            os.write(pipe, repr([*found, threads_of_blas()]).encode())
        finally:
            os._exit(0)

    other = threading.Thread(target=hold)
    other.start()
    inside.wait(60)
    reading, writing = os.pipe()
    try:
        os.waitpid(child(writing), 0)
        assert os.read(reading, 100).decode() == ("[{1}, {2}]" if own else "[{2}, {2}]")
    finally:
        leave.set()
        other.join()
        os.close(reading)
        os.close(writing)
    assert threads_of_blas() == {2}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_kept_threads_end_before_a_fork_and_the_child_starts_its_own():
    def workers():
        found, both = set(), threading.Barrier(2)

        def visit(block, V, sums, scratch):
            found.add(threading.current_thread())
            both.wait(60)

        engine(2, 2, 2).one_pass(Job(visit))
        return found

    kept = workers()
    assert all(thread.is_alive() for thread in kept)
    reading, writing = os.pipe()
    number = os.fork()
    if number == 0:
        try:
            os.write(writing, repr(len(workers())).encode())
        finally:
            os._exit(0)
    os.waitpid(number, 0)
    assert os.read(reading, 100) == b"2"
    assert not any(thread.is_alive() for thread in kept)
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_products_of_a_pass_and_of_a_block_that_is_fetched_use_one_thread(threads, shared, two_threads):
    found = []

    def read(block, block_info=None):
        found.append(threads_of_blas())
        return block

    source = open_matrix(da.ones((2, 12), chunks=(2, 3)).map_blocks(read, meta=np.ones((0, 0))))
    run = ThreadEngine(source, 4, threads, shared=shared)
    found.clear()  # to open it, one chunk was read
    run.one_pass(Job(lambda *given: found.append(threads_of_blas())))
    run.fetch(2)
    assert found == [{1}] * 9
    assert threads_of_blas() == {2}


def test_the_machine_has_cores_and_memory():
    assert cores() >= 1
    assert usable_memory() > 10**8


def test_a_fit_of_a_small_matrix_starts_no_thread(monkeypatch):
    def refuse(thread):
        raise AssertionError(f"{thread.name} was started")

    V = np.random.default_rng(0).random((100, 80))
    expected = dnmf.factorize(V, rank=3, solver="sketch", threads=1, max_passes=3)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    found = dnmf.factorize(V, rank=3, solver="sketch", threads=4, max_passes=3)
    np.testing.assert_array_equal(found.W, expected.W)
