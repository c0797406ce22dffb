"""The result of a run, for V cut along either axis."""

import dataclasses
import gc
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from runs import assert_same_bits, factors, matrix, spill, stored

import dnmf

CUTS = {"columns": (24, 7), "rows": (5, 60)}


@pytest.fixture(params=CUTS)
def cut(request, tmp_path):
    """Return the axis that V is cut along, and V in a Zarr array."""
    return request.param, stored(tmp_path / "V.zarr", matrix(), CUTS[request.param])


def test_the_long_factor_is_a_dask_array_chunked_as_v_is_and_the_short_one_is_numpy(cut):
    axis, V = cut
    result = dnmf.factorize(V, 4, max_passes=3)
    long, short = (result.H, result.W) if axis == "columns" else (result.W, result.H)
    assert isinstance(long, da.Array)
    assert isinstance(short, np.ndarray)
    assert (result.W.shape, result.H.shape) == ((24, 4), (4, 60))
    grid = da.from_zarr(zarr.open_array(V, mode="r"), inline_array=True).chunks
    assert long.chunks == (((4,), grid[1]) if axis == "columns" else (grid[0], (4,)))
    assert short.flags.c_contiguous


def test_the_dask_array_computes_in_parts_and_in_graphs(cut):
    _, V = cut
    result = dnmf.factorize(V, 4, max_passes=3)
    W, H = factors(result)
    np.testing.assert_array_equal(np.asarray(result.H[:, 13:29]), H[:, 13:29])
    np.testing.assert_allclose(np.asarray(result.W @ result.H), W @ H, rtol=1e-5)


def test_factors_are_the_same_whenever_they_are_asked_for(cut):
    result = dnmf.factorize(cut[1], 4, max_passes=3)
    first = factors(result)
    for one, other in zip(first, factors(result), strict=True):
        assert np.array_equal(one, other)


def test_what_one_does_to_the_factors_does_not_reach_the_result(cut):
    axis, V = cut
    result = dnmf.factorize(V, 4, max_passes=3)
    before = [factor.copy() for factor in factors(result)]
    long = (result.H if axis == "columns" else result.W).compute()
    long[:] = -1
    for one, other in zip(factors(result), before, strict=True):
        assert np.array_equal(one, other)


def test_the_figures_of_a_result_are_those_of_its_last_record(cut):
    V = matrix().astype(np.float64)
    result = dnmf.factorize(cut[1], 4, max_passes=5, tol=0, l2_W=0.3, l1_H=0.2)
    W, H = (factor.astype(np.float64) for factor in factors(result))
    residual = np.linalg.norm(V - W @ H)
    assert result.relative_error == pytest.approx(residual / np.linalg.norm(V), rel=1e-4)
    penalty = 0.15 * (W**2).sum() + 0.2 * H.sum()
    assert result.loss == pytest.approx(residual**2 / 2 + penalty, rel=1e-4)
    last = result.history[-1]
    assert (result.passes, result.loss, result.relative_error) == (last.passes, last.loss, last.relative_error)
    assert result.settings.l2_W == 0.3


def test_a_divergence_has_no_relative_error():
    result = dnmf.factorize(matrix(), 4, loss="kullback-leibler", max_passes=3)
    assert result.relative_error is None
    assert all(record.relative_error is None for record in result.history)
    assert "relative error" not in repr(result)


def test_a_result_says_in_a_line_what_it_is(cut):
    result = dnmf.factorize(cut[1], 4, max_passes=3, tol=0)
    assert repr(result).startswith("<dnmf.Result: W (24, 4), H (4, 60), 3 passes, loss ")
    assert repr(result).endswith(f"{result.verdict}>")


def test_a_result_is_frozen():
    result = dnmf.factorize(matrix(), 4, max_passes=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.converged = True


def test_what_is_loaded_is_what_was_returned(cut, tmp_path):
    result = dnmf.factorize(cut[1], 4, max_passes=3, store=tmp_path / "run.zarr")
    loaded = dnmf.load(tmp_path / "run.zarr")
    assert_same_bits(loaded, result)
    assert loaded.settings == result.settings
    assert loaded.history == result.history
    assert loaded.store == result.store == str(tmp_path / "run.zarr")


def test_a_stored_result_outlives_its_matrix(cut, tmp_path):
    result = dnmf.factorize(cut[1], 4, max_passes=3, store=tmp_path / "run.zarr")
    for path in Path(cut[1]).rglob("*"):
        if path.is_file():
            path.unlink()
    assert_same_bits(dnmf.load(tmp_path / "run.zarr"), result)


# A long factor on the disk.


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Return the folder in which runs without a store keep factors that do not fit in memory."""
    spill(monkeypatch)
    (tmp_path / "scratch").mkdir()
    with dask.config.set({"temporary-directory": str(tmp_path / "scratch")}):
        yield tmp_path / "scratch"


def blocks_in(folder):
    return len([path for path in folder.rglob("*") if path.is_file()])


@pytest.mark.parametrize("init", ["random", "nndsvda"])
def test_a_factor_on_the_disk_is_the_one_in_memory(cut, init, scratch, monkeypatch):
    spilled = dnmf.factorize(cut[1], 4, init=init, max_passes=6, tol=0)
    assert blocks_in(scratch) == (9 if cut[0] == "columns" else 5)  # one factor: those of the passes before are gone
    monkeypatch.undo()
    assert_same_bits(spilled, dnmf.factorize(cut[1], 4, init=init, max_passes=6, tol=0))


def test_a_factor_on_the_disk_lasts_as_long_as_somebody_holds_it(cut, scratch):
    result = dnmf.factorize(cut[1], 4, max_passes=3)
    gc.collect()
    factors(result)
    long = result.H if cut[0] == "columns" else result.W
    del result
    gc.collect()
    assert np.isfinite(long.compute()).all()


def test_a_factor_on_the_disk_is_deleted_with_the_last_who_held_it(cut, scratch):
    result = dnmf.factorize(cut[1], 4, max_passes=3)
    assert blocks_in(scratch) > 0
    del result
    gc.collect()
    assert list(scratch.iterdir()) == []


def test_a_run_that_is_left_early_leaves_nothing_on_the_disk(cut, scratch):
    for result in dnmf.iterate(cut[1], 4, tol=0):
        if result.passes == 3:
            break
    expected = dnmf.factorize(cut[1], 4, tol=0, max_passes=3)
    for one, other in zip(factors(result), factors(expected), strict=True):
        assert np.array_equal(one, other)
    del result, expected
    gc.collect()
    assert list(scratch.iterdir()) == []


def test_a_run_that_fails_leaves_nothing_on_the_disk(cut, scratch):
    class Fail(dnmf.Watcher):
        def passed(self, record):
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        dnmf.factorize(cut[1], 4, watchers=[Fail()])
    gc.collect()
    assert list(scratch.iterdir()) == []


def test_a_run_with_a_store_keeps_its_scratch_there_and_clears_it(cut, scratch, tmp_path):
    store = tmp_path / "run.zarr"
    kept = []

    class Look(dnmf.Watcher):
        def passed(self, record):
            kept.append(blocks_in(store / "scratch"))

    result = dnmf.factorize(cut[1], 4, max_passes=3, tol=0, store=store, watchers=[Look()])
    assert min(kept) > 0
    assert not (store / "scratch").exists()
    assert list(scratch.iterdir()) == []
    assert_same_bits(dnmf.load(store), result)
