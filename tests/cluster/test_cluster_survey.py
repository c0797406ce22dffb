"""Several models at once on a cluster: the same bits as on threads."""

import dask.array as da
import numpy as np
import pytest

import dnmf

V = (
    np.random.default_rng(0)
    .poisson(
        20 * np.random.default_rng(1).gamma(0.3, size=(50, 3)) @ np.random.default_rng(2).gamma(0.3, size=(3, 600))
    )
    .astype(float)
)


@pytest.mark.parametrize("tall", [False, True])
@pytest.mark.parametrize("options", [{}, {"loss": "kullback-leibler", "max_passes": 6, "checkpoint_every": 2}], ids=str)
def test_a_survey_has_the_same_bits(options, tall, client, tmp_path):
    array = da.from_array(V, chunks=(50, 90))
    array = array.T if tall else array
    arguments = {"ranks": [2, 3], "n_runs": 2, "cv": 2, **options}
    there = dnmf.select_rank(array, client=client, store=tmp_path / "survey.zarr", **arguments)
    here = dnmf.select_rank(array, client="threads", **arguments)
    for name, column in here.table().items():
        assert there.table()[name] == column or name == "seconds"
    for one, two in zip(there.models, here.models, strict=True):
        np.testing.assert_array_equal(one.W, two.W)
    for rank in (2, 3):
        for result in (there.best(rank), dnmf.load_survey(tmp_path / "survey.zarr").best(rank)):
            np.testing.assert_array_equal(np.asarray(result.W), np.asarray(here.best(rank).W))
            np.testing.assert_array_equal(np.asarray(result.H), np.asarray(here.best(rank).H))


@pytest.mark.parametrize(
    "options", [{"solver": "hals", "extrapolate": True}, {"loss": "kullback-leibler"}, {"solver": "sketch"}], ids=str
)
def test_several_runs_have_the_same_bits(options, client):
    array = da.from_array(V, chunks=(50, 90))
    arguments = {"rank": 3, "n_runs": 3, "max_passes": 6, "tol": 0, **options}
    there = dnmf.factorize(array, client=client, **arguments)
    here = dnmf.factorize(array, client="threads", **arguments)
    assert there.runs == here.runs
    np.testing.assert_array_equal(there.W, here.W)
    np.testing.assert_array_equal(np.asarray(there.H), np.asarray(here.H))
