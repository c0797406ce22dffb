"""Graphs on a cluster: the bits of the threads, also after a checkpoint that the workers read."""

import dask.array as da
import numpy as np
from runs import assert_same_bits, matrix

import dnmf

V = da.from_array(np.asfortranarray(matrix(24, 120)), chunks=(24, 17))
OPTIONS = {
    "graph_H": dnmf.graphs.chain(120),
    "graph_W": dnmf.graphs.chain(24),
    "l1_H": np.linspace(0, 1, 120)[None],
    "init": "random",
    "solver": "hals",
    "max_passes": 5,
    "tol": 0.0,
}


def test_the_bits_are_those_of_the_threads(client, tmp_path):
    here = dnmf.factorize(V, 3, **OPTIONS)
    there = dnmf.factorize(V, 3, **OPTIONS, client=client, store=tmp_path / "run.zarr", checkpoint_every=2)
    assert_same_bits(here, there)


def test_a_sketch_with_a_graph_has_the_bits_of_the_threads(client, monkeypatch):
    monkeypatch.setattr("dnmf.solvers.sketch.method.COUPLED_ROUNDS", 3)
    options = OPTIONS | {"init": "auto", "solver": "sketch", "max_passes": 3}
    assert_same_bits(dnmf.factorize(V, 3, **options), dnmf.factorize(V, 3, **options, client=client))
