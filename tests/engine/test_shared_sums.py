"""Where the factor that is held has many rows, the threads work on one panel together, and share its sums."""

import dataclasses
import re

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
from runs import assert_same_bits, interrupt_at, matrix, stored

import dnmf
import dnmf.engine.memory
import dnmf.engine.session
from dnmf.engine.machine import parallel_map
from dnmf.engine.memory import MANY_ROWS, memory_terms
from dnmf.errors import DataError, Interrupted
from dnmf.kernels.blocks import products, sparse_panel
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import panels
from dnmf.kernels.blocks.sums import Stats, TupleSums
from dnmf.settings import Settings
from dnmf.solvers.selection import resolve
from dnmf.sources import Layout, open_matrix
from dnmf.sources.bounds import even_bounds

V = matrix(MANY_ROWS + 300, 48)
RUNS = [
    {"rank": 3, "solver": "hals", "init": "random"},
    {"rank": 3, "solver": "sketch"},
    {"rank": 3, "solver": "hals", "init": "random", "n_runs": 2},
    {"rank": 3, "init": "spa"},
    {"rank": [4, 2]},
]


@pytest.fixture
def narrow(monkeypatch):
    """Let a matrix of few columns have several tasks."""
    monkeypatch.setattr(dnmf.engine.memory, "TASK_COLUMNS", 16)


@pytest.fixture(scope="module", params=["dense", "sparse"])
def source(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("many rows")
    if request.param == "dense":
        return stored(folder / "V.zarr", V, (len(V), 8))
    few = np.where(np.random.default_rng(1).random(V.shape) < 0.02, V, 0)
    return da.from_array(few, chunks=(len(V), 8)).map_blocks(sp.csc_array)


@pytest.mark.parametrize("options", RUNS, ids=str)
def test_the_bits_are_those_of_threads_with_sums_of_their_own(source, options, narrow, monkeypatch):
    options = {"max_passes": 3, "tol": 0, "client": "threads", **options}
    results = [dnmf.factorize(source, threads=threads, **options) for threads in (1, 3)]
    make = dnmf.engine.session.make_plan
    plans = []

    def alone(*given):
        plans.append(make(*given))
        return dataclasses.replace(plans[-1], shared=False)

    monkeypatch.setattr(dnmf.engine.session, "make_plan", alone)
    expected = dnmf.factorize(source, threads=2, **options)
    assert plans[-1].shared
    assert plans[-1].groups > 1
    for result in results:
        assert_same_bits(result, expected)


def test_the_loss_is_that_of_the_factors(source):
    result = dnmf.factorize(source, 3, solver="hals", init="random", max_passes=3, client="threads")
    whole = open_matrix(source)
    given = [whole.read(block, Scratch()) for block in range(whole.layout.blocks)]
    dense = np.hstack([block.toarray() if sp.issparse(block) else block for block in given]).astype(np.float64)
    left = np.linalg.norm(dense - np.asarray(result.W, np.float64) @ np.asarray(result.H, np.float64))
    assert result.loss == pytest.approx(0.5 * left**2, rel=1e-4)


@pytest.mark.parametrize("order", ["C", "F", "sparse"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_of_parts_of_a_panel_are_those_of_numpy(order, dtype, monkeypatch):
    monkeypatch.setattr(products, "SHARED_ROWS", 7)
    monkeypatch.setattr(sparse_panel, "SHARED_ROWS", 7)
    monkeypatch.setattr(sparse_panel, "SHARED_COLUMNS", 5)
    rng = np.random.default_rng(0)
    dense = rng.random((31, 400)).astype(dtype) * (rng.random((31, 400)) < 0.6)
    W, H = rng.random((31, 3)).astype(dtype), rng.random((3, 400)).astype(dtype)
    block = sp.csc_array(dense) if order == "sparse" else np.asarray(dense, order=order)
    found = []
    for threads in (1, 2, 3):
        total = np.ones((31, 3))
        with parallel_map(threads) as each:
            scratch = Scratch(each)
            for columns, panel in panels(block, np.dtype(dtype), scratch):
                cross = panel.cross(W, scratch).copy()
                panel.add_outer(np.ascontiguousarray(H[:, columns]), total, scratch)
        found.append((cross, total))
    for cross, total in found:
        np.testing.assert_array_equal(cross, found[0][0])
        np.testing.assert_array_equal(total, found[0][1])
    wide = dense.astype(np.float64)
    close = {"rtol": 30 * np.finfo(dtype).eps}
    np.testing.assert_allclose(found[0][0], W.T.astype(np.float64) @ wide, **close)
    np.testing.assert_allclose(found[0][1], 1 + wide @ H.T.astype(np.float64), **close)


def test_sums_are_added_in_their_own_memory():
    def sums(value):
        return TupleSums([Stats(np.full((3, 2), value), np.eye(2) * value, np.ones(2), value, [value])])

    one, two, before = sums(1.0), sums(2.0), sums(1.0).add(sums(2.0)).parts[0]
    cross = one.parts[0].cross
    after = one.absorb(two).parts[0]
    assert after.cross is cross
    for field in dataclasses.fields(Stats):
        np.testing.assert_array_equal(getattr(after, field.name), getattr(before, field.name))


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_bad_entry_is_named(tmp_path, threads):
    bad = V.copy()
    bad[70, 33], bad[60, 41] = -1, -2
    with pytest.raises(DataError, match=r"V\[70, 33\] is -1"):
        dnmf.factorize(stored(tmp_path / "V.zarr", bad, (len(V), 8)), 3, threads=threads, client="threads")


def test_a_run_is_interrupted_and_resumed_with_the_same_bits(source, narrow, tmp_path):
    options = {"rank": 3, "max_passes": 4, "tol": 0, "client": "threads", "threads": 2}
    expected = dnmf.factorize(source, store=tmp_path / "whole.zarr", **options)
    with pytest.raises(Interrupted):
        dnmf.factorize(source, store=tmp_path / "run.zarr", **options, **interrupt_at(2))
    assert_same_bits(dnmf.resume(tmp_path / "run.zarr", source), expected)


@pytest.mark.parametrize(
    ("options", "most"), [({"solver": "hals", "init": "random"}, 100), ({"solver": "sketch"}, 250)]
)
@pytest.mark.parametrize("sparse", [False, True])
def test_the_bytes_for_each_number_of_the_factor_do_not_depend_on_the_threads(options, most, sparse):
    rows, columns, rank = 10**6, 4096, 20
    size = 10**9 if sparse else 4 * rows * columns
    layout = Layout(
        shape=(rows, columns),
        dtype=np.dtype("float32"),
        bounds=even_bounds(columns, 32),
        transposed=False,
        read_bytes=size // 128,
        stored_bytes=size,
        sparse=sparse,
        on_disk=True,
        kind="Zarr array",
    )
    load = resolve(Settings(**(options | {"rank": rank})), layout).load
    terms = [memory_terms(layout, rank, threads, 1.0, load) for threads in (1, 2, 16)]
    held = [
        sum(size for purpose, size in some.items() if re.search("sums|held whole|sketch", purpose)) for some in terms
    ]
    assert held[0] == held[1] == held[2] <= most * rows * rank + load.extra
