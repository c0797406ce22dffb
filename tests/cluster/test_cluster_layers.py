"""Several layers on a cluster: the bits of the threads, fitted together or one after another."""

import dask.array as da
import numpy as np
import pytest
from runs import assert_same_bits, matrix

import dnmf

V = da.from_array(np.asfortranarray(matrix(24, 120)), chunks=(24, 17))


@pytest.mark.parametrize(
    "options",
    [{"init": "sketch"}, {"init": "random", "store": True}, {"layer_weights": "greedy", "init": "random"}],
    ids=["sketch", "random", "greedy"],
)
def test_the_bits_are_those_of_the_threads(options, client, tmp_path):
    options = {**options, "max_passes": 5, "tol": 0.0, "checkpoint_every": 2}
    stored = {"store": tmp_path / "run.zarr"} if options.pop("store", False) else {}
    here = dnmf.factorize(V, [4, 2], **options)
    there = dnmf.factorize(V, [4, 2], **options, **stored, client=client)
    for one, other in zip(here.layers, there.layers, strict=True):
        assert_same_bits(one, other)


def test_several_runs_are_read_again_from_the_files_of_the_workers(client):
    options = {"n_runs": 2, "init": "random", "max_passes": 5, "tol": 0.0, "checkpoint_every": 2}
    assert_same_bits(dnmf.factorize(V, 3, **options), dnmf.factorize(V, 3, **options, client=client))
