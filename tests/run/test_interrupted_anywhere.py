"""A run that is interrupted at any block of any pass and resumed ends with the bits of one that was not."""

import threading

import numpy as np
import pytest
import zarr
from runs import assert_same_bits, factors, interrupt_at, matrix, stored

import dnmf
from dnmf.errors import Interrupted
from dnmf.run.watcher import Watcher

PASSES, BLOCKS = 3, 3
RUNS = {
    "hals": {"solver": "hals", "init": "random"},
    "sketch": {"solver": "sketch", "init": "sketch"},
    "newton": {"loss": "kullback-leibler"},
    "kl from random": {"loss": "kullback-leibler", "init": "random"},
    "mu": {"loss": "itakura-saito", "init": "random"},
    "minibatch": {"solver": "minibatch", "init": "random"},
    "several hals": {"solver": "hals", "init": "random", "n_runs": 3},
    "several sketch": {"n_runs": 3, "init": "sketch"},
    "several newton": {"loss": "kullback-leibler", "n_runs": 2},
    "several mu": {"loss": "kullback-leibler", "solver": "mu", "init": "random", "n_runs": 2},
}


def positive(rows=40, columns=60):
    """Return a matrix without zeros, for every loss."""
    return matrix(rows, columns, np.float64) + 0.1


class Stop(Watcher):
    """Asks a run to stop after a number of blocks."""

    def __init__(self, after):
        self.left, self.cancel = after, threading.Event()

    def block_read(self, count):
        self.left -= 1
        if self.left == 0:
            self.cancel.set()


class Count(Watcher):
    """Counts the blocks that a run visits."""

    seen = 0

    def block_read(self, count):
        self.seen += 1


def interrupted(call, blocks):
    """Return whether a call with `watchers` and `cancel` was interrupted after a number of blocks."""
    stop = Stop(blocks)
    try:
        call(watchers=[stop], cancel=stop.cancel)
    except Interrupted:
        return True
    return False


@pytest.mark.parametrize(
    ("name", "every"), [*((name, 2) for name in RUNS), ("hals", 10), ("several sketch", 10), ("several newton", 10)]
)
def test_a_run_interrupted_at_any_block_resumes_to_the_bits_of_one_that_was_not(name, every, tmp_path):
    V = stored(tmp_path / "V.zarr", positive(), (40, 20))
    options = {"rank": 3, "max_passes": PASSES, "tol": 0, "threads": 1, "checkpoint_every": every, **RUNS[name]}
    count = Count()
    whole = dnmf.factorize(V, watchers=[count], **options)
    for blocks in range(1, count.seen + 1):
        where = tmp_path / f"run-{blocks}.zarr"
        if not interrupted(lambda **how: dnmf.factorize(V, store=where, **options, **how), blocks):  # noqa: B023
            assert blocks >= count.seen - BLOCKS
        resumed = dnmf.resume(where)
        assert_same_bits(resumed, whole)
        assert resumed.runs == whole.runs
        assert [factor.shape for factor in factors(resumed)] == [(40, 3), (3, 60)]
    assert_same_bits(dnmf.load(where), whole)
    assert dnmf.load(where).runs == whole.runs


@pytest.mark.parametrize("name", ["several hals", "several newton"])
def test_a_run_whose_models_were_not_chosen_from_is_finished_by_a_resume_with_fewer_passes(name, tmp_path):
    V, where = positive(), tmp_path / "run.zarr"
    options = {"rank": 3, "tol": 0, **RUNS[name]}
    whole = dnmf.factorize(V, max_passes=3, **options)
    with pytest.raises(Interrupted):
        dnmf.factorize(V, max_passes=9, store=where, **options, **interrupt_at(3))
    assert dnmf.load(where).passes == 3
    assert_same_bits(dnmf.resume(where, V, max_passes=3), whole)
    assert_same_bits(dnmf.load(where), whole)
    assert dnmf.load(where).runs == whole.runs
    assert np.array_equal(zarr.open_array(where / "W", mode="r")[...], np.asarray(whole.W))


def test_a_folder_keeps_one_checkpoint_of_a_pass_that_is_finished_later(tmp_path):
    V, where = positive(), tmp_path / "run.zarr"
    with pytest.raises(Interrupted):
        dnmf.factorize(V, 3, max_passes=9, tol=0, store=where, **RUNS["several hals"], **interrupt_at(3))
    dnmf.resume(where, V, max_passes=3)
    assert [file.name for file in (where / "commits").iterdir()] == ["000003.json"]
    assert len(list((where / "checkpoints").iterdir())) == 1


SURVEYS = {
    "on a sketch": {},
    "side by side": {"solver": "hals", "init": "random"},
    "newton": {"loss": "kullback-leibler"},
}


@pytest.mark.parametrize("name", SURVEYS)
def test_a_survey_interrupted_at_any_block_goes_on_to_the_same_bits(name, tmp_path):
    V = stored(tmp_path / "V.zarr", positive(), (40, 20))
    options = {"n_runs": 2, "cv": 2, "max_passes": 3, "threads": 1, "checkpoint_every": 2, **SURVEYS[name]}
    count = Count()
    whole = dnmf.select_rank(V, [2, 3], watchers=[count], **options)
    for blocks in range(1, count.seen):
        where = tmp_path / f"survey-{blocks}.zarr"
        assert interrupted(lambda **how: dnmf.select_rank(V, [2, 3], store=where, **options, **how), blocks)  # noqa: B023
        resumed = dnmf.select_rank(V, [2, 3], store=where, **options)
        for column in ("loss", "loss_median", "held_out", "cophenetic", "sparsity_H"):
            assert resumed.table()[column] == whole.table()[column], column
        for rank in (2, 3):
            for one, other in zip(factors(resumed.best(rank)), factors(whole.best(rank)), strict=True):
                assert np.array_equal(one, other)
