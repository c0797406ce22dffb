"""Joins of arrays of several axes: the values of NumPy's own join, and the shapes that all arrays share."""

import json

import numpy as np
import pytest
import zarr
from joins import contents
from runs import PLAIN, assert_same_bits

import dnmf
from dnmf.errors import DataError
from dnmf.sources import open_matrix

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.random((20, 6, 5)), RNG.random((31, 6, 5))
OPTIONS = {**PLAIN, "max_passes": 4, "tol": 0}


@pytest.fixture
def paths(tmp_path):
    """Two stacks (t, y, x), of different chunks."""
    found = [str(tmp_path / "run1.zarr"), str(tmp_path / "run2.zarr")]
    for path, stack, chunks in zip(found, (FIRST, SECOND), ((8, 3, 5), (7, 6, 5)), strict=True):
        options = {"chunks": chunks, "dimension_names": ("t", "y", "x")}
        zarr.create_array(path, shape=stack.shape, dtype=stack.dtype, **options)[...] = stack
    return found


def test_stacks_are_joined_as_by_numpy_and_keep_the_shape_they_share(paths, tmp_path):
    turned = np.moveaxis(SECOND, 0, 2)
    np.save(tmp_path / "turned.npy", turned)
    frames = np.vstack([FIRST.reshape(20, 30), SECOND.reshape(31, 30)])
    sides = np.hstack([FIRST.reshape(20, 30), SECOND[:20].reshape(20, 30)])
    pixels = np.hstack([FIRST.reshape(20, -1).T, SECOND.reshape(31, -1).T])
    cases = [
        (paths, "rows", frames, ((51,), (6, 5)), ("t", "y", "x")),
        ([FIRST, SECOND], "rows", frames, ((51,), (6, 5)), None),
        ([paths[0], SECOND], "rows", frames, ((51,), (6, 5)), None),
        ([FIRST, f"{tmp_path / 'turned.npy'}::(2)x(0,1)"], "rows", frames, ((51,), (6, 5)), None),
        ([FIRST, SECOND.reshape(31, 30)], "rows", frames, None, None),
        ([FIRST, SECOND[:20]], "columns", sides, None, None),
        ([f"{path}::(y,x)x(t)" for path in paths], "columns", pixels, ((6, 5), (51,)), ("t", "y", "x")),
        ([dnmf.unfold(FIRST, (1, 2)), dnmf.unfold(turned, (0, 1))], "columns", pixels, ((6, 5), (51,)), None),
    ]
    for given, axis, expected, shapes, names in cases:
        for streamed in ("rows", "columns"):
            source = open_matrix(dnmf.concat(given, axis=axis), streamed)
            assert source.layout.transposed is (streamed == "rows")
            np.testing.assert_array_equal(contents(source), expected)
            found = source.layout.unfolding
            assert (None if found is None else (found.row_shape, found.column_shape)) == shapes
            assert found is None or found.names == names
    several = RNG.random((4, 3, 6, 5))  # the two axes of its rows become one
    four = dnmf.concat([dnmf.unfold(several, (0, 1)), FIRST]).layout.unfolding
    assert (four.shape, four.row_shape, four.column_shape) == ((32, 6, 5), (32,), (6, 5))


def test_a_run_on_joined_stacks_is_resumed_and_projects_new_ones(paths, tmp_path):
    store, pattern = tmp_path / "fit.zarr", str(tmp_path / "run?.zarr")
    whole = dnmf.factorize(pattern, 2, **OPTIONS | {"max_passes": 6})
    flat = dnmf.factorize([FIRST.reshape(20, 30), SECOND.reshape(31, 30)], 2, **OPTIONS | {"max_passes": 6})
    np.testing.assert_allclose(whole.W, flat.W, rtol=1e-8, atol=1e-10)
    dnmf.factorize(dnmf.concat(paths), 2, store=store, **OPTIONS)
    header = json.loads((store / "zarr.json").read_text())["attributes"]["dnmf"]
    assert header["unfolded"]["shape"] == [51, 6, 5]
    assert header["joined"]["shapes"] == [[20, 30], [31, 30]]
    resumed = dnmf.resume(store, max_passes=5)
    assert (resumed.row_shape, resumed.column_shape) == ((51,), (6, 5))
    assert_same_bits(dnmf.resume(store, paths, max_passes=6), whole)
    for new in (SECOND, [SECOND[:9], SECOND[9:]], paths[1]):
        W = dnmf.transform(store, new)
        np.testing.assert_allclose(W, dnmf.transform(flat, SECOND.reshape(31, 30)), rtol=1e-8, atol=1e-10)
    weights = [RNG.random(FIRST.shape), RNG.random(SECOND.shape)]
    by_part = dnmf.factorize(paths, 2, weights=weights, **OPTIONS)
    at_once = dnmf.factorize(paths, 2, weights=np.concatenate(weights).reshape(51, 30), **OPTIONS)
    np.testing.assert_array_equal(np.asarray(by_part.W), np.asarray(at_once.W))
    assert by_part.column_shape == (6, 5)


def test_a_fit_on_pixels_projects_lists_of_arrays_by_its_axes():
    pixels = dnmf.concat([dnmf.unfold(FIRST, (1, 2)), dnmf.unfold(SECOND, (1, 2))], axis="columns")
    fit = dnmf.factorize(pixels, 2, **OPTIONS)
    assert fit.row_shape == (6, 5)
    H = dnmf.transform(fit, SECOND, axis="columns")
    np.testing.assert_allclose(H, dnmf.transform(fit, SECOND.reshape(31, 30).T, axis="columns"), rtol=1e-8, atol=1e-10)


def test_arrays_whose_shared_axes_differ_are_refused(paths, tmp_path):
    with pytest.raises(DataError, match=r"matrix '1' are made by \(0\)x\(1,2\) of 31 × 5 × 6, and those of matrix '0'"):
        open_matrix([FIRST, SECOND.transpose(0, 2, 1)])
    square = str(tmp_path / "square.zarr")
    options = {"shape": (4, 5, 6), "dtype": "f8", "dimension_names": ("t", "x", "y")}
    zarr.create_array(square, **options)[...] = 1
    with pytest.raises(DataError, match=r"made by \(t\)x\(x,y\) of 4 × 5 × 6, .* with the same axes for the columns"):
        dnmf.factorize([paths[0], square], 2)
    assert open_matrix([paths[0], f"{square}::(t)x(y,x)"]).layout.unfolding.names is None
    for given in ([FIRST, SECOND], dnmf.concat(paths)):
        with pytest.raises(DataError, match=r"V is a join of several matrices; give dnmf\.unfold of each"):
            dnmf.unfold(given, (1, 2))


@pytest.mark.filterwarnings("ignore:Maximum number of iterations")
def test_estimators_return_numpy_factors_for_lists_in_memory(paths):
    whole = np.vstack([FIRST.reshape(20, 30), SECOND.reshape(31, 30)])
    for make in (dnmf.NMF, dnmf.MiniBatchNMF):
        model = make(2, max_iter=3, random_state=0)
        for given in ([FIRST, SECOND], [FIRST.reshape(20, 30), SECOND.reshape(31, 30)], dnmf.unfold(FIRST)):
            W, again = model.fit_transform(given), model.transform(given)
            assert type(W) is type(again) is np.ndarray
            np.testing.assert_allclose(W, again, rtol=1e-6, atol=1e-9)
        lazy = model.fit([FIRST, SECOND]).transform(paths)
        assert hasattr(lazy, "dask")
        np.testing.assert_allclose(lazy, model.transform(whole), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(model.score([FIRST, SECOND]), model.score(whole), rtol=1e-9)
