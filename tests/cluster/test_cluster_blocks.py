"""Blocks that differ from the layout of their source, read by workers."""

import cloudpickle
import dask.array as da
import numpy as np
import pytest
import test_wrong_blocks
from test_wrong_blocks import RIGHT, SOURCES, WRONG, V, lazy, product

import dnmf
from dnmf.errors import DataError
from dnmf.preprocessing import clip


@pytest.fixture(autouse=True)
def by_value():
    """Send the sources of the tests whole: the workers cannot import them."""
    cloudpickle.register_pickle_by_value(test_wrong_blocks)
    yield
    cloudpickle.unregister_pickle_by_value(test_wrong_blocks)


@pytest.mark.parametrize("source", ["Dask, dense", "given, CSR", "prepared, given"])
@pytest.mark.parametrize("loss", [2, 1])
def test_a_wrong_block_is_refused_by_name_and_no_worker_dies(client, source, loss):
    pids = client.run(lambda: __import__("os").getpid())
    for name in ("short", "twice as long", "wide", "CSR, beyond"):
        with pytest.raises(DataError, match=r"block 1 \(rows 8 to 15\)"):
            dnmf.factorize(SOURCES[source](WRONG[name], 1), 2, loss=loss, init="random", max_passes=2, client=client)
    for name in ("CSR", "CSC, reversed"):
        found = dnmf.factorize(
            SOURCES[source](RIGHT[name], 1), 2, loss=loss, solver="mu", init="random", max_passes=3, client=client
        )
        here = dnmf.factorize(SOURCES[source](RIGHT[name], 1), 2, loss=loss, solver="mu", init="random", max_passes=3)
        np.testing.assert_array_equal(product(found), product(here))
    assert client.run(lambda: __import__("os").getpid()) == pids


def test_wrong_weights_and_masked_blocks_are_found_by_the_workers(client):
    values = da.from_array(V, chunks=(8, 15))
    for name in ("short", "wide", "CSR, beyond"):
        with pytest.raises(DataError, match=r"chunk \(1, 0\) of the Dask array, in block 1 \(rows 8 to 15\)"):
            dnmf.factorize(clip(values), 2, weights=lazy(WRONG[name], 1, "dense"), max_passes=2, client=client)
    masked, given = lazy(WRONG["masked"], 1, "dense"), V.copy()
    given[8:16][V[8:16] > 8] = np.nan
    runs = {"missing": "nan", "loss": 1, "max_passes": 3}
    found = dnmf.factorize(masked, 2, client=client, **runs)
    expected = dnmf.factorize(da.from_array(given, chunks=(8, 15)), 2, **runs)
    np.testing.assert_allclose(product(found), product(expected), rtol=1e-12)


@pytest.mark.parametrize("loss", [2, 1, 0.5])
def test_seterr_of_the_caller_changes_nothing(client, loss):
    small = da.from_array(V**4 * 1e-9, chunks=(8, 15))
    runs = {"rank": 2, "loss": loss, "max_passes": 3, "client": client}
    expected = dnmf.factorize(small, **runs)
    with np.errstate(all="raise"):
        found = dnmf.factorize(small, **runs)
    np.testing.assert_array_equal(product(found), product(expected))
