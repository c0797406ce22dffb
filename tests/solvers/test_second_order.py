"""Runs with divergences: the initialisation from a scaled sketch, and second-order steps of W."""

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.decomposition
from naive import objective
from runs import assert_same_bits, factors, interrupt_at
from sklearn.datasets import load_wine

import dnmf
import dnmf.solvers.selection
import dnmf.solvers.sketch.basis
from dnmf.errors import Interrupted
from dnmf.solvers.sketch.basis import is_tall, tall_basis

KL = {"loss": "kullback-leibler", "tol": 0}
PENALTIES = {"l1_W": 0.2, "l2_W": 0.1, "l1_H": 0.3, "l2_H": 0.2}


def counts(rows=60, columns=400, rank=4, seed=0, dtype=np.float64):
    """Draw counts of planted parts, with a row and a column of zeros."""
    rng = np.random.default_rng(seed)
    V = rng.poisson(rng.gamma(0.3, 1.0, (rows, rank)) @ rng.gamma(0.3, 10.0, (rank, columns)))
    V[5], V[:, 7] = 0, 0
    return V.astype(dtype)


def losses(result):
    return np.array([record.loss for record in result.history])


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, lambda V: da.from_array(V, chunks=(-1, 90))])
@pytest.mark.parametrize("penalties", [{}, PENALTIES], ids=["plain", "penalised"])
def test_the_loss_never_rises_and_is_that_of_the_factors(form, penalties):
    V = counts()
    result = dnmf.factorize(form(V), 4, max_passes=25, **KL, **penalties)
    assert {record.solver for record in result.history} == {"newton"}
    assert (np.diff(losses(result)) <= 1e-12 * losses(result)[0]).all()
    W, H = factors(result)
    for factor in (W, H):
        assert np.isfinite(factor).all()
        assert (factor >= 0).all()
    # The loss is that of the W before the last step, which has not raised it.
    assert objective(V, W, H, loss=1, **penalties) <= result.loss * (1 + 1e-12)


def test_it_gets_where_the_multiplicative_rule_does_in_a_tenth_of_the_passes():
    V = counts(rows=80, columns=600)
    slow = min(dnmf.factorize(V, 4, solver="mu", init="random", max_passes=100, seed=s, **KL).loss for s in range(3))
    assert dnmf.factorize(V, 4, max_passes=10, **KL).loss <= slow * 1.001


def test_the_start_alone_is_near_the_end():
    V = counts(rows=80, columns=600)
    best = dnmf.factorize(V, 4, max_passes=60, **KL).loss
    flat = next(dnmf.iterate(V, 4, solver="cd", init="random", **KL)).loss
    near = next(dnmf.iterate(V, 4, solver="cd", init="sketch", **KL)).loss
    assert near - best < 0.2 * (flat - best)


def test_the_basis_of_a_tall_matrix_has_its_leading_singular_vectors():
    M = counts(rows=600, columns=50, rank=12, dtype=np.float32)
    assert is_tall(M, 12)
    Q = tall_basis(M, 12, np.random.default_rng(0))
    np.testing.assert_allclose(Q.T @ Q, np.eye(12), atol=1e-10)
    U = np.linalg.svd(M.astype(np.float64), full_matrices=False)[0][:, :9]
    np.testing.assert_allclose(Q @ (Q.T @ U), U, atol=1e-6)
    assert np.isfinite(tall_basis(0 * M, 12, np.random.default_rng(0))).all()


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_few_passes_are_enough_for_a_matrix_with_few_columns(rank):
    V = load_wine().data  # 13 columns, whose scales differ by a factor of a thousand
    peer = sklearn.decomposition.NMF(
        rank, solver="mu", beta_loss="kullback-leibler", init="nndsvda", max_iter=1000, tol=0, random_state=0
    )
    W = peer.fit_transform(V)
    assert dnmf.factorize(V, rank, max_passes=4, **KL).loss <= 1.2 * objective(V, W, peer.components_, loss=1)


@pytest.mark.parametrize("loss", [0.5, 1, 1.5, 3])
def test_every_divergence_starts_from_the_sketch_and_descends(loss):
    V = counts() + 0.1
    result = dnmf.factorize(V, 4, loss=loss, max_passes=12, tol=0)
    assert result.history[0].passes == 2
    assert (np.diff(losses(result)) <= 1e-12 * losses(result)[0]).all()


