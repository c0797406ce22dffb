"""Options of `NMF` that scikit-learn does not have: several runs, threads, fixed components, a cluster."""

import pickle

import dask.array as da
import numpy as np
import pytest
from runs import matrix
from scipy.optimize import nnls
from scipy.special import rel_entr
from sklearn.base import clone

from dnmf import NMF, MiniBatchNMF
from dnmf.errors import DataError, SettingsError, StoreError

X = matrix(60, 24, dtype=np.float64)
FIXED = np.random.default_rng(1).random((2, 24))


def test_fixed_components_stay_and_w_is_the_best_for_all():
    model = NMF(4, fixed_components=FIXED, random_state=0, max_iter=100, tol=1e-5)
    W = model.fit_transform(X)
    np.testing.assert_array_equal(model.components_[:2], FIXED)
    expected = np.array([nnls(model.components_.T, row)[0] for row in X])
    np.testing.assert_allclose(W, expected, atol=1e-8)
    assert model.reconstruction_err_ < NMF(2, fixed_components=FIXED).fit(X).reconstruction_err_


def test_fixed_components_are_checked():
    with pytest.raises(DataError, match=r"fixed_components has shape \(2, 5\)"):
        NMF(4, fixed_components=FIXED[:, :5]).fit(X)


def test_a_fit_with_fixed_components_is_resumed_with_the_same(tmp_path):
    options = {"random_state": 0, "tol": 0, "store": tmp_path / "run.zarr"}
    first = NMF(3, fixed_components=FIXED, max_iter=4, **options).fit(X)
    again = NMF(3, fixed_components=FIXED, max_iter=8, **options).fit(X)
    assert (first.n_iter_, again.n_iter_) == (4, 8)
    with pytest.raises(StoreError, match="has other fixed_components"):
        NMF(3, fixed_components=FIXED + 1, max_iter=9, **options).fit(X)
    with pytest.raises(StoreError, match=r"len\(fixed_components\)=2 and cannot be resumed with len\(fixed_comp.*\)=0"):
        NMF(3, max_iter=9, **options).fit(X)


def test_the_best_of_several_runs_is_kept():
    options = {"max_iter": 8, "tol": 0, "solver": "hals", "init": "random"}
    model = NMF(4, random_state=5, n_runs=3, threads=1, **options).fit(X)
    alone = [NMF(4, random_state=seed, **options).fit(X) for seed in (5, 6, 7)]
    np.testing.assert_allclose(model.result_.runs, [one.result_.loss for one in alone], rtol=1e-6)
    assert model.reconstruction_err_ == pytest.approx(min(one.reconstruction_err_ for one in alone), rel=1e-9)
    assert NMF(4, n_runs=2, random_state=0, tol=1e-2).fit(X).result_.settings.init == "auto"


def test_a_fitted_estimator_has_its_run(tmp_path):
    model = NMF(4, random_state=0, max_iter=5, tol=0).fit(X)
    assert len(model.result_.history) == model.n_iter_ == 5
    assert "max_iter" in model.result_.verdict
    np.testing.assert_array_equal(model.result_.H, model.components_)
    restored = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(restored.transform(X), model.transform(X))
    assert not hasattr(restored, "result_")


def test_a_stored_estimator_has_its_run(tmp_path):
    model = NMF(4, random_state=0, tol=1e-2, n_runs=2, threads=2, store=tmp_path / "run.zarr").fit(X)
    again = NMF.from_store(tmp_path / "run.zarr")
    assert again.result_.history == model.result_.history
    assert (again.n_runs, again.threads) == (2, 2)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("loss", ["frobenius", "kullback-leibler"])
def test_weights_are_those_of_factorize(loss, lazy):
    weights = np.random.default_rng(2).integers(0, 4, X.shape).astype(float)
    data = da.from_array(X, chunks=(20, -1)) if lazy else X
    model = NMF(3, beta_loss=loss, solver="auto", random_state=0, max_iter=60, tol=0, init="random")
    W = model.fit_transform(data, weights=weights)
    ones = NMF(3, beta_loss=loss, solver="auto", random_state=0, max_iter=60, tol=0, init="random").fit(data)
    Y, Z = W @ model.components_, ones.transform(X) @ ones.components_
    divergence = {"frobenius": lambda Y: (X - Y) ** 2 / 2, "kullback-leibler": lambda Y: rel_entr(X, Y) - X + Y}[loss]
    weighted = [(weights * divergence(P)).sum() for P in (Y, np.asarray(Z))]
    assert weighted[0] < weighted[1]
    np.testing.assert_allclose(model.reconstruction_err_, np.sqrt(2 * weighted[0]), rtol=1e-4)
    np.testing.assert_array_equal(model.transform(data, weights=weights), W)
    if loss == "frobenius":
        roots = np.sqrt(weights)
        best = [nnls(root[:, None] * model.components_.T, root * row)[0] for root, row in zip(roots, X, strict=True)]
        np.testing.assert_allclose(W, best, atol=1e-6)


def test_a_mini_batch_takes_no_weights():
    with pytest.raises(SettingsError, match="takes no weights; use NMF"):
        MiniBatchNMF(2).fit(X, weights=X)


def test_new_parameters_are_cloned():
    model = clone(NMF(4, fixed_components=FIXED, client="threads", threads=1, n_runs=2))
    np.testing.assert_array_equal(model.fixed_components, FIXED)
    assert model.get_params()["client"] == "threads"
