"""The estimator with graphs: the factors of `factorize`, and a store that it resumes from."""

import dask.array as da
import numpy as np
import pytest

import dnmf

rng = np.random.default_rng(0)
X = rng.poisson(3 * rng.random((40, 3)) @ rng.random((3, 12))).astype(float)
OPTIONS = {"solver": "hals", "init": "random", "random_state": 1, "max_iter": 8, "tol": 0}


@pytest.mark.parametrize("lazy", [False, True])
def test_the_factors_are_those_of_the_function(lazy, tmp_path):
    graph, given = dnmf.graphs.chain(40), da.from_array(X, chunks=(15, 12)) if lazy else X
    model = dnmf.NMF(3, graph_W=graph, graph_weight=4.0, store=tmp_path / "run.zarr", **OPTIONS)
    W = np.asarray(model.fit_transform(given))
    options = {"solver": "hals", "init": "random", "seed": 1, "max_passes": 8, "tol": 0}
    expected = dnmf.factorize(given, 3, graph_W=graph, graph_weight=4.0, **options)
    np.testing.assert_allclose(W, np.asarray(expected.W), rtol=1e-12)
    np.testing.assert_allclose(model.components_, np.asarray(expected.H), rtol=1e-12)
    assert model.reconstruction_err_ == pytest.approx(np.linalg.norm(X - W @ model.components_))
    again = dnmf.NMF(3, graph_W=graph, graph_weight=4.0, store=tmp_path / "run.zarr", **OPTIONS).fit(given)
    assert np.array_equal(again.components_, model.components_)
    with pytest.raises(dnmf.DnmfError, match="was given graph_W in memory; give graph_W= again"):
        dnmf.NMF(3, store=tmp_path / "run.zarr", graph_weight=4.0, **OPTIONS).fit(given)


def test_features_have_a_graph_too():
    model = dnmf.NMF(3, graph_H=dnmf.graphs.chain(12), graph_weight=50.0, **OPTIONS).fit(X)
    plain = dnmf.NMF(3, **OPTIONS).fit(X)

    def roughness(H):
        return (np.diff(H, axis=1) ** 2).sum() / (H**2).sum()

    assert roughness(model.components_) < 0.5 * roughness(plain.components_)
    assert np.asarray(model.transform(X)).shape == (40, 3)
