"""The estimators among the tools of scikit-learn, and their stores."""

import json
import threading
import warnings

import dask.array as da
import joblib
import numpy as np
import pytest
from runs import change_header
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler

import dnmf
from dnmf import NMF, MiniBatchNMF
from dnmf.errors import Interrupted, StoreError

rng = np.random.default_rng(0)
X = rng.random((40, 4)) @ rng.random((4, 15)) + 0.1 * rng.random((40, 15))
NAMES = [f"feature {number}" for number in range(15)]


@pytest.mark.parametrize("model", [NMF(3, random_state=0), MiniBatchNMF(3, random_state=0, tol=1e-2)])
def test_a_pipeline(model):
    pipe = make_pipeline(MinMaxScaler(), model)
    W = pipe.fit_transform(X)
    np.testing.assert_array_equal(W, pipe.transform(X))
    assert pipe.inverse_transform(W).shape == X.shape
    assert list(pipe.get_feature_names_out()) == list(model.get_feature_names_out())


def test_a_grid_search_over_components_by_score():
    search = GridSearchCV(NMF(random_state=0, max_iter=500, tol=1e-3), {"n_components": [1, 4]}, cv=2, n_jobs=2)
    with joblib.parallel_config("threading"):
        assert search.fit(X).best_params_ == {"n_components": 4}


def test_clones_and_joblib(tmp_path):
    model = NMF(3, random_state=0, store=tmp_path / "run.zarr").fit(X)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "components_")
    np.testing.assert_array_equal(copy.fit(X).components_, model.components_)  # the store is free, and finished
    joblib.dump(model, tmp_path / "model")
    np.testing.assert_array_equal(joblib.load(tmp_path / "model").transform(X), model.transform(X))
    parallel = joblib.Parallel(n_jobs=2, backend="threading")(
        joblib.delayed(model.transform)(X[part]) for part in np.split(np.arange(40), 2)
    )
    np.testing.assert_allclose(np.concatenate(parallel), model.transform(X), rtol=1e-9)


def test_with_lazy_preprocessing():
    blocks = da.from_array(X, chunks=(9, 15))
    pipe = make_pipeline(FunctionTransformer(lambda data: data / data.max(axis=0)), NMF(3, random_state=0))
    W = pipe.fit_transform(blocks)
    assert isinstance(W, da.Array)
    here = pipe.transform(blocks).compute()
    np.testing.assert_allclose(here, pipe[-1].transform(X / X.max(axis=0)), rtol=1e-6)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_store_serves_a_model_elsewhere(tmp_path, lazy):
    pandas = pytest.importorskip("pandas")
    table = da.from_array(X, chunks=(9, 15)) if lazy else pandas.DataFrame(X, columns=NAMES)
    path = str(tmp_path / "run.zarr")
    model = NMF(3, random_state=0, store=path, alpha_W=1e-3, l1_ratio=0.5, solver="auto").fit(table)
    again = NMF.from_store(path)
    assert again.get_params() == model.get_params()
    np.testing.assert_array_equal(again.components_, model.components_)
    np.testing.assert_array_equal(again.transform(table), model.transform(table))
    assert again.n_iter_ == model.n_iter_
    assert again.reconstruction_err_ == model.reconstruction_err_
    assert hasattr(again, "feature_names_in_") != lazy


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_dnmf_wrote_is_a_model_too(tmp_path):
    result = dnmf.factorize(X, 3, store=tmp_path / "run.zarr", l1_W=0.3, l1_H=0.8, max_passes=50, seed=4)
    model = NMF.from_store(tmp_path / "run.zarr")
    assert (
        model.get_params() | {"alpha_W": 0.02, "alpha_H": 0.02, "l1_ratio": 1.0, "random_state": 4}
        == model.get_params()
    )
    np.testing.assert_array_equal(model.components_, result.H)
    np.testing.assert_allclose(model.transform(X), dnmf.transform(result, X), rtol=1e-9)


@pytest.mark.parametrize("seed", [0, None])
def test_an_interrupted_fit_goes_on_to_the_same_bits(tmp_path, monkeypatch, seed):
    path = tmp_path / "run.zarr"
    options = {"random_state": seed, "checkpoint_every": 2, "tol": 1e-6, "max_iter": 30, "store": path}
    blocks = da.from_array(X, chunks=(9, 15))
    record = dnmf.run.run.Run._record

    def stop_at_twelve(run):
        record(run)
        if run.state.passes == 12:
            raise Interrupted("The run was asked to stop.")

    with monkeypatch.context() as patch:
        patch.setattr("dnmf.run.run.Run._record", stop_at_twelve)
        with pytest.raises(Interrupted):
            NMF(3, **options).fit(blocks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = NMF(3, **options).fit(blocks)
        fresh = NMF(3, **options | {"store": None, "random_state": json_seed(path)}).fit(blocks)
    np.testing.assert_array_equal(model.components_, fresh.components_)
    assert model.n_iter_ == fresh.n_iter_ == 30
    with pytest.raises(StoreError, match="give the matrix that the run was started on"):
        NMF(3, **options).fit(X[:20])
    with pytest.raises(StoreError, match="has n_components=3 and cannot be resumed with n_components=4"):
        NMF(4, **options).fit(blocks)


def json_seed(path):
    return json.loads((path / "zarr.json").read_text())["attributes"]["dnmf"]["settings"]["seed"]


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {"n_components": 3, "__reduce__": 1}},
        {"parameters": None},
        {"parameters": {}, "feature_names": ["a"]},
        {"parameters": {}, "reconstruction_err": "1"},
    ],
)
def test_a_store_with_an_invalid_description_is_refused(tmp_path, change):
    path = tmp_path / "run.zarr"
    NMF(3, random_state=0, store=path).fit(X)
    change_header(path, estimator=change)
    with pytest.raises(StoreError, match="is not valid; do not trust it"):
        NMF.from_store(path)


def test_fits_in_threads_do_not_disturb_each_other():
    wanted, found = NMF(3, random_state=0).fit(X).components_, [None] * 4

    def fit(number):
        found[number] = NMF(3, random_state=0).fit(X).components_

    threads = [threading.Thread(target=fit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(wanted, components) for components in found)
