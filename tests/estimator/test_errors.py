"""The errors of the estimators: in the words of their parameters, with what to do."""

import re

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from dnmf import NMF, MiniBatchNMF, preprocessing
from dnmf.errors import DataError, DnmfError, StoreError

FITS = {
    "NMF": lambda X: NMF(2).fit(X),
    "fit_transform": lambda X: NMF(2).fit_transform(X),
    "transform": lambda X: NMF(2, random_state=0).fit(np.ones(np.shape(X))).transform(X),
    "MiniBatchNMF": lambda X: MiniBatchNMF(2).fit(X),
    "partial_fit": lambda X: MiniBatchNMF(2).partial_fit(X),
}


def with_entry(value, dtype=np.float64):
    X = np.random.default_rng(0).random((6, 5)).astype(dtype)
    X[2, 3], X[4, 1] = value, value
    return X


@pytest.mark.parametrize("kind", [np.asarray, np.asfortranarray, pd.DataFrame, list])
@pytest.mark.parametrize("act", FITS)
def test_nan_is_named_by_its_place_with_the_option_that_takes_it(act, kind):
    with pytest.raises(DataError, match=r"^X\[2, 3\] is nan, which is not finite; .*missing='nan'\.$") as caught:
        FITS[act](kind(with_entry(np.nan)))
    assert ("by NMF" in str(caught.value)) == (act in ("MiniBatchNMF", "partial_fit"))


@pytest.mark.parametrize("form", [scipy.sparse.csr_array, scipy.sparse.csc_array])
def test_nan_in_a_sparse_matrix_is_named_with_the_option_for_sparse_ones(form):
    X = form(with_entry(np.nan))
    with pytest.raises(DataError, match=r"^X\[(2, 3|4, 1)\] is nan, .*Drop NaN, which is then .* missing='zeros'\.$"):
        NMF(2).fit(X)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("missing", ["none", "nan"])
def test_infinity_is_never_missing(missing, dtype):
    X = with_entry(np.inf, dtype)
    X[0, 0] = np.nan if missing == "nan" else 1
    with pytest.raises(DataError, match=r"^X\[2, 3\] is inf, which is not finite; .* or drop such entries first\.$"):
        NMF(2, missing=missing).fit(X)


def test_nan_in_lazy_data_of_a_mini_batch_is_named_with_the_estimator_that_takes_it():
    with pytest.raises(DataError, match=r"^X\[\d, \d\] is nan, .* taken as missing by NMF with missing='nan'\.$"):
        MiniBatchNMF(2).fit(da.from_array(with_entry(np.nan), chunks=(3, 5)))


X = np.random.default_rng(0).random((12, 10))
ONES = np.ones((1, 10))
# What is given, and how the error begins, with the words that it must not have.
MISTAKES = {
    "columns": (lambda: NMF(3, fixed_components=np.ones((2, 4))).fit(X), r"fixed_components has shape \(2, 4\); X \("),
    "one axis": (lambda: NMF(3, fixed_components=np.ones(10)).fit(X), r"fixed_components has shape \(10,\); X \("),
    "too many": (lambda: NMF(3, fixed_components=np.ones((4, 10))).fit(X), "fixed_components has 4 .* n_components=3;"),
    "negative": (lambda: NMF(3, fixed_components=-ONES).fit_transform(X), r"fixed_components\[0, 0\] is -1"),
    "spa": (lambda: NMF(3, init="spa", fixed_components=ONES).fit(X), "init='spa' takes no fixed_components; use"),
    "layers": (lambda: NMF([3, 2], fixed_components=ONES).fit(X), r"n_components=\[3, 2\] does not go with fixed_comp"),
    "scale": (
        lambda: NMF(3, constraints={"rows_H": "simplex"}, fixed_components=ONES).fit(X),
        "rows_H='simplex' .* on which fixed_components depends",
    ),
    "penalty": (lambda: NMF(3, alpha_W=1, constraints={"rows_H": "simplex"}).fit(X), "rows_H='simplex' .* alpha_W dep"),
    "loss": (
        lambda: NMF([3, 2], beta_loss="kullback-leibler", solver="mu").fit(X),
        "beta_loss='kullback-leibler' .* or beta_loss='frobenius'",
    ),
    "rank": (lambda: NMF(11, init="spa").fit(X), r"n_components=11 is more than min\(m, n\)=10"),
    "lazy": (lambda: NMF(3).fit(da.from_array(X - 1, chunks=4)), r"X\[\d, \d\] is -.*; X must hold"),
    "weights": (lambda: NMF(3).fit(X, weights=X[:3]), r"weights has shape \(3, 10\), and X has"),
    "batches": (lambda: MiniBatchNMF(3).fit(da.from_array(X * 1j)), "X has dtype complex128, .* pass booleans"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_errors_of_a_run_name_the_parameters_of_the_estimator(mistake):
    act, sentence = MISTAKES[mistake]
    with pytest.raises(DnmfError, match=f"^{sentence}") as caught:
        act()
    options = {"fixed_H", "fixed_W", "rank", "loss", "seed", "max_passes", "l1_W", "l2_W", "V"}
    assert not options & set(re.findall(r"\w+(?==|\[| has| dep)", str(caught.value)))


def test_a_store_of_other_parameters_is_refused_in_their_names_and_with_its_path(tmp_path):
    store = tmp_path / "rank=3" / "V"
    NMF(3, random_state=0, store=store).fit(X)
    with pytest.raises(StoreError, match=r"n_components=3 and .* n_components=4; .* Only tol, max_iter") as caught:
        NMF(4, random_state=0, store=store).fit(X)
    assert f"The run in {store} has" in str(caught.value)
    with pytest.raises(StoreError, match=r"has random_state=0 and cannot be resumed with random_state=1"):
        NMF(3, random_state=1, store=store).fit(X)


@pytest.mark.parametrize("act", FITS)
def test_a_prepared_matrix_is_refused_with_the_function_that_takes_it(act):
    X = preprocessing.unit_variance(np.random.default_rng(0).random((6, 5)))
    fit = (lambda X: NMF(2).fit(np.ones((6, 5))).transform(X)) if act == "transform" else FITS[act]
    with pytest.raises(DataError, match=r"^X is prepared by dnmf.preprocessing, .*; give it to dnmf.factorize, "):
        fit(X)
