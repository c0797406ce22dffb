"""A run that was interrupted and resumed is, to the bit, the run that was not."""

import shutil

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from runs import PLAIN, Told, assert_same_bits, factors, interrupt_at, matrix, spill, stored

import dnmf
from dnmf.errors import DataError, Interrupted, SettingsError, StoreError

RULES = [("frobenius", "mu"), ("frobenius", "hals"), ("frobenius", "als"), ("kullback-leibler", "mu")]
PASSES = 8


def given_factors(V, rank):
    rng = np.random.default_rng(5)
    return rng.random((V.shape[0], rank)) + 0.1, rng.random((rank, V.shape[1])) + 0.1


def both(V, where, *, at, how="cancel", again=None, **options):
    """Return a run that was interrupted at a pass and resumed, and the same run without an interruption."""
    options = {"rank": 4, "max_passes": PASSES, "tol": 0, "checkpoint_every": 3, "init": "random", **options}
    whole = dnmf.factorize(V, **options)
    with pytest.raises(Interrupted if how == "cancel" else KeyboardInterrupt):
        dnmf.factorize(V, store=where, **interrupt_at(at, how), **options)
    return dnmf.resume(where, V if again is None else again), whole


@pytest.mark.parametrize("spilled", [False, True], ids=["H in memory", "H on disk"])
@pytest.mark.parametrize("cut", ["columns", "rows"])
@pytest.mark.parametrize("init", ["random", "nndsvda", "given"])
@pytest.mark.parametrize(("loss", "solver"), RULES)
def test_a_resumed_run_ends_in_the_bits_of_one_that_was_not_interrupted(
    loss, solver, init, cut, spilled, tmp_path, monkeypatch
):
    if spilled:
        spill(monkeypatch)
    V = stored(tmp_path / "V.zarr", matrix(), (24, 7) if cut == "columns" else (5, 60))
    start = given_factors(matrix(), 4) if init == "given" else init
    told = both(V, tmp_path / "run.zarr", at=5, loss=loss, solver=solver, init=start, l1_W=0.01, l2_H=0.02)
    assert_same_bits(*told)
    assert len(told[0].history) == PASSES - (1 if init == "nndsvda" else 0)


@pytest.mark.parametrize("weighted", [False, True], ids=["every entry", "weighted"])
@pytest.mark.parametrize("rows", [False, True], ids=["columns", "rows"])
def test_an_array_that_a_version_cut_otherwise_is_cut_as_it_was(rows, weighted, tmp_path, monkeypatch):
    V = matrix(60, 24) if rows else matrix()
    options = {"rank": 4, "tol": 0, **PLAIN, **({"weights": V + 1} if weighted else {})}
    with monkeypatch.context() as other:
        other.setattr("dnmf.sources.bounds.FINE_BYTES", 2**9)
        whole = dnmf.factorize(V, max_passes=PASSES, **options)
        dnmf.factorize(V, max_passes=3, store=tmp_path / "run.zarr", **options)
    given = {"weights": V + 1} if weighted else {}
    resumed = dnmf.resume(tmp_path / "run.zarr", V, max_passes=PASSES, **given)
    assert_same_bits(resumed, whole)
    assert len(resumed.bounds) > 2


@pytest.mark.parametrize("how", ["cancel", "KeyboardInterrupt"])
@pytest.mark.parametrize("every", [1, 3, 10])
@pytest.mark.parametrize("at", [1, 2, 3, 7])
def test_it_does_not_matter_when_and_how_a_run_is_interrupted(at, every, how, tmp_path):
    told = both(matrix(), tmp_path / "run.zarr", at=at, how=how, checkpoint_every=every, **PLAIN)
    assert_same_bits(*told)


@pytest.mark.parametrize("init", ["nndsvd", "nndsvdar", "spa", "spa_rows"])
def test_the_other_inits_resume_to_the_same_bits_too(init, tmp_path):
    assert_same_bits(*both(matrix(dtype=np.float64), tmp_path / "run.zarr", at=4, init=init))


