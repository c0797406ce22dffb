"""The errors of the estimators: in the words of their parameters, with what to do."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from dnmf import NMF, MiniBatchNMF
from dnmf.errors import DataError

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
