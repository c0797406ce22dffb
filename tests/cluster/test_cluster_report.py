"""Reports of runs on a cluster: the read of V is made by the workers, with the same results."""

import dataclasses

import numpy as np
import pytest
from runs import matrix, stored

import dnmf
from dnmf.run.residuals import measure_residuals


@pytest.mark.parametrize("kept", [True, False])
def test_residuals_are_measured_on_a_cluster(kept, client, tmp_path):
    path = stored(tmp_path / "V.zarr", matrix(), (24, 7))
    store = tmp_path / "run.zarr" if kept else None
    result = dnmf.factorize(path, 3, max_passes=3, client=client, store=store)
    there = measure_residuals(result, None if kept else path, client=client)
    here = measure_residuals(result, None if kept else path, client="threads")
    for axis in ("rows", "columns"):
        one, two = (dataclasses.asdict(getattr(found, axis)) for found in (there, here))
        for name in ("sums", "counts"):
            np.testing.assert_array_equal(one[name], two[name])
        np.testing.assert_array_equal(one["worst"]["places"], two["worst"]["places"])