@pytest.mark.parametrize(
    "kind",
    {
        "csr": sp.csr_array,
        "csc": sp.csc_matrix,
        "dask": lambda V: da.from_array(V, chunks=(-1, 11)),
        "dask of csr": lambda V: da.from_array(V, chunks=(7, -1)).map_blocks(sp.csr_matrix),
        "uint8": lambda V: V.astype(np.uint8),
        "tall": lambda V: V.T.copy(),
    }.items(),
    ids=lambda kind: kind[0],
)
def test_every_kind_of_matrix_resumes_to_the_same_bits(kind, tmp_path):
    assert_same_bits(*both(kind[1](matrix()), tmp_path / "run.zarr", at=4))


def test_a_run_interrupted_again_and_again_ends_in_the_same_bits(tmp_path):
    V, where, options = matrix(), tmp_path / "run.zarr", {"max_passes": PASSES, "tol": 0, "init": "random"}
    whole = dnmf.factorize(V, 4, **options)
    with pytest.raises(Interrupted):
        dnmf.factorize(V, 4, store=where, **interrupt_at(1), **options)
    for passes in range(2, PASSES):
        with pytest.raises(Interrupted):
            dnmf.resume(where, V, **interrupt_at(passes))
    assert_same_bits(dnmf.resume(where, V), whole)


def test_threads_and_memory_of_the_resumed_run_change_no_bit(tmp_path, monkeypatch):
    V, where = stored(tmp_path / "V.zarr", matrix(), (24, 7)), tmp_path / "run.zarr"
    options = {"max_passes": PASSES, "tol": 0, "init": "random"}
    whole = dnmf.factorize(V, 4, threads=3, **options)
    with pytest.raises(Interrupted):
        dnmf.factorize(V, 4, store=where, threads=1, **interrupt_at(3), **options)
    spill(monkeypatch)
    assert_same_bits(dnmf.resume(where, threads=4, memory_limit="400MB", checkpoint_every=1, keep_checkpoints=5), whole)


def test_a_finished_run_goes_on_where_more_passes_are_allowed(tmp_path):
    V, where = matrix(), tmp_path / "run.zarr"
    whole = dnmf.factorize(V, 4, max_passes=PASSES, tol=0)
    dnmf.factorize(V, 4, max_passes=3, tol=0, store=where)
    assert_same_bits(dnmf.resume(where, V, max_passes=PASSES), whole)
    assert_same_bits(dnmf.load(where), whole)


def test_what_a_resumed_run_was_allowed_is_remembered(tmp_path):
    V, where = matrix(), tmp_path / "run.zarr"
    dnmf.factorize(V, 4, max_passes=3, tol=0, store=where)
    with pytest.raises(Interrupted):
        dnmf.resume(where, V, max_passes=PASSES, checkpoint_every=2, keep_checkpoints=3, **interrupt_at(5))
    assert dnmf.load(where).settings.max_passes == PASSES
    assert_same_bits(dnmf.resume(where, V), dnmf.factorize(V, 4, max_passes=PASSES, tol=0))
    assert len(list((where / "commits").iterdir())) == 3


def test_a_converged_run_goes_on_where_tol_is_smaller(tmp_path):
    V, where = matrix(), tmp_path / "run.zarr"
    first = dnmf.factorize(V, 4, init="random", solver="hals", tol=1e-2, store=where)
    assert first.converged
    second = dnmf.resume(where, V, tol=1e-3)
    assert second.converged
    assert second.passes > first.passes
    assert second.history[: len(first.history)] == first.history


def test_resuming_a_finished_run_reads_no_pass_and_gives_the_same_factors(tmp_path):
    V, where, watcher = matrix(), tmp_path / "run.zarr", Told()
    whole = dnmf.factorize(V, 4, max_passes=3, tol=0, store=where)
    assert_same_bits(dnmf.resume(where, V, watchers=[watcher]), whole)
    assert watcher.blocks == []
    assert watcher.calls == [("started", 3, 3), ("stopped", False)]


