"""An estimator of several layers: the layers of H, with the samples in rows."""

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
from runs import matrix
from scipy.optimize import nnls
from sklearn.base import clone

import dnmf
from dnmf.errors import SettingsError, StoreError

X = np.ascontiguousarray(matrix(dtype=np.float64).T)


@pytest.mark.parametrize("kind", ["dense", "wide", "csr", "dask"])
def test_layers_of_an_estimator_are_those_of_a_run(kind):
    given = {"dense": X, "wide": X[:20], "csr": sp.csr_array(X), "dask": da.from_array(X, chunks=(17, 9))}[kind]
    model = dnmf.NMF(n_components=(4, 3, 2), solver="auto", random_state=0, max_iter=20, tol=0)
    fitted = clone(model).fit(given)
    assert [layer.shape for layer in fitted.layers_] == [(rank, 24) for rank in (4, 3, 2)]
    np.testing.assert_array_equal(fitted.components_, fitted.layers_[-1])
    for before, layer, H in zip(fitted.result_.layers, fitted.result_.layers[1:], fitted.layers_[1:], strict=False):
        np.testing.assert_allclose(H, layer.mixing @ np.asarray(before.H))
    rows = np.asarray(fitted.transform(given))
    dense = X[:20] if kind == "wide" else X
    np.testing.assert_allclose(rows, [nnls(fitted.components_.T, row)[0] for row in dense], atol=1e-7)


def test_a_fit_of_layers_is_loaded_and_resumed(tmp_path):
    model = dnmf.NMF(n_components=[4, 2], random_state=0, max_iter=5, tol=0, store=tmp_path / "run.zarr").fit(X)
    loaded = dnmf.NMF.from_store(tmp_path / "run.zarr")
    assert list(loaded.n_components) == [4, 2]
    for one, other in zip(loaded.layers_, model.layers_, strict=True):
        np.testing.assert_array_equal(one, other)
    longer = clone(model).set_params(max_iter=8).fit(X)
    assert longer.n_iter_ == 8
    with pytest.raises(StoreError, match=r"layers=\(4, 2\) and cannot be resumed with layers=\(3, 2\)"):
        clone(model).set_params(n_components=[3, 2]).fit(X)
    with pytest.raises(SettingsError, match="grows from one layer to the next"):
        clone(model).set_params(n_components=[2, 3], store=None).fit(X)
