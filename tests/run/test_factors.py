"""Factors of a result: where they are, and quantities derived from them, against NumPy."""

import logging

import anndata
import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from runs import factors, matrix, stored

import dnmf
from dnmf.errors import DataWarning, SettingsError

IN_MEMORY = {
    "NumPy": lambda V: V,
    "NumPy, by columns": np.asfortranarray,
    "CSR": sp.csr_array,
    "CSC": sp.csc_matrix,
    "DataFrame": pd.DataFrame,
    "AnnData": anndata.AnnData,
    "nested lists": lambda V: V.tolist(),
}


@pytest.fixture(scope="module", params=["rows", "columns"])
def result(request, tmp_path_factory):
    """Return a result of a V in memory with names, cut along either axis."""
    V = matrix(dtype=np.float64)
    V = pd.DataFrame(V, [f"r{i}" for i in range(24)], [f"c{j}" for j in range(60)])
    return dnmf.factorize(V if request.param == "columns" else V.T, 4, max_passes=5, init="random")


@pytest.mark.parametrize("kind", IN_MEMORY)
@pytest.mark.parametrize("shape", [(24, 60), (60, 24)], ids=["wide", "tall"])
def test_factors_of_a_matrix_in_memory_are_numpy_arrays(kind, shape):
    V = matrix(*shape)
    W, H = dnmf.factorize(IN_MEMORY[kind](V), 4, max_passes=2)
    assert [type(factor) for factor in (W, H)] == [np.ndarray] * 2
    assert (W.shape, H.shape) == ((shape[0], 4), (4, shape[1]))


@pytest.mark.parametrize("kind", ["Dask", "address", "memory map", "store"])
@pytest.mark.parametrize("shape", [(24, 60), (60, 24)], ids=["wide", "tall"])
def test_the_long_factor_of_any_other_matrix_is_a_dask_array(kind, shape, tmp_path):
    V = matrix(*shape)
    np.save(tmp_path / "V.npy", V)
    forms = {
        "Dask": da.from_array(V, chunks=(10, -1) if shape[0] > shape[1] else (-1, 10)),
        "address": stored(tmp_path / "V.zarr", V, (10, 60) if shape[0] > shape[1] else (60, 10)),
        "memory map": np.load(tmp_path / "V.npy", mmap_mode="r"),
        "store": V,
    }
    result = dnmf.factorize(forms[kind], 4, max_passes=2, store=tmp_path / "run.zarr")
    result = dnmf.load(tmp_path / "run.zarr") if kind == "store" else result
    assert [isinstance(factor, da.Array) for factor in result] == [shape[0] > shape[1], shape[0] < shape[1]]


def test_a_result_unpacks_into_its_factors(result):
    W, H = result
    assert W is result.W
    np.testing.assert_array_equal(H, result.H)
    assert (result.rank, result.seconds, result.optimality) == (
        4,
        result.history[-1].seconds,
        result.history[-1].optimality,
    )


def test_the_product_is_lazy_and_that_of_numpy(result):
    W, H = factors(result)
    product = result.reconstruct()
    assert isinstance(product, da.Array)
    np.testing.assert_allclose(product.compute(), W @ H, rtol=1e-12)


def test_a_product_that_would_not_fit_in_memory_is_computed_in_small_chunks(monkeypatch):
    monkeypatch.setattr("dnmf.run.factors.CHUNK_NUMBERS", 60)
    result = dnmf.factorize(da.from_array(matrix(), chunks=(24, 20)), 4, max_passes=2)
    product = result.reconstruct()
    assert product.chunksize == (3, 20)
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_allclose(product[5].compute(), result.W[5] @ np.asarray(result.H), rtol=1e-6)


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_scaled_factors_sum_to_one_along_an_axis_and_have_the_same_product(result, axis):
    W, H = factors(result)
    scaled = result.scaled(axis)
    sums = scaled.W.sum(axis=0) if axis == "rows" else scaled.H.sum(axis=1)
    np.testing.assert_allclose(sums, 1, rtol=1e-12)
    np.testing.assert_allclose(scaled.W @ scaled.H, W @ H, rtol=1e-12)
    shares = [component.share for component in scaled.components(1)]
    assert shares == sorted(shares, reverse=True)
    np.testing.assert_allclose(sorted(shares), sorted(W.sum(axis=0) * H.sum(axis=1) / (W @ H).sum()), rtol=1e-12)
    assert scaled.history == result.history
    assert scaled.names is result.names


def test_usages_are_the_shares_of_the_components_in_each_sample(result):
    W, H = factors(result)
    parts = np.einsum("ik,kj->ikj", W, H)
    for axis, shares in (("rows", parts.sum(axis=2)), ("columns", parts.sum(axis=0).T)):
        sums = shares.sum(axis=1, keepdims=True)
        expected = shares / np.where(sums > 0, sums, 1)
        np.testing.assert_allclose(result.usage(axis), expected, rtol=1e-12)
        np.testing.assert_allclose(result.scaled(axis).usage(axis).sum(axis=1), sums[:, 0] > 0, rtol=1e-12)


