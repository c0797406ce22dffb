"""The estimators on a Dask cluster: the current client's."""

import dask.array as da
import numpy as np
import pytest

from dnmf import NMF

rng = np.random.default_rng(0)
X = rng.random((300, 4)) @ rng.random((4, 40)) + 0.1 * rng.random((300, 40))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("chunks", [(50, 40), (300, 10)])
def test_a_fit_on_a_cluster_gives_the_same_bits_and_w_stays_lazy(client, chunks):
    blocks = da.from_array(X, chunks=chunks)
    model = NMF(3, random_state=0, max_iter=6)
    here = model.fit(blocks)
    components, error = here.components_, here.reconstruction_err_
    with client.as_current():
        W = model.fit_transform(blocks)
        np.testing.assert_array_equal(model.components_, components)
        assert model.reconstruction_err_ == error
        assert isinstance(W, da.Array)
        np.testing.assert_allclose(W.compute(), model.transform(X), rtol=1e-6)
