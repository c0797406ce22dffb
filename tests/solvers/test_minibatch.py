"""Passes that update W after every batch of blocks."""

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
from naive import hals, objective
from runs import assert_same_bits, factors, interrupt_at, matrix
from sklearn.datasets import load_digits

import dnmf
from dnmf.errors import Interrupted, SettingsError
from dnmf.solvers.minibatch import W_SWEEPS, random_batches

OPTIONS = {"solver": "minibatch", "init": "random", "tol": 0}
PENALTIES = {"l1_W": 0.2, "l2_W": 0.1, "l1_H": 0.3, "l2_H": 0.2}


def cut(V, width=5):
    return da.from_array(V, chunks=(-1, width))


def losses(result):
    return np.array([record.loss for record in result.history])


@pytest.mark.parametrize("penalties", [{}, PENALTIES], ids=["plain", "penalised"])
def test_the_objective_never_rises_and_is_that_of_the_factors(penalties):
    V = matrix(dtype=np.float64)
    result = dnmf.factorize(cut(V), 4, max_passes=20, **OPTIONS, **penalties)
    assert (np.diff(losses(result)) <= 1e-12 * losses(result)[0]).all()
    assert result.loss == pytest.approx(objective(V, *factors(result), **penalties), rel=1e-10)


def textbook(V, W, H, A, B, batches, sweeps):
    """One epoch of incremental block coordinate descent, with A = VHᵀ and B = HHᵀ kept up to date."""
    for columns in batches:
        v, h = V[:, columns], H[:, columns]
        new = hals(h, W.T @ v, W.T @ W, 0, 0, sweeps)
        seen = A.any()
        A, B = A + v @ (new - h if seen else new).T, B + new @ new.T - (h @ h.T if seen else 0)
        H[:, columns] = new
        W = hals(W.T, A.T, B, 0, 0, W_SWEEPS).T
    return W, H, A, B


def test_an_epoch_is_the_textbooks():
    V = matrix(dtype=np.float64)
    rng = np.random.default_rng(5)
    W, H = rng.random((24, 4)), rng.random((4, 60))
    A, B, expected = np.zeros((24, 4)), np.zeros((4, 4)), None
    result = dnmf.factorize(cut(V), 4, solver="minibatch", init=(W, H), sweeps=8, max_passes=1, tol=0)
    batches = [np.concatenate([np.arange(5 * b, 5 * b + 5) for b in batch]) for batch in random_batches(12, [0, 0])]
    H_start = H.copy()
    # In the first epoch, unseen blocks do not count, and rows of W without data so far do not change.
    A, B = np.zeros((24, 4)), np.zeros((4, 4))
    for number, columns in enumerate(batches):
        new = hals(H_start[:, columns], W.T @ V[:, columns], W.T @ W, 0, 0, 8)
        A, B = A + V[:, columns] @ new.T, B + new @ new.T
        H_start[:, columns] = new
        known = A.any(axis=1, keepdims=True) | (number == len(batches) - 1)
        W = np.where(known, hals(W.T, A.T, B, 0, 0, W_SWEEPS).T, W)
    expected = H_start
    np.testing.assert_allclose(np.asarray(result.H), expected, rtol=1e-9, atol=1e-12)
    later = dnmf.factorize(cut(V), 4, solver="minibatch", init=(result.W, np.asarray(result.H)), max_passes=1, tol=0)
    assert later.loss <= result.loss


def test_one_epoch_gets_further_than_one_pass():
    V = cut(matrix(rows=40, columns=400, dtype=np.float64), 20)
    epoch = dnmf.factorize(V, 4, max_passes=2, **OPTIONS)
    assert epoch.loss < dnmf.factorize(V, 4, max_passes=2, **{**OPTIONS, "solver": "hals"}).loss


@pytest.mark.parametrize("forget", [1.0, 0.7])
def test_the_number_of_threads_changes_nothing_and_the_seed_does(forget):
    V = cut(matrix())
    one = dnmf.factorize(V, 4, max_passes=4, threads=1, forget=forget, **OPTIONS)
    assert_same_bits(dnmf.factorize(V, 4, max_passes=4, threads=3, forget=forget, **OPTIONS), one)
    other = dnmf.factorize(V, 4, max_passes=4, forget=forget, seed=1, **OPTIONS)
    assert not np.array_equal(other.W, one.W)


