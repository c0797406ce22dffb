"""Preprocessing on a cluster: the fitted steps and the results are the same to the bit."""

import numpy as np
import pytest
from runs import assert_same_bits, matrix, stored

import dnmf
from dnmf import preprocessing as prep


@pytest.mark.parametrize("kind", ["zarr", "numpy"])
def test_a_prepared_matrix_is_learned_from_and_factorised_on_a_cluster(kind, client, tmp_path):
    V = matrix() if kind == "numpy" else stored(tmp_path / "V.zarr", matrix(), (24, 7))
    here = prep.tfidf(prep.log_normalize(V, samples="columns"), client="threads")
    there = prep.tfidf(prep.log_normalize(V, samples="columns"), client=client)
    assert [step.name for step in there.steps] == ["total", "log1p", "idf", "length"]
    assert there.steps == here.steps
    assert sum(step.factors is not None for step in here.steps) == 1
    expected = dnmf.factorize(here, 3, max_passes=4, client="threads")
    found = dnmf.factorize(there, 3, max_passes=4, client=client, store=tmp_path / "run.zarr")
    assert_same_bits(found, expected)
    new = matrix(seed=5)
    np.testing.assert_array_equal(dnmf.transform(found, new, client=client), dnmf.transform(expected, new))