def test_seconds_and_bytes_are_counted_over_the_interruption(tmp_path):
    V, where = matrix(), tmp_path / "run.zarr"
    with pytest.raises(Interrupted):
        dnmf.factorize(V, 4, max_passes=6, tol=0, init="random", store=where, **interrupt_at(3))
    history = dnmf.resume(where, V).history
    assert [record.passes for record in history] == [1, 2, 3, 4, 5, 6]
    assert [record.bytes_read for record in history] == [k * V.nbytes for k in range(1, 7)]
    seconds = [record.seconds for record in history]
    assert seconds == sorted(seconds)


def test_a_run_whose_seconds_were_spent_goes_on_with_as_many_again(tmp_path):
    V, where = matrix(), tmp_path / "run.zarr"
    first = dnmf.factorize(V, 4, max_seconds=0, max_passes=5, tol=0, init="random", store=where)
    assert first.passes == 1
    assert "0 seconds allowed were spent after pass 1" in first.verdict
    assert dnmf.resume(where, V, max_seconds=None).passes == 5


# A run interrupted while V is read for its initialisation has nothing to save.


def test_a_run_cancelled_in_its_initialisation_is_resumed_from_the_start(tmp_path):
    V, where, options = matrix(), tmp_path / "run.zarr", {"init": "nndsvda", "max_passes": PASSES, "tol": 0}
    arguments = interrupt_at(0)
    arguments["cancel"].set()
    with pytest.raises(Interrupted):
        dnmf.factorize(V, 4, store=where, **arguments, **options)
    with pytest.raises(StoreError, match="has no whole checkpoint yet; resume the run"):
        dnmf.load(where)
    assert_same_bits(dnmf.resume(where, V), dnmf.factorize(V, 4, **options))


# Other values of fixed options are errors, which name both values.


@pytest.fixture
def interrupted(tmp_path):
    """Return the stores of a run by columns that was interrupted, and of its matrix."""
    V = stored(tmp_path / "V.zarr", matrix(), (24, 15))
    with pytest.raises(Interrupted):
        dnmf.factorize(
            V, 4, max_passes=PASSES, tol=0, seed=1, l1_W=0.5, l1_H=0.5, store=tmp_path / "run.zarr", **interrupt_at(3)
        )
    return tmp_path / "run.zarr", V


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"rank": 5}, "has rank=4 and cannot be resumed with rank=5"),
        ({"loss": "kullback-leibler"}, "has loss='frobenius' and cannot be resumed with loss='kullback-leibler'"),
        ({"solver": "mu"}, "has solver='auto' and cannot be resumed with solver='mu'"),
        ({"init": "nndsvd"}, "has init='auto' and cannot be resumed with init='nndsvd'"),
        ({"seed": 2}, "has seed=1 and cannot be resumed with seed=2"),
        ({"l1_W": 0}, "has l1_W=0.5 and cannot be resumed with l1_W=0"),
        ({"sweeps": 3}, "has sweeps=None and cannot be resumed with sweeps=3"),
    ],
    ids=str,
)
def test_settings_that_change_the_factors_are_refused_with_both_values(option, sentence, interrupted):
    where, _ = interrupted
    with pytest.raises(StoreError, match=sentence):
        dnmf.resume(where, **option)
    assert dnmf.resume(where).passes == PASSES


def test_the_settings_of_the_run_itself_may_be_given_again(interrupted):
    where, _ = interrupted
    assert dnmf.resume(where, rank=4, loss="frobenius", seed=1, l1_W=0.5).passes == PASSES


def test_an_unknown_option_is_refused_with_the_nearest_one(interrupted):
    with pytest.raises(SettingsError, match=r"the option 'max_pases' is not known. Did you mean 'max_passes'\?"):
        dnmf.resume(interrupted[0], max_pases=9)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda V: V[:, :-1], r"shape \[24, 60\].* has shape \[24, 59\]"),
        (lambda V: V.astype(np.float64), "dtype <f4.* has dtype <f8"),
        (
            lambda V: da.from_array(V + np.float32(1), chunks=(24, 15)),
            "a digest of its first block of [0-9a-f]{32}, and .* of its first block of [0-9a-f]{32};",
        ),
        (lambda V: da.from_array(V, chunks=(6, 60)), "blocks cut along its columns.* has blocks cut along its rows"),
        (lambda V: da.from_array(V, chunks=(24, 20)), "blocks: 4 of up to 15.* has blocks: 3 of up to 20"),
        (
            lambda V: da.from_array(V, chunks=(24, (15, 14, 16, 15))),
            "blocks: 4 of up to 15.* has blocks: 4 of up to 16",
        ),
    ],
    ids=["shape", "dtype", "content", "axis", "chunks", "uneven chunks"],
)
def test_another_matrix_is_refused_with_both_values(change, sentence, interrupted):
    where, _ = interrupted
    with pytest.raises(StoreError, match=sentence):
        dnmf.resume(where, change(matrix()))
    assert dnmf.resume(where).passes == PASSES


