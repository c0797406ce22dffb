"""The start from factors of a small V itself: against scikit-learn's losses, and the textbook's updates."""

import naive
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.decomposition import NMF

import dnmf
from dnmf.errors import DataError
from dnmf.settings import Settings
from dnmf.solvers.direct import MOST
from dnmf.solvers.selection import resolve
from dnmf.sources import open_matrix


def planted(rows, columns, rank, seed=0):
    """Return a matrix of a rank, with noise."""
    rng = np.random.default_rng(seed)
    return rng.gamma(0.5, size=(rows, rank)) @ rng.gamma(0.5, size=(rank, columns)) + 0.2 * rng.random((rows, columns))


def init_of(V, rank=3, **options):
    """Return the initialisation of a run."""
    return resolve(Settings(rank=rank, **options), open_matrix(V).layout).init


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(100, 50, 5), (30, 200, 8), (150, 4, 2), (150, 4, 3), (500, 20, 2), (60, 60, 6)])
def test_the_loss_is_that_of_scikit_learn_or_lower(shape, seed):
    V = planted(*shape, seed)
    theirs = NMF(shape[2], random_state=0)
    W = theirs.fit_transform(V)
    result = dnmf.factorize(V, rank=shape[2], tol=1e-4, seed=seed)
    assert naive.objective(V, result.W, result.H) <= 1.001 * naive.objective(V, W, theirs.components_)
    assert result.passes == 2


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_the_textbook_finds_no_better_factors_nearby_under_penalties(axis):
    V, penalties = planted(40, 60, 4), {"l1_W": 0.3, "l2_W": 0.1, "l1_H": 0.2, "l2_H": 0.4}
    V = V if axis == "columns" else V.T
    result = dnmf.factorize(V, rank=4, tol=1e-8, **penalties)
    W, H = result.W.copy(), result.H.copy()
    for _ in range(200):
        H = naive.hals(H, W.T @ V, W.T @ W, penalties["l1_H"], penalties["l2_H"], sweeps=2)
        W = naive.hals(W.T.copy(), H @ V.T, H @ H.T, penalties["l1_W"], penalties["l2_W"], sweeps=2).T
    found = naive.objective(V, result.W, result.H, **penalties)
    np.testing.assert_allclose(result.loss, found, rtol=1e-9)
    assert naive.objective(V, W, H, **penalties) >= found * (1 - 1e-5)


def test_the_factors_do_not_depend_on_the_form_of_the_matrix():
    V = planted(60, 40, 3)
    V[V < 0.5] = 0
    expected = dnmf.factorize(V, rank=3)
    for same in (np.asfortranarray(V), sp.csr_array(V)):
        found = dnmf.factorize(same, rank=3)
        np.testing.assert_allclose(found.W @ found.H, expected.W @ expected.H, rtol=1e-6, atol=1e-5)
    for scale in (1e-20, 1e20):
        found = dnmf.factorize(V * scale, rank=3)
        np.testing.assert_allclose(found.W @ found.H, expected.W @ expected.H * scale, rtol=1e-6, atol=1e-5 * scale)


def test_the_best_of_several_runs_is_kept():
    V = planted(60, 40, 6)
    result = dnmf.factorize(V, rank=4, n_runs=3, tol=1e-6)
    assert len(result.runs) == 3
    assert len(set(result.runs)) == 3
    np.testing.assert_allclose(naive.objective(V, result.W, result.H), min(result.runs), rtol=1e-4)


def test_a_bad_entry_is_named():
    V = planted(20, 30, 2)
    V[3, 7] = -1
    with pytest.raises(DataError, match=r"V\[3, 7\] is -1"):
        dnmf.factorize(V, rank=2)


def test_a_run_starts_so_where_it_may():
    V = np.ones((60, 80))
    side = int((MOST / 6) ** 0.5)
    assert init_of(V) == init_of(sp.csc_array(V)) == init_of(V, l1_W=0.1) == "direct"
    assert init_of(np.ones((side, side))) == "direct"
    others = [{"solver": "sketch"}, {"solver": "hals"}, {"init": "random"}, {"n_fixed_W": 1}, {"upper_H": 1.0}]
    others += [{"loss": "kullback-leibler"}, {"volume_W": 0.1}, {"missing": "nan"}]
    others += [{"l1_W": (0.1, 0.2, 0.3)}]
    assert "direct" not in {init_of(V, **options) for options in others}
    assert init_of(np.ones((side + 1, side + 1))) == "sketch"
