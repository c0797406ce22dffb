"""Graphs on a cluster: the bits of the threads, also after a checkpoint that the workers read."""

import dask.array as da
import numpy as np
import pytest
from runs import assert_same_bits, matrix

import dnmf
from dnmf.engine.cluster.engine import ClusterEngine

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


@pytest.mark.parametrize("share", [0.3, 0])
def test_the_rounds_of_a_sketch_are_made_here_with_the_bits_of_the_threads(client, monkeypatch, share):
    monkeypatch.setattr("dnmf.solvers.sketch.trial.COUPLED_ROUNDS", 3)
    options = OPTIONS | {"init": "auto", "solver": "sketch", "max_passes": 3}
    here = dnmf.factorize(V, 3, **options)
    monkeypatch.setattr("dnmf.run.home.LOCAL_SHARE", share)
    passes, one_pass = [], ClusterEngine.one_pass

    def counted(engine, *given):
        passes.append(given)
        return one_pass(engine, *given)

    monkeypatch.setattr(ClusterEngine, "one_pass", counted)
    assert_same_bits(here, dnmf.factorize(V, 3, **options, client=client))
    assert len(passes) <= 2 * options["max_passes"]


@pytest.mark.parametrize("weights", [None, da.from_array(1 + matrix(24, 120, seed=1), chunks=(24, 17))])
def test_a_few_columns_come_from_a_worker_for_the_scale_of_a_start(weights, client, monkeypatch):
    options = {"l1_H": 0.1, "l1_W": 0.1, "init": "random", "max_passes": 3, "tol": 0, "weights": weights}
    size = V.nbytes if weights is None else 2 * V.nbytes
    monkeypatch.setattr("dnmf.solvers.shared_scale.PANEL_BYTES", 5 * size // 120)
    here = dnmf.factorize(V, 3, **options)
    shapes, fetch = [], ClusterEngine.fetch

    def fetched(engine, *given):
        shapes.append((found := fetch(engine, *given)).shape)
        return found

    monkeypatch.setattr(ClusterEngine, "fetch", fetched)
    assert_same_bits(here, dnmf.factorize(V, 3, **options, client=client))
    assert len(shapes) == 1
    assert shapes[0][1] <= 5