def test_a_matrix_whose_later_blocks_have_changed_is_refused_in_the_first_pass(interrupted, tmp_path):
    where, _ = interrupted
    V = matrix()
    V[3, 50] += 1
    with pytest.raises(DataError, match=r"block 3 \(columns 45 to 59\) of V has changed.* is .* and was"):
        dnmf.resume(where, stored(tmp_path / "changed.zarr", V, (24, 15)))
    assert dnmf.load(where).passes == 3


def test_a_matrix_that_has_moved_is_missed_and_may_be_given_again(interrupted, tmp_path):
    where, V = interrupted
    whole = dnmf.factorize(V, 4, max_passes=PASSES, tol=0, seed=1, l1_W=0.5, l1_H=0.5)
    moved = shutil.move(V, tmp_path / "moved.zarr")
    with pytest.raises(
        StoreError, match=r"V.zarr does not exist.* If it or its weights have moved, give them again: V"
    ):
        dnmf.resume(where)
    assert_same_bits(dnmf.resume(where, moved), whole)
    assert_same_bits(dnmf.resume(where), whole)


def test_a_matrix_in_memory_must_be_given_again(tmp_path):
    where = tmp_path / "run.zarr"
    dnmf.factorize(matrix(), 4, max_passes=2, tol=0, store=where)
    with pytest.raises(StoreError, match="was given its matrix in memory; give V again"):
        dnmf.resume(where, max_passes=3)


def test_an_opened_zarr_array_is_found_again(tmp_path):
    V, where = stored(tmp_path / "V.zarr", matrix(), (24, 15)), tmp_path / "run.zarr"
    with pytest.raises(Interrupted):
        dnmf.factorize(
            zarr.open_array(V, mode="r"), 4, init="random", tol=0, max_passes=5, store=where, **interrupt_at(2)
        )
    assert dnmf.resume(where).passes == 5


def test_a_relative_path_is_found_from_another_folder(tmp_path, monkeypatch):
    stored(tmp_path / "V.zarr", matrix(), (24, 15))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    dnmf.factorize("V.zarr", 4, max_passes=2, tol=0, store="run.zarr")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert dnmf.resume("../run.zarr", max_passes=3).passes == 3


def test_load_gives_the_newest_checkpoint_of_a_run_that_has_not_ended(interrupted):
    where, V = interrupted
    result = dnmf.load(where)
    assert result.passes == 3
    assert not result.converged
    assert "after pass 3; resume the run to continue it" in result.verdict
    expected = dnmf.factorize(V, 4, max_passes=3, tol=0, seed=1, l1_W=0.5, l1_H=0.5)
    for one, other in zip(factors(result), factors(expected), strict=True):
        assert np.array_equal(one, other)


def test_a_sparse_matrix_in_memory_keeps_the_blocks_of_a_run_by_an_older_version(tmp_path, monkeypatch):
    V, options = sp.csc_array(matrix(30, 200)), {"tol": 0, **PLAIN}
    with monkeypatch.context() as patch:
        patch.setattr("dnmf.sources.memory.fine_entry_bounds", lambda *given: (0, 170, 200))
        dnmf.factorize(V, 3, max_passes=2, store=tmp_path / "run.zarr", **options)
        expected = dnmf.factorize(V, 3, max_passes=4, **options)
    assert dnmf.plan(V, 3).blocks == 1
    assert_same_bits(dnmf.resume(tmp_path / "run.zarr", V, max_passes=4), expected)