def test_the_number_of_threads_and_the_kind_of_matrix_change_nothing():
    V = counts(dtype=np.float32)
    D = da.from_array(V, chunks=(-1, 50))
    one = dnmf.factorize(D, 4, max_passes=6, threads=1, **KL)
    assert_same_bits(dnmf.factorize(D, 4, max_passes=6, threads=3, **KL), one)


def test_no_cut_into_blocks_and_no_sparsity_changes_the_factors():
    V, options = counts(), {**KL, "init": "sketch", "max_passes": 4}
    whole = factors(dnmf.factorize(V, 4, **options))
    for other in (da.from_array(V, chunks=(-1, 37)), sp.csc_array(V)):
        for found, expected in zip(factors(dnmf.factorize(other, 4, **options)), whole, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_rows_streamed_are_columns_of_the_transpose():
    V = counts()
    by_rows = dnmf.factorize(da.from_array(V.T.copy(), chunks=(50, -1)), 4, max_passes=5, **KL)
    by_columns = dnmf.factorize(da.from_array(V, chunks=(-1, 50)), 4, max_passes=5, **KL)
    np.testing.assert_allclose(np.asarray(by_rows.W).T, np.asarray(by_columns.H), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("passes", [2, 5, 9])
def test_a_run_that_was_interrupted_gives_the_same_bits(tmp_path, passes):
    V = da.from_array(counts(dtype=np.float32), chunks=(-1, 50))
    options = {"rank": 4, "max_passes": 12, "checkpoint_every": 3, **KL}
    with pytest.raises(Interrupted):
        dnmf.factorize(V, store=tmp_path / "run.zarr", **interrupt_at(passes), **options)
    assert_same_bits(dnmf.resume(tmp_path / "run.zarr", V), dnmf.factorize(V, **options))


def test_columns_beyond_the_sample_are_factorised_by_passes_over_the_sketch(monkeypatch):
    monkeypatch.setattr(dnmf.solvers.sketch.samples, "SAMPLE", 100)
    V = da.from_array(counts(), chunks=(-1, 50))
    result = dnmf.factorize(V, 4, max_passes=6, **KL)
    monkeypatch.undo()
    expected = dnmf.factorize(V, 4, max_passes=6, **KL)
    assert abs(result.loss - expected.loss) < 0.02 * expected.loss


def test_where_the_hessians_are_too_large_the_majorised_step_is_extrapolated(monkeypatch):
    monkeypatch.setattr(dnmf.solvers.selection, "HESSIAN_BYTES", 0)
    result = dnmf.factorize(counts(), 4, max_passes=10, **KL)
    assert {record.solver for record in result.history} == {"extrapolated"}
    assert (np.diff(losses(result)) <= 1e-12 * losses(result)[0]).all()


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**60])
def test_the_scale_of_the_matrix_is_that_of_the_factors(scale):
    V = counts(dtype=np.float32)
    plain, scaled = (dnmf.factorize(V * np.float32(s), 4, max_passes=5, **KL) for s in (1, scale))
    np.testing.assert_allclose(np.asarray(scaled.W @ scaled.H) / scale, np.asarray(plain.W @ plain.H), rtol=2e-3)


@pytest.mark.parametrize("form", [np.asarray, lambda V: da.from_array(V, chunks=(-1, 7))])
@pytest.mark.parametrize("scale", [2.0**-70, 1.0, 2.0**70])
def test_a_few_columns_of_low_rank_are_found_by_one_read_at_any_scale(scale, form):
    rng = np.random.default_rng(0)
    V = (rng.gamma(0.5, size=(200, 3)) @ rng.gamma(0.5, size=(3, 20))).astype(np.float32)
    result = dnmf.factorize(form(V * np.float32(scale)), 3, max_passes=2, **KL)
    assert result.history[0].bytes_read == 2 * V.nbytes  # one is that of the pass
    np.testing.assert_allclose(np.asarray(result.W @ result.H) / scale, V, atol=1e-3 * V.max())


@pytest.mark.parametrize(
    "V", [np.zeros((40, 60)), np.zeros((200, 20)), np.outer(np.arange(40.0), np.ones(60)), np.eye(40), np.eye(200, 20)]
)
def test_awkward_matrices_give_finite_factors(V):
    result = dnmf.factorize(V, 3, max_passes=6, **KL)
    for factor in factors(result):
        assert np.isfinite(factor).all()
        assert (factor >= 0).all()