@pytest.mark.parametrize("forget", [1.0, 0.7])
def test_a_run_that_was_interrupted_gives_the_same_bits(tmp_path, forget):
    V = cut(matrix())
    options = {"rank": 4, "max_passes": 9, "checkpoint_every": 2, "forget": forget, **OPTIONS}
    with pytest.raises(Interrupted):
        dnmf.factorize(V, store=tmp_path / "run.zarr", **interrupt_at(5), **options)
    assert_same_bits(dnmf.resume(tmp_path / "run.zarr", V), dnmf.factorize(V, **options))


def test_every_block_is_read_once_a_pass():
    V = matrix()
    result = dnmf.factorize(cut(V), 4, max_passes=3, **OPTIONS)
    assert [record.bytes_read for record in result.history] == [V.nbytes, 2 * V.nbytes, 3 * V.nbytes]


def test_sparse_blocks_give_what_dense_ones_do():
    V = matrix(dtype=np.float64)
    V[np.median(V) > V] = 0
    dense = dnmf.factorize(cut(V), 4, max_passes=3, **OPTIONS)
    sparse = dnmf.factorize(cut(V).map_blocks(sp.csc_array), 4, max_passes=3, **OPTIONS)
    for one, other in zip(factors(dense), factors(sparse), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)


def test_it_goes_on_from_a_sketch():
    V = cut(matrix(columns=200, dtype=np.float64))
    result = dnmf.factorize(V, 4, solver="minibatch", init="sketch", max_passes=5, tol=0)
    assert [record.passes for record in result.history] == [2, 3, 4, 5]
    assert (np.diff(losses(result)) <= 1e-10 * losses(result)[0]).all()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"missing": "nan"}, "needs every entry"),
        ({"loss": "kullback-leibler"}, "needs loss='frobenius'"),
        ({"forget": 0}, "above 0"),
        ({"forget": 1.5}, "at most 1"),
    ],
)
def test_what_does_not_go_together_is_told(options, sentence):
    with pytest.raises(SettingsError, match=sentence):
        dnmf.factorize(matrix(), 4, solver="minibatch", **options)


@pytest.mark.parametrize("penalties", [{}, {"l1_W": 0.5, "l1_H": 0.5}], ids=["plain", "penalised"])
@pytest.mark.parametrize("kind", ["silent at first", "nothing in common"])
@pytest.mark.parametrize("seed", range(3))
def test_blocks_that_lack_rows_keep_none_from_being_learned(penalties, kind, seed):
    V = np.random.default_rng(0).random((12, 2)) @ np.random.default_rng(1).random((2, 160))
    if kind == "silent at first":
        V[:, :100] = 0
    else:
        V[6:, :80], V[:6, 80:] = 0, 0
    result = dnmf.factorize(cut(V), 2, max_passes=30, seed=seed, **OPTIONS, **penalties)
    assert (np.asarray(result.W).max(axis=1) > 0).all()
    exact = dnmf.factorize(V, 2, solver="hals", init="random", seed=seed, max_passes=300, tol=0, **penalties)
    nothing = 0.5 * (V**2).sum()
    assert nothing - result.loss > 0.9 * (nothing - objective(V, *factors(exact), **penalties))


@pytest.mark.parametrize("constraint", [{}, {"columns_H": "simplex"}], ids=["free", "simplex"])
def test_a_run_ends_near_the_loss_that_many_more_passes_reach(constraint):
    V = load_digits().data[:300].T
    options = OPTIONS | constraint
    ended = dnmf.factorize(cut(V, 50), 6, max_passes=400, **(options | {"tol": 1e-4}))
    assert ended.converged
    longer = dnmf.factorize(cut(V, 50), 6, max_passes=len(ended.history) + 100, **options)
    assert ended.loss <= 1.005 * longer.loss
