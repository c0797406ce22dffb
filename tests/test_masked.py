"""Masked arrays: what is masked is missing where missing entries have a place, and refused elsewhere."""

import warnings

import dask.array as da
import naive
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import dnmf
from dnmf import NMF, MiniBatchNMF
from dnmf.errors import DataError

V = np.random.default_rng(1).random((30, 12)) + 0.1
HIDDEN = np.random.default_rng(2).random(V.shape) < 0.2
MASKED = np.ma.masked_array(np.where(HIDDEN, 1e6, V), HIDDEN)
GIVEN = np.where(HIDDEN, np.nan, V)


def in_blocks(kind):
    """Return the masked array, or the one with NaN, as a Dask array."""
    return da.from_array(kind, chunks=(10, 12), asarray=False)


def factors(X, **options):
    result = dnmf.factorize(X, 2, missing="nan", max_passes=5, **options)
    return np.asarray(result.W), np.asarray(result.H)


def quietly(call, *given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return call(*given)


@pytest.mark.parametrize("loss", [2, 1, 0.5])
@pytest.mark.parametrize("kind", [np.asarray, in_blocks])
def test_what_is_masked_is_missing(loss, kind):
    masked, given = (in_blocks(MASKED), in_blocks(GIVEN)) if kind is in_blocks else (MASKED, GIVEN)
    for found, expected in zip(factors(masked, loss=loss), factors(given, loss=loss), strict=True):
        np.testing.assert_array_equal(found, expected)
    result = dnmf.factorize(masked, 2, missing="nan", loss=loss, max_passes=5)
    fit = naive.objective(GIVEN, np.asarray(result.W), np.asarray(result.H), loss=loss, M=1.0 * ~HIDDEN)
    assert fit < naive.objective(GIVEN, np.asarray(result.W), 1.1 * np.asarray(result.H), loss=loss, M=1.0 * ~HIDDEN)
    for call in (
        lambda X: dnmf.transform(result, X),
        lambda X: dnmf.select_rank(X, [2], n_runs=2, cv=0, loss=loss, missing="nan", max_passes=3).best(2).W,
    ):
        np.testing.assert_array_equal(np.asarray(call(masked)), np.asarray(call(given)))


@pytest.mark.parametrize("kind", [np.asarray, in_blocks])
def test_estimators_take_what_is_masked_as_missing(kind):
    masked, given = (in_blocks(MASKED), in_blocks(GIVEN)) if kind is in_blocks else (MASKED, GIVEN)
    first, second = (quietly(NMF(2, missing="nan", max_iter=20, random_state=0).fit, X) for X in (masked, given))
    np.testing.assert_array_equal(first.components_, second.components_)
    np.testing.assert_array_equal(np.asarray(first.transform(masked)), np.asarray(first.transform(given)))
    assert first.score(masked) == first.score(given)
    if kind is in_blocks:  # and where its blocks are cut along the features as well
        cut = masked.rechunk((10, 5))
        np.testing.assert_allclose(np.asarray(first.transform(cut)), np.asarray(first.transform(given)), rtol=1e-12)


def test_masked_integers_are_missing_too():
    counts = np.ma.masked_array((100 * V).astype(np.int32), HIDDEN)
    expected = factors(np.where(HIDDEN, np.nan, counts.data))
    for found, wanted in zip(factors(counts), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_run_over_masked_data_is_taken_up_again(tmp_path):
    dnmf.factorize(MASKED, 2, missing="nan", max_passes=2, store=tmp_path / "run.zarr", tol=0)
    again = dnmf.resume(tmp_path / "run.zarr", MASKED, max_passes=5)
    once = dnmf.factorize(MASKED, 2, missing="nan", max_passes=5, tol=0)
    np.testing.assert_array_equal(np.asarray(again.W), np.asarray(once.W))


@pytest.mark.parametrize("name", ["V", "X"])
def test_what_is_masked_is_refused_with_every_way_out(name):
    model = dnmf.NMF(2, random_state=0).fit(V)
    calls = {
        "V": [lambda X: dnmf.factorize(X, 2), lambda X: dnmf.select_rank(X, [2], n_runs=2, cv=0)],
        "X": [NMF(2).fit, NMF(2).fit_transform, MiniBatchNMF(2).fit, MiniBatchNMF(2).partial_fit, model.transform],
    }
    for call in calls[name]:
        with pytest.raises(DataError, match=rf"{name}\.filled\(0\), .*{name}\.filled\(np\.nan\) with missing='nan'"):
            call(MASKED)
        with pytest.raises(DataError, match=r"masked blocks.*np\.ma\.filled, 0\), .*np\.nan\) with missing='nan'"):
            np.asarray(call(in_blocks(MASKED)))


def test_an_array_with_nothing_masked_is_taken_as_it_is():
    bare = np.ma.masked_array(V)
    expected = np.asarray(dnmf.factorize(V, 2, max_passes=5).W)
    np.testing.assert_array_equal(np.asarray(dnmf.factorize(bare, 2, max_passes=5).W), expected)
    for cls in (NMF, MiniBatchNMF):
        first, second = (quietly(cls(2, max_iter=5, random_state=0).fit, X) for X in (bare, V))
        np.testing.assert_array_equal(first.components_, second.components_)