def test_the_usage_of_a_matrix_on_a_disk_is_lazy_and_a_row_of_zeros_has_none(tmp_path):
    V = matrix(60, 24)
    V[7] = 0
    result = dnmf.factorize(stored(tmp_path / "V.zarr", V, (10, 24)), 3, max_passes=3)
    usage = result.usage()
    assert isinstance(usage, da.Array)
    np.testing.assert_allclose(usage.sum(axis=1), V.any(axis=1), rtol=1e-5)


def test_frames_have_the_names_of_v(result):
    W, H = factors(result)
    rows, columns = result.to_frame(), result.to_frame("columns")
    assert rows.index.tolist() == result.names.rows.tolist()
    assert columns.index.tolist() == result.names.columns.tolist()
    assert rows.columns.tolist() == [f"NMF_{k}" for k in range(1, 5)]
    np.testing.assert_array_equal(rows, W)
    np.testing.assert_array_equal(columns, H.T)


def test_the_most_specific_features_are_the_largest_terms_of_the_divergence_from_the_mean():
    H = np.array([[6.0, 3.0, 1.0, 0.0], [6.0, 0.0, 1.0, 3.0]])
    V = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]) @ H
    result = dnmf.factorize(V, 2, init=(np.array([[1.0, 0], [0, 1], [1, 1]]), H), max_passes=1)
    assert [[name for name, _ in top] for top in result.top(2)] == [[0, 1], [0, 3]]
    specific = result.top(2, by="specificity")
    assert [top[0][0] for top in specific] == [1, 3]
    assert specific[0][0][1] == pytest.approx(0.3)
    with pytest.raises(SettingsError, match=r"by='weigth' is not known.*Did you mean 'weight'"):
        result.top(by="weigth")


def test_the_functions_of_dnmf_are_methods(tmp_path):
    V = matrix()
    result = dnmf.factorize(V, 4, max_passes=2, tol=0, store=tmp_path / "run.zarr")
    np.testing.assert_array_equal(result.transform(V[:, :5]), dnmf.transform(result, V[:, :5]))
    assert sorted(path.name for path in result.export(tmp_path / "tables").iterdir()) == ["H.csv", "W.csv"]
    assert result.report(tmp_path / "page.html", V).read_text().startswith("<!doctype html>")
    assert result.resume(V, max_passes=4).passes == 4
    assert dnmf.resume(result, V, max_passes=5).passes == 5
    with pytest.raises(SettingsError, match="has no store to resume from"):
        dnmf.factorize(V, 4, max_passes=2).resume()


@pytest.mark.parametrize(
    "call",
    [
        lambda V, path: dnmf.transform(V, V),
        lambda V, path: dnmf.export(3, path),
        lambda V, path: dnmf.write_report(None, path),
        lambda V, path: dnmf.resume(V),
        lambda V, path: dnmf.load(V),
    ],
)
def test_what_is_neither_a_result_nor_a_store_is_refused_by_its_kind(call, tmp_path):
    kinds = r"(numpy\.ndarray|builtins\.int|builtins\.NoneType)"
    with pytest.raises(SettingsError, match=f"is a {kinds}; give a Result, the path or URL of the store"):
        call(matrix(), tmp_path / "new")


def test_a_fitted_estimator_is_exported_and_reported(tmp_path):
    X = matrix(60, 24)
    model = dnmf.NMF(3, max_iter=20, tol=1e-2).fit(X)
    assert dnmf.export(model, tmp_path / "tables").name == "tables"
    assert dnmf.write_report(model, tmp_path / "page.html", X).exists()
    np.testing.assert_array_equal(dnmf.transform(model, X), dnmf.transform(model.result_, X))


def test_a_result_is_a_start(result):
    W, H = factors(result)
    V = pd.DataFrame(W @ H, result.names.rows, result.names.columns)
    order = np.random.default_rng(0).permutation(len(V))
    with pytest.warns(DataWarning, match="in init have the same names in another order"):
        again = dnmf.factorize(V.iloc[order], 4, init=result, max_passes=1)
    assert again.relative_error < 1e-7


def test_passes_are_logged(caplog):
    with caplog.at_level(logging.INFO, "dnmf"):
        result = dnmf.factorize(matrix(), 4, max_passes=3, tol=0)
    passes = [record.getMessage() for record in caplog.records if record.getMessage().startswith("pass ")]
    assert len(passes) == len(result.history)
    assert f"loss {result.loss:.6g}, relative error {result.relative_error:.6f}" in passes[-1]
    assert caplog.records[-1].getMessage() == result.verdict
