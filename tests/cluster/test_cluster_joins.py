"""Workers read the matrices of a join themselves, and get those that are in memory."""

import dask.array as da
import numpy as np
import pytest
from joins import GENES, batches, frame, written
from runs import assert_same_bits

import dnmf
from dnmf.errors import DataError


@pytest.mark.filterwarnings("ignore::dnmf.errors.DataWarning")
@pytest.mark.parametrize("kind", ["mixed", "beside", "weighted"])
def test_a_cluster_comes_to_the_same_bits(kind, client, tmp_path):
    tables = batches()
    paths = written(tables, tmp_path)
    cells = [f"c{i}" for i in range(30)]
    V = {
        "mixed": lambda: [paths[0], da.from_array(tables[0].to_numpy(), chunks=(5, 24)), tables[0]],
        "beside": lambda: dnmf.concat([paths[0], frame(cells[::-1], ["p", "q"], 1)], axis="columns", weights=[1, 2]),
        "weighted": lambda: paths,
    }[kind]()
    options = {"rank": 2, "max_passes": 3, "tol": 0}
    if kind == "weighted":
        options["weights"] = [np.random.default_rng(0).random(table.shape) for table in tables]
    assert_same_bits(dnmf.factorize(V, client=client, **options), dnmf.factorize(V, client="threads", **options))


def test_a_worker_that_does_not_see_a_file_names_it(client, tmp_path, monkeypatch):
    from dnmf.engine.cluster import worker_group

    paths = written([frame(9, GENES, 0), frame(8, GENES, 1)], tmp_path)
    wrong = worker_group.fingerprint

    def changed(source, sampled=True):
        found = wrong(source, sampled)
        return {**found, "dtype": "<f2"} if source.layout.location == paths[1] else found

    monkeypatch.setattr(worker_group, "fingerprint", changed)
    with pytest.raises(
        DataError, match=r"does not see matrix 1 of V at \S*run2.h5ad: the matrix there has another dtype"
    ):
        dnmf.factorize(paths, 2, client=client)
